//! A GPU's kernels, tried before an encoder trusts them.
//!
//! The kernels of [`super::gpu`] compute what candle's operations ([`super::tensors`]) compute. On
//! a card, or with a driver, where one of them went wrong, no error would say so: the table would
//! merely hold wrong numbers. So an encoder that chooses by itself first computes a small frame of
//! noise by both, through its own first blocks. A process does that once for each device, type and
//! set of shapes: the encoders of a table, or of the epochs of a training run, are mostly alike.

use candle_core::{DType, Device, DeviceLocation, Tensor};

use super::config::VitConfig;
use super::parameters::Parameters;
use super::pos_embed::Positions;
use super::{gpu, pos_embed, tensors};
use crate::error::Result;
use crate::trial::{Verdicts, beyond, farthest};

/// Blocks that are tried: all are alike.
const BLOCKS: usize = 2;
/// Patches of a frame, in rows and columns: with CLS no whole number of any kernel's tiles.
const GRID: (usize, usize) = (10, 15);

/// What has been tried.
static TRIED: Verdicts<Tried> = Verdicts::new();

/// All that decides which kernels run, and over what.
#[derive(PartialEq)]
struct Tried {
    device: DeviceLocation,
    dtype: DType,
    /// Whether products of f32 round to TF32.
    reduced: bool,
    config: VitConfig,
    /// Names and shapes of the tensors that are tried.
    shapes: Vec<(String, Vec<usize>)>,
}

impl Tried {
    fn new(parameters: &Parameters<'_>, config: &VitConfig) -> Self {
        let Parameters { checkpoint, device, dtype } = *parameters;
        let depth = BLOCKS.min(config.depth);
        let block = |name: &str| -> Option<usize> {
            name.strip_prefix("blocks.")?.split('.').next()?.parse().ok()
        };
        let tried = |name: &str| block(name).is_none_or(|block| block < depth);
        // of the table of positions waves take the place
        let tensors = checkpoint.tensors.iter().filter(|(name, _)| *name != "pos_embed");
        let mut shapes: Vec<_> = tensors
            .filter(|(name, _)| tried(name))
            .map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()))
            .collect();
        shapes.sort();
        let config = VitConfig { depth, table_side: 0, ..config.clone() };
        let reduced = candle_core::cuda::gemm_reduced_precision_f32();
        Self { device: device.location(), dtype, reduced, config, shapes }
    }
}

/// Why the kernels are not taken, in a sentence; `None` where they agree with candle's operations.
pub(super) fn doubt(parameters: &Parameters<'_>, config: &VitConfig) -> Option<String> {
    let tried = TRIED.of(Tried::new(parameters, config), || {
        let gap = gap(parameters, config)?;
        let far = || format!("tokens are off by {:.0} % of their length", 100.0 * gap);
        Ok(beyond(gap, most(parameters.dtype)).then(far))
    });
    let why = tried.unwrap_or_else(|error| Some(error.to_string()))?;
    Some(format!(
        "the GPU's own kernels for the encoder failed their trial: {why}; candle's operations compute instead, more slowly"
    ))
}

/// How far tokens may lie apart as a share of their length, after the norm that follows two blocks.
/// The roundings of the type reach about a tenth of this; a kernel that computes something else is
/// off by the whole length.
fn most(dtype: DType) -> f64 {
    match dtype {
        DType::F32 if candle_core::cuda::gemm_reduced_precision_f32() => 0.02,
        DType::F32 => 1e-3,
        _ => 0.1,
    }
}

/// The largest difference of a token as a share of its length.
fn gap(parameters: &Parameters<'_>, config: &VitConfig) -> Result<f64> {
    let depth = BLOCKS.min(config.depth);
    let Some(kernels) = gpu::Encoder::new(parameters, config, depth)? else { return Ok(0.0) };
    let operations = tensors::Encoder::new(parameters, config, depth)?;
    let Parameters { device, dtype, .. } = *parameters;
    let (rows, columns) = GRID;
    let frames = waves(&[2, 3, rows * config.patch, columns * config.patch], device)?;
    let table = waves(&[1, 1 + rows * columns, config.width], device)?;
    let mut positions = Positions { table, turns: None };
    if config.positions.is_none() {
        let head = config.width / config.heads;
        let turns = pos_embed::turns(GRID, &pos_embed::usual_periods(head / 4));
        positions.turns = Some(Tensor::from_vec(turns, (rows * columns, head), device)?);
    }
    let ours = kernels.tokens(&frames, &positions, depth..=depth)?;
    let frames = frames.to_dtype(dtype)?;
    positions.table = positions.table.to_dtype(dtype)?;
    let theirs = operations.tokens(&frames, &positions, depth..=depth)?.to_dtype(DType::F32)?;
    let squares = |tokens: &Tensor| -> Result<Vec<f32>> {
        Ok(tokens.to_device(&Device::Cpu)?.sqr()?.sum(2)?.flatten_all()?.to_vec1()?)
    };
    let (apart, lengths) = (squares(&(ours - &theirs)?)?, squares(&theirs)?);
    let shares = apart.iter().zip(&lengths).map(|(apart, length)| f64::from(apart / length).sqrt());
    Ok(farthest(shares))
}

/// Values between -1 and 1 without a pattern that a kernel could hide behind.
fn waves(shape: &[usize], device: &Device) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| ((i * 7919 % 10_007) as f32 / 70.0).sin());
    Ok(Tensor::from_iter(values, &Device::Cpu)?.reshape(shape)?.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::gpu;
    use crate::model::init;

    #[test]
    fn whole_kernels_stay_far_below_what_is_allowed() {
        let Some(device) = gpu() else { return eprintln!("skipped: no GPU") };
        let config = VitConfig { registers: 4, ..VitConfig::named("vits16").unwrap() };
        let config = VitConfig { depth: 2, ..config };
        let checkpoint = init::random(&config, 0).unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let parameters = Parameters { checkpoint: &checkpoint, device: &device, dtype };
            let gap = gap(&parameters, &config).unwrap();
            eprintln!("{dtype:?}: tokens are off by {gap:.1e} of their length");
            assert!(gap <= most(dtype) / 4.0, "{dtype:?}: {gap}");
            assert_eq!(doubt(&parameters, &config), None);
        }
    }

    #[test]
    fn another_encoder_of_the_same_shapes_is_not_tried_again() {
        let named = VitConfig { depth: 3, ..VitConfig::named("vitti16").unwrap() };
        let tried = |config: &VitConfig, seed: u64, dtype: DType| {
            let checkpoint = init::random(config, seed).unwrap();
            let parameters = Parameters { checkpoint: &checkpoint, device: &Device::Cpu, dtype };
            Tried::new(&parameters, config)
        };
        let first = tried(&named, 0, DType::F32);
        let deeper = VitConfig { depth: 4, table_side: 7, ..named.clone() };
        assert!(first == tried(&named, 1, DType::F32) && first == tried(&deeper, 0, DType::F32));
        let registers = VitConfig { registers: 4, ..named.clone() };
        let shallow = VitConfig { depth: 1, ..named.clone() };
        assert!(first != tried(&registers, 0, DType::F32));
        assert!(first != tried(&shallow, 0, DType::F32) && first != tried(&named, 0, DType::BF16));
    }
}
