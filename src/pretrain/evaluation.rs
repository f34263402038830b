//! Benchmarks during a run: labels are propagated with the encoder as it is, and scored as
//! `propagate` does.
//!
//! An [`Evaluation`] opens a dataset once, before training begins, so that a wrong path is reported
//! at once and not after hours. [`Evaluation::measure`] propagates with the published protocol
//! (preset `cropmae`), stores the predictions in a folder, and returns the headline score in per
//! cent. How a clip is propagated and scored: [`crate::eval`].

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use serde_json::json;

use crate::autoencoder::Autoencoder;
use crate::data::{Need, Opened, Split};
use crate::error::{Error, Result};
use crate::eval::{self, Batch, Failure, Outcome, RunFolder, Setup};
use crate::model::vit::{Layer, Vit};
use crate::model::{Checkpoint, Encoder};
use crate::progress::Observer;
use crate::propagation::Engine;
use crate::protocol::{Benchmark, Preset, Protocol};
use crate::report::{self, Summary};

/// Frames encoded at once on a GPU.
const GPU_BATCH: usize = 8;

/// A benchmark to run along a training run.
#[derive(Debug)]
pub struct Evaluation {
    protocol: Protocol,
    clips: Opened,
    folder: PathBuf,
}

/// What a benchmark said of an encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The headline score in per cent; `None` where nothing could be scored.
    pub score: Option<f64>,
    /// Clips that could not be done, and why.
    pub failures: Vec<String>,
    /// What else there is to be said of the measurement, in sentences.
    pub notes: Vec<String>,
}

impl Evaluation {
    /// Opens a benchmark's dataset at `root`; predictions will go to `folder`. Clips that cannot be
    /// used are left out; [`Evaluation::broken`] names them.
    ///
    /// # Errors
    /// The dataset is not there, none of its clips can be used, or none can be scored.
    pub fn open(benchmark: Benchmark, root: &Path, folder: PathBuf) -> Result<Self> {
        let clips = Opened::open(benchmark, root, &Split::Val, Need::Frames)?;
        if let Opened::Davis(set) = &clips
            && !set.clips.iter().any(eval::davis::has_truth)
        {
            let problem = "no frame but the first of each clip has an annotation to be scored by";
            return Err(Error::data(root, problem, "add annotations, or leave the benchmark out"));
        }
        Ok(Self { protocol: Preset::Cropmae.protocol(benchmark)?, clips, folder })
    }

    /// The clips that cannot be used, each with the reason: [`Measured::failures`] will begin with
    /// them.
    pub fn broken(&self) -> Vec<String> {
        let broken = self.clips.overview().broken;
        broken.iter().map(|it| format!("{}: {}", it.name, it.error.explained())).collect()
    }

    /// What the score is called in logs: `davis J&F`, `vip mIoU`, `jhmdb PCK@0.1`.
    pub fn name(&self) -> &'static str {
        match self.clips.benchmark() {
            Benchmark::Davis => "davis J&F",
            Benchmark::Vip => "vip mIoU",
            Benchmark::Jhmdb => "jhmdb PCK@0.1",
        }
    }

    /// Propagates with a network's encoder, in f32 on `device`; the predictions take the place of
    /// those of the last time.
    ///
    /// # Errors
    /// The predictions cannot be written, the device runs out of memory, or, [`Error::Stopped`],
    /// the observer asked to stop.
    pub fn measure(
        &self,
        model: &Autoencoder,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Measured> {
        let measured = self.scored(model, device, observer)?;
        // what is there of some clips only is no score
        match observer.stops() {
            true => Err(Error::Stopped),
            false => Ok(measured),
        }
    }

    fn scored(
        &self,
        model: &Autoencoder,
        device: &Device,
        observer: &dyn Observer,
    ) -> Result<Measured> {
        let vit = vit(model, device)?;
        let mut notes: Vec<String> = vit.doubt().map(Into::into).into_iter().collect();
        let encoder = Encoder::Vit(Box::new(vit));
        let batch = Batch::fixed(if device.is_cpu() { 1 } else { GPU_BATCH });
        let (engine, note) = Engine::of(device).tried(&self.protocol.propagation, device)?;
        notes.extend(note);
        let setup = Setup::new(&self.protocol, &encoder, engine, &batch);
        let folder = self.fresh_folder()?;
        let exclude = self.protocol.exclude_first_frame;
        let measured = match &self.clips {
            Opened::Davis(set) => {
                let outcome = eval::davis::evaluate(set, &setup, &folder, observer)?;
                measured(&outcome, &report::davis::summary(&outcome), "J&F-Mean")
            }
            Opened::Vip(set) => {
                let outcome = eval::vip::evaluate(set, &setup, &folder, observer)?;
                let summary = report::vip::summary(&outcome, exclude)
                    .map_err(|error| Error::failed("vip", error.to_string()))?;
                measured(&outcome, &summary, "mIoU")
            }
            Opened::Jhmdb(set) => {
                let outcome = eval::jhmdb::evaluate(set, &setup, &folder, observer)?;
                measured(&outcome, &report::jhmdb::summary(&outcome), "PCK@0.1")
            }
        };
        Ok(Measured { notes, ..measured })
    }

    /// The folder of predictions, emptied of those of the last time.
    fn fresh_folder(&self) -> Result<RunFolder> {
        // only what a run of ours has left is removed; anything else is refused by name below
        if self.folder.join("run.json").exists() {
            std::fs::remove_dir_all(&self.folder).map_err(Error::removing(&self.folder))?;
        }
        let identity = json!({ "benchmark": self.clips.benchmark(), "by": "pretrain" });
        RunFolder::open(&self.folder, &identity)
    }
}

fn measured<S>(outcome: &Outcome<S>, summary: &Summary, metric: &str) -> Measured {
    let score = summary.metrics.get(metric).and_then(serde_json::Value::as_f64);
    let failure = |Failure { clip, problem }: &Failure| format!("{clip}: {problem}");
    Measured {
        score: score.map(|score| 100.0 * score),
        failures: outcome.failures.iter().map(failure).collect(),
        notes: Vec::new(),
    }
}

/// The encoder inside a network.
fn vit(model: &Autoencoder, device: &Device) -> Result<Vit> {
    let config = model.config.encoder.clone();
    let checkpoint = Checkpoint::in_memory(config, model.parameters.snapshot()?);
    Vit::new(&checkpoint, Layer::Last, device, DType::F32)
}
