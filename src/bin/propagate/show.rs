//! What the user sees: results on stdout, notes on stderr.

use std::io::Write;

use anyhow::{Context, Result};
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
            note(text);
        }
    }
}

/// Writes a line to stderr; that nobody reads it any more stops no run.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes to stdout; a reader that went away (`| head`) is an error that `main` takes for success.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Shows an error in one line.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("error: {}", explained(error)));
}

/// An error with all its reasons, and what to do about it.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    match error.downcast_ref::<cropmae::Error>() {
        Some(ours) => ours.explained(),
        None => format!("{error:#}"),
    }
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
