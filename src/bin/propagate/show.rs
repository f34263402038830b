//! What the user sees: results on stdout, notes on stderr.

use std::io::Write;

use anyhow::Result;
use cropmae::eval::Outcome;
use cropmae::report::{RunRecord, Summary};
use serde_json::Value;

/// Lines for people, on stderr; none where the user wants it quiet.
pub(crate) struct Notes {
    quiet: bool,
}

impl Notes {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    pub(crate) fn line(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }
}

/// Writes to stdout; a reader that went away (`| head`) is an error that `main` takes for success.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Whether the reader of stdout went away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The table with what decided it, or the JSON.
pub(crate) fn results(
    summary: &Summary,
    record: &RunRecord,
    json: &Value,
    as_json: bool,
    per_item: bool,
) -> Result<()> {
    if as_json {
        return text(&(serde_json::to_string_pretty(json)? + "\n"));
    }
    let mut shown = format!("{}\n", summary.headline.text());
    if per_item && !summary.items.is_empty() {
        shown += &format!("{}\n", summary.items.text());
    }
    for line in record.lines(summary) {
        shown += &format!("  {line}\n");
    }
    text(&shown)
}

/// Notes of all clips, as (clip, note).
pub(crate) fn notes<S>(outcome: &Outcome<S>) -> Vec<(String, String)> {
    let notes = outcome
        .records
        .iter()
        .flat_map(|record| record.notes.iter().map(|note| (record.clip.clone(), note.clone())));
    notes.collect()
}

/// Clips that could not be done, as (clip, why).
pub(crate) fn failures<S>(outcome: &Outcome<S>) -> Vec<(String, String)> {
    outcome.failures.iter().map(|f| (f.clip.clone(), f.problem.clone())).collect()
}
