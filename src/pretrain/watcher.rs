//! What a run shows of itself while it is at work: to a [`Watcher`], which also says what is measured
//! between epochs, and whether to go on.

use super::checkpoint::Place;
use super::record::StepRecord;
use crate::autoencoder::Autoencoder;
use crate::error::Result;

/// The network at the end of an epoch.
#[derive(Debug)]
pub struct Models<'a> {
    /// With the weights that are being trained.
    pub current: &'a Autoencoder,
    /// With the average of the weights, where one is kept.
    pub average: Option<Autoencoder>,
}

impl Models<'_> {
    /// The one that is exported: the average, where there is one.
    pub fn exported(&self) -> &Autoencoder {
        self.average.as_ref().unwrap_or(self.current)
    }
}

/// Is told of a run's progress, and asked what to measure between epochs and whether to go on.
pub trait Watcher {
    /// The run begins, or goes on, here. `made`: the steps of this epoch that an earlier session
    /// made.
    fn started(&self, place: Place, steps_per_epoch: u64, made: &[StepRecord]) {
        let _ = (place, steps_per_epoch, made);
    }

    /// A step was made.
    fn stepped(&self, step: &StepRecord) {
        let _ = step;
    }

    /// Whether to stop: asked after every step and while samples are waited for. Once it is so, it
    /// stays so.
    fn stops(&self) -> bool {
        false
    }

    /// An epoch is over: `epochs` are done. Returns measurements by name; those that are not finite
    /// numbers do not go into the log.
    ///
    /// # Errors
    /// What stops the run. With [`crate::Error::Stopped`] it stops before the end of the epoch, which is
    /// measured when the run goes on.
    fn epoch_done(&self, models: &Models<'_>, epochs: u64) -> Result<Vec<(String, f64)>> {
        let _ = (models, epochs);
        Ok(Vec::new())
    }

    /// What [`Watcher::epoch_done`] returned is in the log, and the epoch's checkpoint on the disk;
    /// epochs that end without one (see [`super::Run::save_every`]) are left out.
    ///
    /// # Errors
    /// What stops the run.
    fn epoch_saved(&self, epochs: u64) -> Result<()> {
        let _ = epochs;
        Ok(())
    }
}
