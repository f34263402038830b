//! `propagate davis|vip|jhmdb`.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use cropmae::data::Need;
use cropmae::device::peak_memory;
use cropmae::eval::{self, RunFolder, Setup};
use cropmae::model::source;
use cropmae::propagation::Engine;
use cropmae::protocol::Benchmark;
use cropmae::report::{self, RunRecord, Summary};
use serde_json::{Value, json};

use crate::args::{EvaluateArgs, OutputArgs};
use crate::clips::Clips;
use crate::done::Done;
use crate::progress::Bars;
use crate::show::Notes;
use crate::{Outcome, common, plan, show};

pub(crate) fn run(benchmark: Benchmark, args: &EvaluateArgs) -> Result<Outcome> {
    let start = Instant::now();
    let say = Notes::new(args.output.quiet);
    let (used, protocol) = plan::protocol(benchmark, &args.propagation)?;
    let device = plan::open_device(&args.run)?;
    let batch = plan::batch(&args.run, &device)?;
    let clips = Clips::open(benchmark, &args.data, Need::Frames, &say)?;
    let source =
        plan::source(&args.model, args.data.data.as_deref().is_some_and(common::is_sample))?;
    let choices = plan::choices(&args.model);
    let loaded = source::load(&source, &choices, &device, args.run.dtype.dtype())?;
    loaded.notes.iter().for_each(|note| say.line(note));
    let weights = plan::weights_record(&source, &loaded, &args.model);
    let mut provenance = plan::provenance(&device, Some(args.run.dtype.name()));
    let identity =
        plan::identity(&protocol, &weights, &provenance, &plan::data(&clips, &args.data));
    let out = plan::out(&args.output, &protocol, &identity);
    let engine = Engine::of(&device);
    if args.output.dry_run {
        let lines = plan::describe(&clips, &used, &loaded, engine, &out)?;
        show::text(&(lines.join("\n") + "\n"))?;
        return Ok(Outcome::Done);
    }
    let folder = RunFolder::open(&out, &identity)?;
    let setup = Setup {
        protocol: &used,
        encoder: &loaded.encoder,
        engine,
        batch,
        cache: None,
        save_soft_labels: args.output.save_soft_labels,
        predict_only: args.output.predict_only,
    };
    let done = evaluate(benchmark, &clips, &setup, &folder, args.output.quiet)?;
    provenance.seconds = done.stages;
    provenance.wall_seconds = start.elapsed().as_secs_f64();
    provenance.resumed = done.resumed;
    provenance.peak_memory_bytes = peak_memory();
    let record = RunRecord {
        protocol,
        weights: Some(weights),
        dataset: clips.record(done.clips, done.frames),
        provenance,
        notes: done.notes,
        failures: done.failures,
    };
    finish(&args.output, &out, &clips, done.summary, record, &say)
}

fn evaluate(
    benchmark: Benchmark,
    clips: &Clips,
    setup: &Setup<'_>,
    folder: &RunFolder,
    quiet: bool,
) -> Result<Done> {
    let bars = Bars::new(benchmark, clips, quiet);
    let done = match (benchmark, clips) {
        (Benchmark::Davis, Clips::Masks(dataset)) => {
            let outcome = eval::davis::evaluate(dataset, setup, folder, &bars)?;
            Done::new(&outcome, |outcome| Ok(report::davis::summary(outcome)))
        }
        (_, Clips::Masks(dataset)) => {
            let outcome = eval::vip::evaluate(dataset, setup, folder, &bars)?;
            let exclude = setup.protocol.exclude_first_frame;
            Done::new(&outcome, |outcome| Ok(report::vip::summary(outcome, exclude)?))
        }
        (_, Clips::Poses(dataset)) => {
            let outcome = eval::jhmdb::evaluate(dataset, setup, folder, &bars)?;
            Done::new(&outcome, |outcome| Ok(report::jhmdb::summary(outcome)))
        }
    };
    bars.finish();
    done
}

/// Stores and shows what came out.
fn finish(
    args: &OutputArgs,
    out: &Path,
    clips: &Clips,
    summary: Option<Summary>,
    mut record: RunRecord,
    say: &Notes,
) -> Result<Outcome> {
    if args.quiet {
        record
            .failures
            .iter()
            .for_each(|(clip, why)| show::note(&format!("{clip}: failed: {why}")));
    }
    anyhow::ensure!(record.dataset.done > 0, "none of the {} clips could be done", clips.asked());
    let stored = stored(out);
    if let Some(provenance) = unchanged(stored.as_ref(), &record) {
        record.provenance = provenance;
    }
    match summary {
        Some(summary) => {
            // A smoke run into the folder of a whole one does not replace its results.
            let keep = clips.narrowed() && stored.is_some_and(|json| json["partial"] == false);
            let json =
                if keep { record.json(&summary) } else { report::write(out, &summary, &record)? };
            show::results(&summary, &record, &json, args.json, args.per_item)?;
            say.line(&match keep {
                true => format!("{} keeps the results of all clips", out.display()),
                false => format!("results in {}", out.display()),
            });
        }
        None => {
            if args.json {
                let json = record.json(&Summary::default());
                show::text(&(serde_json::to_string_pretty(&json)? + "\n"))?;
            }
            say.line(match args.predict_only {
                true => "nothing was scored, as asked for",
                false => "nothing was scored: no frame but the given first ones has a truth",
            });
            say.line(&format!("predictions in {}", out.join("predictions").display()));
        }
    }
    Ok(if record.failures.is_empty() { Outcome::Done } else { Outcome::Partial })
}

/// The results of an earlier run in this folder.
fn stored(out: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(out.join("results.json")).ok()?).ok()
}

/// The stored provenance, where this run has done nothing but find the same again.
fn unchanged(stored: Option<&Value>, record: &RunRecord) -> Option<report::record::Provenance> {
    let stored = stored?;
    let idle = record.provenance.resumed == record.dataset.done && record.failures.is_empty();
    let same = stored["dataset"] == json!(record.dataset);
    (idle && same).then(|| serde_json::from_value(stored["provenance"].clone()).ok()).flatten()
}
