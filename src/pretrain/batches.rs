//! Samples in batches that never cross the end of an epoch.

use std::sync::Arc;

use super::checkpoint::Place;
use super::config::Config;
use super::loader::{Loaded, Loader, Range, Unreadable};
use super::run::Run;
use super::views::Pair;
use crate::error::Result;

/// One sample of a batch.
pub(super) struct Sample {
    /// Its number in the dataset.
    pub(super) number: usize,
    /// Its views.
    pub(super) pair: Pair,
}

/// What a step learns from.
pub(super) struct Batch {
    /// As many as the configuration says.
    pub(super) samples: Vec<Sample>,
    /// Where the epoch is behind them.
    pub(super) behind: Behind,
}

/// How much of an epoch's samples has been looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind {
    /// The place in the epoch's order of the next sample.
    pub(super) position: usize,
    /// Samples so far that could not be read.
    pub(super) unreadable: usize,
}

/// Groups what the loader gives.
pub(super) struct Batches {
    loader: Loader,
    /// The first sample of the next epoch.
    carried: Option<Loaded>,
    unreadable: Unreadable,
    size: usize,
}

impl Batches {
    /// From a place of a run on.
    pub(super) fn start(run: &Run<'_>, place: Place) -> Result<Self> {
        let Config { seed, ref views, epochs, ref optimization, ref reading, .. } = *run.config;
        let size = optimization.batch_size;
        let range = Range { epoch: place.epoch, position: place.position, end: epochs };
        let samples = Arc::clone(&run.samples);
        let loader = Loader::start(samples, views, seed, run.workers, 2 * size, range)?;
        let log = run.folder.join("unreadable.txt");
        let unreadable = Unreadable::new(log, reading.max_unreadable, run.samples.len()).resumed(
            place.epoch,
            place.position,
            place.unreadable,
        )?;
        Ok(Self { loader, carried: None, unreadable, size })
    }

    /// The next batch of an epoch; `None` where too few of its samples are left.
    pub(super) fn next(&mut self, epoch: u64) -> Result<Option<Batch>> {
        let mut samples = Vec::with_capacity(self.size);
        let mut position = 0;
        while samples.len() < self.size {
            let Some(loaded) = self.carried.take().or_else(|| self.loader.next()) else {
                return Ok(None);
            };
            if loaded.epoch != epoch {
                self.carried = Some(loaded);
                return Ok(None);
            }
            let number = loaded.number;
            position = loaded.position + 1;
            if let Some(pair) = self.unreadable.views(loaded)? {
                samples.push(Sample { number, pair });
            }
        }
        let behind = Behind { position, unreadable: self.unreadable.count() };
        Ok(Some(Batch { samples, behind }))
    }
}
