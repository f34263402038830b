//! Samples as pictures: their views, the visible patches, and the network's reconstructions.

use candle_core::{DType, Device, Tensor};

use crate::autoencoder::{Autoencoder, Mask, Method, Views, target};
use crate::device::Uploads;
use crate::error::Result;
use crate::image::{Rgb, figure};
use crate::pretrain::held_out::HeldOut;
use crate::pretrain::loader;
use crate::pretrain::views::Pair;
use crate::protocol::presets::{MEAN, STD};

/// The grey of masked patches.
const MASKED: u8 = 128;

/// The pictures of one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panels {
    /// View 1; MAE has none.
    pub first: Option<Rgb>,
    /// View 2.
    pub second: Rgb,
    /// View 2 with its masked patches grey.
    pub masked: Rgb,
    /// Masked patches as the network says them, visible ones from the view. Where the network says
    /// patches of mean 0 and variance 1, they get the mean and the deviation of the view's own
    /// patches: colours and contrast are given then, what is in a patch is the network's.
    pub reconstruction: Rgb,
}

/// Reconstructs pairs, without dropout.
///
/// # Errors
/// The pairs are not of the network's size, or the device runs out of memory.
pub fn panels(
    model: &Autoencoder,
    pairs: &[&Pair],
    mask: &Mask,
    device: &Device,
) -> Result<Vec<Panels>> {
    let mut uploads = Uploads::new(device);
    let (first, second) = loader::batch(pairs, &mut uploads)?;
    let placed = mask.on(&mut uploads)?;
    let views = Views { first: &first, second: &second, mask: &placed };
    let prediction = model.predict(views)?;
    let patch = model.config.encoder.patch;
    let mut pixels = prediction.pixels.to_dtype(DType::F32)?;
    if model.config.normalize_target {
        let (mean, deviation) = target::statistics(&target::patches(&second, patch)?)?;
        pixels = pixels.broadcast_mul(&deviation)?.broadcast_add(&mean)?;
    }
    let predicted = colors(&target::view(&pixels, patch)?)?;
    let panels = pairs.iter().zip(predicted).enumerate().map(|(index, (pair, predicted))| {
        let second = pair.second();
        let grey = Rgb { data: vec![MASKED; second.data.len()], ..*second };
        let masked_by = |cover: &Rgb| covered(second, cover, patch, |p| mask.is_masked(index, p));
        let first = (model.config.method != Method::Mae).then(|| pair.first().clone());
        Panels {
            first,
            second: second.clone(),
            masked: masked_by(&grey),
            reconstruction: masked_by(&predicted),
        }
    });
    Ok(panels.collect())
}

/// The grid of a run's samples, one a row: view 1 (not for MAE), view 2, masked view 2,
/// reconstruction.
///
/// # Errors
/// As [`panels`].
pub fn grid(model: &Autoencoder, samples: &HeldOut, most: usize) -> Result<Rgb> {
    let (pairs, mask) = samples.examples(most)?;
    let panels = panels(model, &pairs, &mask, samples.device())?;
    let rows: Vec<Vec<&Rgb>> = panels
        .iter()
        .map(|Panels { first, second, masked, reconstruction }| {
            first.iter().chain([second, masked, reconstruction]).collect()
        })
        .collect();
    Ok(figure::tiled(&rows))
}

/// Normalised colours [B, 3, H, W] as pictures; what is darker than black is black.
fn colors(views: &Tensor) -> Result<Vec<Rgb>> {
    let (batch, channels, height, width) = views.dims4()?;
    let views = views.permute((0, 2, 3, 1))?.reshape((batch, height * width * channels))?;
    let byte = |(index, value): (usize, &f32)| {
        let channel = index % 3;
        ((value * STD[channel] + MEAN[channel]) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    let rows = views.to_vec2::<f32>()?;
    let pictures = rows.iter().map(|row| Rgb {
        width,
        height,
        data: row.iter().enumerate().map(byte).collect(),
    });
    Ok(pictures.collect())
}

/// `view` with the patches that `is_covered` names taken from `cover`.
fn covered(view: &Rgb, cover: &Rgb, patch: usize, is_covered: impl Fn(usize) -> bool) -> Rgb {
    let columns = view.width / patch;
    let mut out = view.clone();
    let pixels = out.data.as_chunks_mut::<3>().0.iter_mut().zip(cover.data.as_chunks::<3>().0);
    for (index, (pixel, covering)) in pixels.enumerate() {
        let (row, column) = (index / view.width, index % view.width);
        if is_covered(row / patch * columns + column / patch) {
            *pixel = *covering;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoencoder::Parameters;
    use crate::pretrain::Config;
    use crate::pretrain::config::Preset;
    use crate::pretrain::train::mask;

    /// A network for views of 32 pixels in 16 patches of 8.
    fn small(method: Method, normalize_target: bool) -> Autoencoder {
        let mut config = Config { method, normalize_target, ..Preset::Tiny.config() };
        config.encoder.depth = 1;
        config.encoder.patch = 8;
        config.views.size = 32;
        config.decoder.depth = 1;
        let config = config.autoencoder();
        let parameters = Parameters::seeded(&config, 1, &Device::Cpu).unwrap();
        Autoencoder { config, parameters, dtype: DType::F32 }
    }

    /// Two views whose bytes tell them apart.
    fn pair(seed: usize) -> Pair {
        let view = |seed: usize| Rgb {
            width: 32,
            height: 32,
            data: (0..3 * 32 * 32).map(|i| (i * seed % 251) as u8).collect(),
        };
        Pair::new(view(seed), view(seed + 1))
    }

    #[test]
    fn visible_patches_are_the_views_own_and_masked_ones_grey_or_predicted() {
        let model = small(Method::Cropmae, true);
        let pairs = [pair(3), pair(5)];
        let mask = mask(0, 0, 0..2, 16, 0.75).unwrap();
        let found = panels(&model, &[&pairs[0], &pairs[1]], &mask, &Device::Cpu).unwrap();
        assert_eq!(found.len(), 2);
        for (index, (panels, pair)) in found.iter().zip(&pairs).enumerate() {
            assert_eq!(panels.first.as_ref(), Some(pair.first()));
            assert_eq!(&panels.second, pair.second());
            let mut covered = 0;
            for place in 0..32 * 32 {
                let bytes = |picture: &Rgb| picture.data[3 * place..][..3].to_vec();
                let patch = place / 32 / 8 * 4 + place % 32 / 8;
                if mask.is_masked(index, patch) {
                    covered += 1;
                    assert_eq!(bytes(&panels.masked), [MASKED; 3]);
                } else {
                    assert_eq!(bytes(&panels.masked), bytes(pair.second()));
                    assert_eq!(bytes(&panels.reconstruction), bytes(pair.second()));
                }
            }
            assert_eq!(covered, 12 * 64);
            assert_ne!(panels.reconstruction, panels.masked);
        }
    }

    #[test]
    fn mae_has_one_view() {
        let model = small(Method::Mae, false);
        let pair = pair(7);
        let mask = mask(0, 0, 0..1, 16, 0.75).unwrap();
        let found = panels(&model, &[&pair], &mask, &Device::Cpu).unwrap();
        assert_eq!(found[0].first, None);
    }

    #[test]
    fn colors_come_back_from_the_networks_numbers() {
        let pair = pair(11);
        let (_, second) = loader::batch(&[&pair], &mut Uploads::new(&Device::Cpu)).unwrap();
        assert_eq!(colors(&second).unwrap(), [pair.second().clone()]);
        let bright = (second * 100.0).unwrap();
        assert!(colors(&bright).unwrap()[0].data.contains(&255));
    }
}
