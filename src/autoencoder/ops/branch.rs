//! The two fused steps of a block: a linear layer whose output is added to the stream of tokens,
//! together with the norm that the next branch begins with; and the first layer of a feed-forward
//! with its GELU. A GPU makes each in one pass over the tokens.

use candle_core::Result;

use super::{Dropout, add, dropout, gelu, linear, norm};
use crate::autoencoder::tape::{Tape, Value};

/// A linear layer, and what is dropped of what it gives.
#[derive(Debug, Clone, Copy)]
pub(in crate::autoencoder) struct Layer<'a> {
    /// What goes in, [.., inputs].
    pub(in crate::autoencoder) inputs: &'a Value,
    /// [outputs, inputs]
    pub(in crate::autoencoder) weight: &'a Value,
    /// \[outputs\]
    pub(in crate::autoencoder) bias: &'a Value,
    /// What is dropped in the end.
    pub(in crate::autoencoder) drop: Dropout,
}

/// A LayerNorm.
#[derive(Debug, Clone, Copy)]
pub(in crate::autoencoder) struct Norm<'a> {
    /// \[D\]
    pub(in crate::autoencoder) weight: &'a Value,
    /// \[D\]
    pub(in crate::autoencoder) bias: &'a Value,
    /// Added to the variance.
    pub(in crate::autoencoder) epsilon: f64,
}

/// `xs` plus what a layer gives, and the norm of that sum: [B, N, D] each.
pub(in crate::autoencoder) fn add_norm(
    tape: &Tape,
    xs: &Value,
    layer: Layer<'_>,
    by: Norm<'_>,
) -> Result<[Value; 2]> {
    #[cfg(feature = "cuda")]
    if super::gpu::takes(&xs.tensor)
        && let Some(both) = super::gpu::add_norm(tape, xs, layer, by)?
    {
        return Ok(both);
    }
    let Layer { inputs, weight, bias, drop } = layer;
    let added = dropout(tape, &linear(tape, inputs, weight, bias)?, drop)?;
    let sum = add(tape, xs, &added)?;
    let normed = norm(tape, &sum, (by.weight, by.bias), by.epsilon)?;
    Ok([sum, normed])
}

/// GELU of what a layer gives, before it drops: [.., outputs].
pub(in crate::autoencoder) fn linear_gelu(tape: &Tape, layer: Layer<'_>) -> Result<Value> {
    #[cfg(feature = "cuda")]
    if super::gpu::takes(&layer.inputs.tensor)
        && let Some(out) = super::gpu::linear_gelu(tape, layer)?
    {
        return Ok(out);
    }
    let Layer { inputs, weight, bias, drop } = layer;
    dropout(tape, &gelu(tape, &linear(tape, inputs, weight, bias)?)?, drop)
}
