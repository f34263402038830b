//! Several results in one table: a row for each, the best marked.
//!
//! The tables of a sweep ([`super::sweep`]) and of several encoders ([`super::encoders`]) share
//! this: some named values that identify a row, then the row's headline.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::{Cell, Summary, Table};
use crate::error::Result;
use crate::files;

/// One result among several.
#[derive(Debug, Clone)]
pub struct Row {
    /// A value for each of the names, as typed.
    pub values: Vec<String>,
    /// Its scores; `None` where nothing was scored.
    pub summary: Option<Summary>,
    /// Where its results are.
    pub folder: String,
    /// The hash of its protocol.
    pub protocol_hash: String,
    /// Clips done.
    pub clips: usize,
}

impl Row {
    /// The first score of the headline, which rows are compared by.
    pub fn score(&self) -> Option<f64> {
        match self.summary.as_ref()?.headline.rows().first()?.first()? {
            Cell::Score(score) => Some(*score).filter(|score| !score.is_nan()),
            _ => None,
        }
    }

    /// The headline's cells, empty ones where nothing was scored.
    fn cells(&self, columns: usize) -> Vec<Cell> {
        let row = self.summary.as_ref().and_then(|summary| summary.headline.rows().first());
        row.cloned().unwrap_or_else(|| vec![Cell::Score(f64::NAN); columns])
    }
}

/// Whether no row has a higher score than this one.
pub fn is_best(row: &Row, rows: &[Row]) -> bool {
    let best = rows.iter().filter_map(Row::score).reduce(f64::max);
    best.is_some() && row.score() == best
}

/// The rows' values under their names, their headlines, and a star for the best, or for all that
/// are as good.
pub fn table(names: &[String], rows: &[Row]) -> Table {
    let columns = rows.iter().find_map(|row| row.summary.as_ref());
    let columns = columns.map_or(&[][..], |summary| summary.headline.columns());
    let all = names.iter().chain(columns).cloned();
    let mut table = Table::new(all.chain(["best".to_owned()]));
    for row in rows {
        let values = row.values.iter().cloned().map(Cell::Text);
        let star = Cell::from(if is_best(row, rows) { "*" } else { "" });
        table.push(values.chain(row.cells(columns.len())).chain([star]).collect());
    }
    table
}

/// Where the rows' results are.
pub fn folders(names: &[String], rows: &[Row]) -> Table {
    let mut table = Table::new(names.iter().cloned().chain(["results".to_owned()]));
    for row in rows {
        let cells = row.values.iter().chain([&row.folder]);
        table.push(cells.cloned().map(Cell::Text).collect());
    }
    table
}

/// A table for people, with what stands under it and where each row's results are.
pub(super) fn markdown(
    title: &str,
    table: &Table,
    lines: &[String],
    command: &str,
    folders: &Table,
) -> String {
    let mut text = format!("# {title}\n\n{}\n\n", table.markdown());
    for line in lines {
        let _ = writeln!(text, "- {line}");
    }
    let _ = writeln!(text, "\nScores are percentages. The command was\n");
    let _ = writeln!(text, "```sh\n{command}\n```\n");
    let _ = writeln!(text, "## Folders\n\n{}", folders.markdown());
    text
}

/// Writes `<name>.json`, `.csv` and `.md` into `folder`, all or none.
pub(super) fn write(
    folder: &Path,
    name: &str,
    (json, table, markdown): (&Value, &Table, String),
) -> Result<()> {
    let place = |extension: &str| folder.join(format!("{name}.{extension}"));
    let bytes = files::json_bytes(&place("json"), json)?;
    files::write_together(&[
        (place("json"), bytes),
        (place("csv"), table.csv().into_bytes()),
        (place("md"), markdown.into_bytes()),
    ])
}

#[cfg(test)]
pub(in crate::report) mod tests {
    use super::*;

    /// A row whose first score is this one, the second 0.5.
    pub(in crate::report) fn row(values: &[&str], score: Option<f64>) -> Row {
        let summary = score.map(|score| {
            let mut headline = Table::new(["J&F-Mean", "J-Mean"]);
            headline.push(vec![Cell::Score(score), Cell::Score(0.5)]);
            Summary { headline, ..Summary::default() }
        });
        let (folder, protocol_hash) = ("out".to_owned(), "0".to_owned());
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Row { values, summary, folder, protocol_hash, clips: 1 }
    }

    #[test]
    fn the_best_is_marked_to_the_last_digit() {
        let names = ["topk", "neighborhood"].map(String::from);
        let rows = [
            row(&["5", "circle"], Some(0.60401)),
            row(&["7", "circle"], Some(0.60402)),
            row(&["5", "square"], Some(f64::NAN)),
            row(&["7", "square"], None),
        ];
        insta::assert_snapshot!(table(&names, &rows).markdown(), @r"
        | topk | neighborhood | J&F-Mean | J-Mean | best |
        |------|--------------|----------|--------|------|
        | 5    | circle       |     60.4 |   50.0 |      |
        | 7    | circle       |     60.4 |   50.0 | *    |
        | 5    | square       |          |   50.0 |      |
        | 7    | square       |          |        |      |
        ");
        assert!(table(&names, &rows).csv().contains("7,circle,0.60402,0.5,*"));
        assert!(folders(&names, &rows).csv().contains("7,square,out"));
    }
}
