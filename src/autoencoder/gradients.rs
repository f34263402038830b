//! What a backward pass leaves for the optimiser: the gradients, and whether they can be used.
//!
//! [`Gradients`] are one buffer, laid out as the parameters are. [`Measured`] holds what decides
//! about a step: the length of the gradient and the losses. Both stay on the device: a GPU itself
//! computes by how much the gradients are clipped and whether the step is made at all. So the
//! program waits only once per step, when all of the step is queued.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::ops::gpu;
use super::spans::Spans;
use crate::elementwise::dot;
use crate::error::{Error, Result};
use crate::host::{CHUNK, add_tensors, add_to, read};

/// One gradient a parameter, in the order of [`super::Parameters::iter`]; f32.
#[derive(Debug, Clone)]
pub struct Gradients {
    spans: Arc<Spans>,
    values: Tensor,
}

impl Gradients {
    /// Puts the gradients of all parameters, in the number type of a pass, behind one another; each
    /// is the sum of parts.
    ///
    /// # Errors
    /// One has no part or another number of values than its parameter, or the device runs out of
    /// memory.
    pub(super) fn gather(spans: &Arc<Spans>, found: Vec<Vec<Tensor>>) -> Result<Self> {
        if let Some((span, _)) = spans.iter().zip(&found).find(|(_, parts)| parts.is_empty()) {
            return Err(Error::failed(format!("parameter {}", span.name), "gets no gradient"));
        }
        let spans = Arc::clone(spans);
        #[cfg(feature = "cuda")]
        if found.iter().flatten().all(|part| part.device().is_cuda()) {
            return Ok(Self { values: gpu::gather(&spans, found)?, spans });
        }
        // a part is freed as soon as it is read
        let mut parts: Vec<_> = found.into_iter().map(Vec::into_iter).collect();
        let mut firsts = parts.iter_mut().filter_map(Iterator::next);
        let mut values = spans.join(|span| {
            let missing = || Error::failed(format!("parameter {}", span.name), "gets no gradient");
            firsts.next().ok_or_else(missing)
        })?;
        drop(firsts);
        for (span, rest) in spans.iter().zip(parts) {
            for part in rest {
                let sums = &mut values[span.range()];
                read(&part.to_dtype(DType::F32)?, |part| add_to(sums, part))?;
            }
        }
        Ok(Self { values: Tensor::from_vec(values, spans.len(), &Device::Cpu)?, spans })
    }

    /// Adds those of another part of the batch.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.values = add_tensors(&self.values, &other.values)?;
        Ok(())
    }

    /// A copy of the gradients on another device.
    ///
    /// # Errors
    /// The device fails.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self { spans: Arc::clone(&self.spans), values: self.values.to_device(device)? })
    }

    /// All of them, f32, laid out as [`super::Parameters::values`]; zero between parameters.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Each parameter's, in their order.
    ///
    /// # Errors
    /// None that is expected.
    pub fn tensors(&self) -> Result<Vec<Tensor>> {
        self.spans.views(&self.values)
    }

    /// The length of all gradients as one vector; the factor that brings it down to `clip` where it
    /// is longer (a `clip` of 0 never does); and the `losses` of the passes that the gradients came
    /// from, f32 scalars.
    ///
    /// The length is the root of a sum of squares in f32, 2¹⁴ values at a time on a CPU and a share
    /// a block on a GPU, whose parts are added in f64 and f32: the two agree to some 10⁻⁶.
    ///
    /// # Errors
    /// The device fails.
    pub fn measure(&self, losses: &[Tensor], clip: f64) -> Result<Measured> {
        #[cfg(feature = "cuda")]
        if self.values.device().is_cuda() {
            return Ok(Measured(gpu::measure(&self.values, losses, clip)?));
        }
        let norm = read(&self.values, squares)?.sqrt();
        let losses = losses.iter().map(|loss| Ok(f64::from(loss.to_scalar::<f32>()?)));
        let losses = losses.collect::<Result<Vec<f64>>>()?;
        let factor = match norm.is_finite() && losses.iter().all(|loss| loss.is_finite()) {
            false => f64::NAN,
            true if clip > 0.0 && norm > clip => clip / norm,
            true => 1.0,
        };
        let all: Vec<f64> = [factor, norm].into_iter().chain(losses).collect();
        Ok(Measured(Tensor::new(all, &Device::Cpu)?))
    }
}

/// The sum of all squares; its order does not depend on the number of threads.
fn squares(values: &[f32]) -> f64 {
    let of = |values: &[f32]| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || dot(values, values),
        )
    };
    let parts: Vec<f32> = values.par_chunks(CHUNK).map(of).collect();
    parts.into_iter().map(f64::from).sum()
}

