//! The decoders: that of CropMAE and SiamMAE, whose masked view attends to the other view, and
//! MAE's.

use super::config::{AutoencoderConfig, DecoderConfig};
use super::encoder::{blocks, layer_named, linear_named, norm_named, normed};
use super::masking::PlacedMask;
use super::ops::{
    Dropout, add_constant, add_norm, attend, attend_across, linear, linear_gelu, narrow, reshape,
    select_rows,
};
use super::parameters::Pass;
use super::tape::Value;
use crate::error::Result;

/// That of all norms: `DecoderBlock` of CropMAE's program is built with it, though its comment says
/// 1e-5, and so is MAE's.
const EPSILON: f64 = 1e-6;

/// What dropout drops in the course of a step: every call of [`Drops::next`] something else.
pub(super) struct Drops {
    probability: f32,
    seed: u64,
    count: std::cell::Cell<u64>,
}

impl Drops {
    /// `seed` is that of the step; none means that nothing is dropped (evaluation).
    pub(super) fn new(config: &DecoderConfig, seed: Option<u64>) -> Self {
        let probability = seed.map_or(0.0, |_| config.dropout as f32);
        Self { probability, seed: seed.unwrap_or(0), count: std::cell::Cell::new(0) }
    }

    fn next(&self) -> Dropout {
        let count = self.count.get() + 1;
        self.count.set(count);
        // Weyl's sequence through the finaliser of MurmurHash3: one well-mixed word a call
        let mut word = self.seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        word = (word ^ (word >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Dropout { probability: self.probability, seed: word ^ (word >> 33) }
    }
}

/// The tokens that the decoder starts from, [B, 1 + N, D]: the embedded visible ones back in their
/// places, the mask token in all others, and the position table on all.
fn assemble(
    pass: &Pass<'_>,
    encoded: &Value,
    mask: &PlacedMask,
    (patches, width): (usize, usize),
) -> Result<Value> {
    let tape = &pass.tape;
    let embedded = linear_named(pass, "decoder_embed", encoded)?;
    let batch = mask.batch;
    let stored = reshape(tape, &embedded, &[batch * (1 + mask.visible), width])?;
    let mask_token = reshape(tape, pass.get("mask_token")?, &[1, width])?;
    let tokens = select_rows(tape, (&stored, &mask_token), &mask.plan)?;
    let tokens = reshape(tape, &tokens, &[batch, 1 + patches, width])?;
    Ok(add_constant(tape, &tokens, &pass.decoder_positions()?)?)
}

/// `count` rows, from `from` on, of the projection of an attention, applied to `xs`.
fn project(pass: &Pass<'_>, name: &str, rows: (usize, usize), xs: &Value) -> Result<Value> {
    let weight = narrow(&pass.tape, pass.get(&format!("{name}.in_proj_weight"))?, 0, rows)?;
    let bias = narrow(&pass.tape, pass.get(&format!("{name}.in_proj_bias"))?, 0, rows)?;
    Ok(linear(&pass.tape, xs, &weight, &bias)?)
}

/// A block of the reference's decoder: attention over the memory, feed-forward, attention among
/// tokens, in this order, each added and then normed.
fn cross_block(
    pass: &Pass<'_>,
    name: &str,
    config: &DecoderConfig,
    (xs, memory): (&Value, &Value),
    drops: &Drops,
) -> Result<Value> {
    let part = |part: &str| format!("{name}.{part}");
    let (tape, width, heads) = (&pass.tape, config.width, config.heads);
    // the norm alone goes on, not the sum
    let added = |xs: &Value, (layer, inputs): (&str, &Value), norm: &str| {
        let layer = layer_named(pass, &part(layer), inputs, drops.next())?;
        let [_, normed] = add_norm(tape, xs, layer, norm_named(pass, &part(norm), EPSILON)?)?;
        Ok::<_, crate::error::Error>(normed)
    };

    let attention = part("multihead_attn");
    let queries = project(pass, &attention, (0, width), xs)?;
    let looked_up = project(pass, &attention, (width, 2 * width), memory)?;
    let mixed = attend_across(tape, (&queries, &looked_up), heads, drops.next())?;
    let xs = added(xs, ("multihead_attn.out_proj", &mixed), "norm2")?;

    let hidden = linear_gelu(tape, layer_named(pass, &part("linear1"), &xs, drops.next())?)?;
    let xs = added(&xs, ("linear2", &hidden), "norm3")?;

    let qkv = project(pass, &part("self_attn"), (0, 3 * width), &xs)?;
    let mixed = attend(tape, &qkv, heads, drops.next())?;
    added(&xs, ("self_attn.out_proj", &mixed), "norm1")
}

/// Pixels of every patch, [B, N, p·p·3], from the encoded visible tokens [B, 1 + visible, D] and,
/// but for MAE, the encoded tokens of the other view [B, 1 + N, D].
pub(super) fn decode(
    pass: &Pass<'_>,
    config: &AutoencoderConfig,
    (encoded, memory): (&Value, Option<&Value>),
    mask: &PlacedMask,
    drops: &Drops,
) -> Result<Value> {
    let decoder = &config.decoder;
    let mut xs = assemble(pass, encoded, mask, (config.patches(), decoder.width))?;
    // without positions: the decoder knows where it is, not where in the other view it looks
    let memory = memory.map(|memory| linear_named(pass, "decoder_embed", memory)).transpose()?;
    let (depth, count) = (decoder.depth, config.patches());
    let Some(memory) = memory else {
        let sizes = (decoder.heads, EPSILON);
        let xs = blocks(pass, ("decoder_blocks", depth), sizes, xs, "decoder_norm")?;
        return linear_named(pass, "decoder_pred", &narrow(&pass.tape, &xs, 1, (1, count))?);
    };
    for index in 0..depth {
        let name = format!("decoder_blocks.{index}");
        xs = cross_block(pass, &name, decoder, (&xs, &memory), drops)?;
    }
    let patches = narrow(&pass.tape, &xs, 1, (1, count))?;
    let last = norm_named(pass, "decoder_norm", EPSILON)?;
    linear_named(pass, "decoder_pred", &normed(pass, last, &patches)?)
}
