//! The encoder on a GPU: cuBLAS's products, and our own kernels for everything between them.
//!
//! A block is four products and four kernels: fused attention, whose scores never leave the chip
//! ([`attention`]); bias and GELU in one; and, twice, one kernel ([`tokens`]) for a product's bias,
//! its addition to the stream of tokens and the norm before the next product. The stream stays in
//! f32 whatever the type of the products; the projection to queries, keys and values needs no pass
//! for its bias, but where positions are rotary one for it and for the turning. [`super::tensors`] computes the same with candle's operations: the tests compare
//! with it, and it runs where a kernel does not fit.

mod attention;
mod patches;
mod rotary;
mod tokens;

use std::ops::RangeInclusive;

use candle_core::{DType, Device, Tensor};

use self::attention::{Arithmetic, Attention};
pub(crate) use self::patches::patches;
use self::rotary::bias_turn;
pub(super) use self::tokens::unit_rows;
use self::tokens::{Embedding, Ending, Norm, Stream, bias_gelu, bias_swiglu};
use super::config::VitConfig;
use super::parameters::Parameters;
use super::pos_embed::Positions;
use crate::error::{Error, Result};
use crate::kernel::{PACK, packed};

/// A matrix in the type of the products, and a bias in f32 that kernels add.
struct Linear {
    /// [D of outputs, D of inputs]
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(matrices: &Parameters<'_>, vectors: &Parameters<'_>, name: &str) -> Result<Self> {
        let weight = matrices.get(&format!("{name}.weight"))?.flatten_from(1)?.contiguous()?;
        Ok(Self { weight, bias: packed(&vectors.get(&format!("{name}.bias"))?)? })
    }

    /// `xs` [B, N, D] -> [B, N, outputs], without the bias.
    fn product(&self, xs: &Tensor) -> Result<Tensor> {
        let (batch, tokens, inputs) = xs.dims3()?;
        let rows = xs.reshape((batch * tokens, inputs))?;
        Ok(rows.matmul(&self.weight.t()?)?.reshape((batch, tokens, ()))?)
    }
}

struct Block {
    norm1: Norm,
    qkv: Linear,
    /// What attention adds: the bias of `qkv`; but for queries nothing where they are turned, as
    /// they have theirs by then.
    attention_bias: Tensor,
    proj: Linear,
    scale1: Option<Tensor>,
    norm2: Norm,
    fc1: Linear,
    gated: bool,
    fc2: Linear,
    scale2: Option<Tensor>,
}

/// Everything that a frame goes through.
pub(super) struct Encoder {
    patch: usize,
    dtype: DType,
    attention: Attention,
    patch_embed: Linear,
    cls_token: Tensor,
    registers: Option<Tensor>,
    blocks: Vec<Block>,
    norm: Norm,
}

impl Encoder {
    /// The first `depth` blocks, and all before and after them, computing in the parameters' type.
    /// `None` where there are no kernels for such an encoder on its device.
    ///
    /// # Errors
    /// The checkpoint lacks a tensor, or the device has no room.
    pub(super) fn new(
        parameters: &Parameters<'_>,
        config: &VitConfig,
        depth: usize,
    ) -> Result<Option<Self>> {
        let Device::Cuda(device) = parameters.device else { return Ok(None) };
        let arithmetic = match parameters.dtype {
            DType::F32 if candle_core::cuda::gemm_reduced_precision_f32() => Arithmetic::Tf32,
            DType::F32 => Arithmetic::F32,
            DType::BF16 => Arithmetic::Bf16,
            _ => return Ok(None),
        };
        let heads = (config.heads, config.width / config.heads);
        let Some(attention) = Attention::new(device, arithmetic, heads) else { return Ok(None) };
        let vectors = Parameters { dtype: DType::F32, ..*parameters };
        let blocks: Vec<Block> = (0..depth)
            .map(|index| block(parameters, &vectors, index, config))
            .collect::<Result<_>>()?;
        // kernels go over whole packs of a row, and of a half of a head that is turned
        let odd = |block: &Block| {
            let hidden = block.fc1.bias.elem_count() / if config.gated { 2 } else { 1 };
            !hidden.is_multiple_of(PACK)
        };
        let turned = config.positions.is_none();
        if blocks.iter().any(odd) || (turned && !heads.1.is_multiple_of(2 * PACK)) {
            return Ok(None);
        }
        Ok(Some(Self {
            patch: config.patch,
            dtype: parameters.dtype,
            attention,
            patch_embed: Linear::new(parameters, &vectors, "patch_embed.proj")?,
            cls_token: packed(&vectors.get("cls_token")?)?,
            registers: optional(&vectors, "register_tokens")?,
            blocks,
            norm: norm(&vectors, "norm", config.norm_eps)?,
        }))
    }

    /// The mean of the outputs of blocks `layers`, counted from 1, each after the final norm:
    /// [B, 3, H, W] frames and positions, all f32 -> [B, 1 + h·w, D] in f32, register tokens left
    /// out.
    pub(super) fn tokens(
        &self,
        frames: &Tensor,
        positions: &Positions,
        layers: RangeInclusive<usize>,
    ) -> Result<Tensor> {
        let mut stream = self.embed(frames, positions)?;
        let mut normed = match self.blocks.first() {
            Some(block) => stream.norm(&block.norm1, self.dtype)?,
            None => return Err(Error::setting("layer", "this encoder has no block")),
        };
        let mut sum: Option<Tensor> = None;
        for (index, block) in self.blocks.iter().enumerate() {
            let hidden = self.before_second_sum(block, &mut stream, &normed, positions)?;
            let ending = Ending { bias: &block.fc2.bias, scale: block.scale2.as_ref() };
            let wanted = layers.contains(&(index + 1));
            let output = match (self.blocks.get(index + 1), wanted) {
                (Some(next), _) => {
                    normed = stream.add_norm(&hidden, &ending, &next.norm1)?;
                    wanted.then(|| stream.norm(&self.norm, DType::F32)).transpose()?
                }
                (None, _) => Some(stream.add_last_norm(&hidden, &ending, &self.norm)?),
            };
            sum = match (sum, output) {
                (Some(sum), Some(output)) => Some((sum + output)?),
                (sum, output) => sum.or(output),
            };
        }
        let count = layers.count();
        match sum {
            Some(sum) if count > 1 => self.without_registers(&(sum / count as f64)?),
            Some(sum) => self.without_registers(&sum),
            None => Err(Error::setting("layer", "no block's output was asked for")),
        }
    }

