//! What a run learns from: pictures or clips, and the order they come in.
//!
//! [`Samples::open`] lists folders ([`folder`]), list files ([`list`]), tar shards ([`shards`]) or
//! clips ([`video`]) without decoding anything; [`Samples::epoch`] gives an epoch's [`Job`]s from any
//! place on, and [`Samples::read`] decodes one. The order is a function of the run's seed and the
//! epoch: a plain shuffle of all samples, or for shards one that reads every shard from front to back
//! (see [`shards`]). Next stop of a job: [`super::loader`], whose workers read it and draw its views.

pub mod folder;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::random::{Purpose, Stream};
use crate::error::{Error, Result};
use crate::image::{Rgb, decode};

/// A dataset to learn from, listed.
#[derive(Debug)]
pub struct Samples {
    source: Source,
    fingerprint: String,
}

#[derive(Debug)]
enum Source {
    /// Pictures, each a file.
    Files { root: PathBuf, names: Vec<PathBuf> },
}

/// One sample's turn.
#[derive(Debug)]
pub struct Job {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The place in the epoch's order, from 0.
    pub position: usize,
    /// The sample's number in the dataset, from 0: its views are drawn for that.
    pub number: usize,
    /// The sample's name, for messages.
    pub name: String,
    /// Where its pixels are.
    pub payload: Payload,
}

/// Where the pixels of a sample are.
#[derive(Debug)]
pub enum Payload {
    /// In a file.
    File(PathBuf),
}

/// What views are drawn from.
#[derive(Debug)]
pub enum Pixels {
    /// A picture, or one frame of a clip.
    One(Rgb),
    /// Two frames of a clip, the earlier one first.
    Two(Rgb, Rgb),
}

impl Samples {
    /// Lists the samples at `path`.
    ///
    /// # Errors
    /// Nothing is there, or no samples are.
    pub fn open(path: &Path) -> Result<Self> {
        let files = folder::list(path)?;
        let fingerprint = fingerprint(path, &files)?;
        Ok(Self { source: Source::Files { root: path.to_path_buf(), names: files }, fingerprint })
    }

    /// How many samples an epoch has.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Files { names, .. } => names.len(),
        }
    }

    /// Whether there are none; [`Samples::open`] refuses that.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SHA-256, in hexadecimal, of the samples' names and the sizes of their files: a run is only
    /// resumed on the data that it was started on.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The jobs of `epoch` from place `start` on. What comes before is not read.
    pub fn epoch(&self, seed: u64, epoch: u64, start: usize) -> Epoch<'_> {
        let order = Stream::new(seed, Purpose::Order, epoch, 0).order(self.len());
        Epoch { samples: self, epoch, order, position: start }
    }

    /// Decodes a job's pixels.
    ///
    /// # Errors
    /// The sample cannot be read or decoded.
    pub fn read(&self, job: &Job, _seed: u64) -> Result<Pixels> {
        match &job.payload {
            Payload::File(path) => Ok(Pixels::One(decode::read(path)?)),
        }
    }
}

/// The jobs of an epoch, in order.
#[derive(Debug)]
pub struct Epoch<'a> {
    samples: &'a Samples,
    epoch: u64,
    order: Vec<usize>,
    position: usize,
}

impl Iterator for Epoch<'_> {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        let position = self.position;
        let number = *self.order.get(position)?;
        self.position += 1;
        let Source::Files { root, names } = &self.samples.source;
        let name = names.get(number)?;
        Some(Job {
            epoch: self.epoch,
            position,
            number,
            name: name.display().to_string(),
            payload: Payload::File(root.join(name)),
        })
    }
}

/// The hash of names, relative to `root`, and sizes, a line each.
fn fingerprint(root: &Path, names: &[PathBuf]) -> Result<String> {
    let mut lines = Vec::with_capacity(names.len());
    for name in names {
        let path = root.join(name);
        let size = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
        lines.push((name.as_os_str().as_encoded_bytes(), size));
    }
    lines.sort_unstable();
    let mut hasher = Sha256::new();
    for (name, size) in lines {
        hasher.update(name);
        hasher.update(format!("\t{size}\n"));
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
