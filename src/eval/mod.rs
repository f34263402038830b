//! The three evaluations: the one place where data, encoder, propagation and metrics meet.
//!
//! The file of each benchmark ([`davis`], [`vip`], [`jhmdb`]) says how one clip is propagated and
//! scored. Here is what they share: the setup, and the loop over clips. The loop gives each clip to
//! a worker, stores its results completely, continues an interrupted run, and goes on after a
//! broken clip. A sweep takes a clip through all its settings before the next clip, so that the
//! clip is encoded once and its features ([`Cache`]) need not be kept longer. The results are
//! records for [`crate::report`].

pub(crate) mod batch;
pub(crate) mod cache;
pub mod davis;
pub mod folder;
mod input;
pub mod jhmdb;
mod labelled;
mod masks;
pub(crate) mod poses;
mod share;
mod soft;
pub mod stream;
pub mod trace;
pub mod vip;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::{Broken, Clip, Dataset, LabelClip};
use crate::error::{Error, Result};
use crate::model::Encoder;
use crate::progress::Observer;
use crate::propagation::Engine;
use crate::protocol::Protocol;
pub use batch::Batch;
pub use cache::{Cache, Kept};
pub use folder::{RunFolder, Staging, flat_name};
use share::share_out;

/// Everything a clip's evaluation needs beside the clip.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// What decides the numbers.
    pub protocol: &'a Protocol,
    /// What makes features.
    pub encoder: &'a Encoder,
    /// How the affinity is computed.
    pub engine: Engine,
    /// The same encoder on other devices: clips are shared out among them all.
    pub others: &'a [Encoder],
    /// Clips worked on at once on each device. On a GPU one clip computes while another waits for
    /// its labels; a CPU is full with one.
    pub clips_at_once: usize,
    /// Frames encoded at once.
    pub batch: &'a Batch,
    /// Where features are kept; its key must be that of this encoder and of the protocol's
    /// [`Protocol::preprocessing`].
    pub cache: Option<&'a Cache>,
    /// Whether soft labels are stored.
    pub save_soft_labels: bool,
    /// Whether predictions are left unscored.
    pub predict_only: bool,
}

impl<'a> Setup<'a> {
    /// On one device, one clip at a time, everything scored and nothing kept but predictions.
    pub fn new(
        protocol: &'a Protocol,
        encoder: &'a Encoder,
        engine: Engine,
        batch: &'a Batch,
    ) -> Self {
        Self {
            protocol,
            encoder,
            engine,
            others: &[],
            clips_at_once: 1,
            batch,
            cache: None,
            save_soft_labels: false,
            predict_only: false,
        }
    }

    /// How many clips are worked on at once, on all devices together.
    fn workers(&self) -> usize {
        (1 + self.others.len()) * self.clips_at_once.max(1)
    }

    /// As a worker has it, on its device.
    fn of_worker(&self, worker: usize) -> Self {
        let device = worker % (1 + self.others.len());
        let other = device.checked_sub(1).and_then(|other| self.others.get(other));
        Self { encoder: other.unwrap_or(self.encoder), ..*self }
    }
}

/// One way of evaluating the clips: how, into which folder, and who watches.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// How.
    pub setup: Setup<'a>,
    /// Where the results go: a folder of its own for each setup.
    pub folder: &'a RunFolder,
    /// Is told of the progress.
    pub observer: &'a dyn Observer,
}

/// Seconds spent in each stage. They overlap: frames are decoded side by side ahead of the encoder,
/// masks are read out, written and scored behind the propagation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    /// Reading, decoding, resizing and normalising frames, or reading kept features.
    pub decode: f64,
    /// The encoder.
    pub encode: f64,
    /// Affinity and label propagation.
    pub propagate: f64,
    /// Upsampling and argmax, or the joints' coordinates.
    pub read_out: f64,
    /// Writing predictions, and features to be kept.
    pub write: f64,
    /// Scoring.
    pub score: f64,
}

impl std::ops::AddAssign for Stages {
    fn add_assign(&mut self, other: Self) {
        self.decode += other.decode;
        self.encode += other.encode;
        self.propagate += other.propagate;
        self.read_out += other.read_out;
        self.write += other.write;
        self.score += other.score;
    }
}

/// What is stored of a clip that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record<S> {
    /// The clip.
    pub clip: String,
    /// Frames propagated, or scored where predictions were at hand.
    pub frames: usize,
    /// [`Clip::label_line`] of its given labels: a clip whose labels changed is done again.
    pub labels: String,
    /// [`Clip::content_hash`]: a clip of which a later annotation or a frame changed is done again
    /// too. Empty where that is not known: of predictions scored where they lay, and of earlier
    /// versions.
    #[serde(default)]
    pub content: String,
    /// Whether soft labels were stored with it.
    pub soft_labels: bool,
    /// Whether it was to be scored.
    pub scored: bool,
    /// Its scores; `None` where it was not to be scored or has no truth beyond its first frame.
    pub scores: Option<S>,
    /// What the user should know about it.
    pub notes: Vec<String>,
    /// Seconds spent.
    pub stages: Stages,
}

