//! `propagate davis|vip|jhmdb`.

use std::time::Instant;

use anyhow::{Context, Result};
use cropmae::data::Need;
use cropmae::device::peak_memory;
use cropmae::eval::{self, RunFolder, Setup};
use cropmae::model::source;
use cropmae::propagation::Engine;
use cropmae::protocol::Benchmark;
use cropmae::report::{self, RunRecord, Summary};

use crate::args::EvaluateArgs;
use crate::plan::{self, Clips};
use crate::progress::Bars;
use crate::{Outcome, show};

pub(crate) fn run(benchmark: Benchmark, args: &EvaluateArgs) -> Result<Outcome> {
    let start = Instant::now();
    let protocol = plan::protocol(benchmark, &args.propagation)?;
    let source = plan::source(&args.model, plan::is_sample(&args.data))?;
    let device = plan::open_device(&args.run)?;
    let clips = Clips::open(benchmark, &args.data, Need::Frames)?;
    let choices = plan::choices(&args.model);
    let loaded = source::load(&source, &choices, &device, args.run.dtype.dtype())?;
    let weights = plan::weights_record(&source, &loaded, &args.model);
    let mut provenance = plan::provenance(&device, args.run.dtype.name());
    let identity = plan::identity(benchmark, &protocol, &weights, &provenance);
    let out = plan::out(benchmark, args, &identity);
    let engine = Engine::of(&device);
    if args.output.dry_run {
        let lines = plan::describe(&clips, &protocol.used, &loaded, engine, &out)?;
        show::text(&(lines.join("\n") + "\n"))?;
        return Ok(Outcome::Done);
    }
    let say = show::Notes::new(args.output.quiet);
    clips.notices().iter().chain(&loaded.notes).for_each(|notice| say.line(notice));
    let folder = RunFolder::open(&out, &identity)?;
    let setup = Setup {
        protocol: &protocol.used,
        encoder: &loaded.encoder,
        engine,
        batch: plan::batch(&args.run, &device)?,
        save_soft_labels: args.output.save_soft_labels,
        predict_only: args.output.predict_only,
    };
    let done = evaluate(benchmark, &clips, &setup, &folder, args)?;
    provenance.seconds = done.stages;
    provenance.wall_seconds = start.elapsed().as_secs_f64();
    provenance.peak_memory_bytes = peak_memory();
    let record = RunRecord {
        protocol,
        weights: Some(weights),
        dataset: clips.record(done.clips, done.frames)?,
        provenance,
        notes: done.notes,
        failures: done.failures,
    };
    finish(args, &folder, done.summary.as_ref(), &record, &say)
}

/// What the three benchmarks have in common when they are done.
struct Done {
    summary: Option<Summary>,
    clips: usize,
    frames: usize,
    stages: eval::Stages,
    notes: Vec<(String, String)>,
    failures: Vec<(String, String)>,
}

impl Done {
    /// `summarize` is asked only where there is something to show.
    fn new<S>(
        outcome: &eval::Outcome<S>,
        summarize: impl FnOnce(&eval::Outcome<S>) -> Result<Summary>,
    ) -> Result<Self> {
        let scored = outcome.scores().next().is_some();
        Ok(Self {
            summary: scored.then(|| summarize(outcome)).transpose()?,
            clips: outcome.records.len(),
            frames: outcome.frames(),
            stages: outcome.stages(),
            notes: show::notes(outcome),
            failures: show::failures(outcome),
        })
    }
}

fn evaluate(
    benchmark: Benchmark,
    clips: &Clips,
    setup: &Setup<'_>,
    folder: &RunFolder,
    args: &EvaluateArgs,
) -> Result<Done> {
    let list = clips.list();
    let bars = Bars::new(benchmark, &list, args.output.quiet);
    let done = match (benchmark, clips) {
        (Benchmark::Davis, Clips::Masks(dataset)) => {
            let outcome = eval::davis::evaluate(dataset, setup, folder, &bars)?;
            Done::new(&outcome, |outcome| Ok(report::davis::summary(outcome)))
        }
        (Benchmark::Vip, Clips::Masks(dataset)) => {
            let outcome = eval::vip::evaluate(dataset, setup, folder, &bars)?;
            let exclude = setup.protocol.exclude_first_frame;
            Done::new(&outcome, |outcome| Ok(report::vip::summary(outcome, exclude)?))
        }
        (_, Clips::Poses(dataset)) => {
            let outcome = eval::jhmdb::evaluate(dataset, setup, folder, &bars)?;
            Done::new(&outcome, |outcome| Ok(report::jhmdb::summary(outcome)))
        }
        (Benchmark::Jhmdb, Clips::Masks(_)) => anyhow::bail!("jhmdb has joints, not masks"),
    };
    bars.finish();
    done
}

fn finish(
    args: &EvaluateArgs,
    folder: &RunFolder,
    summary: Option<&Summary>,
    record: &RunRecord,
    say: &show::Notes,
) -> Result<Outcome> {
    for (clip, error) in &record.failures {
        eprintln!("failed: {clip}: {error}");
    }
    anyhow::ensure!(record.dataset.done > 0, "no clip could be done");
    match summary {
        Some(summary) => {
            let json = report::write(folder.path(), summary, record)
                .context("cannot store the results")?;
            show::results(summary, record, &json, args.output.json, args.output.per_item)?;
        }
        None => {
            say.line("nothing was scored: there are predictions, and no truth to hold beside them")
        }
    }
    say.line(&format!("results in {}", folder.path().display()));
    Ok(if record.failures.is_empty() { Outcome::Done } else { Outcome::Partial })
}
