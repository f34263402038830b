//! The vision transformer, forward only.
//!
//! Structs stand in the order of the data: patch embedding, attention, block, encoder. Weights come
//! under MAE's names from [`super::weights`]; frames come normalised from [`crate::eval`]; what
//! goes out is one token per patch after the chosen block and the final LayerNorm. Training has a
//! differentiable twin of its own: candle's fused operations used here record no gradients.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::{LayerNorm, Linear};

use super::attention;
use super::config::VitConfig;
use super::pos_embed;
use super::weights::Checkpoint;
use crate::error::{Error, Result};

/// Which blocks' output is the feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layer {
    /// The last block (every published protocol).
    #[default]
    Last,
    /// Block `n`, counted from 1.
    Block(usize),
    /// The mean over the last `k` blocks, each after the final LayerNorm.
    MeanLast(usize),
}

impl Layer {
    /// The blocks whose outputs are averaged, counted from 1.
    fn blocks(self, depth: usize) -> Result<std::ops::RangeInclusive<usize>> {
        let (first, last) = match self {
            Self::Last => (depth, depth),
            Self::Block(block) => (block, block),
            Self::MeanLast(count) => (depth + 1 - count.min(depth + 1), depth),
        };
        if first == 0 || last > depth || first > last {
            return Err(Error::setting(
                "--layer",
                format!("{self} does not exist: this encoder has blocks 1 to {depth}"),
            ));
        }
        Ok(first..=last)
    }
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Last => write!(f, "last"),
            Self::Block(block) => write!(f, "{block}"),
            Self::MeanLast(count) => write!(f, "mean-last{count}"),
        }
    }
}

impl std::str::FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = |digits: &str| digits.parse::<usize>().ok().filter(|count| *count > 0);
        let layer = match text.strip_prefix("mean-last") {
            _ if text == "last" => Some(Self::Last),
            Some(digits) => count(digits).map(Self::MeanLast),
            None => count(text).map(Self::Block),
        };
        layer.ok_or_else(|| format!("{text:?} is neither last, nor a block number, nor mean-lastK"))
    }
}

struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

impl Attention {
    /// `xs` [B, N, D] -> [B, N, D].
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mixed = attention::attend(&self.qkv.forward(xs)?, self.heads)?;
        Ok(self.proj.forward(&mixed)?)
    }

    /// What the first token attends to: `xs` [B, N, D] -> [B, heads, N].
    fn first_row(&self, xs: &Tensor) -> Result<Tensor> {
        attention::first_row(&self.qkv.forward(xs)?, self.heads)
    }
}

struct Block {
    norm1: LayerNorm,
    attention: Attention,
    scale1: Option<Tensor>,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    scale2: Option<Tensor>,
}

impl Block {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mixed = self.attention.forward(&self.norm1.forward(xs)?)?;
        let xs = (xs + scaled(mixed, self.scale1.as_ref())?)?;
        let hidden = self.fc1.forward(&self.norm2.forward(&xs)?)?.gelu_erf()?;
        let hidden = self.fc2.forward(&hidden)?;
        Ok((xs + scaled(hidden, self.scale2.as_ref())?)?)
    }
}

/// LayerScale, where the encoder has it (DINOv2).
fn scaled(xs: Tensor, scale: Option<&Tensor>) -> Result<Tensor> {
    Ok(match scale {
        Some(scale) => xs.broadcast_mul(scale)?,
        None => xs,
    })
}

/// Tensors by name, brought to a device and a number type as they are asked for.
struct Weights<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    dtype: DType,
}

impl Weights<'_> {
    fn optional(&self, name: &str) -> Result<Option<Tensor>> {
        let tensor = self.checkpoint.tensors.get(name);
        Ok(tensor.map(|t| t.to_dtype(self.dtype)?.to_device(self.device)).transpose()?)
    }

    fn get(&self, name: &str) -> Result<Tensor> {
        self.optional(name)?.ok_or_else(|| {
            Error::weights(
                &self.checkpoint.path,
                format!("tensor {name} is missing"),
                "run `propagate check weights` on it",
            )
        })
    }

    fn linear(&self, name: &str) -> Result<Linear> {
        let bias = self.get(&format!("{name}.bias"))?;
        Ok(Linear::new(self.get(&format!("{name}.weight"))?, Some(bias)))
    }

    fn norm(&self, name: &str, eps: f64) -> Result<LayerNorm> {
        let weight = self.get(&format!("{name}.weight"))?;
        Ok(LayerNorm::new(weight, self.get(&format!("{name}.bias"))?, eps))
    }

    fn block(&self, index: usize, config: &VitConfig) -> Result<Block> {
        let name = |part: &str| format!("blocks.{index}.{part}");
        Ok(Block {
            norm1: self.norm(&name("norm1"), config.norm_eps)?,
            attention: Attention {
                qkv: self.linear(&name("attn.qkv"))?,
                proj: self.linear(&name("attn.proj"))?,
                heads: config.heads,
            },
            scale1: self.optional(&name("ls1.gamma"))?,
            norm2: self.norm(&name("norm2"), config.norm_eps)?,
            fc1: self.linear(&name("mlp.fc1"))?,
            fc2: self.linear(&name("mlp.fc2"))?,
            scale2: self.optional(&name("ls2.gamma"))?,
        })
    }
}

