//! A GPU's kernels for training, tried before a run trusts them.
//!
//! Training computes on a GPU what it computes on the CPU, by kernels of its own. On a card, or
//! with a driver, where one of them went wrong, the loss might still fall, and days later an
//! encoder would be worse than it should be. So a run on a GPU begins with one step of a block of
//! its encoder and one of its decoder, on two pairs of waves, there and on the CPU: loss, gradients,
//! the optimiser and the running average of the weights.

use candle_core::{DType, Device, Tensor};

use super::adamw::AdamWSettings;
use super::average::Average;
use super::loader;
use super::optimizer::AdamW;
use super::views::Pair;
use crate::autoencoder::{Autoencoder, AutoencoderConfig, Gradients, Mask, Parameters, Views};
use crate::device::{Precision, Uploads};
use crate::error::{Error, Result};
use crate::image::Rgb;
use crate::trial::{beyond, farthest};

/// Pairs of pictures, and the seeds of weights and dropout: any would do.
const PAIRS: usize = 2;
const SEED: u64 = 3;
/// Shorter gradients than this share of all are not compared by their own length: they are sums
/// that cancel out.
const LEAST: f64 = 0.01;
/// The farthest that weights may lie apart after the same gradients: a few roundings of a step of
/// 1e-3.
const OF_WEIGHTS: f64 = 1e-5;
/// The rate of that step, and how much of it the average leaves out. A kernel that did nothing
/// would be off by a hundred and by fifty times [`OF_WEIGHTS`].
const RATE: f64 = 1e-3;
const DECAY: f64 = 0.5;

/// Compares a step on a GPU with one on the CPU; there is nothing to compare where `device` is the
/// CPU.
///
/// # Errors
/// They disagree, or the device has no room.
pub(super) fn pass(
    config: &AutoencoderConfig,
    masking_ratio: f64,
    (device, precision): (&Device, Precision),
) -> Result<()> {
    if device.is_cpu() {
        return Ok(());
    }
    let step = step(&small(config), masking_ratio, (device, precision))?;
    match step.fault(most(precision)) {
        None => Ok(()),
        Some(what) => Err(Error::Device(format!(
            "training on this GPU failed its trial: {what}; use the setting `device = cpu`, or another GPU"
        ))),
    }
}

/// How far a step on a GPU lies from one on the CPU.
#[derive(Debug)]
struct Step {
    /// The CPU's loss and the GPU's.
    losses: (f64, f64),
    /// The parameter whose gradients lie farthest apart, and how far, as a share of their length.
    gradient: (String, f64),
    /// The largest difference of a weight after a step of the optimiser by the same gradients.
    weight: f64,
    /// The largest difference of a weight's running average after that step.
    average: f64,
}

impl Step {
    /// What lies too far, in words.
    fn fault(&self, most: f64) -> Option<String> {
        let Self { losses: (ours, theirs), gradient: (name, off), weight, average } = self;
        if beyond((theirs - ours).abs() / ours, most) {
            return Some(format!("its loss is {theirs}, the CPU's {ours}"));
        }
        if beyond(*off, most) {
            let off = 100.0 * off;
            return Some(format!("the gradient of {name} is off by {off:.1} % of its length"));
        }
        for (what, off) in [("a step of AdamW", weight), ("the running average", average)] {
            if beyond(*off, OF_WEIGHTS) {
                return Some(format!("{what} puts a weight {off:.1e} from where it belongs"));
            }
        }
        None
    }
}

