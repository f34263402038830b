//! A linear layer, x·wᵀ + b.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Module, Result, Shape, Tensor};
use rayon::prelude::*;

use super::plain::plain;
use crate::autoencoder::tape::{Tape, Value};
use crate::host::{ours, read, values};
use crate::product::{How, View, ViewMut, multiply};

/// Rows whose gradients are added up on one thread, whatever the number of threads.
const ROWS_AT_ONCE: usize = 256;

struct Linear {
    /// Whether the input has a gradient; pixels have none.
    input_gradient: bool,
}

/// `xs` [.., in] times `weight` [out, in] (in may be spread over several dimensions) plus `bias`
/// \[out\] -> [.., out].
pub(in crate::autoencoder) fn linear(
    tape: &Tape,
    xs: &Value,
    weight: &Value,
    bias: &Value,
) -> Result<Value> {
    #[cfg(feature = "cuda")]
    if super::gpu::takes(&xs.tensor) {
        return super::gpu::linear(tape, xs, weight, bias);
    }
    if !ours(&xs.tensor) {
        return plain(tape, [xs, weight, bias], |[xs, weight, bias]| {
            let flat = weight.flatten_from(1)?;
            candle_nn::Linear::new(flat, Some(bias.clone())).forward(xs)
        });
    }
    let op = Linear { input_gradient: xs.tracked() };
    let [x, w, b] = [xs, weight, bias].map(|value| value.tensor.contiguous());
    let (x, w, b) = (x?, w?, b?);
    let out = x.apply_op3_no_bwd(&w, &b, &op)?;
    Ok(tape.push(out, &[xs, weight, bias], move |gradient| {
        let (of_input, of_weight, of_bias) = op.bwd(&x, &w, &b, &x, gradient)?;
        Ok(vec![of_input, of_weight, of_bias])
    }))
}

/// Outputs and inputs of a weight.
fn sizes(dims: &[usize]) -> Result<(usize, usize)> {
    match dims {
        [outputs, inputs @ ..] => Ok((*outputs, inputs.iter().product())),
        [] => candle_core::bail!("a weight without dimensions"),
    }
}

const WRITE: How = How { scale: 1.0, add: false, parallel: true };

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let (outputs, inputs) = sizes(weight_layout.dims())?;
        let (xs, weight) = (values(xs, xs_layout)?, values(weight, weight_layout)?);
        let bias = values(bias, bias_layout)?;
        let rows = xs.len() / inputs;
        let mut out = bias.repeat(rows);
        multiply(
            ViewMut::rows(&mut out, rows, outputs, outputs),
            View::rows(xs, rows, inputs, inputs),
            View::rows(weight, outputs, inputs, inputs).transposed(),
            How { add: true, ..WRITE },
        );
        let mut shape = xs_layout.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (outputs, inputs) = sizes(weight.dims())?;
        let rows = xs.elem_count() / inputs;
        let device = xs.device();
        let (of_input, of_weight, of_bias) = read(gradient, |gradient| {
            let gradients = View::rows(gradient, rows, outputs, outputs);
            let of_input = self.input_gradient.then(|| {
                read(weight, |weight| {
                    let mut out = vec![0.0; rows * inputs];
                    let weight = View::rows(weight, outputs, inputs, inputs);
                    multiply(
                        ViewMut::rows(&mut out, rows, inputs, inputs),
                        gradients,
                        weight,
                        WRITE,
                    );
                    out
                })
            });
            let of_weight = read(xs, |xs| {
                let mut out = vec![0.0; outputs * inputs];
                let xs = View::rows(xs, rows, inputs, inputs);
                let out_view = ViewMut::rows(&mut out, outputs, inputs, inputs);
                multiply(out_view, gradients.transposed(), xs, WRITE);
                out
            });
            (of_input.transpose(), of_weight, sums_of_columns(gradient, outputs))
        })?;
        let of_input = of_input?.map(|values| Tensor::from_vec(values, xs.shape(), device));
        Ok((
            of_input.transpose()?,
            Some(Tensor::from_vec(of_weight?, weight.shape(), device)?),
            Some(Tensor::from_vec(of_bias, bias.shape(), device)?),
        ))
    }
}

/// The sums over all rows: [.., D] -> \[D\].
pub(super) fn column_sums(xs: &Tensor) -> Result<Tensor> {
    let columns = xs.dim(D::Minus1)?;
    #[cfg(feature = "cuda")]
    if super::gpu::takes(xs) {
        return super::gpu::column_sums(xs);
    }
    if !ours(xs) {
        return xs.reshape(((), columns))?.sum(0);
    }
    Tensor::from_vec(read(xs, |xs| sums_of_columns(xs, columns))?, columns, xs.device())
}

/// Sums over the rows; the order of additions does not depend on the number of threads.
pub(super) fn sums_of_columns(values: &[f32], columns: usize) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = values
        .par_chunks(ROWS_AT_ONCE * columns)
        .map(|rows| rows.chunks_exact(columns).fold(vec![0.0; columns], added))
        .collect();
    parts.iter().map(Vec::as_slice).fold(vec![0.0; columns], added)
}

fn added(mut sums: Vec<f32>, row: &[f32]) -> Vec<f32> {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    sums
}