/// What a benchmark hands back of a clip.
struct Done<S> {
    /// Frames propagated or scored.
    frames: usize,
    scores: Option<S>,
    notes: Vec<String>,
    stages: Stages,
}

impl<S> Record<S> {
    fn new(
        clip: &impl Clip,
        (labels, content): (String, String),
        setup: &Setup<'_>,
        done: Done<S>,
    ) -> Self {
        Self {
            clip: clip.name().to_owned(),
            frames: done.frames,
            labels,
            content,
            soft_labels: setup.save_soft_labels,
            scored: !setup.predict_only,
            scores: done.scores,
            notes: done.notes,
            stages: done.stages,
        }
    }
}

/// A clip that could not be done.
#[derive(Debug)]
pub struct Failure {
    /// The clip.
    pub clip: String,
    /// Why, with all reasons.
    pub problem: String,
}

impl Failure {
    fn of(broken: &Broken) -> Self {
        Self { clip: broken.name.clone(), problem: broken.error.explained() }
    }
}

/// What became of all clips.
#[derive(Debug)]
pub struct Outcome<S> {
    /// Clips done, by this run or an earlier one, in the dataset's order.
    pub records: Vec<Record<S>>,
    /// Clips that could not be done.
    pub failures: Vec<Failure>,
    /// How many of the records an earlier run had left.
    pub resumed: usize,
}

impl<S> Outcome<S> {
    /// The scores of all clips that have some.
    pub fn scores(&self) -> impl Iterator<Item = &S> {
        self.records.iter().filter_map(|record| record.scores.as_ref())
    }

    /// Frames of all clips done.
    pub fn frames(&self) -> usize {
        self.records.iter().map(|record| record.frames).sum()
    }

    /// Seconds per stage over all clips done.
    pub fn stages(&self) -> Stages {
        let mut sum = Stages::default();
        self.records.iter().for_each(|record| sum += record.stages);
        sum
    }
}

