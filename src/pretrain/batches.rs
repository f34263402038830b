//! Samples in batches that never cross the end of an epoch.

use std::sync::Arc;

use super::checkpoint::Place;
use super::config::Config;
use super::loader::{Loaded, Loader, Range, Unreadable};
use super::run::Run;
use super::views::Pair;
use crate::error::{Error, Result};

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
    ///
    /// # Errors
    /// Too many samples cannot be read, or [`Error::Stopped`] as soon as it `stops`.
    pub(super) fn next(&mut self, epoch: u64, stops: &dyn Fn() -> bool) -> Result<Option<Batch>> {
        let mut samples = Vec::with_capacity(self.size);
        let mut position = 0;
        while samples.len() < self.size {
            // also before it waits
            if stops() {
                return Err(Error::Stopped);
            }
            let loaded = self.carried.take().or_else(|| self.loader.next());
            // a signal to the whole group ends the programs that decode videos too: a sample that
            // cannot be read from then on may be a good one
            if stops() {
                return Err(Error::Stopped);
            }
            let Some(loaded) = loaded else { return Ok(None) };
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use candle_core::Device;

    use super::*;
    use crate::device::Precision;
    use crate::pretrain::config::Preset;
    use crate::pretrain::samples::{Options, Samples};

    /// A signal to the whole group ends the programs that decode: what cannot be read from then on
    /// is not taken for a broken sample.
    #[test]
    fn what_comes_after_a_stop_is_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for name in ["a.png", "b.png"] {
            std::fs::write(data.join(name), "no picture").unwrap();
        }
        let mut config = Preset::Tiny.config();
        config.reading.max_unreadable = 1.0;
        config.optimization.batch_size = 1;
        let run = Run {
            config: &config,
            samples: Arc::new(Samples::open(&data, &Options::default()).unwrap()),
            folder: folder.path(),
            start: None,
            device: &Device::Cpu,
            dtype: Precision::F32,
            workers: 1,
            save_every: 1,
            checkpoint_every: 0,
            keep_last: 1,
            keep_every: 0,
            command: "test",
        };
        let unreadable = folder.path().join("unreadable.txt");
        // asked before it waits, and after
        for quiet in [0, 1] {
            let mut batches = Batches::start(&run, Place::default()).unwrap();
            let asked = Cell::new(0);
            let stops = || asked.replace(asked.get() + 1) >= quiet;
            assert!(matches!(batches.next(0, &stops), Err(Error::Stopped)));
            assert!(!unreadable.exists());
        }
        let mut batches = Batches::start(&run, Place::default()).unwrap();
        assert!(batches.next(0, &|| false).unwrap().is_none());
        assert_eq!(std::fs::read_to_string(&unreadable).unwrap().lines().count(), 2);
    }
}
