//! The affinity's kernel, tried before a run trusts it.
//!
//! The fused kernel finds what the CPU's tiles find ([`super::tiled`]). On a card, or with a
//! driver, where it did not, no error would say so: the table would merely hold wrong numbers. So
//! before it labels anything that counts, it labels a few small frames of noise, by the run's own
//! settings, and the CPU does too. A process does that once for each device, arithmetic and setting.

use candle_core::{Device, DeviceLocation, Tensor};

use super::{Arithmetic, Engine, LabelMap, Propagation, Settings};
use crate::error::{Error, Result};
use crate::trial::{Verdicts, beyond};

/// Rows and columns of the frames, no whole number of any tile; so many labels, frames after the
/// first, and channels of a feature.
const GRID: (usize, usize) = (15, 19);
const LABELS: usize = 3;
const FRAMES: usize = 4;
const WIDTH: usize = 80;
/// The widest neighbourhood, so that there are keys beyond it, and the longest queue, so that it
/// rolls.
const RADIUS: f64 = 6.0;
const QUEUE: usize = 2;
/// The farthest that a label may lie from the CPU's, and the most labels that may lie farther: two
/// keys as good as equal may change places.
const MOST_APART: f64 = 1e-4;
const MOST_LABELS: usize = LABELS * FRAMES * GRID.0 * GRID.1 / 200;

/// What has been tried: where, in which arithmetic, by which settings.
static TRIED: Verdicts<(DeviceLocation, Arithmetic, Settings)> = Verdicts::new();

impl Engine {
    /// The engine that labels by these settings on this device, after a trial: where the fused
    /// kernel does not do what it should, tensor operations take its place, and the second value
    /// says why.
    ///
    /// # Errors
    /// The kernel was asked for in another arithmetic than f32, and fails.
    pub fn tried(self, settings: &Settings, device: &Device) -> Result<(Self, Option<String>)> {
        let settings = small(settings);
        let Ok(Self::Fused(arithmetic)) = self.fitting(&settings, GRID, device) else {
            // the kernel has no part in this, or refuses, which each clip says for itself
            return Ok((self, None));
        };
        let key = (device.location(), arithmetic, settings.clone());
        let tried = TRIED.of(key, || {
            let found = labels(&settings, self, device)?;
            Ok(apart(&found, &labels(&settings, Self::Tiled, &Device::Cpu)?))
        });
        match (tried.unwrap_or_else(|error| Some(error.to_string())), arithmetic) {
            (None, _) => Ok((self, None)),
            (Some(why), Arithmetic::F32) => Ok((
                Self::TensorOps,
                Some(format!(
                    "the GPU's own kernel for the affinity failed its trial: {why}; candle's operations compute instead, more slowly"
                )),
            )),
            (Some(why), arithmetic) => Err(Error::setting(
                "affinity",
                format!("{} failed its trial on this GPU: {why}; use f32", arithmetic.name()),
            )),
        }
    }
}

/// Settings for small frames.
fn small(settings: &Settings) -> Settings {
    let mut small = settings.clone();
    small.neighborhood.radius = small.neighborhood.radius.min(RADIUS);
    small.queue = small.queue.min(QUEUE);
    small
}

/// The soft labels of all frames after the first.
fn labels(settings: &Settings, engine: Engine, device: &Device) -> Result<Vec<f32>> {
    let cells = GRID.0 * GRID.1;
    let values =
        (0..cells * LABELS).map(|i| f32::from(u8::from(i / LABELS % LABELS == i % LABELS)));
    let first = LabelMap { grid: GRID, channels: LABELS, values: values.collect() };
    let mut clip = Propagation::start(settings, engine, &features(0, device)?, &first)?;
    let mut found = Vec::new();
    for frame in 1..=FRAMES {
        found.extend(clip.step(&features(frame, device)?)?.values);
    }
    Ok(found)
}

/// Noise of few bits, which no arithmetic rounds: the products are then the same in all.
fn features(frame: usize, device: &Device) -> Result<Tensor> {
    let value = |i: usize| {
        let wave = (((i + 31 * frame) * 7919 % 10_007) as f32 / 70.0).sin();
        (16.0 * wave).round() / 128.0
    };
    let cells = GRID.0 * GRID.1;
    let values: Vec<f32> = (0..cells * WIDTH).map(|i| value(i + frame * cells * WIDTH)).collect();
    Ok(Tensor::from_vec(values, (cells, WIDTH), device)?)
}

/// What distinguishes the labels found from those wanted, in words; `None` where they agree.
fn apart(found: &[f32], wanted: &[f32]) -> Option<String> {
    let near = |(a, b): &(&f32, &f32)| !beyond(f64::from((*a - *b).abs()), MOST_APART);
    let far = wanted.len() - found.iter().zip(wanted).filter(near).count();
    (far > MOST_LABELS).then(|| format!("{far} of {} labels are wrong", wanted.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagation::{Neighborhood, Shape};

    fn settings(topk: usize, keep_ties: bool) -> Settings {
        let neighborhood = Neighborhood { shape: Shape::Circle, radius: 20.0 };
        let (temperature, restrict_first) = (0.7, keep_ties);
        Settings {
            topk,
            keep_ties,
            temperature,
            neighborhood,
            restrict_first,
            queue: 20,
            padded: !keep_ties,
        }
    }

    #[test]
    fn the_kernels_twin_passes_in_every_arithmetic() {
        for arithmetic in [Arithmetic::F32, Arithmetic::Tf32, Arithmetic::Bf16] {
            for settings in [settings(7, false), settings(5, true)] {
                let engine = Engine::Fused(arithmetic);
                assert_eq!(engine.tried(&settings, &Device::Cpu).unwrap(), (engine, None));
            }
        }
    }

    #[test]
    fn what_the_kernel_cannot_do_is_not_tried() {
        let engine = Engine::Fused(Arithmetic::F32);
        assert_eq!(engine.tried(&settings(40, false), &Device::Cpu).unwrap(), (engine, None));
    }

    #[test]
    fn a_wrong_tile_of_labels_and_what_is_no_number_are_found() {
        let wanted = labels(&settings(7, false), Engine::Tiled, &Device::Cpu).unwrap();
        assert_eq!(apart(&wanted, &wanted), None);
        let spoilt = |by: fn(f32) -> f32, count: usize| {
            let mut labels = wanted.clone();
            labels.iter_mut().skip(40).take(count).for_each(|label| *label = by(*label));
            apart(&labels, &wanted)
        };
        // a pair of keys that change places in one cell, and a tile of 32 queries
        assert_eq!(spoilt(|label| label + 0.1, LABELS), None);
        assert!(spoilt(|label| label + 0.1, 32 * LABELS).unwrap().contains("labels are wrong"));
        assert!(spoilt(|_| f32::NAN, 32 * LABELS).is_some());
        assert!(apart(&[], &wanted).is_some());
    }
}
