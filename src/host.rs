//! Tensors of f32 on the CPU as slices, which is what our own operations work on. A leaf.

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};
use rayon::prelude::*;

/// Values that a thread takes at a time in passes over memory.
pub(crate) const CHUNK: usize = 1 << 14;

/// Whether our own operations can take this tensor.
pub(crate) fn ours(xs: &Tensor) -> bool {
    xs.device().is_cpu() && xs.dtype() == DType::F32
}

/// The values of a contiguous operand.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("an operand that is not contiguous"),
    }
}

/// Hands the values of a tensor to `f`.
pub(crate) fn read<R>(xs: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let xs = xs.contiguous()?;
    let (storage, layout) = xs.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(values(storage, layout)?)),
        _ => candle_core::bail!("an operand that is not on the CPU"),
    }
}

/// Adds `values` to `sums`.
pub(crate) fn add_to(sums: &mut [f32], values: &[f32]) {
    sums.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(sums, values)| {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    });
}

/// The sum of two tensors of one shape.
pub(crate) fn add_tensors(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if !(ours(a) && ours(b) && a.dims() == b.dims()) {
        return a + b;
    }
    let sum = read(a, |a| {
        read(b, |b| {
            let mut sum = vec![0.0; a.len()];
            sum.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(
                |((sum, a), b)| {
                    for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                        *sum = a + b;
                    }
                },
            );
            sum
        })
    })??;
    Tensor::from_vec(sum, a.shape(), a.device())
}
