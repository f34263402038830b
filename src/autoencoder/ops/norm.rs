//! LayerNorm over the last dimension, with a gradient.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::plain::plain;
use crate::autoencoder::tape::{Tape, Value};
use crate::elementwise::{dot, layer_norm, sum};
use crate::host::{ours, read, values};

/// Rows that a thread takes at a time; also those whose gradients it adds up, so that sums do not
/// depend on the number of threads.
const ROWS_AT_ONCE: usize = 64;

#[derive(Clone, Copy)]
struct Norm {
    epsilon: f32,
}

/// `weight · (x − mean) / √(variance + ε) + bias` over the last dimension.
pub(in crate::autoencoder) fn norm(
    tape: &Tape,
    xs: &Value,
    (weight, bias): (&Value, &Value),
    epsilon: f64,
) -> Result<Value> {
    let op = Norm { epsilon: epsilon as f32 };
    #[cfg(feature = "cuda")]
    if super::gpu::takes(&xs.tensor) {
        return super::gpu::norm(tape, xs, (weight, bias), op.epsilon);
    }
    if !ours(&xs.tensor) {
        return plain(tape, [xs, weight, bias], move |[xs, weight, bias]| {
            candle_nn::ops::layer_norm_slow(xs, weight, bias, op.epsilon)
        });
    }
    let [x, w, b] = [xs, weight, bias].map(|value| value.tensor.contiguous());
    let (x, w, b) = (x?, w?, b?);
    let out = x.apply_op3_no_bwd(&w, &b, &op)?;
    Ok(tape.push(out, &[xs, weight, bias], move |gradient| {
        let (of_input, of_weight, of_bias) = op.bwd(&x, &w, &b, &x, gradient)?;
        Ok(vec![of_input, of_weight, of_bias])
    }))
}

/// A row's mean and one over its deviation, to the last bit as [`layer_norm`] has them.
#[inline(always)]
fn statistics(row: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = sum(row) / row.len() as f32;
    // the sum of squares around the mean, in lanes as `dot` takes them
    let mut lanes = [0.0_f32; 16];
    for group in row.chunks(16) {
        for (lane, value) in lanes.iter_mut().zip(group) {
            *lane += (value - mean) * (value - mean);
        }
    }
    let variance = lanes.iter().sum::<f32>() / row.len() as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// With y = (x − mean)·s and h = gradient·weight: dx = s·(h − mean(h) − y·mean(h·y)).
#[inline(always)]
fn backward_row(
    row: &[f32],
    gradient: &[f32],
    weight: &[f32],
    epsilon: f32,
    (out, normed, weighted): (&mut [f32], &mut [f32], &mut [f32]),
    (of_weight, of_bias): (&mut [f32], &mut [f32]),
) {
    let (mean, scale) = statistics(row, epsilon);
    for (((normed, weighted), value), (gradient, weight)) in
        normed.iter_mut().zip(weighted.iter_mut()).zip(row).zip(gradient.iter().zip(weight))
    {
        *normed = (value - mean) * scale;
        *weighted = gradient * weight;
    }
    let count = row.len() as f32;
    let (mean_weighted, mean_product) = (sum(weighted) / count, dot(weighted, normed) / count);
    for ((out, normed), weighted) in out.iter_mut().zip(normed.iter()).zip(weighted.iter()) {
        *out = scale * (weighted - mean_weighted - normed * mean_product);
    }
    for (((of_weight, of_bias), gradient), normed) in
        of_weight.iter_mut().zip(of_bias).zip(gradient).zip(normed.iter())
    {
        *of_weight += gradient * normed;
        *of_bias += gradient;
    }
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xs_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let xs = values(xs, xs_layout)?;
        let (weight, bias) = (values(weight, weight_layout)?, values(bias, bias_layout)?);
        let (width, epsilon) = (weight.len(), self.epsilon);
        let mut out = vec![0.0; xs.len()];
        let band = ROWS_AT_ONCE * width;
        out.par_chunks_mut(band).zip(xs.par_chunks(band)).for_each(|(out, xs)| {
            layer_norm(xs, (weight, bias), epsilon, out);
        });
        Ok((CpuStorage::F32(out), xs_layout.shape().clone()))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_input, of_weight, of_bias) = read(xs, |xs| {
            read(weight, |weight| read(gradient, |g| self.backward(xs, weight, g)))
        })???;
        let device = xs.device();
        Ok((
            Some(Tensor::from_vec(of_input, xs.shape(), device)?),
            Some(Tensor::from_vec(of_weight, weight.shape(), device)?),
            Some(Tensor::from_vec(of_bias, bias.shape(), device)?),
        ))
    }
}

impl Norm {
    fn backward(
        &self,
        xs: &[f32],
        weight: &[f32],
        gradient: &[f32],
    ) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let (width, epsilon) = (weight.len(), self.epsilon);
        let band = ROWS_AT_ONCE * width;
        let mut out = vec![0.0; xs.len()];
        let parts: Vec<Vec<f32>> = out
            .par_chunks_mut(band)
            .zip(xs.par_chunks(band))
            .zip(gradient.par_chunks(band))
            .map(|((out, xs), gradient)| {
                let mut sums = vec![0.0; 2 * width];
                let mut rows = vec![0.0; 2 * width];
                let (of_weight, of_bias) = sums.split_at_mut(width);
                let (normed, weighted) = rows.split_at_mut(width);
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || {
                        for ((out, row), gradient) in out
                            .chunks_exact_mut(width)
                            .zip(xs.chunks_exact(width))
                            .zip(gradient.chunks_exact(width))
                        {
                            let work = (out, &mut *normed, &mut *weighted);
                            let sums = (&mut *of_weight, &mut *of_bias);
                            backward_row(row, gradient, weight, epsilon, work, sums);
                        }
                    },
                );
                sums
            })
            .collect();
        let mut of_weight = super::linear::sums_of_columns(&parts.concat(), 2 * width);
        let of_bias = of_weight.split_off(width);
        (out, of_weight, of_bias)
    }
}
