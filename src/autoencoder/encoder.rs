//! The encoder with gradients: the same network as [`crate::model::vit`], which only looks.

use candle_core::Tensor;

use super::ops::{Dropout, attend, gelu, linear, norm};
use super::parameters::Working;
use crate::error::Result;
use crate::model::VitConfig;

/// A linear layer by the name of its weight and bias.
pub(super) fn linear_named(weights: &Working<'_>, name: &str, xs: &Tensor) -> Result<Tensor> {
    let weight = weights.get(&format!("{name}.weight"))?;
    Ok(linear(xs, &weight, &weights.get(&format!("{name}.bias"))?)?)
}

/// A LayerNorm by the name of its weight and bias.
pub(super) fn norm_named(
    weights: &Working<'_>,
    name: &str,
    epsilon: f64,
    xs: &Tensor,
) -> Result<Tensor> {
    let weight = weights.get(&format!("{name}.weight"))?;
    Ok(norm(xs, &weight, &weights.get(&format!("{name}.bias"))?, epsilon)?)
}

/// A pre-norm block: attention among tokens, then a feed-forward, each added to what came in.
pub(super) fn block(
    weights: &Working<'_>,
    name: &str,
    (heads, epsilon): (usize, f64),
    xs: &Tensor,
) -> Result<Tensor> {
    let part = |part: &str| format!("{name}.{part}");
    let normed = norm_named(weights, &part("norm1"), epsilon, xs)?;
    let qkv = linear_named(weights, &part("attn.qkv"), &normed)?;
    let mixed = attend(&qkv, heads, Dropout::NONE)?;
    let xs = (xs + linear_named(weights, &part("attn.proj"), &mixed)?)?;
    let normed = norm_named(weights, &part("norm2"), epsilon, &xs)?;
    let hidden = gelu(&linear_named(weights, &part("mlp.fc1"), &normed)?)?;
    Ok((xs + linear_named(weights, &part("mlp.fc2"), &hidden)?)?)
}

/// Patches as rows of pixels [B, n, 3·p·p] with their rows of the position table ([1, n, D] or
/// [B, n, D]) -> tokens [B, 1 + n, D] after the final LayerNorm, CLS first.
pub(super) fn encode(
    weights: &Working<'_>,
    config: &VitConfig,
    patches: &Tensor,
    positions: &Tensor,
) -> Result<Tensor> {
    let (batch, _, values) = patches.dims3()?;
    let width = config.width;
    let kernel = weights.get("patch_embed.proj.weight")?.reshape((width, values))?;
    let embedded = linear(patches, &kernel, &weights.get("patch_embed.proj.bias")?)?;
    let embedded = embedded.broadcast_add(positions)?;
    // the table's row for CLS is zero
    let cls = weights.get("cls_token")?.broadcast_as((batch, 1, width))?.contiguous()?;
    let mut xs = Tensor::cat(&[&cls, &embedded], 1)?;
    for index in 0..config.depth {
        let sizes = (config.heads, config.norm_eps);
        xs = block(weights, &format!("blocks.{index}"), sizes, &xs)?;
    }
    norm_named(weights, "norm", config.norm_eps, &xs)
}
