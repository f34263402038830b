//! The decoders: CropMAE's and SiamMAE's, which looks up the masked view in the other one, and MAE's.

use candle_core::Tensor;

use super::config::{AutoencoderConfig, DecoderConfig, Method};
use super::encoder::{block, linear_named, norm_named};
use super::masking::Mask;
use super::ops::{Dropout, attend, attend_across, dropout, gelu, linear};
use super::parameters::Working;
use crate::error::Result;

/// PyTorch's LayerNorm epsilon, which the reference's decoder blocks keep.
const BLOCK_EPSILON: f64 = 1e-5;
/// That of the last norm, and of all of MAE's.
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
    weights: &Working<'_>,
    encoded: &Tensor,
    mask: &Mask,
    (patches, width): (usize, usize),
) -> Result<Tensor> {
    let embedded = linear_named(weights, "decoder_embed", encoded)?;
    let batch = mask.batch();
    let stored = embedded.reshape((batch * (1 + mask.visible_count()), width))?;
    let mask_token = weights.get("mask_token")?.reshape((1, width))?;
    let rows = Tensor::cat(&[&stored, &mask_token], 0)?;
    let tokens = rows.index_select(&mask.decoder_rows(encoded.device())?, 0)?;
    let tokens = tokens.reshape((batch, 1 + patches, width))?;
    Ok(tokens.broadcast_add(&weights.decoder_positions()?)?)
}

/// The rows `from..to` of the projection of an attention, applied to `xs`.
fn project(
    weights: &Working<'_>,
    name: &str,
    (from, count): (usize, usize),
    xs: &Tensor,
) -> Result<Tensor> {
    let weight = weights.get(&format!("{name}.in_proj_weight"))?.narrow(0, from, count)?;
    let bias = weights.get(&format!("{name}.in_proj_bias"))?.narrow(0, from, count)?;
    Ok(linear(xs, &weight, &bias)?)
}

/// A block of the reference's decoder: attention over the memory, feed-forward, attention among
/// tokens, in this order, each added and then normed.
fn cross_block(
    weights: &Working<'_>,
    name: &str,
    config: &DecoderConfig,
    (xs, memory): (&Tensor, &Tensor),
    drops: &Drops,
) -> Result<Tensor> {
    let part = |part: &str| format!("{name}.{part}");
    let (width, heads) = (config.width, config.heads);
    let added = |xs: &Tensor, branch: Tensor, norm: &str| {
        let sum = (xs + dropout(&branch, drops.next())?)?;
        norm_named(weights, &part(norm), BLOCK_EPSILON, &sum)
    };

    let attention = part("multihead_attn");
    let queries = project(weights, &attention, (0, width), xs)?;
    let looked_up = project(weights, &attention, (width, 2 * width), memory)?;
    let mixed = attend_across(&queries, &looked_up, heads, drops.next())?;
    let mixed = linear_named(weights, &part("multihead_attn.out_proj"), &mixed)?;
    let xs = added(xs, mixed, "norm2")?;

    let hidden = gelu(&linear_named(weights, &part("linear1"), &xs)?)?;
    let hidden = dropout(&hidden, drops.next())?;
    let xs = added(&xs, linear_named(weights, &part("linear2"), &hidden)?, "norm3")?;

    let qkv = project(weights, &part("self_attn"), (0, 3 * width), &xs)?;
    let mixed = attend(&qkv, heads, drops.next())?;
    let mixed = linear_named(weights, &part("self_attn.out_proj"), &mixed)?;
    added(&xs, mixed, "norm1")
}

/// Pixels of every patch, [B, N, p·p·3], from the encoded visible tokens [B, 1 + visible, D] and, but
/// for MAE, the encoded tokens of the other view [B, 1 + N, D].
pub(super) fn decode(
    weights: &Working<'_>,
    config: &AutoencoderConfig,
    encoded: &Tensor,
    memory: Option<&Tensor>,
    mask: &Mask,
    drops: &Drops,
) -> Result<Tensor> {
    let decoder = &config.decoder;
    let mut xs = assemble(weights, encoded, mask, (config.patches(), decoder.width))?;
    // without positions: the decoder knows where it is, not where in the other view it looks
    let memory = memory.map(|memory| linear_named(weights, "decoder_embed", memory)).transpose()?;
    for index in 0..decoder.depth {
        let name = format!("decoder_blocks.{index}");
        xs = match &memory {
            Some(memory) if config.method != Method::Mae => {
                cross_block(weights, &name, decoder, (&xs, memory), drops)?
            }
            _ => block(weights, &name, (decoder.heads, EPSILON), &xs)?,
        };
    }
    let xs = norm_named(weights, "decoder_norm", EPSILON, &xs)?;
    let pixels = linear_named(weights, "decoder_pred", &xs)?;
    Ok(pixels.narrow(1, 1, config.patches())?)
}
