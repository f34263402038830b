//! The vision transformer, forward only.
//!
//! Weights come under MAE's names from [`super::weights`], normalised frames from [`crate::eval`];
//! the output is one token per patch after the chosen block and the final LayerNorm. Three
//! implementations are behind [`Vit`]: `cpu` on packed weights for f32 on the CPU, `gpu` with our
//! own kernels for f32 and bf16 on a GPU, `tensors` for everything else. Training has a
//! differentiable version of its own.

use candle_core::{DType, Device, Tensor};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

use super::config::{PositionRule, VitConfig};
#[cfg(feature = "cuda")]
use super::gpu;
use super::parameters::Parameters;
use super::patches::grid;
pub use super::patches::patchify;
use super::pos_embed::Positions;
#[cfg(feature = "cuda")]
use super::trial;
use super::weights::Checkpoint;
use super::{attention, cpu, pos_embed, tensors};
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
                "layer",
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

/// Whose code an encoder runs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, EnumMessage, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum Implementation {
    /// Fused if it supports the device, the number type and the heads, else tensor.
    #[default]
    Auto,
    /// Our own code: on the CPU in f32, on a GPU in f32, tf32 and bf16 with heads of up to 128
    /// channels.
    Fused,
    /// candle's tensor operations, which support everything.
    Tensor,
}

/// Where the arithmetic is done.
enum Forward {
    Packed(Box<cpu::Encoder>),
    #[cfg(feature = "cuda")]
    Kernels(Box<gpu::Encoder>),
    Tensors(Box<tensors::Encoder>),
}

impl Forward {
    /// `None` where `implementation` asks for what is not there.
    fn new(
        parameters: &Parameters<'_>,
        config: &VitConfig,
        depth: usize,
        implementation: Implementation,
    ) -> Result<Option<Self>> {
        let fused = implementation != Implementation::Tensor;
        if fused && parameters.device.is_cpu() && parameters.dtype == DType::F32 {
            let encoder = cpu::Encoder::new(parameters, config, depth)?;
            return Ok(Some(Self::Packed(Box::new(encoder))));
        }
        #[cfg(feature = "cuda")]
        if fused && let Some(encoder) = gpu::Encoder::new(parameters, config, depth)? {
            return Ok(Some(Self::Kernels(Box::new(encoder))));
        }
        if implementation == Implementation::Fused {
            return Ok(None);
        }
        let encoder = tensors::Encoder::new(parameters, config, depth)?;
        Ok(Some(Self::Tensors(Box::new(encoder))))
    }
}

/// A vision transformer on a device.
pub struct Vit {
    config: VitConfig,
    forward: Forward,
    /// Where positions are a table: [1 + n, D], row by row.
    table: Vec<f32>,
    /// Where they are rotary.
    periods: Vec<f32>,
    /// Of the grid met last.
    positions: std::sync::Mutex<Option<((usize, usize), Positions)>>,
    layers: std::ops::RangeInclusive<usize>,
    device: Device,
    /// See [`Vit::doubt`].
    doubt: Option<String>,
    /// Of frames and positions as the implementation takes them, and of what blocks add to.
    dtype: DType,
    /// Of what products are made of.
    products: DType,
}

