//! The encoder as candle's tensor operations: on GPUs, and on the CPU in other number types than
//! f32.
//!
//! The structs are in the order of the data flow. [`super::cpu`] computes the same on packed
//! weights and is tested against this.

use std::ops::RangeInclusive;

use candle_core::{Module, Tensor};
use candle_nn::{LayerNorm, Linear};

use super::attention;
use super::config::VitConfig;
use super::parameters::Parameters;
use super::patches::patchify;
use super::pos_embed::Positions;
use crate::error::{Error, Result};

struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

impl Attention {
    /// `xs` [B, N, D] -> [B, N, D].
    fn forward(&self, xs: &Tensor, positions: &Positions) -> Result<Tensor> {
        let mixed = attention::attend(&self.project(xs, positions)?, self.heads)?;
        Ok(self.proj.forward(&mixed)?)
    }

    /// What the first token attends to: `xs` [B, N, D] -> [B, heads, N].
    fn first_row(&self, xs: &Tensor, positions: &Positions) -> Result<Tensor> {
        attention::first_row(&self.project(xs, positions)?, self.heads)
    }

    /// Queries, keys and values: `xs` [B, N, D] -> [B, N, 3·D].
    fn project(&self, xs: &Tensor, positions: &Positions) -> Result<Tensor> {
        let qkv = self.qkv.forward(xs)?;
        match &positions.turns {
            Some(turns) => attention::turned(&qkv, self.heads, turns),
            None => Ok(qkv),
        }
    }
}

struct Block {
    norm1: LayerNorm,
    attention: Attention,
    scale1: Option<Tensor>,
    norm2: LayerNorm,
    fc1: Linear,
    gated: bool,
    fc2: Linear,
    scale2: Option<Tensor>,
}

impl Block {
    fn forward(&self, xs: &Tensor, positions: &Positions) -> Result<Tensor> {
        let mixed = self.attention.forward(&self.norm1.forward(xs)?, positions)?;
        let xs = (xs + scaled(mixed, self.scale1.as_ref())?)?;
        let hidden = self.fc1.forward(&self.norm2.forward(&xs)?)?;
        let hidden = match self.gated {
            true => candle_nn::ops::swiglu(&hidden)?,
            false => hidden.gelu_erf()?,
        };
        let hidden = self.fc2.forward(&hidden)?;
        Ok((xs + scaled(hidden, self.scale2.as_ref())?)?)
    }
}

/// LayerScale, where the encoder has it (DINOv2, DINOv3).
fn scaled(xs: Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
    Ok(match scale {
        Some(scale) => xs.broadcast_mul(scale)?,
        None => xs,
    })
}

/// Everything that a frame goes through.
pub(super) struct Encoder {
    patch: usize,
    patch_embed: Linear,
    cls_token: Tensor,
    registers: Option<Tensor>,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl Encoder {
    /// The first `depth` blocks, and all before and after them.
    ///
    /// # Errors
    /// The checkpoint lacks a tensor, or the device has no room.
    pub(super) fn new(
        parameters: &Parameters<'_>,
        config: &VitConfig,
        depth: usize,
    ) -> Result<Self> {
        let projection = parameters.get("patch_embed.proj.weight")?;
        let flat = projection.reshape((config.width, 3 * config.patch * config.patch))?;
        Ok(Self {
            patch: config.patch,
            patch_embed: Linear::new(flat, Some(parameters.get("patch_embed.proj.bias")?)),
            cls_token: parameters.get("cls_token")?,
            registers: parameters.optional("register_tokens")?,
            blocks: (0..depth)
                .map(|index| block(parameters, index, config))
                .collect::<Result<_>>()?,
            norm: norm(parameters, "norm", config.norm_eps)?,
        })
    }

    /// The mean of the outputs of blocks `layers`, counted from 1, each after the final norm:
    /// [B, 3, H, W] frames and positions of the encoder's type -> [B, 1 + h·w, D], register tokens
    /// left out.
    pub(super) fn tokens(
        &self,
        frames: &Tensor,
        positions: &Positions,
        layers: RangeInclusive<usize>,
    ) -> Result<Tensor> {
        let mut xs = self.embed(frames, positions)?;
        let mut sum: Option<Tensor> = None;
        for (index, block) in self.blocks.iter().enumerate() {
            xs = block.forward(&xs, positions)?;
            if layers.contains(&(index + 1)) {
                let normed = self.norm.forward(&xs)?;
                sum = Some(match sum {
                    Some(sum) => (sum + normed)?,
                    None => normed,
                });
            }
        }
        let mean = (sum.unwrap_or(xs) / layers.count() as f64)?;
        self.without_registers(&mean)
    }

    /// What CLS attends to in the last block: [B, heads, N], frames and positions as for
    /// [`Encoder::tokens`].
    pub(super) fn first_row(&self, frames: &Tensor, positions: &Positions) -> Result<Tensor> {
        let mut xs = self.embed(frames, positions)?;
        let Some((last, before)) = self.blocks.split_last() else {
            return Err(Error::setting("layer", "this encoder has no block"));
        };
        for block in before {
            xs = block.forward(&xs, positions)?;
        }
        last.attention.first_row(&last.norm1.forward(&xs)?, positions)
    }

    /// What the first block gets: CLS, registers and patches with their rows of the position table.
    fn embed(&self, frames: &Tensor, positions: &Positions) -> Result<Tensor> {
        let patches = self.patch_embed.forward(&patchify(frames, self.patch)?)?;
        let (batch, count, width) = patches.dims3()?;
        let cls = self.cls_token.broadcast_as((batch, 1, width))?;
        let mut xs = Tensor::cat(&[&cls, &patches], 1)?.broadcast_add(&positions.table)?;
        if let Some(registers) = &self.registers {
            let shape = (batch, registers.dim(1)?, width);
            let (cls, patches) = (xs.narrow(1, 0, 1)?, xs.narrow(1, 1, count)?);
            xs = Tensor::cat(&[&cls, &registers.broadcast_as(shape)?, &patches], 1)?;
        }
        Ok(xs)
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

fn linear(parameters: &Parameters<'_>, name: &str) -> Result<Linear> {
    let bias = parameters.get(&format!("{name}.bias"))?;
    Ok(Linear::new(parameters.get(&format!("{name}.weight"))?, Some(bias)))
}

fn norm(parameters: &Parameters<'_>, name: &str, epsilon: f64) -> Result<LayerNorm> {
    let weight = parameters.get(&format!("{name}.weight"))?;
    Ok(LayerNorm::new(weight, parameters.get(&format!("{name}.bias"))?, epsilon))
}

fn block(parameters: &Parameters<'_>, index: usize, config: &VitConfig) -> Result<Block> {
    let name = |part: &str| format!("blocks.{index}.{part}");
    Ok(Block {
        norm1: norm(parameters, &name("norm1"), config.norm_eps)?,
        attention: Attention {
            qkv: linear(parameters, &name("attn.qkv"))?,
            proj: linear(parameters, &name("attn.proj"))?,
            heads: config.heads,
        },
        scale1: parameters.optional(&name("ls1.gamma"))?,
        norm2: norm(parameters, &name("norm2"), config.norm_eps)?,
        fc1: linear(parameters, &name("mlp.fc1"))?,
        gated: config.gated,
        fc2: linear(parameters, &name("mlp.fc2"))?,
        scale2: parameters.optional(&name("ls2.gamma"))?,
    })
}
