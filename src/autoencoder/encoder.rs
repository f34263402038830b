//! The encoder with gradients: the same network as the inference-only [`crate::model::vit`].

use candle_core::{DType, Tensor};

use super::ops::{
    Dropout, Layer, Norm, add_constant, add_norm, attend, linear, linear_gelu, norm, prepend,
};
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

/// A linear layer on `inputs` by the name of its weight and bias, of whose output `drop` leaves
/// some out.
pub(super) fn layer_named<'a>(
    pass: &'a Pass<'_>,
    name: &str,
    inputs: &'a Value,
    drop: Dropout,
) -> Result<Layer<'a>> {
    let weight = pass.get(&format!("{name}.weight"))?;
    Ok(Layer { inputs, weight, bias: pass.get(&format!("{name}.bias"))?, drop })
}

/// A LayerNorm by the name of its weight and bias.
pub(super) fn norm_named<'a>(pass: &'a Pass<'_>, name: &str, epsilon: f64) -> Result<Norm<'a>> {
    let weight = pass.get(&format!("{name}.weight"))?;
    Ok(Norm { weight, bias: pass.get(&format!("{name}.bias"))?, epsilon })
}

/// `xs` after such a norm.
pub(super) fn normed(pass: &Pass<'_>, by: Norm<'_>, xs: &Value) -> Result<Value> {
    Ok(norm(&pass.tape, xs, (by.weight, by.bias), by.epsilon)?)
}

/// Pre-norm blocks, each attention among tokens and a feed-forward, either of which is added to
/// what came in; and the norm `last` of all: `prefix` and its number name a block.
pub(super) fn blocks(
    pass: &Pass<'_>,
    (prefix, depth): (&str, usize),
    (heads, epsilon): (usize, f64),
    xs: Value,
    last: &str,
) -> Result<Value> {
    let norm_before = |index: usize| match index == depth {
        true => norm_named(pass, last, epsilon),
        false => norm_named(pass, &format!("{prefix}.{index}.norm1"), epsilon),
    };
    let tape = &pass.tape;
    let first = normed(pass, norm_before(0)?, &xs)?;
    let mut stream = [xs, first];
    for index in 0..depth {
        let part = |part: &str| format!("{prefix}.{index}.{part}");
        let [xs, normed] = &stream;
        let qkv = linear_named(pass, &part("attn.qkv"), normed)?;
        let mixed = attend(tape, &qkv, heads, Dropout::NONE)?;
        let projected = layer_named(pass, &part("attn.proj"), &mixed, Dropout::NONE)?;
        let [xs, normed] =
            add_norm(tape, xs, projected, norm_named(pass, &part("norm2"), epsilon)?)?;
        let hidden = layer_named(pass, &part("mlp.fc1"), &normed, Dropout::NONE)?;
        let hidden = linear_gelu(tape, hidden)?;
        let added = layer_named(pass, &part("mlp.fc2"), &hidden, Dropout::NONE)?;
        stream = add_norm(tape, &xs, added, norm_before(index + 1)?)?;
    }
    let [_, normed] = stream;
    Ok(normed)
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
    let xs = prepend(&pass.tape, pass.get("cls_token")?, &embedded)?;
    blocks(pass, ("blocks", config.depth), (config.heads, config.norm_eps), xs, "norm")
}
