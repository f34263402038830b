//! `propagate score davis|vip|jhmdb`: scores the predictions of any program, without frames or
//! weights.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::Device;
use cropmae::Error;
use cropmae::data::{Need, Opened};
use cropmae::eval::{self, Outcome};
use cropmae::protocol::{Benchmark, Preset, Protocol, ScoreSize, Size};
use cropmae::report::record::ProtocolRecord;
use cropmae::report::{RunRecord, Summary, scored};
use cropmae::wording::counted;
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::ScoreArgs;
use crate::done::Done;
use crate::show::Notes;
use crate::targets::Inputs;
use crate::{Outcome as Exit, clips, plan, show};

pub(crate) fn run(args: &ScoreArgs) -> Result<Exit> {
    let start = Instant::now();
    let say = Notes::new(args.quiet);
    let benchmark = args.benchmark;
    let protocol = protocol(benchmark, args)?;
    if !args.predictions.is_dir() {
        bail!(
            "{}: no such folder; pass the folder that holds a folder for each clip",
            args.predictions.display()
        );
    }
    if let Some(folder) = &args.out {
        Inputs::default()
            .with_data(benchmark, args.data.data.as_deref(), &args.data.split)
            .spare("--out", folder)?;
        scored::check(folder)?;
    }
    let clips = clips::open(benchmark, &args.data, Need::LabelsOnly, &say)?;
    let (done, records) = score(&clips, args)?;
    let mut provenance = plan::provenance(&[Device::Cpu], None);
    provenance.seconds = done.stages;
    provenance.wall_seconds = start.elapsed().as_secs_f64();
    let record = RunRecord {
        protocol,
        weights: None,
        dataset: clips::record(&clips, done.clips, done.frames),
        provenance,
        notes: done.notes,
        failures: done.failures,
    };
    finish(args, clips.overview().asked(), done.summary, &record, &records)
}

/// Clips with their records.
type Records = Vec<(String, Value)>;

fn score(clips: &Opened, args: &ScoreArgs) -> Result<(Done, Records)> {
    let used = Protocol {
        score_size: args.score_size.unwrap_or(ScoreSize::Native),
        exclude_first_frame: args.exclude_first_frame,
        ..Preset::Cropmae.protocol(clips.benchmark())?
    };
    match clips {
        Opened::Davis(dataset) => {
            let outcome = eval::davis::score(dataset, &args.predictions, &used);
            Ok((Done::davis(&outcome)?, records(&outcome)?))
        }
        Opened::Vip(dataset) => {
            let outcome = eval::vip::score(dataset, &args.predictions, &used);
            Ok((Done::vip(&outcome, &used)?, records(&outcome)?))
        }
        Opened::Jhmdb(dataset) => {
            let grid = args.grid.unwrap_or(GRID);
            let outcome = eval::jhmdb::score(dataset, &args.predictions, (grid.height, grid.width));
            Ok((Done::jhmdb(&outcome)?, records(&outcome)?))
        }
    }
}

fn records<S: Serialize>(outcome: &Outcome<S>) -> Result<Records> {
    let each = outcome.records.iter();
    each.map(|record| Ok((record.clip.clone(), serde_json::to_value(record)?))).collect()
}

/// What JHMDB arrays count in, where `--grid` does not say: frames of 320x320, patches of 16.
const GRID: Size = Size { height: 20, width: 20 };

/// What decides the scores once the predictions are there.
fn protocol(benchmark: Benchmark, args: &ScoreArgs) -> Result<ProtocolRecord> {
    let only = |name: &str, typed: bool, what: &str| match typed {
        true => Err(Error::setting(name, format!("is for {what}; leave it out for {benchmark}"))),
        false => Ok(()),
    };
    let masks = benchmark.has_masks();
    only("--score-size", args.score_size.is_some() && !masks, "masks")?;
    only("--grid", args.grid.is_some() && masks, "jhmdb")?;
    only("--exclude-first-frame", args.exclude_first_frame && benchmark != Benchmark::Vip, "vip")?;
    let values = |size: ScoreSize, grid: Size, exclude: bool| -> Value {
        match benchmark {
            Benchmark::Davis => json!({ "score_size": size }),
            Benchmark::Vip => json!({ "score_size": size, "exclude_first_frame": exclude }),
            Benchmark::Jhmdb => json!({ "grid_of_arrays": grid }),
        }
    };
    let usual = values(ScoreSize::Native, GRID, false);
    let size = args.score_size.unwrap_or(ScoreSize::Native);
    let used = values(size, args.grid.unwrap_or(GRID), args.exclude_first_frame);
    Ok(ProtocolRecord::of_scores(benchmark, &usual, used))
}

/// The folder that holds predictions of one of these clips, where it is one in `predictions` or the
/// one around it.
fn meant<'a>(predictions: &Path, clips: impl Iterator<Item = &'a str> + Clone) -> Option<PathBuf> {
    let inner = std::fs::read_dir(predictions).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = inner.map(|entry| entry.path()).collect();
    folders.sort();
    folders.extend(predictions.parent().map(Path::to_path_buf));
    let holds = |folder: &PathBuf| {
        let there =
            |clip: &str| folder.join(clip).is_dir() || folder.join(format!("{clip}.npy")).is_file();
        clips.clone().any(there)
    };
    folders.into_iter().find(holds)
}

fn finish(
    args: &ScoreArgs,
    asked: usize,
    summary: Option<Summary>,
    record: &RunRecord,
    records: &[(String, Value)],
) -> Result<Exit> {
    for (clip, error) in &record.failures {
        show::note(&format!("{clip}: not scored: {error}"));
    }
    let missing = record.failures.len();
    if missing == asked {
        let clips = record.failures.iter().map(|(clip, _)| clip.as_str());
        let hint = meant(&args.predictions, clips)
            .map(|folder| format!("; pass --predictions {}", folder.display()))
            .unwrap_or_default();
        bail!("0 of {} could be scored{hint}", counted(asked, "clip"));
    }
    if args.strict && missing > 0 {
        bail!("{missing} of {} could not be scored", counted(asked, "clip"));
    }
    let Some(summary) = summary else {
        bail!("nothing to score: no frame but the given first ones has a truth");
    };
    let json = match &args.out {
        Some(folder) => scored::write(folder, records, &summary, record)?,
        None => record.json(&summary),
    };
    show::results(&summary, record, &json, args.json, args.per_item)?;
    Ok(if missing > 0 { Exit::Partial } else { Exit::Done })
}