/// A vision transformer on a device.
pub struct Vit {
    config: VitConfig,
    patch_embed: Linear,
    cls_token: Tensor,
    registers: Option<Tensor>,
    table: Vec<f32>,
    positions: std::sync::Mutex<Option<Positions>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    layers: std::ops::RangeInclusive<usize>,
    device: Device,
    dtype: DType,
}

/// The position table of the grid met last: [1, 1 + h·w, D].
struct Positions {
    grid: (usize, usize),
    table: Tensor,
}

impl Vit {
    /// Builds the encoder on `device`, computing in `dtype`.
    ///
    /// # Errors
    /// The checkpoint lacks a tensor, `layer` does not exist, or the device has no room.
    pub fn new(
        checkpoint: &Checkpoint,
        layer: Layer,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let weights = Weights { checkpoint, device, dtype };
        let config = checkpoint.config.clone();
        let projection = weights.get("patch_embed.proj.weight")?;
        let flat = projection.reshape((config.width, 3 * config.patch * config.patch))?;
        let table = checkpoint.tensors.get("pos_embed").map(|t| t.flatten_all()?.to_vec1::<f32>());
        let layers = layer.blocks(config.depth)?;
        Ok(Self {
            patch_embed: Linear::new(flat, Some(weights.get("patch_embed.proj.bias")?)),
            cls_token: weights.get("cls_token")?,
            registers: weights.optional("register_tokens")?,
            table: table.transpose()?.unwrap_or_default(),
            positions: std::sync::Mutex::new(None),
            blocks: (0..*layers.end())
                .map(|index| weights.block(index, &config))
                .collect::<Result<_>>()?,
            norm: weights.norm("norm", config.norm_eps)?,
            layers,
            device: device.clone(),
            dtype,
            config,
        })
    }

    /// The sizes of this encoder.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Tokens after the final LayerNorm: [B, 3, H, W] frames -> [B, 1 + h·w, D], CLS first, register
    /// tokens left out. Pixels right of and below the last whole patch are not looked at.
    ///
    /// # Errors
    /// A frame is smaller than a patch, or the device runs out of memory.
    pub fn tokens(&self, frames: &Tensor) -> Result<Tensor> {
        let mut xs = self.embed(frames)?;
        let mut sum: Option<Tensor> = None;
        for (index, block) in self.blocks.iter().enumerate() {
            xs = block.forward(&xs)?;
            if self.layers.contains(&(index + 1)) {
                let normed = self.norm.forward(&xs)?;
                sum = Some(match sum {
                    Some(sum) => (sum + normed)?,
                    None => normed,
                });
            }
        }
        let count = self.layers.clone().count() as f64;
        let mean = (sum.unwrap_or(xs) / count)?;
        self.without_registers(&mean)
    }

    /// How much CLS attends to every patch in the last block of the chosen ones, head by head:
    /// [B, 3, H, W] frames -> [B, heads, h·w], f32. What it gives to itself and to register tokens
    /// is left out.
    ///
    /// # Errors
    /// As [`Vit::tokens`].
    pub fn cls_attention(&self, frames: &Tensor) -> Result<Tensor> {
        let mut xs = self.embed(frames)?;
        let Some((last, before)) = self.blocks.split_last() else {
            return Err(Error::setting("--layer", "this encoder has no block"));
        };
        for block in before {
            xs = block.forward(&xs)?;
        }
        let row = last.attention.first_row(&last.norm1.forward(&xs)?)?;
        let skip = 1 + self.config.registers;
        Ok(row.narrow(2, skip, row.dim(2)? - skip)?.to_dtype(DType::F32)?.contiguous()?)
    }

    /// What the first block gets: CLS, registers and patches with their rows of the position table.
    fn embed(&self, frames: &Tensor) -> Result<Tensor> {
        let (batch, _, height, width) = frames.dims4()?;
        let grid = (height / self.config.patch, width / self.config.patch);
        let patches = patchify(&frames.to_dtype(self.dtype)?, self.config.patch)?;
        let patches = self.patch_embed.forward(&patches)?;
        let cls = self.cls_token.broadcast_as((batch, 1, self.config.width))?;
        let mut xs = Tensor::cat(&[&cls, &patches], 1)?.broadcast_add(&self.positions(grid)?)?;
        if let Some(registers) = &self.registers {
            let shape = (batch, self.config.registers, self.config.width);
            let (cls, patches) = (xs.narrow(1, 0, 1)?, xs.narrow(1, 1, grid.0 * grid.1)?);
            xs = Tensor::cat(&[&cls, &registers.broadcast_as(shape)?, &patches], 1)?;
        }
        Ok(xs)
    }

