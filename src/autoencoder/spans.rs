//! Where tensors lie in one buffer, one after another.
//!
//! All trained parameters are one such buffer; so are their gradients, the optimiser's moments and
//! the average of the weights, all with the same layout. An operation on every value (a cast, a sum
//! of squares, an optimiser step) is then one pass over memory, and on a GPU one launch instead of
//! one per tensor.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};
use crate::host::read;

/// Tensors begin at multiples of so many values, and zeros fill what is between: 256 bytes in bf16,
/// as far apart as a GPU's driver lays allocations, so that products find each as if it had its
/// own.
pub const GRAIN: usize = 128;

/// A tensor in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The place of its first value, a multiple of [`GRAIN`].
    pub start: usize,
}

impl Span {
    /// Number of its values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The places of its values.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.count()
    }
}

/// Tensors in a fixed order and where each of them lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spans {
    all: Vec<Span>,
    numbers: HashMap<String, usize>,
    len: usize,
}

impl Spans {
    /// Lays out tensors of these names and shapes in their order.
    pub fn new(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let (mut all, mut len) = (Vec::new(), 0);
        for (name, shape) in tensors {
            let span = Span { name, shape, start: len };
            len = span.range().end.next_multiple_of(GRAIN);
            all.push(span);
        }
        let numbers = all.iter().enumerate().map(|(number, span)| (span.name.clone(), number));
        Self { numbers: numbers.collect(), all, len }
    }

    /// The tensors, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Span> {
        self.all.iter()
    }

    /// Values of the whole buffer, a multiple of [`GRAIN`].
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of the tensor of this name in the order of [`Spans::iter`].
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The tensors of a buffer \[len\], as parts of it.
    ///
    /// # Errors
    /// The buffer is shorter.
    pub fn views(&self, buffer: &Tensor) -> Result<Vec<Tensor>> {
        let view = |span: &Span| {
            Ok(buffer.narrow(0, span.start, span.count())?.reshape(span.shape.as_slice())?)
        };
        self.all.iter().map(view).collect()
    }

    /// The tensors of a buffer's values by name, each in memory of its own on the CPU.
    ///
    /// # Errors
    /// There are fewer values.
    pub fn split<'a>(
        &'a self,
        values: &'a [f32],
    ) -> impl Iterator<Item = Result<(&'a str, Tensor)>> {
        self.all.iter().map(|span| {
            let values = values.get(span.range());
            let values = values.ok_or_else(|| wrong(span, "lies behind the buffer's end"))?;
            let tensor = Tensor::from_slice(values, span.shape.as_slice(), &Device::Cpu)?;
            Ok((span.name.as_str(), tensor))
        })
    }

    /// The values of a buffer of tensors, which `tensor` finds, in any number type, on the CPU.
    ///
    /// # Errors
    /// One is not found or has another number of values.
    pub fn join(&self, mut tensor: impl FnMut(&Span) -> Result<Tensor>) -> Result<Vec<f32>> {
        let mut buffer = Vec::with_capacity(self.len);
        for span in &self.all {
            buffer.resize(span.start, 0.0);
            let tensor = tensor(span)?.to_dtype(DType::F32)?;
            read(&tensor, |values| buffer.extend_from_slice(values))?;
            if buffer.len() != span.range().end {
                return Err(wrong(span, "has another number of values than its shape"));
            }
        }
        buffer.resize(self.len, 0.0);
        Ok(buffer)
    }

    /// One entry a [`GRAIN`] of the buffer: what `of` says of the tensor that it belongs to.
    pub fn by_grain<T: Clone>(&self, mut of: impl FnMut(&Span) -> T) -> Vec<T> {
        let grains = |span: &Span| span.count().div_ceil(GRAIN);
        self.all.iter().flat_map(|span| vec![of(span); grains(span)]).collect()
    }
}

fn wrong(span: &Span, problem: &str) -> Error {
    Error::failed(format!("tensor {}", span.name), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 130, 1 and 128 values: a grain and a bit, a bit, a grain.
    fn three() -> Spans {
        let shapes = [("a", vec![2, 65]), ("b", vec![1]), ("c", vec![8, 4, 4])];
        Spans::new(shapes.map(|(name, shape)| (name.to_owned(), shape)))
    }

    fn numbered(span: &Span) -> Tensor {
        let first = span.start as f32;
        let values = (0..span.count()).map(|i| first + i as f32 + 1.0).collect();
        Tensor::from_vec(values, span.shape.as_slice(), &Device::Cpu).unwrap()
    }

    #[test]
    fn tensors_begin_at_grains_with_zeros_between() {
        let spans = three();
        assert_eq!(spans.iter().map(|span| span.start).collect::<Vec<_>>(), [0, 256, 384]);
        assert_eq!((spans.len(), spans.number("c"), spans.number("d")), (512, Some(2), None));
        let buffer = spans.join(|span| Ok(numbered(span))).unwrap();
        assert_eq!(buffer.len(), 512);
        for (place, value) in buffer.iter().enumerate() {
            let inside = spans.iter().any(|span| span.range().contains(&place));
            assert_eq!(*value, if inside { place as f32 + 1.0 } else { 0.0 }, "{place}");
        }
        assert_eq!(spans.by_grain(|span| span.shape.len()), [2, 2, 1, 3]);
    }

    #[test]
    fn what_was_joined_is_split_and_seen_again() {
        let spans = three();
        let buffer = spans.join(|span| Ok(numbered(span))).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let whole = Tensor::new(buffer.as_slice(), &Device::Cpu).unwrap();
        let views = spans.views(&whole).unwrap();
        for ((found, span), view) in spans.split(&buffer).zip(spans.iter()).zip(&views) {
            let (name, tensor) = found.unwrap();
            assert_eq!((name, tensor.dims()), (span.name.as_str(), span.shape.as_slice()));
            assert_eq!(flat(&tensor), flat(&numbered(span)));
            assert_eq!((flat(view), view.dims()), (flat(&tensor), tensor.dims()));
        }
        assert!(spans.split(&buffer[..300]).any(|found| found.is_err()));
    }

    #[test]
    fn a_tensor_of_another_size_is_refused() {
        let short = |_: &Span| Ok(Tensor::zeros(3, DType::F32, &Device::Cpu)?);
        let error = three().join(short).unwrap_err().to_string();
        assert!(error.contains("tensor a"), "{error}");
    }
}