/// Bytes of a block for each channel of a token: its input, then, for the products, that
/// normalised, queries, keys and values, and twice the wide layer, which a gate doubles.
fn bytes_per_channel(gated: bool, stream: usize, products: usize) -> usize {
    stream + (1 + 3 + if gated { 3 * 4 } else { 2 * 4 }) * products
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
        Self::by(Implementation::Auto, checkpoint, layer, (device, dtype))
    }

    /// As [`Vit::new`], but always by candle's tensor operations: what the other implementations
    /// are tested and measured against.
    ///
    /// # Errors
    /// As [`Vit::new`].
    pub fn by_tensors(
        checkpoint: &Checkpoint,
        layer: Layer,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        Self::by(Implementation::Tensor, checkpoint, layer, (device, dtype))
    }

    /// As [`Vit::new`], by an implementation of one's choice.
    ///
    /// # Errors
    /// As [`Vit::new`], or there is no such implementation for the device, the type and the heads.
    pub fn by(
        implementation: Implementation,
        checkpoint: &Checkpoint,
        layer: Layer,
        (device, dtype): (&Device, DType),
    ) -> Result<Self> {
        let parameters = Parameters { checkpoint, device, dtype };
        let config = checkpoint.config.clone();
        let values = |name: &str| {
            let tensor = checkpoint.tensors.get(name);
            tensor.map(|tensor| tensor.flatten_all()?.to_vec1::<f32>()).transpose()
        };
        let (table, periods) = (values("pos_embed")?, values("rope_embed.periods")?);
        let quarter = config.width / config.heads.max(1) / 4;
        let layers = layer.blocks(config.depth)?;
        // who asks for the kernels by name gets them untried
        let doubt = match implementation {
            #[cfg(feature = "cuda")]
            Implementation::Auto => trial::doubt(&parameters, &config),
            _ => None,
        };
        let trusted = if doubt.is_some() { Implementation::Tensor } else { implementation };
        let forward = Forward::new(&parameters, &config, *layers.end(), trusted)?;
        let forward = forward.ok_or_else(|| {
            let (heads, each) = (config.heads, config.width / config.heads);
            Error::setting(
                "encoder",
                format!(
                    "there is no fused encoder for {heads} heads of {each} channels in {} here; use auto or tensor",
                    dtype.as_str()
                ),
            )
        })?;
        Ok(Self {
            dtype: match forward {
                Forward::Tensors(_) => dtype,
                _ => DType::F32,
            },
            products: dtype,
            forward,
            table: table.unwrap_or_default(),
            periods: periods.unwrap_or_else(|| pos_embed::usual_periods(quarter)),
            positions: std::sync::Mutex::new(None),
            layers,
            device: device.clone(),
            doubt,
            config,
        })
    }

    /// The implementation that computes: `fused` or `tensor`.
    pub fn implementation(&self) -> &'static str {
        match self.forward {
            Forward::Tensors(_) => "tensor",
            _ => "fused",
        }
    }

    /// Why tensor operations compute though there is a fused encoder, in a sentence: on this GPU it
    /// failed its trial.
    pub fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// The sizes of this encoder.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// The number type of its products.
    pub fn products(&self) -> DType {
        self.products
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// See [`super::encoder::Encoder::bytes_per_frame`].
    pub(super) fn bytes_per_frame(&self, height: usize, width: usize) -> u64 {
        let VitConfig { patch, width: channels, heads, registers, gated, .. } = self.config;
        let tokens = 1 + registers + (height / patch.max(1)) * (width / patch.max(1));
        let (stream, products) = (self.dtype.size_in_bytes(), self.products.size_in_bytes());
        let attention = match &self.forward {
            // scores, and scores as shares
            Forward::Tensors(_) => 2 * heads * tokens * tokens * products,
            _ => 0,
        };
        (tokens * channels * bytes_per_channel(gated, stream, products) + attention) as u64
    }

    /// Tokens after the final LayerNorm: [B, 3, H, W] frames -> [B, 1 + h·w, D], CLS first,
    /// register tokens left out. Pixels right of and below the last whole patch are not looked at.
    ///
    /// # Errors
    /// A frame is smaller than a patch, or the device runs out of memory.
    pub fn tokens(&self, frames: &Tensor) -> Result<Tensor> {
        let (frames, positions) = self.prepare(frames)?;
        let layers = self.layers.clone();
        match &self.forward {
            Forward::Packed(encoder) => encoder.tokens(&frames, &positions, layers),
            #[cfg(feature = "cuda")]
            Forward::Kernels(encoder) => encoder.tokens(&frames, &positions, layers),
            Forward::Tensors(encoder) => encoder.tokens(&frames, &positions, layers),
        }
    }

    /// How much CLS attends to every patch in the last block of the chosen ones, head by head:
    /// [B, 3, H, W] frames -> [B, heads, h·w], f32. What it gives to itself and to register tokens
    /// is left out.
    ///
    /// # Errors
    /// As [`Vit::tokens`].
    pub fn cls_attention(&self, frames: &Tensor) -> Result<Tensor> {
        let (frames, positions) = self.prepare(frames)?;
        let row = match &self.forward {
            Forward::Packed(encoder) => {
                attention::first_row(&encoder.last_qkv(&frames, &positions)?, self.config.heads)?
            }
            #[cfg(feature = "cuda")]
            Forward::Kernels(encoder) => {
                attention::first_row(&encoder.last_qkv(&frames, &positions)?, self.config.heads)?
            }
            Forward::Tensors(encoder) => encoder.first_row(&frames, &positions)?,
        };
        let skip = 1 + self.config.registers;
        Ok(row.narrow(2, skip, row.dim(2)? - skip)?.to_dtype(DType::F32)?.contiguous()?)
    }

    /// The frames in the encoder's type, and the positions of their grid.
    fn prepare(&self, frames: &Tensor) -> Result<(Tensor, Positions)> {
        let (_, _, height, width) = frames.dims4()?;
        let positions = self.positions(grid(height, width, self.config.patch)?)?;
        Ok((frames.to_dtype(self.dtype)?, positions))
    }

    /// Those of `grid`, made once and kept until another grid comes.
    fn positions(&self, grid: (usize, usize)) -> Result<Positions> {
        let mut kept = self.positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, kept)) = kept.as_ref().filter(|(known, _)| *known == grid) {
            return Ok(kept.clone());
        }
        let positions = match self.config.positions {
            Some(rule) => self.resampled(grid, rule)?,
            None => self.rotary(grid)?,
        };
        *kept = Some((grid, positions.clone()));
        Ok(positions)
    }

    fn resampled(&self, grid: (usize, usize), rule: PositionRule) -> Result<Positions> {
        let VitConfig { width, table_side, .. } = self.config;
        let (cls, patches) = self.table.split_at(width.min(self.table.len()));
        let mut rows = cls.to_vec();
        rows.extend(pos_embed::interpolate(patches, table_side, width, grid, rule));
        let table = Tensor::from_vec(rows, (1, 1 + grid.0 * grid.1, width), &self.device)?;
        Ok(Positions { table: table.to_dtype(self.dtype)?, turns: None })
    }

    fn rotary(&self, grid: (usize, usize)) -> Result<Positions> {
        let patches = grid.0 * grid.1;
        let shape = (1, 1 + patches, self.config.width);
        let turns = pos_embed::turns(grid, &self.periods);
        let turns = Tensor::from_vec(turns, (patches, 4 * self.periods.len()), &self.device)?;
        let table = Tensor::zeros(shape, self.dtype, &self.device)?;
        Ok(Positions { table, turns: Some(turns) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_frame_follows_the_number_type() {
        let config = VitConfig { depth: 1, ..VitConfig::named("vitti16").unwrap() };
        let checkpoint = crate::model::init::random(&config, 3).unwrap();
        let bytes = |by, dtype| {
            let vit = Vit::by(by, &checkpoint, Layer::Last, (&Device::Cpu, dtype)).unwrap();
            vit.bytes_per_frame(32, 48)
        };
        // 2x3 patches and CLS of 192 channels; tensor operations hold the scores of 3 heads twice
        assert_eq!(bytes(Implementation::Fused, DType::F32), 7 * 192 * 13 * 4);
        let (rows, scores) = (7 * 192 * 13, 2 * 3 * 7 * 7);
        assert_eq!(bytes(Implementation::Tensor, DType::F32), 4 * (rows + scores));
        assert_eq!(bytes(Implementation::Tensor, DType::BF16), 2 * (rows + scores));
        // the kernels' bf16: what blocks add to stays f32
        assert_eq!(bytes_per_channel(false, 4, 2), 4 + 12 * 2);
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