    fn without_registers(&self, xs: &Tensor) -> Result<Tensor> {
        if self.registers.is_none() {
            return Ok(xs.clone());
        }
        let skip = 1 + self.config.registers;
        let patches = xs.narrow(1, skip, xs.dim(1)? - skip)?;
        Ok(Tensor::cat(&[&xs.narrow(1, 0, 1)?, &patches], 1)?)
    }

    /// The table for `grid`, resampled once and kept until another grid comes.
    fn positions(&self, grid: (usize, usize)) -> Result<Tensor> {
        let mut kept = self.positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.grid == grid) {
            return Ok(kept.table.clone());
        }
        let VitConfig { width, table_side, positions, .. } = self.config;
        let (cls, patches) = self.table.split_at(width.min(self.table.len()));
        let mut rows = cls.to_vec();
        rows.extend(pos_embed::interpolate(patches, table_side, width, grid, positions));
        let table = Tensor::from_vec(rows, (1, 1 + grid.0 * grid.1, width), &self.device)?
            .to_dtype(self.dtype)?;
        *kept = Some(Positions { grid, table: table.clone() });
        Ok(table)
    }
}

/// Non-overlapping patches as rows: [B, 3, H, W] -> [B, h·w, 3·p·p], each row in the order
/// (channel, row in the patch, column in the patch) of a convolution's kernel.
///
/// # Errors
/// A frame is smaller than a patch.
pub fn patchify(frames: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = frames.dims4()?;
    let (rows, columns) = (height / patch, width / patch);
    if rows * columns == 0 {
        return Err(Error::setting(
            "--size",
            format!("a frame of {height}x{width} is smaller than a patch of {patch}"),
        ));
    }
    let frames = frames.narrow(2, 0, rows * patch)?.narrow(3, 0, columns * patch)?.contiguous()?;
    let patches = frames
        .reshape(&[batch, channels, rows, patch, columns, patch][..])?
        .permute(vec![0, 2, 4, 1, 3, 5])?
        .contiguous()?;
    Ok(patches.reshape((batch, rows * columns, channels * patch * patch))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_rows_in_kernel_order() {
        // One channel-major 2 × 4 frame of 3 channels, patch 2: two patches side by side.
        let frames = Tensor::arange(0_f32, 24.0, &Device::Cpu).unwrap();
        let frames = frames.reshape((1, 3, 2, 4)).unwrap();
        let patches = patchify(&frames, 2).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(patches[0], [0., 1., 4., 5., 8., 9., 12., 13., 16., 17., 20., 21.]);
        assert_eq!(patches[1], [2., 3., 6., 7., 10., 11., 14., 15., 18., 19., 22., 23.]);
    }

    #[test]
    fn attention_is_a_share_for_every_head_and_patch() {
        let config = VitConfig::named("vitti16").unwrap();
        let config = VitConfig { depth: 2, table_side: 4, ..config };
        let checkpoint = crate::model::init::random(&config, 3).unwrap();
        let frames = Tensor::arange(0_f32, 2.0 * 3.0 * 32.0 * 48.0, &Device::Cpu).unwrap();
        let frames = (frames.sin().unwrap()).reshape((2, 3, 32, 48)).unwrap();
        let attention = |layer: Layer| {
            let vit = Vit::new(&checkpoint, layer, &Device::Cpu, DType::F32).unwrap();
            vit.cls_attention(&frames).unwrap()
        };
        let last = attention(Layer::Last);
        assert_eq!(last.dims(), [2, 3, 6]);
        for shares in last.flatten(0, 1).unwrap().to_vec2::<f32>().unwrap() {
            let sum: f32 = shares.iter().sum();
            assert!(sum > 0.0 && sum < 1.0, "the rest is what CLS gives to itself: {sum}");
        }
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&attention(Layer::Block(2))), values(&last));
        assert_ne!(values(&attention(Layer::Block(1))), values(&last));
    }

    #[test]
    fn layers_are_parsed_and_bounded() {
        assert_eq!("last".parse(), Ok(Layer::Last));
        assert_eq!("11".parse(), Ok(Layer::Block(11)));
        assert_eq!("mean-last4".parse(), Ok(Layer::MeanLast(4)));
        assert!("0".parse::<Layer>().is_err() && "mean-last".parse::<Layer>().is_err());
        assert_eq!(Layer::MeanLast(4).blocks(12).unwrap(), 9..=12);
        assert_eq!(Layer::Block(3).blocks(12).unwrap(), 3..=3);
        assert!(Layer::Block(13).blocks(12).is_err());
        assert!(Layer::MeanLast(13).blocks(12).is_err());
    }
}
