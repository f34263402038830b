//! Sums, and joining and splitting tokens and rows.

use candle_core::{DType, Result, Tensor};

use super::linear::column_sums;
use crate::autoencoder::tape::{Tape, Value};
use crate::host::add_tensors;

/// The sum of two values of one shape.
pub(in crate::autoencoder) fn add(tape: &Tape, a: &Value, b: &Value) -> Result<Value> {
    let sum = add_tensors(&a.tensor, &b.tensor)?;
    Ok(tape.push(sum, &[a, b], |gradient| Ok(vec![Some(gradient.clone()), Some(gradient.clone())])))
}

/// A value plus a constant, which is repeated along the first dimension where that is 1.
pub(in crate::autoencoder) fn add_constant(
    tape: &Tape,
    xs: &Value,
    constant: &Tensor,
) -> Result<Value> {
    let sum = xs.tensor.broadcast_add(constant)?;
    Ok(tape.push(sum, &[xs], |gradient| Ok(vec![Some(gradient.clone())])))
}

/// The same values in another shape.
pub(in crate::autoencoder) fn reshape(tape: &Tape, xs: &Value, shape: &[usize]) -> Result<Value> {
    let dims = xs.tensor.dims().to_vec();
    let out = xs.tensor.reshape(shape)?;
    Ok(tape.push(out, &[xs], move |gradient| Ok(vec![Some(gradient.reshape(dims)?)])))
}

/// In another number type.
pub(in crate::autoencoder) fn cast(tape: &Tape, xs: &Value, dtype: DType) -> Result<Value> {
    let from = xs.tensor.dtype();
    if from == dtype {
        return Ok(xs.clone());
    }
    let out = xs.tensor.to_dtype(dtype)?;
    Ok(tape.push(out, &[xs], move |gradient| Ok(vec![Some(gradient.to_dtype(from)?)])))
}

/// `count` entries of a dimension, from `start` on.
pub(in crate::autoencoder) fn narrow(
    tape: &Tape,
    xs: &Value,
    dimension: usize,
    (start, count): (usize, usize),
) -> Result<Value> {
    let all = xs.tensor.dim(dimension)?;
    let out = xs.tensor.narrow(dimension, start, count)?.contiguous()?;
    Ok(tape.push(out, &[xs], move |gradient| {
        let after = all - start - count;
        Ok(vec![Some(gradient.pad_with_zeros(dimension, start, after)?)])
    }))
}

/// A token [1, 1, D] before those of every image [B, n, D] -> [B, 1 + n, D].
pub(in crate::autoencoder) fn prepend(tape: &Tape, token: &Value, xs: &Value) -> Result<Value> {
    let (batch, count, width) = xs.tensor.dims3()?;
    let first = token.tensor.broadcast_as((batch, 1, width))?;
    let out = Tensor::cat(&[&first, &xs.tensor], 1)?;
    Ok(tape.push(out, &[token, xs], move |gradient| {
        let of_token = gradient.narrow(1, 0, 1)?.contiguous()?;
        let of_token = column_sums(&of_token)?.reshape((1, 1, width))?;
        Ok(vec![Some(of_token), Some(gradient.narrow(1, 1, count)?.contiguous()?)])
    }))
}

/// Which rows a table is put together from, and where they come to lie in it: \[rows\] of u32 each.
#[derive(Debug, Clone)]
pub(in crate::autoencoder) struct RowPlan {
    /// For each row of the table the one of `stored` it is, or the number behind those for `last`.
    pub(in crate::autoencoder) sources: Tensor,
    /// Where in the table each row of `stored` lies; each lies there once.
    pub(in crate::autoencoder) of_stored: Tensor,
    /// All places where `last` lies.
    pub(in crate::autoencoder) of_last: Tensor,
}

/// Rows of `stored` [R, D] and of `last` [1, D] as the plan has them.
pub(in crate::autoencoder) fn select_rows(
    tape: &Tape,
    (stored, last): (&Value, &Value),
    plan: &RowPlan,
) -> Result<Value> {
    let width = stored.tensor.dim(1)?;
    let rows = Tensor::cat(&[&stored.tensor, &last.tensor], 0)?;
    let out = rows.index_select(&plan.sources, 0)?;
    let plan = plan.clone();
    Ok(tape.push(out, &[stored, last], move |gradient| {
        let gradient = gradient.contiguous()?;
        let of_last = column_sums(&gradient.index_select(&plan.of_last, 0)?)?;
        let of_stored = gradient.index_select(&plan.of_stored, 0)?;
        Ok(vec![Some(of_stored), Some(of_last.reshape((1, width))?)])
    }))
}