/// Evaluates the clips into the folder, skipping those that it already holds. Where the observer
/// asks to stop, the outcome is of the clips done until then, by this run or an earlier one.
///
/// # Errors
/// The folder cannot be written to (no space left, for example): going on would lose every clip.
fn run<C: Clip, S: Serialize + DeserializeOwned + Send>(
    dataset: &Dataset<C>,
    run: &Run<'_>,
    one: impl Fn(&C, &Run<'_>, &Staging) -> Result<Done<S>> + Sync,
    headline: impl Fn(&Outcome<S>, &Setup<'_>) -> f64 + Sync,
) -> Result<Outcome<S>> {
    let outcomes = sweep(dataset, std::slice::from_ref(run), one, headline)?;
    Ok(outcomes.into_iter().next().unwrap_or_else(|| Outcome::begun(dataset, run.observer)))
}

/// Evaluates every clip in all ways before the next clip: with a cache it is encoded once. The
/// outcomes come in the order of `runs`, which share their encoders.
///
/// # Errors
/// See [`run`].
fn sweep<C: Clip, S: Serialize + DeserializeOwned + Send>(
    dataset: &Dataset<C>,
    runs: &[Run<'_>],
    one: impl Fn(&C, &Run<'_>, &Staging) -> Result<Done<S>> + Sync,
    headline: impl Fn(&Outcome<S>, &Setup<'_>) -> f64 + Sync,
) -> Result<Vec<Outcome<S>>> {
    let begun = runs.iter().map(|run| Mutex::new(Outcome::begun(dataset, run.observer)));
    let outcomes: Vec<Mutex<Outcome<S>>> = begun.collect();
    let workers = runs.first().map_or(1, |run| run.setup.workers());
    share_out(&dataset.clips, workers, |worker, clip| {
        for (run, outcome) in runs.iter().zip(&outcomes) {
            let setup = run.setup.of_worker(worker);
            let result = evaluate(clip, &Run { setup, ..*run }, &one);
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.take(clip, run, result, &headline)?;
        }
        let mut caches = runs.iter().filter_map(|run| run.setup.cache);
        caches.try_for_each(|cache| cache.clip_done(clip.name()))
    })?;
    runs.iter().try_for_each(|run| run.folder.clean())?;
    let finished = outcomes.into_iter().map(|outcome| {
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner).in_order_of(dataset)
    });
    Ok(finished.collect())
}

impl<S> Outcome<S> {
    /// Of no clip yet but the broken ones.
    fn begun<C>(dataset: &Dataset<C>, observer: &dyn Observer) -> Self {
        let failed = |broken: &Broken| {
            observer.clip_failed(&broken.name, &broken.error);
            Failure::of(broken)
        };
        let failures = dataset.broken.iter().map(failed).collect();
        Self { records: Vec::new(), failures, resumed: 0 }
    }

    /// Takes in what became of a clip; that it cannot be done is a failure among others.
    fn take<C: Clip>(
        &mut self,
        clip: &C,
        run: &Run<'_>,
        result: Result<(Record<S>, bool)>,
        headline: impl Fn(&Self, &Setup<'_>) -> f64,
    ) -> Result<()> {
        let observer = run.observer;
        match result {
            Ok((record, resumed)) => {
                self.records.push(record);
                self.resumed += usize::from(resumed);
                let score = headline(self, &run.setup);
                match resumed {
                    true => observer.clip_resumed(clip.name(), clip.frame_count()),
                    false => {
                        observer.clip_finished(clip.name(), Some(score).filter(|s| !s.is_nan()))
                    }
                }
            }
            Err(error) if error.is_of_storing() => return Err(error),
            // it is neither done nor wrong
            Err(Error::Stopped) => {}
            Err(error) => {
                observer.clip_failed(clip.name(), &error);
                let problem = error.explained();
                self.failures.push(Failure { clip: clip.name().to_owned(), problem });
            }
        }
        Ok(())
    }

    /// With the clips in the dataset's order, whichever was done first.
    fn in_order_of<C: Clip>(mut self, dataset: &Dataset<C>) -> Self {
        let names = dataset.clips.iter().enumerate().map(|(place, clip)| (clip.name(), place));
        let places: HashMap<&str, usize> = names.collect();
        self.records.sort_by_key(|record| places.get(&*record.clip));
        self.failures.sort_by_key(|failure| places.get(&*failure.clip));
        self
    }
}

/// The record of one clip: an earlier run's where there is a good one.
fn evaluate<C: Clip, S: Serialize + DeserializeOwned>(
    clip: &C,
    run: &Run<'_>,
    one: impl Fn(&C, &Run<'_>, &Staging) -> Result<Done<S>>,
) -> Result<(Record<S>, bool)> {
    let Run { setup, folder, observer } = run;
    let stored = folder.record::<Record<S>>(clip.name());
    // what is done already is of the results, however early they were asked for
    if stored.is_none() && observer.stops() {
        return Err(Error::Stopped);
    }
    let (labels, content) = (clip.label_line()?, clip.content_hash()?);
    let of_this = |record: &Record<S>| {
        record.labels == labels
            && record.frames == clip.frame_count()
            && (record.content.is_empty() || record.content == content)
    };
    // whoever has removed the folder did not want it; a file of it that is gone is a loss
    let predictions = folder.predictions().join(clip.name());
    let is_whole = || {
        !predictions.is_dir()
            || clip.predicted().iter().all(|name| predictions.join(name).is_file())
    };
    let enough = |record: &Record<S>| {
        (record.scored || setup.predict_only)
            && (record.soft_labels || !setup.save_soft_labels)
            && is_whole()
    };
    match stored {
        // what another clip of this name has left must not be taken for this one's
        Some(record) if !of_this(&record) => folder.forget(clip.name())?,
        Some(record) if enough(&record) => return Ok((record, true)),
        _ => {}
    }
    if observer.stops() {
        return Err(Error::Stopped);
    }
    observer.clip_started(clip.name(), clip.frame_count());
    let staging = folder.stage(clip.name())?;
    let done = one(clip, run, &staging)?;
    let record = Record::new(clip, (labels, content), setup, done);
    folder.commit(clip.name(), &staging, &record)?;
    Ok((record, false))
}

/// Scores every clip by itself, in parallel, for predictions that lie in a folder; `one` is told
/// the clip's place in the list.
fn score_all<C: Clip, S: Send>(
    dataset: &Dataset<C>,
    one: impl Fn(usize, &C) -> Result<Done<S>> + Sync,
) -> Outcome<S> {
    let score = |(index, clip): (usize, &C)| -> Result<Record<S>> {
        let start = Instant::now();
        let mut done = one(index, clip)?;
        done.stages.score = start.elapsed().as_secs_f64();
        Ok(Record {
            clip: clip.name().to_owned(),
            frames: done.frames,
            labels: clip.label_line()?,
            content: String::new(),
            soft_labels: false,
            scored: true,
            scores: done.scores,
            notes: done.notes,
            stages: done.stages,
        })
    };
    let scored: Vec<Result<Record<S>>> = dataset.clips.par_iter().enumerate().map(score).collect();
    let failures = dataset.broken.iter().map(Failure::of).collect();
    let mut outcome = Outcome { records: Vec::new(), failures, resumed: 0 };
    for (clip, result) in dataset.clips.iter().zip(scored) {
        match result {
            Ok(record) => outcome.records.push(record),
            Err(error) => {
                let problem = error.explained();
                outcome.failures.push(Failure { clip: clip.name().to_owned(), problem });
            }
        }
    }
    outcome
}

/// The frames of a clip as files.
fn images(clip: &LabelClip) -> Vec<PathBuf> {
    clip.frames.iter().filter_map(|frame| frame.image.clone()).collect()
}
