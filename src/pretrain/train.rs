//! The loop. [`train`] runs the steps in order, which `trainer.rs` makes, and tells a
//! [`Watcher`] of them.

use std::time::Instant;

use super::batches::Batches;
use super::checkpoint::Place;
use super::record::{Entry, Log};
use super::run::Run;
pub use super::trainer::mask;
use super::trainer::{self, Trainer};
pub use super::watcher::{Models, Watcher};
use crate::autoencoder::Autoencoder;
use crate::error::{Error, Result};

/// How a call of [`train`] ended.
#[derive(Debug)]
pub enum Ended {
    /// All epochs are done; the network.
    Finished(Autoencoder),
    /// The watcher asked to stop here. The newest checkpoint holds exactly this place, and the same
    /// run goes on from it.
    Stopped(Place),
}

/// Where [`train`] would begin or go on, and how many steps an epoch has; nothing is changed.
///
/// # Errors
/// Those that [`train`] has before its first step, but for another program in the folder.
pub fn plan(run: &Run<'_>) -> Result<(Place, u64)> {
    run.config.check()?;
    trainer::planned(run)
}

/// Trains from the beginning or from the newest checkpoint in the run's folder, to the end or until
/// the watcher asks to stop. A run that is finished is left as it is, but for an encoder that is
/// missing.
///
/// # Errors
/// The settings make no sense or are not those of the checkpoint, too many samples cannot be read,
/// the loss is no number, another program trains into the folder, or the device or the disk fails.
/// The last checkpoint stays.
pub fn train(run: &Run<'_>, watcher: &dyn Watcher) -> Result<Ended> {
    run.config.check()?;
    let mut trainer = Trainer::open(run)?;
    if trainer.place.epoch >= run.config.epochs {
        watcher.started(trainer.place, trainer.steps_per_epoch, &[]);
        trainer.mend()?;
        return Ok(Ended::Finished(trainer.model));
    }
    let (mut log, made) = Log::open(run.folder, trainer.place)?;
    watcher.started(trainer.place, trainer.steps_per_epoch, &made);
    log.push(&Entry::Session(run.session(trainer.place.steps)))?;
    let mut batches = Batches::start(run, trainer.place)?;
    match steps(&mut trainer, &mut batches, &mut log, watcher) {
        Ok(()) => Ok(Ended::Finished(trainer.model)),
        Err(Error::Stopped) => {
            // before the threads are waited for that load: whoever asked may not wait for long
            trainer.save()?;
            Ok(Ended::Stopped(trainer.place))
        }
        Err(error) => Err(error),
    }
}

/// All steps that are left.
///
/// # Errors
/// Those of [`train`], or [`Error::Stopped`] between two steps.
fn steps(
    trainer: &mut Trainer<'_>,
    batches: &mut Batches,
    log: &mut Log,
    watcher: &dyn Watcher,
) -> Result<()> {
    let run = trainer.run;
    let stops = || watcher.stops();
    let (mut since, mut ahead) = (Instant::now(), None);
    while trainer.place.epoch < run.config.epochs {
        let batch = match ahead.take() {
            Some(batch) => batch,
            None => trainer.ready(batches.next(trainer.place.epoch, &stops)?)?,
        };
        let Some(batch) = batch else {
            trainer.end_epoch(watcher, log)?;
            since = Instant::now();
            continue;
        };
        let images = batch.samples.len() as f64;
        let queued = trainer.queue(batch)?;
        // while the device is at work; whatever comes of it, this step is finished first
        let next = batches.next(trainer.place.epoch, &stops).and_then(|next| trainer.ready(next));
        let mut step = trainer.finish(queued)?;
        step.images_per_second = images / since.elapsed().as_secs_f64();
        since = Instant::now();
        log.push(&Entry::Step(step))?;
        watcher.stepped(&step);
        if stops() {
            return Err(Error::Stopped);
        }
        if run.checkpoint_every > 0 && step.steps.is_multiple_of(run.checkpoint_every) {
            trainer.save()?;
        }
        ahead = Some(next?);
    }
    Ok(())
}
