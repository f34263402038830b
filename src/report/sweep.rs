//! Several settings side by side: a row for each, the best marked; `sweep.json`, `.csv` and `.md`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Cell, RunRecord, Summary, Table};
use crate::error::Result;
use crate::eval::folder::json_bytes;
use crate::files;

/// One setting of a sweep, done.
#[derive(Debug, Clone)]
pub struct Row {
    /// A value for each name of the sweep, as typed.
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

/// All settings of a sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// What was swept: names of flags.
    pub names: Vec<String>,
    /// A row for each combination.
    pub rows: Vec<Row>,
}

impl Row {
    /// The first score of the headline, which rows are compared by.
    fn score(&self) -> Option<f64> {
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

impl Sweep {
    /// Settings, their headlines, and a star for the best, or for all that are as good.
    pub fn table(&self) -> Table {
        let columns = self.rows.iter().find_map(|row| row.summary.as_ref());
        let columns = columns.map_or(&[][..], |summary| summary.headline.columns());
        let names = self.names.iter().chain(columns).cloned();
        let mut table = Table::new(names.chain(["best".to_owned()]));
        for row in &self.rows {
            let settings = row.values.iter().cloned().map(Cell::Text);
            let star = Cell::from(if self.is_best(row) { "*" } else { "" });
            table.push(settings.chain(row.cells(columns.len())).chain([star]).collect());
        }
        table
    }

    /// Whether no row has a higher score.
    fn is_best(&self, row: &Row) -> bool {
        let best = self.rows.iter().filter_map(Row::score).reduce(f64::max);
        best.is_some() && row.score() == best
    }

    /// The content of `sweep.json`; `record` holds what all rows share.
    pub fn json(&self, record: &RunRecord) -> Value {
        let row = |row: &Row| {
            let values = self.names.iter().cloned().zip(row.values.iter().map(|v| plain(v)));
            json!({
                "settings": values.collect::<Map<_, _>>(),
                "best": self.is_best(row),
                "metrics": row.summary.as_ref().map(|summary| &summary.metrics),
                "clips": row.clips,
                "protocol_hash": row.protocol_hash,
                "folder": row.folder,
            })
        };
        let mut json = record.json(&Summary::default());
        if let Value::Object(json) = &mut json {
            // these are each row's own
            ["metrics", "per_object", "remarks"].iter().for_each(|key| drop(json.remove(*key)));
            json.insert("swept".into(), json!(self.names));
            json.insert("rows".into(), self.rows.iter().map(row).collect());
        }
        json
    }

    /// What stands under the table.
    pub fn lines(&self, record: &RunRecord) -> Vec<String> {
        let mut lines = record.lines(&Summary::default());
        let (names, rows) = (self.names.join(", "), self.rows.len());
        lines.push(format!(
            "sweep: {rows} settings of {names}; * marks the best, by its first score"
        ));
        lines
    }

    /// The content of `sweep.md`.
    fn markdown(&self, record: &RunRecord) -> String {
        let mut text = format!("# {}: {}\n\n", record.protocol.benchmark, self.names.join(", "));
        let _ = writeln!(text, "{}\n", self.table().markdown());
        for line in self.lines(record) {
            let _ = writeln!(text, "- {line}");
        }
        let _ = writeln!(text, "\nScores are percentages. The command was\n");
        let _ = writeln!(text, "```sh\n{}\n```\n", record.provenance.command);
        let mut folders = Table::new(self.names.iter().cloned().chain(["results".to_owned()]));
        for row in &self.rows {
            let cells = row.values.iter().chain([&row.folder]);
            folders.push(cells.cloned().map(Cell::Text).collect());
        }
        let _ = writeln!(text, "## Folders\n\n{}", folders.markdown());
        text
    }

    /// Writes `sweep.json`, `sweep.csv` and `sweep.md`, all or none; returns the JSON.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, folder: &Path, record: &RunRecord) -> Result<Value> {
        let (json, place) = (self.json(record), folder.join("sweep.json"));
        let bytes = json_bytes(&place, &json)?;
        files::write_together(&[
            (place, bytes),
            (folder.join("sweep.csv"), self.table().csv().into_bytes()),
            (folder.join("sweep.md"), self.markdown(record).into_bytes()),
        ])?;
        Ok(json)
    }
}

/// A typed value as JSON: a number where it is one.
fn plain(value: &str) -> Value {
    let number = value.parse().ok().and_then(serde_json::Number::from_f64);
    match value.parse::<u64>() {
        Ok(whole) => whole.into(),
        Err(_) => number.map_or_else(|| value.into(), Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: [&str; 2], score: Option<f64>) -> Row {
        let summary = score.map(|score| {
            let mut headline = Table::new(["J&F-Mean", "J-Mean"]);
            headline.push(vec![Cell::Score(score), Cell::Score(0.5)]);
            Summary { headline, ..Summary::default() }
        });
        let (folder, protocol_hash) = ("out".to_owned(), "0".to_owned());
        Row { values: values.map(String::from).to_vec(), summary, folder, protocol_hash, clips: 1 }
    }

    #[test]
    fn the_best_is_marked_to_the_last_digit() {
        let names = vec!["topk".to_owned(), "neighborhood".to_owned()];
        let rows = vec![
            row(["5", "circle"], Some(0.60401)),
            row(["7", "circle"], Some(0.60402)),
            row(["5", "square"], Some(f64::NAN)),
            row(["7", "square"], None),
        ];
        let sweep = Sweep { names, rows };
        insta::assert_snapshot!(sweep.table().markdown(), @r"
        | topk | neighborhood | J&F-Mean | J-Mean | best |
        |------|--------------|----------|--------|------|
        | 5    | circle       |     60.4 |   50.0 |      |
        | 7    | circle       |     60.4 |   50.0 | *    |
        | 5    | square       |          |   50.0 |      |
        | 7    | square       |          |        |      |
        ");
        assert!(sweep.table().csv().contains("7,circle,0.60402,0.5,*"));
    }

    #[test]
    fn values_are_numbers_where_they_are_some() {
        assert_eq!((plain("7"), plain("0.1")), (json!(7), json!(0.1)));
        assert_eq!((plain("circle"), plain("nan")), (json!("circle"), json!("nan")));
    }
}
