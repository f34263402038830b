//! Reads a run's folder: `results.json`, which says how the scores were made, and `clips/*.json`,
//! which hold them at full precision. [`super::compare`] and the pages of [`super::html`] start
//! from it.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Summary;
use crate::data::listing::natural_order;
use crate::error::{Error, Result};
use crate::eval::folder::record_files;
use crate::eval::vip::VipScores;
use crate::eval::{Outcome, Record};
use crate::metric::davis::ClipScores;
use crate::metric::pck::JointDistances;
use crate::protocol::Benchmark;

/// What to do about a folder that does not hold together.
pub(super) const AGAIN: &str =
    "run the command that made it again: it continues from what is there";

/// The records of a run's clips.
#[derive(Debug, Clone)]
pub enum Clips {
    /// DAVIS-2017.
    Davis(Vec<Record<ClipScores>>),
    /// VIP.
    Vip(Vec<Record<VipScores>>),
    /// JHMDB.
    Jhmdb(Vec<Record<JointDistances>>),
}

impl Clips {
    /// Reads all records of a folder, in natural order of the clips' names.
    ///
    /// # Errors
    /// The folder holds no records, or one is damaged.
    pub(super) fn read(folder: &Path, benchmark: Benchmark) -> Result<Self> {
        Ok(match benchmark {
            Benchmark::Davis => Self::Davis(records(folder)?),
            Benchmark::Vip => Self::Vip(records(folder)?),
            Benchmark::Jhmdb => Self::Jhmdb(records(folder)?),
        })
    }

    /// Their names, each with a line that changes when its given labels do.
    pub(super) fn names(&self) -> Vec<(&str, &str)> {
        fn of<S>(records: &[Record<S>]) -> Vec<(&str, &str)> {
            records.iter().map(|record| (&*record.clip, &*record.labels)).collect()
        }
        match self {
            Self::Davis(records) => of(records),
            Self::Vip(records) => of(records),
            Self::Jhmdb(records) => of(records),
        }
    }

    /// Leaves out all other clips; `wanted` is told the name, and whether there are scores.
    pub(super) fn keep(&mut self, wanted: impl Fn(&str, bool) -> bool) {
        fn of<S>(records: &mut Vec<Record<S>>, wanted: impl Fn(&str, bool) -> bool) {
            records.retain(|record| wanted(&record.clip, record.scores.is_some()));
        }
        match self {
            Self::Davis(records) => of(records, wanted),
            Self::Vip(records) => of(records, wanted),
            Self::Jhmdb(records) => of(records, wanted),
        }
    }

    /// In the plain order of their names, which decides what a bootstrap draws.
    pub(super) fn sort_plainly(&mut self) {
        fn of<S>(records: &mut [Record<S>]) {
            records.sort_by(|a, b| a.clip.cmp(&b.clip));
        }
        match self {
            Self::Davis(records) => of(records),
            Self::Vip(records) => of(records),
            Self::Jhmdb(records) => of(records),
        }
    }

    /// The scores in tables, by what `results` (`results.json`) say of the protocol.
    ///
    /// # Errors
    /// VIP: matrices are not of its classes.
    pub(super) fn summary(&self, results: &Value, folder: &Path) -> Result<Summary> {
        fn outcome<S: Clone>(records: &[Record<S>]) -> Outcome<S> {
            Outcome { records: records.to_vec(), failures: Vec::new(), resumed: 0 }
        }
        match self {
            Self::Davis(records) => Ok(super::davis::summary(&outcome(records))),
            Self::Vip(records) => {
                super::vip::summary(&outcome(records), excludes_first_frame(results))
                    .map_err(|error| Error::data(folder, error.to_string(), AGAIN))
            }
            Self::Jhmdb(records) => Ok(super::jhmdb::summary(&outcome(records))),
        }
    }
}

/// Whether VIP's given first frames were left out.
pub(super) fn excludes_first_frame(results: &Value) -> bool {
    results["protocol"]["values"]["exclude_first_frame"] == true
}

/// The content of a folder's `results.json`.
///
/// # Errors
/// The file is missing or damaged.
pub(super) fn results(folder: &Path) -> Result<Value> {
    let file = folder.join("results.json");
    if file.exists() { json(&file) } else { Err(no_run(folder)) }
}

/// A benchmark by the name that `results.json` has.
///
/// # Errors
/// It names no benchmark.
pub(super) fn benchmark(results: &Value, folder: &Path) -> Result<Benchmark> {
    serde_json::from_value(results["benchmark"].clone())
        .map_err(|error| damaged(&folder.join("results.json"), &error))
}

fn records<S: DeserializeOwned>(folder: &Path) -> Result<Vec<Record<S>>> {
    if !folder.join("clips").exists() {
        return Err(no_run(folder));
    }
    let files = record_files(folder)?;
    let read = files.iter().map(|file| json::<Record<S>>(file));
    let mut records = read.collect::<Result<Vec<_>>>()?;
    records.sort_by(|a, b| natural_order(&a.clip, &b.clip));
    Ok(records)
}

fn json<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let bytes = std::fs::read(file).map_err(Error::reading(file))?;
    serde_json::from_slice(&bytes).map_err(|error| damaged(file, &error))
}

pub(super) fn damaged(file: &Path, error: &serde_json::Error) -> Error {
    Error::data(file, format!("is damaged ({error})"), AGAIN)
}

/// Whether a run has finished clips, and no score of any; also whether it was asked for
/// predictions alone.
fn is_unscored(folder: &Path) -> Option<bool> {
    let files = record_files(folder).unwrap_or_default();
    let records: Vec<Value> = files.iter().filter_map(|file| json(file).ok()).collect();
    let none = !records.is_empty() && records.iter().all(|record| record["scores"].is_null());
    none.then(|| records.iter().any(|record| record["scored"] == false))
}

/// Why a folder is none of a finished run, and what to do: it is that of several runs, has no score,
/// is not finished, or was never a run's.
pub fn no_run(folder: &Path) -> Error {
    let unscored = is_unscored(folder);
    let (problem, remedy) = if folder.join("sweep.json").exists() {
        ("is the folder of a sweep", "pass the folders of its settings")
    } else if folder.join("weights.json").exists() {
        ("is the folder of several encoders", "pass the folders in it")
    } else if unscored == Some(true) {
        (
            "was predicted, not scored",
            "run its command again to have it scored, or use `propagate score`",
        )
    } else if unscored == Some(false) {
        (
            "has no score: none of its clips has a truth beyond the first frame",
            "`propagate overlays` shows what was predicted",
        )
    } else if folder.join("run.json").exists() {
        ("holds a run that was not finished", "run the same command again: it continues")
    } else if !folder.exists() {
        ("is not there", "pass a folder that `propagate davis|vip|jhmdb` has left")
    } else {
        ("holds no results", "pass a folder that `propagate davis|vip|jhmdb` has left")
    };
    Error::data(folder, problem, remedy)
}
