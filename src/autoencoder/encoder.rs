//! The encoder with gradients: the same network as [`crate::model::vit`], which only looks.

use candle_core::{DType, Tensor};

use super::ops::{Dropout, add, add_constant, attend, gelu, linear, norm, prepend};
use super::parameters::Pass;
use super::tape::Value;
use crate::error::Result;
use crate::model::VitConfig;
use crate::model::vit::patchify;

/// A linear layer by the name of its weight and bias.
pub(super) fn linear_named(pass: &Pass<'_>, name: &str, xs: &Value) -> Result<Value> {
    let weight = pass.get(&format!("{name}.weight"))?;
    Ok(linear(&pass.tape, xs, weight, pass.get(&format!("{name}.bias"))?)?)
}

/// A LayerNorm by the name of its weight and bias.
pub(super) fn norm_named(pass: &Pass<'_>, name: &str, epsilon: f64, xs: &Value) -> Result<Value> {
    let weight = pass.get(&format!("{name}.weight"))?;
    Ok(norm(&pass.tape, xs, (weight, pass.get(&format!("{name}.bias"))?), epsilon)?)
}

/// A pre-norm block: attention among tokens, then a feed-forward, each added to what came in.
pub(super) fn block(
    pass: &Pass<'_>,
    name: &str,
    (heads, epsilon): (usize, f64),
    xs: &Value,
) -> Result<Value> {
    let part = |part: &str| format!("{name}.{part}");
    let normed = norm_named(pass, &part("norm1"), epsilon, xs)?;
    let qkv = linear_named(pass, &part("attn.qkv"), &normed)?;
    let mixed = attend(&pass.tape, &qkv, heads, Dropout::NONE)?;
    let xs = add(&pass.tape, xs, &linear_named(pass, &part("attn.proj"), &mixed)?)?;
    let normed = norm_named(pass, &part("norm2"), epsilon, &xs)?;
    let hidden = gelu(&pass.tape, &linear_named(pass, &part("mlp.fc1"), &normed)?)?;
    Ok(add(&pass.tape, &xs, &linear_named(pass, &part("mlp.fc2"), &hidden)?)?)
}

/// The patches of views [B, 3, S, S] as rows of pixels in the number type `dtype`: all of them
/// [B, N, 3·p·p], or those at `rows` among all of the batch [n, 3·p·p].
pub(super) fn pixels(
    views: &Tensor,
    rows: Option<&Tensor>,
    (patch, dtype): (usize, DType),
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if super::ops::gpu::takes(views) && matches!(dtype, DType::F32 | DType::BF16) {
        return Ok(crate::model::gpu::patches(views, rows, (patch, dtype))?);
    }
    let patches = patchify(&views.to_dtype(dtype)?, patch)?;
    Ok(match rows {
        Some(rows) => patches.flatten(0, 1)?.index_select(rows, 0)?,
        None => patches,
    })
}

/// Patches as rows of pixels [B, n, 3·p·p] with their rows of the position table ([1, n, D] or
/// [B, n, D]) -> tokens [B, 1 + n, D] after the final LayerNorm, CLS first.
pub(super) fn encode(
    pass: &Pass<'_>,
    config: &VitConfig,
    patches: Tensor,
    positions: &Tensor,
) -> Result<Value> {
    let embedded = linear_named(pass, "patch_embed.proj", &Value::constant(patches))?;
    let embedded = add_constant(&pass.tape, &embedded, positions)?;
    // the table's row for CLS is zero
    let mut xs = prepend(&pass.tape, pass.get("cls_token")?, &embedded)?;
    for index in 0..config.depth {
        let sizes = (config.heads, config.norm_eps);
        xs = block(pass, &format!("blocks.{index}"), sizes, &xs)?;
    }
    norm_named(pass, "norm", config.norm_eps, &xs)
}
