//! `propagate check`: reports what is missing or odd in a dataset or checkpoint before time is
//! spent on it.
//!
//! The exit status is 3 if something would stop an evaluation or make its scores wrong.

use std::path::Path;

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use cropmae::data::Split;
use cropmae::data::check::{self, ClipFacts, Depth, Finding, Report};
use cropmae::model::config::VitConfig;
use cropmae::model::source::{self, Choices, Source};
use cropmae::model::weights::{self, Checkpoint, Family, KeyReport, Overrides};
use cropmae::protocol::Benchmark;
use cropmae::report::{Cell, Table};
use cropmae::wording::counted;
use serde_json::json;

use crate::args::{CheckArgs, CheckDataArgs, CheckWhat};
use crate::common::flags::flagged;
use crate::common::usage::usage;
use crate::show::Notes;
use crate::{Outcome, clips, show};

/// Findings shown; the others are counted.
const FINDINGS_SHOWN: usize = 20;

pub(crate) fn run(args: &CheckArgs) -> Result<Outcome> {
    match &args.what {
        CheckWhat::Davis(args) => data(args, Benchmark::Davis, check::davis),
        CheckWhat::Vip(args) => data(args, Benchmark::Vip, check::vip),
        CheckWhat::Jhmdb(args) => data(args, Benchmark::Jhmdb, check::jhmdb),
        CheckWhat::Weights { weights, checkpoint_key, json } => {
            encoder(weights, checkpoint_key.as_ref(), *json)
        }
    }
}

type Checker = fn(&Path, &Split, Depth) -> cropmae::Result<Report>;

fn data(args: &CheckDataArgs, benchmark: Benchmark, checker: Checker) -> Result<Outcome> {
    let root = clips::root(benchmark, args.data.as_deref(), &Notes::new(false))?;
    let depth = if args.deep { Depth::Pixels } else { Depth::Headers };
    let report = checker(&root, &clips::split(&args.split)?, depth)?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => flagged(&described(&report)),
    };
    show::text(&text)?;
    Ok(if report.errors.is_empty() { Outcome::Done } else { Outcome::Partial })
}

fn described(report: &Report) -> String {
    let mut clips = Table::new(["clip", "frames", "labelled", "size", "objects"]);
    for clip in &report.clips {
        clips.push(row(clip));
    }
    let mut text = format!("{}\n\n", clips.text());
    for (name, value) in &report.summary {
        text += &format!("{name}: {value}\n");
    }
    text += &findings("warning", &report.warnings);
    text += &findings("error", &report.errors);
    let verdict = match (report.errors.len(), report.warnings.len()) {
        (0, 0) => "nothing odd found".to_owned(),
        (errors, warnings) => {
            format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"))
        }
    };
    text + &format!("\n{verdict}\n")
}

fn row(clip: &ClipFacts) -> Vec<Cell> {
    let size = |(width, height): (usize, usize)| format!("{height}x{width}");
    vec![
        clip.name.as_str().into(),
        Cell::Count(clip.frames as u64),
        Cell::Count(clip.annotations as u64),
        clip.frame_size.or(clip.annotation_size).map(size).unwrap_or_default().into(),
        Cell::Count(clip.objects as u64),
    ]
}

fn findings(kind: &str, findings: &[Finding]) -> String {
    let shown = findings.iter().take(FINDINGS_SHOWN);
    let mut text: String = shown
        .map(|found| {
            format!("{kind}: {}: {}; {}\n", found.path.display(), found.problem, found.remedy)
        })
        .collect();
    if findings.len() > FINDINGS_SHOWN {
        text += &format!("{kind}: and {} more; --json has all\n", findings.len() - FINDINGS_SHOWN);
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// What `--weights` takes: a checkpoint, or a word that stands for an encoder.
fn encoder(source: &Source, key: Option<&String>, as_json: bool) -> Result<Outcome> {
    if let Source::File(file) = source {
        let overrides = Overrides { checkpoint_key: key.cloned(), ..Overrides::default() };
        let found = weights::inspect(file, &overrides)?;
        return checkpoint(file, weights::sha256(file)?, found, as_json);
    }
    ensure!(key.is_none(), usage!("--checkpoint-key: {source} has no entries; leave it out"));
    if let Source::Features(_) = source {
        return given(source, as_json);
    }
    match source::made(source)? {
        Some(Checkpoint { report, config, family, sha256, .. }) => {
            let found = (report, Some(config), Some(family));
            checkpoint(Path::new(&source.to_string()), sha256, found, as_json)
        }
        None => {
            show::text(&match as_json {
                true => {
                    serde_json::to_string_pretty(&json!({ "file": source.to_string() }))? + "\n"
                }
                false => format!(
                    "file        {source}\nno checkpoint: the pixels of each patch\nusable\n"
                ),
            })?;
            Ok(Outcome::Done)
        }
    }
}

/// What is in a folder of features.
fn given(source: &Source, as_json: bool) -> Result<Outcome> {
    let loaded = source::load(source, &Choices::default(), &Device::Cpu, DType::F32)?;
    let (width, sha256) = (loaded.encoder.width(), loaded.sha256);
    show::text(&match as_json {
        true => {
            let found = json!({ "file": source.to_string(), "width": width, "sha256": sha256 });
            serde_json::to_string_pretty(&found)? + "\n"
        }
        false => format!(
            "file        {source}\nwidth       {width}\nsha256      {sha256}\nno checkpoint: features that another program has made\nusable\n"
        ),
    })?;
    Ok(Outcome::Done)
}

/// What was found in a checkpoint.
type Found = (KeyReport, Option<VitConfig>, Option<Family>);

fn checkpoint(
    file: &Path,
    sha256: String,
    (report, config, family): Found,
    as_json: bool,
) -> Result<Outcome> {
    let usable = report.refusal.is_none();
    if as_json {
        let json = json!({
            "file": file.file_name().unwrap_or_default().to_string_lossy(),
            "sha256": sha256,
            "family": family.map(|family| family.to_string()),
            "arch": config.as_ref().map(|config| config.name()),
            "config": config,
            "report": report,
        });
        show::text(&(serde_json::to_string_pretty(&json)? + "\n"))?;
    } else {
        let unknown = || "not recognised".to_owned();
        let family = family.map_or_else(unknown, |family| family.to_string());
        let arch = config.map_or_else(unknown, |config| config.name());
        let mut text = format!("file        {}\n", file.display());
        text += &format!("family      {family}\narch        {arch}\n");
        text += &format!("sha256      {sha256}\n{report}\n");
        // a flag of the commands that compute, not of this one
        show::text(&flagged(&text.replace("the setting `heads`", "--heads")))?;
    }
    Ok(if usable { Outcome::Done } else { Outcome::Partial })
}
