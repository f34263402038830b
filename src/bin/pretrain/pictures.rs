//! The pictures of a run: reconstructions, loss curves, and the report page.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use cropmae::autoencoder::Autoencoder;
use cropmae::image::figure;
use cropmae::pretrain::checkpoint::{self, Place};
use cropmae::pretrain::held_out::HeldOut;
use cropmae::pretrain::pictures::{curve, grid};
use cropmae::pretrain::samples::Samples;
use cropmae::pretrain::{Config, page, record};
use cropmae::{Error, Result, files};

use crate::args::Cli;
use crate::due::Due;

/// Samples in a picture.
const ROWS: usize = 8;

/// Draws into a run's folder.
pub(crate) struct Pictures {
    folder: PathBuf,
    /// `None`: never.
    due: Option<Due>,
    /// What is drawn where no images are held out: the first ones that are trained on.
    training: Option<HeldOut>,
}

impl Pictures {
    pub(crate) fn new(
        cli: &Cli,
        config: &Config,
        (of_training, samples): (bool, &Arc<Samples>),
        (workers, device): (usize, &Device),
    ) -> Result<Self> {
        let every = cli.pictures_every;
        let due = (every > 0).then_some(Due { every, first: true, last: config.epochs });
        let training = (of_training && due.is_some())
            .then(|| HeldOut::new(config, Arc::clone(samples), ROWS, workers, device));
        Ok(Self { folder: cli.out.clone(), due, training: training.transpose()? })
    }

    /// After the first epoch, the last one, and every so many: the same samples, cut and masked in
    /// the same way.
    pub(crate) fn reconstructions(
        &self,
        model: &Autoencoder,
        held_out: Option<&HeldOut>,
        epochs: u64,
    ) -> Result<()> {
        let due = self.due.is_some_and(|due| due.after(epochs));
        let Some(samples) = held_out.or(self.training.as_ref()).filter(|_| due) else {
            return Ok(());
        };
        let picture = figure::png(&grid::grid(model, samples, ROWS)?)?;
        let folder = self.folder.join("pictures");
        std::fs::create_dir_all(&folder).map_err(Error::creating(&folder))?;
        let path = folder.join(format!("epoch-{epochs:04}.png"));
        files::write(&path, &picture)
    }

    /// The run's checkpoint of a place.
    pub(crate) fn checkpoint(&self, place: Place) -> PathBuf {
        checkpoint::path(&self.folder, place.steps)
    }

    /// Draws the curves of what has been logged so far, and the page of the whole.
    pub(crate) fn curve(&self) -> Result<()> {
        if let Some(picture) = curve::svg(&record::read(&record::path(&self.folder))?)? {
            files::write(&self.folder.join("loss.svg"), picture.as_bytes())?;
        }
        page::write(&self.folder)
    }
}