/// What a step is judged by, on the device of its gradients.
///
/// A tensor of f64: what gradients are to be multiplied by, not a number where their length or a
/// loss is not finite; their length; the losses.
#[derive(Debug, Clone)]
pub struct Measured(Tensor);

/// What [`Measured`] holds, for the program to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The length of all gradients as one vector, before it is shortened.
    pub gradient_norm: f64,
    /// The loss of each pass.
    pub losses: Vec<f64>,
}

impl Measured {
    /// The tensor, f64 [2 + losses]; its first value is what gradients are to be multiplied by:
    /// where that is not a number, a step must not be made.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// Waits for the device.
    ///
    /// # Errors
    /// The device fails.
    pub fn read(&self) -> Result<Figures> {
        let values = self.0.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let gradient_norm = values.get(1).copied().unwrap_or(f64::NAN);
        Ok(Figures { gradient_norm, losses: values.into_iter().skip(2).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradients(of: &[f32]) -> Gradients {
        let spans = Spans::new([("a".to_owned(), vec![of.len()])]);
        let values = Tensor::new(of, &Device::Cpu).unwrap();
        Gradients::gather(&Arc::new(spans), vec![vec![values]]).unwrap()
    }

    fn measured(of: &[f32], losses: &[f32], clip: f64) -> (f64, Figures) {
        let losses: Vec<Tensor> =
            losses.iter().map(|loss| Tensor::new(*loss, &Device::Cpu).unwrap()).collect();
        let found = gradients(of).measure(&losses, clip).unwrap();
        (found.tensor().to_vec1::<f64>().unwrap()[0], found.read().unwrap())
    }

    #[test]
    fn long_gradients_are_shortened_and_bad_ones_stop_the_step() {
        let figures =
            |gradient_norm, losses: &[f64]| Figures { gradient_norm, losses: losses.into() };
        assert_eq!(measured(&[3.0, -4.0], &[0.5], 0.0), (1.0, figures(5.0, &[0.5])));
        assert_eq!(measured(&[3.0, -4.0], &[], 10.0), (1.0, figures(5.0, &[])));
        assert_eq!(measured(&[3.0, -4.0], &[1.0, 2.0], 2.5), (0.5, figures(5.0, &[1.0, 2.0])));
        for (of, losses) in
            [([f32::NAN, 0.0], [1.0]), ([1e30, 0.0], [1.0]), ([1.0, 0.0], [f32::NAN])]
        {
            assert!(measured(&of, &losses, 1.0).0.is_nan(), "{of:?} {losses:?}");
        }
    }

    #[test]
    fn lengths_are_those_of_plain_sums() {
        let of: Vec<f32> = (0..3 * CHUNK + 77).map(|i| (i as f32 * 0.37).sin()).collect();
        let wanted = of.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let (_, Figures { gradient_norm, .. }) = measured(&of, &[], 0.0);
        // 2^14 squares in sixteen f32 sums
        assert!((gradient_norm / wanted - 1.0).abs() < 1e-6, "{gradient_norm} {wanted}");
    }

    #[test]
    fn parts_of_a_gradient_are_added_where_they_come_to_lie() {
        let shapes = [("a", vec![2]), ("b", vec![3])];
        let spans = Spans::new(shapes.map(|(name, shape)| (name.to_owned(), shape)));
        let part = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        let found = vec![
            vec![part(&[1.0, 2.0]), part(&[10.0, 20.0]), part(&[0.5, 0.25])],
            vec![part(&[7.0, 8.0, 9.0])],
        ];
        let tensors = Gradients::gather(&Arc::new(spans.clone()), found).unwrap().tensors();
        let found: Vec<Vec<f32>> = tensors.unwrap().iter().map(|t| t.to_vec1().unwrap()).collect();
        assert_eq!(found, [vec![11.5, 22.25], vec![7.0, 8.0, 9.0]]);
        let error = Gradients::gather(&Arc::new(spans), vec![vec![part(&[1.0, 2.0])], vec![]]);
        assert!(error.unwrap_err().to_string().contains("parameter b"));
    }

    #[test]
    fn parts_of_a_batch_are_added() {
        let mut sum = gradients(&[1.0, 2.0, 3.0]);
        sum.add(&gradients(&[10.0, 20.0, 30.0])).unwrap();
        let tensors = sum.tensors().unwrap();
        assert_eq!(tensors[0].to_vec1::<f32>().unwrap(), [11.0, 22.0, 33.0]);
    }
}