/// A step on `device` and on the CPU.
fn step(
    config: &AutoencoderConfig,
    masking_ratio: f64,
    (device, precision): (&Device, Precision),
) -> Result<Step> {
    let mask = mask(config, masking_ratio)?;
    let model = |device: &Device, dtype| {
        let parameters = Parameters::seeded(config, SEED, device)?;
        Ok::<_, Error>(Autoencoder { config: config.clone(), parameters, dtype })
    };
    let (here, there) = (model(&Device::Cpu, DType::F32)?, model(device, precision.dtype())?);
    let (loss, gradients) = gradients(&here, &mask, &Device::Cpu)?;
    let (their_loss, theirs) = self::gradients(&there, &mask, device)?;
    let theirs = theirs.to_device(&Device::Cpu)?.tensors()?;
    let gradient = worst(&here.parameters, &gradients.tensors()?, &theirs)?;
    let (weights, average) = stepped(&here, &gradients)?;
    let (their_weights, their_average) = stepped(&there, &gradients)?;
    Ok(Step {
        losses: (loss, their_loss),
        gradient,
        weight: gap(&weights, &their_weights),
        average: gap(&average, &their_average),
    })
}

/// How far loss and gradients may lie apart as a share of their lengths. The roundings of the type
/// reach about a tenth of this; a kernel that computes something else is off by the whole length.
fn most(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-3,
        Precision::Tf32 => 0.05,
        Precision::Bf16 | Precision::F16 => 0.2,
    }
}

/// The network with a single block of each kind: all blocks are alike.
fn small(config: &AutoencoderConfig) -> AutoencoderConfig {
    let mut small = config.clone();
    small.encoder.depth = small.encoder.depth.min(1);
    small.decoder.depth = small.decoder.depth.min(1);
    small
}

fn mask(config: &AutoencoderConfig, masking_ratio: f64) -> Result<Mask> {
    let patches = config.patches();
    let noise: Vec<f32> = (0..PAIRS * patches).map(|i| (i * 7919 % 10_007) as f32).collect();
    Mask::from_noise(&noise, patches, masking_ratio)
}

/// Loss and gradients of one pass, with dropout.
fn gradients(model: &Autoencoder, mask: &Mask, device: &Device) -> Result<(f64, Gradients)> {
    let encoder = &model.config.encoder;
    let side = encoder.patch * encoder.table_side;
    let picture = |phase: usize| {
        let value = |i: usize| 127.5 + 127.5 * (i as f32 * 0.013 + phase as f32).sin();
        let data = (0..3 * side * side).map(|i| value(i) as u8).collect();
        Rgb { height: side, width: side, data }
    };
    let pairs: Vec<Pair> =
        (0..PAIRS).map(|i| Pair::new(picture(2 * i), picture(2 * i + 1))).collect();
    let mut uploads = Uploads::new(device);
    let (first, second) = loader::batch(&pairs.iter().collect::<Vec<_>>(), &mut uploads)?;
    let views = Views { first: &first, second: &second, mask: &mask.on(&mut uploads)? };
    let (loss, gradients) = model.gradients(views, SEED, 1.0)?;
    Ok((f64::from(loss.to_device(&Device::Cpu)?.to_scalar::<f32>()?), gradients))
}

/// The parameter whose gradients lie farthest apart, and how far, as a share of their length.
fn worst(parameters: &Parameters, ours: &[Tensor], theirs: &[Tensor]) -> Result<(String, f64)> {
    let lengths = ours.iter().map(length).collect::<Result<Vec<f64>>>()?;
    let least = LEAST * lengths.iter().map(|length| length * length).sum::<f64>().sqrt();
    let mut worst = (String::new(), 0.0);
    for (((name, _), length_of), (ours, theirs)) in
        parameters.iter().zip(&lengths).zip(ours.iter().zip(theirs))
    {
        let off = length(&(theirs - ours)?)? / length_of.max(least);
        if beyond(off, worst.1) {
            worst = (name.to_owned(), off);
        }
    }
    Ok(worst)
}

