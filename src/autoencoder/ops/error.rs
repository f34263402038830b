//! The mean squared error of the masked patches, with a gradient.

#[cfg(feature = "cuda")]
use candle_core::DType;
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::plain::plain;
use crate::autoencoder::tape::{Tape, Value};
use crate::host::{ours, read, values};

struct MaskedError {
    /// One a patch: 1 where it counts.
    removed: Vec<f32>,
    /// How many do.
    count: usize,
}

/// Which patches count.
#[derive(Debug, Clone, Copy)]
pub(in crate::autoencoder) struct Removed<'a> {
    /// 1 where a patch counts, else 0: [B, N] in f32.
    pub(in crate::autoencoder) patches: &'a Tensor,
    /// How many do.
    pub(in crate::autoencoder) count: usize,
}

/// The mean, over the patches that are `removed`, of the mean squared difference between
/// `predicted` and `target` [B, N, V]: a scalar.
pub(in crate::autoencoder) fn masked_error(
    tape: &Tape,
    predicted: &Value,
    target: &Tensor,
    removed: Removed<'_>,
) -> Result<Value> {
    #[cfg(feature = "cuda")]
    if predicted.tensor.device().is_cuda() && predicted.tensor.dtype() == DType::F32 {
        return super::gpu::masked_error(tape, predicted, target, removed);
    }
    let Removed { patches: removed, count } = removed;
    if !ours(&predicted.tensor) {
        let (target, removed) = (target.clone(), removed.to_dtype(predicted.tensor.dtype())?);
        return plain(tape, [predicted], move |[predicted]| {
            let errors = (predicted - &target)?.sqr()?.mean(D::Minus1)?;
            (errors * &removed)?.sum_all()? / count as f64
        });
    }
    let op = MaskedError { removed: removed.flatten_all()?.to_vec1()?, count };
    let (p, t) = (predicted.tensor.contiguous()?, target.contiguous()?);
    let out = p.apply_op2_no_bwd(&t, &op)?;
    Ok(tape.push(out, &[predicted], move |gradient| Ok(vec![op.bwd(&p, &t, &p, gradient)?.0])))
}

impl MaskedError {
    /// Masked values in all.
    fn count(&self, values: usize) -> f64 {
        (self.count * (values / self.removed.len().max(1))) as f64
    }
}

impl CustomOp2 for MaskedError {
    fn name(&self) -> &'static str {
        "masked_error"
    }

    fn cpu_fwd(
        &self,
        predicted: &CpuStorage,
        predicted_layout: &Layout,
        target: &CpuStorage,
        target_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let predicted = values(predicted, predicted_layout)?;
        let target = values(target, target_layout)?;
        let width = (predicted.len() / self.removed.len().max(1)).max(1);
        let sums: Vec<f32> = predicted
            .par_chunks(width)
            .zip(target.par_chunks(width))
            .zip(&self.removed)
            .map(|((predicted, target), removed)| match removed {
                0.0 => 0.0,
                _ => squared_distance(predicted, target),
            })
            .collect();
        let mean =
            sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() / self.count(predicted.len());
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        predicted: &Tensor,
        target: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let factor =
            2.0 * f64::from(gradient.to_scalar::<f32>()?) / self.count(predicted.elem_count());
        let factor = factor as f32;
        let out = read(predicted, |predicted| {
            read(target, |target| {
                let mut out = vec![0.0; predicted.len()];
                let width = (predicted.len() / self.removed.len().max(1)).max(1);
                out.par_chunks_mut(width)
                    .zip(predicted.par_chunks(width))
                    .zip(target.par_chunks(width))
                    .zip(&self.removed)
                    .filter(|(_, removed)| **removed != 0.0)
                    .for_each(|(((out, predicted), target), _)| {
                        for ((out, predicted), target) in out.iter_mut().zip(predicted).zip(target)
                        {
                            *out = factor * (predicted - target);
                        }
                    });
                out
            })
        })??;
        // the target is pixels: nothing is trained behind it
        Ok((Some(Tensor::from_vec(out, predicted.shape(), predicted.device())?), None))
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut lanes = [0.0_f32; 16];
            for (a, b) in a.chunks(16).zip(b.chunks(16)) {
                for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                    *lane += (a - b) * (a - b);
                }
            }
            lanes.iter().sum()
        },
    )
}