    /// Queries, keys and values of the last block [B, N, 3·D] in f32, frames and positions as for
    /// [`Encoder::tokens`].
    pub(super) fn last_qkv(&self, frames: &Tensor, positions: &Positions) -> Result<Tensor> {
        let Some((last, before)) = self.blocks.split_last() else {
            return Err(Error::setting("layer", "this encoder has no block"));
        };
        let mut stream = self.embed(frames, positions)?;
        let first = before.first().unwrap_or(last);
        let mut normed = stream.norm(&first.norm1, self.dtype)?;
        for (index, block) in before.iter().enumerate() {
            let hidden = self.before_second_sum(block, &mut stream, &normed, positions)?;
            let ending = Ending { bias: &block.fc2.bias, scale: block.scale2.as_ref() };
            normed = stream.add_norm(&hidden, &ending, &self.blocks[index + 1].norm1)?;
        }
        let qkv = last.qkv.product(&normed)?.to_dtype(DType::F32)?;
        Ok(last.turned(qkv, positions)?.broadcast_add(&last.attention_bias)?)
    }

    /// A block but for the sum at its end: what its feed-forward adds, without bias and LayerScale.
    fn before_second_sum(
        &self,
        block: &Block,
        stream: &mut Stream,
        normed: &Tensor,
        positions: &Positions,
    ) -> Result<Tensor> {
        let qkv = block.turned(block.qkv.product(normed)?, positions)?;
        let mixed = self.attention.mix(&qkv, &block.attention_bias)?;
        let ending = Ending { bias: &block.proj.bias, scale: block.scale1.as_ref() };
        let normed = stream.add_norm(&block.proj.product(&mixed)?, &ending, &block.norm2)?;
        let hidden = block.fc1.product(&normed)?;
        let hidden = match block.gated {
            true => bias_swiglu(&hidden, &block.fc1.bias)?,
            false => bias_gelu(hidden, &block.fc1.bias)?,
        };
        block.fc2.product(&hidden)
    }

    /// What the first block gets.
    fn embed(&self, frames: &Tensor, positions: &Positions) -> Result<Stream> {
        let patches = patches(frames, None, (self.patch, self.dtype))?;
        let projected = self.patch_embed.product(&patches)?;
        let embedding = Embedding {
            bias: &self.patch_embed.bias,
            cls: &self.cls_token,
            registers: self.registers.as_ref(),
            positions: &positions.table,
        };
        Ok(Stream::begin(&projected, &embedding)?)
    }

    fn without_registers(&self, xs: &Tensor) -> Result<Tensor> {
        let Some(registers) = &self.registers else {
            return Ok(xs.clone());
        };
        let skip = 1 + registers.dim(1)?;
        let patches = xs.narrow(1, skip, xs.dim(1)? - skip)?;
        Ok(Tensor::cat(&[&xs.narrow(1, 0, 1)?, &patches], 1)?)
    }
}

impl Block {
    /// A product of `qkv` that nobody else has seen yet, as attention takes it: turned where
    /// positions are rotary.
    fn turned(&self, qkv: Tensor, positions: &Positions) -> Result<Tensor> {
        Ok(match &positions.turns {
            Some(turns) => bias_turn(qkv, &self.qkv.bias, turns)?,
            None => qkv,
        })
    }
}

/// A vector that not every encoder has, as kernels read it.
fn optional(vectors: &Parameters<'_>, name: &str) -> Result<Option<Tensor>> {
    Ok(vectors.optional(name)?.map(|tensor| packed(&tensor)).transpose()?)
}

fn norm(vectors: &Parameters<'_>, name: &str, epsilon: f64) -> Result<Norm> {
    let weight = packed(&vectors.get(&format!("{name}.weight"))?)?;
    let bias = packed(&vectors.get(&format!("{name}.bias"))?)?;
    Ok(Norm { weight, bias, epsilon: epsilon as f32 })
}

fn block(
    matrices: &Parameters<'_>,
    vectors: &Parameters<'_>,
    index: usize,
    config: &VitConfig,
) -> Result<Block> {
    let name = |part: &str| format!("blocks.{index}.{part}");
    let linear = |part: &str| Linear::new(matrices, vectors, &name(part));
    let qkv = linear("attn.qkv")?;
    let attention_bias = match config.positions {
        Some(_) => qkv.bias.clone(),
        None => {
            let values = qkv.bias.narrow(0, 2 * config.width, config.width)?;
            packed(&values.pad_with_zeros(0, 2 * config.width, 0)?)?
        }
    };
    Ok(Block {
        norm1: norm(vectors, &name("norm1"), config.norm_eps)?,
        qkv,
        attention_bias,
        proj: linear("attn.proj")?,
        scale1: optional(vectors, &name("ls1.gamma"))?,
        norm2: norm(vectors, &name("norm2"), config.norm_eps)?,
        fc1: linear("mlp.fc1")?,
        gated: config.gated,
        fc2: linear("mlp.fc2")?,
        scale2: optional(vectors, &name("ls2.gamma"))?,
    })
}
