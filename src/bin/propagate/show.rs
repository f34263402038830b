//! Prints the results of a run, and the notes that `--quiet` suppresses.

use anyhow::Result;
use cropmae::report::{RunRecord, Summary};
use serde_json::Value;

use crate::common::flags::flagged;
pub(crate) use crate::common::streams::{error, explained, is_broken_pipe, note, text};

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
        shown += &format!("  {}\n", flagged(&line));
    }
    text(&shown)
}