fn length(values: &Tensor) -> Result<f64> {
    Ok(f64::from(values.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
}

/// All parameters after one step by these gradients, and their running average.
fn stepped(model: &Autoencoder, gradients: &Gradients) -> Result<(Vec<f32>, Vec<f32>)> {
    let parameters = &model.parameters;
    let gradients = gradients.to_device(parameters.values().device())?;
    let measured = gradients.measure(&[], 0.0)?;
    let mut optimizer = AdamW::new(parameters, AdamWSettings::default())?;
    let mut average = Average::new(parameters, DECAY)?;
    optimizer.step(parameters, &gradients, &measured, RATE)?;
    let mut averaged = Vec::new();
    if let Some(average) = &mut average {
        average.update(parameters)?;
        averaged = values(&average.model(model)?.parameters)?;
    }
    Ok((values(parameters)?, averaged))
}

fn values(parameters: &Parameters) -> Result<Vec<f32>> {
    Ok(parameters.values().to_device(&Device::Cpu)?.to_vec1()?)
}

/// The largest difference of two values; no number where one is none.
fn gap(ours: &[f32], theirs: &[f32]) -> f64 {
    farthest(ours.iter().zip(theirs).map(|(a, b)| f64::from((a - b).abs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoencoder::{DecoderConfig, Method};
    use crate::device::tests::gpu;
    use crate::model::VitConfig;

    fn config() -> AutoencoderConfig {
        let encoder = VitConfig {
            width: 48,
            depth: 1,
            heads: 3,
            table_side: 4,
            ..VitConfig::named("vits16").unwrap()
        };
        let decoder = DecoderConfig { width: 32, depth: 1, heads: 4, hidden: 96, dropout: 0.1 };
        AutoencoderConfig { method: Method::Cropmae, encoder, decoder, normalize_target: true }
    }

    #[test]
    fn the_cpu_passes_its_own_trial() {
        let step = step(&config(), 0.8, (&Device::Cpu, Precision::F32)).unwrap();
        assert_eq!(step.fault(0.0), None);
    }

    #[test]
    fn whole_kernels_stay_far_below_what_is_allowed() {
        let Some(device) = gpu() else { return eprintln!("skipped: no GPU") };
        let wide = VitConfig { depth: 1, ..VitConfig::named("vits16").unwrap() };
        let usual = DecoderConfig { width: 256, depth: 1, heads: 8, hidden: 1024, dropout: 0.1 };
        for (encoder, decoder, ratio) in
            [(config().encoder, config().decoder, 0.8), (wide, usual, 0.985)]
        {
            for method in [Method::Cropmae, Method::Mae] {
                let (encoder, decoder) = (encoder.clone(), decoder.clone());
                let config = AutoencoderConfig { method, encoder, decoder, ..config() };
                for precision in [Precision::F32, Precision::Bf16] {
                    let far = most(precision) / 4.0;
                    let step = step(&config, ratio, (&device, precision)).unwrap();
                    eprintln!("{precision:?}: {step:?}");
                    assert_eq!(step.fault(far), None, "{method:?}");
                }
            }
        }
    }

    #[test]
    fn one_wrong_gradient_is_found_and_named() {
        let config = config();
        let parameters = Parameters::seeded(&config, SEED, &Device::Cpu).unwrap();
        let model = Autoencoder { config, parameters, dtype: DType::F32 };
        let mask = mask(&model.config, 0.8).unwrap();
        let (_, ours) = gradients(&model, &mask, &Device::Cpu).unwrap();
        let ours = ours.tensors().unwrap();
        let names: Vec<&str> = model.parameters.iter().map(|(name, _)| name).collect();
        let norm = names.iter().position(|name| *name == "blocks.0.norm1.weight").unwrap();
        for wrong in [0.0, f64::NAN] {
            let mut theirs = ours.clone();
            theirs[norm] = (&ours[norm] * wrong).unwrap();
            let (name, off) = worst(&model.parameters, &ours, &theirs).unwrap();
            assert_eq!(name, names[norm]);
            assert!(beyond(off, most(Precision::Bf16)), "{off}");
        }
        assert!(gap(&[0.0, f32::NAN, 1.0], &[0.0; 3]).is_nan());
        assert_eq!(gap(&[0.5, 1.0], &[0.25, 1.0]), 0.25);
    }
}
