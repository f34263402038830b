//! `--eval`: benchmarks during a run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Device;
use cropmae::Result;
use cropmae::autoencoder::Autoencoder;
use cropmae::pretrain::Config;
use cropmae::pretrain::evaluation::Evaluation;
use cropmae::protocol::Benchmark;

use crate::args::{Cli, EvaluationArg};
use crate::common::usage::usage;
use crate::common::{self, interrupt::Interruptible, streams::note};
use crate::due::Due;

/// The benchmarks of a run.
pub(crate) struct Evaluations {
    all: Vec<Evaluation>,
    due: Due,
    device: Device,
    /// Lines about clips that cannot be done, and other notes: each is said once.
    said: RefCell<BTreeSet<String>>,
}

impl Evaluations {
    /// Opens the datasets, so that what is wrong with one is said before training begins.
    pub(crate) fn open(cli: &Cli, config: &Config, device: &Device) -> anyhow::Result<Self> {
        refuse_twice(&cli.evaluations)?;
        let mut all = Vec::new();
        for asked in &cli.evaluations {
            // a dry run renders nothing
            let skipped = cli.dry_run && common::is_sample(&asked.root);
            for benchmark in asked.benchmarks.iter().filter(|_| !skipped) {
                let root = root_of(*benchmark, &asked.root, cli.quiet)?;
                let folder = cli.out.join("evaluation").join(benchmark.name());
                all.push(Evaluation::open(*benchmark, &root, folder)?);
            }
        }
        let due = Due { every: cli.eval_every, first: false, last: config.epochs };
        let opened = Self { all, due, device: device.clone(), said: RefCell::default() };
        for evaluation in &opened.all {
            opened.warn_of_clips(evaluation, &evaluation.broken(), &note);
        }
        Ok(opened)
    }

    /// The scores by name, where they are due after so many epochs; `warn` is told of clips that
    /// could not be done and were not named before, and of other notes. A signal stops it.
    pub(crate) fn scores(
        &self,
        model: &Autoencoder,
        epochs: u64,
        warn: &dyn Fn(&str),
    ) -> Result<Vec<(String, f64)>> {
        let mut scores = Vec::new();
        for evaluation in self.all.iter().filter(|_| self.due.after(epochs)) {
            let measured = evaluation.measure(model, &self.device, &Interruptible)?;
            self.warn_of_clips(evaluation, &measured.failures, warn);
            measured.notes.iter().for_each(|note| self.once(note, warn));
            scores.extend(measured.score.map(|score| (evaluation.name().to_owned(), score)));
        }
        Ok(scores)
    }

    fn warn_of_clips(&self, evaluation: &Evaluation, failures: &[String], warn: &dyn Fn(&str)) {
        for failure in failures {
            self.once(&format!("{}: left out {failure}", evaluation.name()), warn);
        }
    }

    fn once(&self, line: &str, warn: &dyn Fn(&str)) {
        if self.said.borrow_mut().insert(line.to_owned()) {
            warn(line);
        }
    }
}

/// A benchmark has one score in the log and one folder of predictions, so it is asked for once.
fn refuse_twice(evaluations: &[EvaluationArg]) -> anyhow::Result<()> {
    let mut roots = BTreeMap::new();
    for EvaluationArg { benchmarks, root } in evaluations {
        for benchmark in benchmarks {
            if let Some(earlier) = roots.insert(benchmark.name(), root) {
                anyhow::bail!(usage!(
                    "--eval: {} is given twice, with {} and with {}; give it once",
                    benchmark.name(),
                    earlier.display(),
                    root.display(),
                ));
            }
        }
    }
    Ok(())
}

/// The dataset's folder; where it is `sample`, the one that `propagate` renders too.
fn root_of(benchmark: Benchmark, root: &Path, quiet: bool) -> anyhow::Result<PathBuf> {
    if !common::is_sample(root) {
        return Ok(root.to_path_buf());
    }
    let say = |line: &str| {
        if !quiet {
            note(line);
        }
    };
    common::sample_root(benchmark, &say)
}
