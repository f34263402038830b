//! Images for measurements between epochs: the loss on images that are not used for training, and
//! the loss of the mean patch as its baseline.

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};

use super::config::Config;
use super::loader::{self, Loaded, Loader, Range};
use super::samples::Samples;
use super::train::mask;
use super::views::Pair;
use crate::autoencoder::{Autoencoder, Mask, Views, target};
use crate::device::Uploads;
use crate::error::{Error, Result};

/// Images whose loss is worth measuring; more would cost time and move the mean by little.
pub const MOST: usize = 1024;
/// Images that pass through the network at a time.
const AT_ONCE: usize = 32;

/// Held-out images, cut into views and masked once, so that losses along a run can be compared.
#[derive(Debug)]
pub struct HeldOut {
    batches: Vec<Batch>,
    unreadable: Option<(usize, String)>,
    device: Device,
}

#[derive(Debug)]
struct Batch {
    pairs: Vec<Pair>,
    mask: Mask,
}

impl HeldOut {
    /// Draws views and masks of the first `most` images in the order of epoch 0 of the run's seed;
    /// unreadable ones are left out.
    ///
    /// # Errors
    /// None can be read, or the settings make no sense.
    pub fn new(
        config: &Config,
        samples: Arc<Samples>,
        most: usize,
        workers: usize,
        device: &Device,
    ) -> Result<Self> {
        let range = Range { epoch: 0, position: 0, end: 1 };
        let loader = Loader::start(samples, &config.views, config.seed, workers, AT_ONCE, range)?;
        let mut failures = Vec::new();
        let mut readable = |loaded: Loaded| match loaded.views {
            Ok(pair) => Some((loaded.number, pair)),
            Err(error) => {
                failures.push(error);
                None
            }
        };
        let read: Vec<(usize, Pair)> = loader.filter_map(&mut readable).take(most).collect();
        if read.is_empty() {
            let none = || Error::setting("images", "none of those to look at can be read");
            return Err(failures.into_iter().next().unwrap_or_else(none));
        }
        let unreadable = failures.first().map(|error| (failures.len(), error.explained()));
        let patches = config.autoencoder().patches();
        let mut batches = Vec::new();
        let mut rest = read.into_iter().peekable();
        while rest.peek().is_some() {
            let (numbers, pairs): (Vec<usize>, Vec<Pair>) = rest.by_ref().take(AT_ONCE).unzip();
            let mask = mask(config.seed, 0, numbers.into_iter(), patches, config.masking_ratio)?;
            batches.push(Batch { pairs, mask });
        }
        Ok(Self { batches, unreadable, device: device.clone() })
    }

    /// How many images were left out as unreadable, and what is wrong with the first of them.
    pub fn unreadable(&self) -> Option<(usize, &str)> {
        self.unreadable.as_ref().map(|(count, problem)| (*count, problem.as_str()))
    }

    /// The network's loss, without dropout.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn loss(&self, model: &Autoencoder) -> Result<f64> {
        let (mut sum, mut count) = (0.0, 0);
        let mut uploads = Uploads::new(&self.device);
        for Batch { pairs, mask } in &self.batches {
            let (first, second) = tensors(pairs, &mut uploads)?;
            let mask = mask.on(&mut uploads)?;
            let views = Views { first: &first, second: &second, mask: &mask };
            sum += model.predict(views)?.loss * pairs.len() as f64;
            count += pairs.len();
        }
        Ok(sum / count as f64)
    }

    /// The baseline: the loss of predicting, for every patch, the mean of all these images'
    /// patches. A network that has learnt anything is well below it.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn mean_patch_loss(&self, model: &Autoencoder) -> Result<f64> {
        let mut rows = Vec::new();
        let mut uploads = Uploads::new(&self.device);
        for Batch { pairs, .. } in &self.batches {
            let (_, second) = tensors(pairs, &mut uploads)?;
            let patch = model.config.encoder.patch;
            let target = target::target(&second, patch, model.config.normalize_target)?;
            rows.push(target.flatten(0, 1)?);
        }
        let rows = Tensor::cat(&rows, 0)?.to_dtype(DType::F64)?;
        let squares = rows.broadcast_sub(&rows.mean_keepdim(0)?)?.sqr()?;
        Ok(squares.mean(D::Minus1)?.mean(0)?.to_scalar::<f64>()?)
    }

    /// Up to `most` images and their masks, always the same; never more than pass at a time.
    ///
    /// # Errors
    /// There are no images.
    pub fn examples(&self, most: usize) -> Result<(Vec<&Pair>, Mask)> {
        let none = || Error::setting("images", "there are none to look at");
        let Batch { pairs, mask } = self.batches.first().ok_or_else(none)?;
        let pairs: Vec<&Pair> = pairs.iter().take(most).collect();
        let mask = mask.first(pairs.len());
        Ok((pairs, mask))
    }

    /// Where they are looked at.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

fn tensors(pairs: &[Pair], uploads: &mut Uploads) -> Result<(Tensor, Tensor)> {
    loader::batch(&pairs.iter().collect::<Vec<_>>(), uploads)
}
