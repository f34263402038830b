//! The three evaluations: the one place where data, encoder, propagation and metrics meet.
//!
//! Each benchmark's page ([`davis`], [`vip`], [`jhmdb`]) says how one clip is propagated and scored;
//! here is what they share: the setup, and the loop over clips that stores each one whole, takes up
//! where an interrupted run stopped, and lets one broken clip not lose the others. What comes out
//! are records for [`crate::report`].

pub mod davis;
pub mod folder;
pub mod jhmdb;
mod masks;
pub mod poses;
mod soft;
pub mod stream;
pub mod vip;

use std::path::PathBuf;

use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::{Broken, Dataset, LabelClip, clip_label_hash};
use crate::error::{Error, Result};
use crate::model::Encoder;
use crate::progress::Observer;
use crate::propagation::Engine;
use crate::protocol::Protocol;
pub use folder::{RunFolder, Staging, flat_name};

/// Everything a clip's evaluation needs beside the clip.
pub struct Setup<'a> {
    /// What decides the numbers.
    pub protocol: &'a Protocol,
    /// What makes features.
    pub encoder: &'a Encoder,
    /// How the affinity is computed.
    pub engine: Engine,
    /// Frames encoded at once.
    pub batch: usize,
    /// Whether soft labels are stored.
    pub save_soft_labels: bool,
    /// Whether predictions are left unscored.
    pub predict_only: bool,
}

/// Seconds spent in each stage. Decoding overlaps the others, in a thread of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    /// Reading, decoding, resizing and normalising frames.
    pub decode: f64,
    /// The encoder.
    pub encode: f64,
    /// Affinity and label propagation.
    pub propagate: f64,
    /// Upsampling and argmax, or the joints' coordinates.
    pub read_out: f64,
    /// Writing predictions.
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
    /// Frames propagated.
    pub frames: usize,
    /// Hash of the clip's given labels: a clip whose labels changed is done again.
    pub labels_sha256: String,
    /// Whether soft labels were stored with it.
    pub soft_labels: bool,
    /// Its scores; `None` where it was not to be scored or has no truth beyond its first frame.
    pub scores: Option<S>,
    /// What the user should know about it.
    pub notes: Vec<String>,
    /// Seconds spent.
    pub stages: Stages,
}

/// A clip that could not be done.
#[derive(Debug)]
pub struct Failure {
    /// The clip.
    pub clip: String,
    /// Why.
    pub error: Error,
}

impl Failure {
    fn of(broken: &Broken) -> Self {
        Self { clip: broken.name.clone(), error: broken.error() }
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

/// What a benchmark tells the loop about a clip.
struct Task<'a, C> {
    clip: &'a C,
    name: &'a str,
    frames: usize,
    labels_sha256: String,
}

/// Evaluates clip after clip into the folder, skipping those that it already holds.
///
/// # Errors
/// The folder cannot be written to (no space left, for example): going on would lose every clip.
fn run<C, S: Serialize + DeserializeOwned>(
    tasks: Vec<Task<'_, C>>,
    broken: &[Broken],
    setup: &Setup<'_>,
    folder: &RunFolder,
    observer: &dyn Observer,
    one: impl Fn(&Task<'_, C>, &Staging) -> Result<Record<S>>,
    headline: impl Fn(&Outcome<S>) -> Option<f64>,
) -> Result<Outcome<S>> {
    let mut outcome = Outcome { records: Vec::new(), failures: Vec::new(), resumed: 0 };
    for failure in broken.iter().map(Failure::of) {
        observer.clip_failed(&failure.clip, &failure.error);
        outcome.failures.push(failure);
    }
    for task in tasks {
        let stored = folder.record::<Record<S>>(task.name);
        if let Some(record) = stored.filter(|record| still_good(record, &task, setup)) {
            observer.clip_resumed(task.name, record.frames);
            outcome.records.push(record);
            outcome.resumed += 1;
            continue;
        }
        observer.clip_started(task.name, task.frames);
        let staging = folder.stage(task.name)?;
        match one(&task, &staging) {
            Ok(record) => {
                folder.commit(task.name, &staging, &record)?;
                outcome.records.push(record);
                observer.clip_finished(task.name, headline(&outcome));
            }
            Err(error @ Error::Io { action: "write" | "create", .. }) => return Err(error),
            Err(error) => {
                observer.clip_failed(task.name, &error);
                outcome.failures.push(Failure { clip: task.name.to_owned(), error });
            }
        }
    }
    folder.clean()?;
    Ok(outcome)
}

/// Scores every clip by itself, in parallel, for predictions that lie in a folder.
fn score_all<C: Sync, S: Send>(
    clips: &[C],
    broken: &[Broken],
    name: impl Fn(&C) -> &str,
    one: impl Fn(&C) -> Result<Record<S>> + Sync,
) -> Outcome<S> {
    let scored: Vec<Result<Record<S>>> = clips.par_iter().map(one).collect();
    let mut outcome = Outcome { records: Vec::new(), failures: Vec::new(), resumed: 0 };
    outcome.failures.extend(broken.iter().map(Failure::of));
    for (clip, result) in clips.iter().zip(scored) {
        match result {
            Ok(record) => outcome.records.push(record),
            Err(error) => outcome.failures.push(Failure { clip: name(clip).to_owned(), error }),
        }
    }
    outcome
}

fn still_good<C, S>(record: &Record<S>, task: &Task<'_, C>, setup: &Setup<'_>) -> bool {
    record.labels_sha256 == task.labels_sha256
        && record.frames == task.frames
        && (record.scores.is_some() || setup.predict_only || !record.notes.is_empty())
        && (record.soft_labels || !setup.save_soft_labels)
}

/// A dataset's clips as tasks.
///
/// # Errors
/// The labels of a clip cannot be read.
fn tasks(dataset: &Dataset<LabelClip>) -> Result<Vec<Task<'_, LabelClip>>> {
    let task = |clip| -> Result<Task<'_, LabelClip>> {
        let labels_sha256 = clip_label_hash(clip)?;
        Ok(Task { clip, name: &clip.name, frames: clip.frames.len(), labels_sha256 })
    };
    dataset.clips.iter().map(task).collect()
}

/// The frames of a clip as files.
fn images(clip: &LabelClip) -> Vec<PathBuf> {
    clip.frames.iter().filter_map(|frame| frame.image.clone()).collect()
}
