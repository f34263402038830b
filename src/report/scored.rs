//! The folder of `propagate score`: tables and records of predictions that were scored where they
//! lay.
//!
//! ```text
//! OUT/clips/<clip>.json         the clips' records
//! OUT/results.json, …           what [`super::write()`] writes, last
//! OUT/.lock                     while something is written here: one at a time
//! ```
//!
//! It has no `run.json`, since nothing was run, so the folder shows by its content whose it is:
//! only an earlier scoring's is written into again, and only records are ever removed from it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{RunRecord, Summary};
use crate::error::{Error, Result};
use crate::eval::Record;
use crate::eval::folder::{record_files, record_path};
use crate::files::{self, Occupied, write_json};

/// The name of a scoring in the place of a preset's.
pub(in crate::report) const PRESET: &str = "score";

/// Refuses a folder that holds anything but an earlier scoring's results; one that is not there yet
/// or is empty will do.
///
/// # Errors
/// It holds something else, or cannot be read.
pub fn check(folder: &Path) -> Result<()> {
    let refused = |problem: &str| {
        Err(Error::data(
            folder,
            problem,
            "choose another folder for the setting `out`, or a new one in it",
        ))
    };
    if folder.join("run.json").exists() {
        return refused("this folder holds the results of a run");
    }
    match !folder.exists() || holds_a_scoring(folder) || holds_no_more_than_records(folder)? {
        true => Ok(()),
        false => refused("this folder is not empty and holds no earlier results of score"),
    }
}

/// Writes the records (clip, record) and the tables of a scoring, in place of an earlier one's;
/// returns the content of `results.json`.
///
/// # Errors
/// See [`check`]; another program is at work in the folder, or it cannot be written to.
pub fn write(
    folder: &Path,
    records: &[(String, Value)],
    summary: &Summary,
    record: &RunRecord,
) -> Result<Value> {
    let clips = folder.join("clips");
    // no file is made in the folder of somebody else, not even for a moment
    check(folder)?;
    std::fs::create_dir_all(folder).map_err(Error::creating(folder))?;
    let _occupied = Occupied::take(folder)?;
    // from here on nobody else changes what it holds
    check(folder)?;
    std::fs::create_dir_all(&clips).map_err(Error::creating(&clips))?;
    for earlier in record_files(folder)?.iter().filter(|path| is_record(path)) {
        std::fs::remove_file(earlier).map_err(Error::removing(earlier))?;
    }
    records.iter().try_for_each(|(clip, record)| write_json(&record_path(folder, clip), record))?;
    super::write(folder, summary, record)
}

/// Whether its results are those of a scoring.
fn holds_a_scoring(folder: &Path) -> bool {
    let results = std::fs::read(folder.join("results.json")).ok();
    let results: Option<Value> = results.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    results.is_some_and(|results| results["protocol"]["preset"] == PRESET)
}

/// Whether it is empty, but for what a scoring leaves that was killed before its results were
/// written.
fn holds_no_more_than_records(folder: &Path) -> Result<bool> {
    let entries = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).map_err(Error::reading(folder))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<std::io::Result<_>>().map_err(Error::reading(folder))
    };
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default();
        let known = match name == "clips" && path.is_dir() {
            true => entries(&path)?.iter().all(|path| is_left(path) || is_record(path)),
            false => is_left(&path),
        };
        if !known {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether this is what a killed scoring may have left.
fn is_left(path: &Path) -> bool {
    let ours = |name: &str| [".json", ".md", ".csv"].iter().any(|ending| name.ends_with(ending));
    files::is_left(path.file_name().unwrap_or_default(), ours)
}

/// Whether a file holds the record of a clip.
fn is_record(path: &Path) -> bool {
    let bytes = std::fs::read(path).ok();
    bytes.is_some_and(|bytes| serde_json::from_slice::<Record<Value>>(&bytes).is_ok())
}
