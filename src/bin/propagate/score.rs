//! `propagate score davis|vip|jhmdb`: predictions of any program, no frames, no weights.

use std::time::Instant;

use anyhow::Result;
use candle_core::Device;
use cropmae::data::Need;
use cropmae::eval;
use cropmae::protocol::{Benchmark, Preset};
use cropmae::report::record::ProtocolRecord;
use cropmae::report::{self, RunRecord, Summary};

use crate::args::ScoreArgs;
use crate::plan::{self, Clips};
use crate::{Outcome, show};

pub(crate) fn run(args: &ScoreArgs) -> Result<Outcome> {
    let start = Instant::now();
    let benchmark = Benchmark::from(args.benchmark);
    if !args.predictions.is_dir() {
        anyhow::bail!(
            "{}: no such folder; pass the folder that holds a folder for each clip",
            args.predictions.display()
        );
    }
    let clips = Clips::open(benchmark, &args.data, Need::LabelsOnly)?;
    let preset = Preset::Cropmae.protocol(benchmark)?;
    let mut used = preset.clone();
    used.score_size = args.score_size;
    used.exclude_first_frame = args.exclude_first_frame;
    let (summary, outcome) = match (benchmark, &clips) {
        (Benchmark::Davis, Clips::Masks(dataset)) => {
            let outcome = eval::davis::score(dataset, &args.predictions, &used);
            (report::davis::summary(&outcome), Facts::of(&outcome))
        }
        (_, Clips::Masks(dataset)) => {
            let outcome = eval::vip::score(dataset, &args.predictions, &used);
            let summary = report::vip::summary(&outcome, used.exclude_first_frame)?;
            (summary, Facts::of(&outcome))
        }
        (_, Clips::Poses(dataset)) => {
            let grid = (args.grid.height, args.grid.width);
            let outcome = eval::jhmdb::score(dataset, &args.predictions, grid);
            (report::jhmdb::summary(&outcome), Facts::of(&outcome))
        }
    };
    let mut provenance = plan::provenance(&Device::Cpu, "scores only");
    provenance.seconds = outcome.stages;
    provenance.wall_seconds = start.elapsed().as_secs_f64();
    let record = RunRecord {
        protocol: ProtocolRecord {
            preset: "score".into(),
            version: 1,
            departures: used.departures(&preset),
            used,
        },
        weights: None,
        dataset: clips.record(outcome.clips, outcome.frames)?,
        provenance,
        notes: outcome.notes,
        failures: outcome.failures,
    };
    finish(args, &summary, &record)
}

/// What is asked of an outcome, whatever its scores.
struct Facts {
    clips: usize,
    frames: usize,
    stages: eval::Stages,
    notes: Vec<(String, String)>,
    failures: Vec<(String, String)>,
}

impl Facts {
    fn of<S>(outcome: &eval::Outcome<S>) -> Self {
        Self {
            clips: outcome.records.len(),
            frames: outcome.frames(),
            stages: outcome.stages(),
            notes: show::notes(outcome),
            failures: show::failures(outcome),
        }
    }
}

fn finish(args: &ScoreArgs, summary: &Summary, record: &RunRecord) -> Result<Outcome> {
    for (clip, error) in &record.failures {
        eprintln!("not scored: {clip}: {error}");
    }
    let missing = record.failures.len();
    if record.dataset.done == 0 {
        anyhow::bail!("none of the {missing} clips could be scored");
    }
    if args.strict && missing > 0 {
        anyhow::bail!("{missing} of {} clips could not be scored", record.dataset.clips);
    }
    let json = match &args.out {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            report::write(folder, summary, record)?
        }
        None => record.json(summary),
    };
    show::results(summary, record, &json, args.json, args.per_item)?;
    Ok(if missing > 0 { Outcome::Partial } else { Outcome::Done })
}
