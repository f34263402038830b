//! What makes a run, for all that take part in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;

use super::config::Config;
use super::record::SessionRecord;
use super::samples::Samples;
use super::start::Start;
use crate::device::{self, Precision};

/// A training run: what, on what, where to.
#[derive(Debug)]
pub struct Run<'a> {
    /// What makes the run what it is.
    pub config: &'a Config,
    /// What it learns from.
    pub samples: Arc<Samples>,
    /// Where everything is written: `config.toml`, `log.jsonl`, `checkpoint-*.safetensors`,
    /// `encoder.safetensors`, `unreadable.txt`, TensorBoard's `events.out.tfevents.*`.
    pub folder: &'a Path,
    /// What the network begins with where the folder holds no checkpoint; `None`: with the seed.
    pub start: Option<Start>,
    /// Where it computes.
    pub device: &'a Device,
    /// The number type of the passes; the device was opened for it.
    pub dtype: Precision,
    /// Threads that decode and crop.
    pub workers: usize,
    /// Epochs between checkpoints; the last one ends with a checkpoint in any case. At least 1.
    pub save_every: u64,
    /// Steps between checkpoints within an epoch; 0: only at its end.
    pub checkpoint_every: u64,
    /// The newest checkpoints to keep.
    pub keep_last: usize,
    /// Steps whose multiples are kept whatever their age; 0: none.
    pub keep_every: u64,
    /// The command that runs it, for the log.
    pub command: &'a str,
}

impl Run<'_> {
    /// Where the encoder goes: with each checkpoint, as it is then.
    pub fn encoder(&self) -> PathBuf {
        self.folder.join("encoder.safetensors")
    }

    /// What the log says of who makes the steps after these.
    pub(super) fn session(&self, steps: u64) -> SessionRecord {
        SessionRecord {
            steps,
            command: self.command.to_owned(),
            version: env!("CARGO_PKG_VERSION").into(),
            git_commit: env!("GIT_COMMIT").into(),
            device: device::name(self.device),
            dtype: self.dtype.name().into(),
            threads: rayon::current_num_threads(),
            workers: self.workers,
        }
    }
}
