//! `--eval`: benchmarks along a run.

use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::Device;
use cropmae::autoencoder::Autoencoder;
use cropmae::pretrain::Config;
use cropmae::pretrain::evaluation::Evaluation;
use cropmae::protocol::Benchmark;
use cropmae::{Result, sample};

use crate::args::Cli;

/// The benchmarks of a run.
pub(crate) struct Evaluations {
    all: Vec<Evaluation>,
    /// Epochs between them; 0: at the end only.
    every: u64,
    epochs: u64,
    device: Device,
}

impl Evaluations {
    /// Opens the datasets, so that what is wrong with one is said before training begins.
    pub(crate) fn open(cli: &Cli, config: &Config, device: &Device) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for (benchmark, root) in &cli.evaluations {
            let root = root_of(*benchmark, root)?;
            let folder = cli.out.join("evaluation").join(benchmark.name());
            all.push(Evaluation::open(*benchmark, &root, folder)?);
        }
        let (every, epochs) = (cli.eval_every, config.epochs);
        Ok(Self { all, every, epochs, device: device.clone() })
    }

    /// The scores by name, where they are due after so many epochs; `say` is told of clips that
    /// could not be done.
    pub(crate) fn scores(
        &self,
        model: &Autoencoder,
        epochs: u64,
        say: &dyn Fn(&str),
    ) -> Result<Vec<(String, f64)>> {
        let due = epochs == self.epochs || (self.every > 0 && epochs.is_multiple_of(self.every));
        let mut scores = Vec::new();
        for evaluation in self.all.iter().filter(|_| due) {
            let measured = evaluation.measure(model, &self.device)?;
            for failure in &measured.failures {
                say(&format!("{}: left out {failure}", evaluation.name()));
            }
            scores.extend(measured.score.map(|score| (evaluation.name().to_owned(), score)));
        }
        Ok(scores)
    }
}

/// The dataset's folder; rendered now where it is `sample`, in the place where `propagate` does.
fn root_of(benchmark: Benchmark, root: &Path) -> anyhow::Result<PathBuf> {
    if root != Path::new("sample") {
        return Ok(root.to_path_buf());
    }
    let place = PathBuf::from("runs/sample").join(benchmark.name());
    let settings = sample::default_settings(benchmark);
    sample::render(&place, benchmark, &settings).context("cannot render the sample clips")?;
    Ok(place)
}
