//! Several encoders with one protocol: sorted by their headline score, failed ones last;
//! `weights.json`, `.csv` and `.md`.

use std::path::Path;

use serde_json::{Value, json};

use super::record::WeightsRecord;
use super::several::{self, Row};
use super::{Cell, RunRecord, Summary, Table};
use crate::error::Result;
use crate::wording::counted;

/// An encoder among others: its row, or why there is none.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it is called in the table and on disk.
    pub name: String,
    /// What was loaded; none where it could not be.
    pub weights: Option<WeightsRecord>,
    /// Its result; the values of the row are its name alone.
    pub row: Option<Row>,
    /// What went wrong: with the encoder, or with some of its clips.
    pub error: Option<String>,
}

/// All encoders of a call.
#[derive(Debug, Clone)]
pub struct Encoders {
    entries: Vec<Entry>,
}

impl Encoders {
    /// Sorts by the headline's first score, best first; encoders without one follow in their order.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        let score = |entry: &Entry| entry.row.as_ref().and_then(Row::score);
        entries.sort_by(|a, b| match (score(a), score(b)) {
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        Self { entries }
    }

    /// The encoders, best first.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Names, headlines, a star for the best, and the number of a note where anything went wrong:
    /// what it says would make the table wider than any terminal ([`Encoders::notes`]).
    pub fn table(&self) -> Table {
        let failed = || self.entries.iter().map(|entry| entry.error.is_some());
        let numbers = failed().scan(0, |number, failed| {
            *number += usize::from(failed);
            Some(if failed { format!("[{number}]") } else { String::new() })
        });
        self.with("note", numbers)
    }

    /// What went wrong, under the numbers that the table has.
    pub fn notes(&self) -> Vec<String> {
        let each =
            self.entries.iter().filter_map(|entry| Some((&entry.name, entry.error.as_ref()?)));
        let numbered = each.enumerate();
        numbered.map(|(at, (name, error))| format!("[{}] {name}: {error}", at + 1)).collect()
    }

    /// The table with what went wrong in it: `weights.csv`.
    pub fn stored(&self) -> Table {
        self.with("error", self.entries.iter().map(|entry| entry.error.clone().unwrap_or_default()))
    }

    /// The table with one more column, where anything went wrong.
    fn with(&self, column: &str, cells: impl Iterator<Item = String>) -> Table {
        let rows: Vec<Row> = self.entries.iter().map(Entry::row).collect();
        let table = several::table(&["encoder".to_owned()], &rows);
        if self.entries.iter().all(|entry| entry.error.is_none()) {
            return table;
        }
        let mut wider = Table::new(table.columns().iter().cloned().chain([column.to_owned()]));
        for (row, cell) in table.rows().iter().zip(cells) {
            wider.push(row.iter().cloned().chain([Cell::Text(cell)]).collect());
        }
        wider
    }

    /// What stands under the table; `record` holds what all encoders share.
    pub fn lines(&self, record: &RunRecord) -> Vec<String> {
        let mut lines = self.notes();
        lines.extend(record.lines(&Summary::default()));
        let failed = self.entries.iter().filter(|entry| entry.row.is_none()).count();
        let failed = if failed > 0 { format!(" ({failed} failed)") } else { String::new() };
        let all = counted(self.entries.len(), "encoder");
        lines.push(format!(
            "weights: {all}{failed}, best first; * marks the best, by its first score"
        ));
        let weights = || self.entries.iter().filter_map(|entry| entry.weights.as_ref());
        let noted = weights().flat_map(|of| of.notes.iter().map(move |note| (&of.file, note)));
        lines.extend(noted.map(|(file, note)| format!("{file}: {note}")));
        let chosen = weights().map(|weights| (&weights.file, weights.choices()));
        lines.extend(
            chosen
                .filter(|(_, choices)| !choices.is_empty())
                .map(|(file, choices)| format!("{file}: {}", choices.trim_start_matches(", "))),
        );
        lines
    }

    /// The content of `weights.json`; `record` holds what all encoders share.
    pub fn json(&self, record: &RunRecord) -> Value {
        let rows: Vec<Row> = self.entries.iter().map(Entry::row).collect();
        let each = self.entries.iter().zip(&rows);
        let entry = |(entry, row): (&Entry, &Row)| {
            json!({
                "name": entry.name,
                "weights": entry.weights,
                "best": several::is_best(row, &rows),
                "metrics": row.summary.as_ref().map(|summary| &summary.metrics),
                "clips": row.clips,
                "folder": entry.row.as_ref().map(|row| &row.folder),
                "error": entry.error,
            })
        };
        let mut json = record.json(&Summary::default());
        if let Value::Object(json) = &mut json {
            // these are each row's own
            let own = ["metrics", "per_object", "remarks", "weights"];
            own.iter().for_each(|key| drop(json.remove(*key)));
            json.insert("rows".into(), each.map(entry).collect());
        }
        json
    }

    /// The content of `weights.md`.
    fn markdown(&self, record: &RunRecord) -> String {
        let encoders = counted(self.entries.len(), "encoder");
        let title = format!("{}: {encoders}", record.scored());
        let rows: Vec<Row> = self.entries.iter().filter_map(|entry| entry.row.clone()).collect();
        let folders = several::folders(&["encoder".to_owned()], &rows);
        let (table, lines) = (self.table().with_arrows(), self.lines(record));
        several::markdown(&title, &table, &lines, &record.provenance.command, &folders)
    }

    /// Writes `weights.json`, `weights.csv` and `weights.md`, all or none; returns the JSON.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, folder: &Path, record: &RunRecord) -> Result<Value> {
        let json = self.json(record);
        several::write(folder, "weights", (&json, &self.stored(), self.markdown(record)))?;
        Ok(json)
    }
}

impl Entry {
    /// Its row; one without scores where it failed.
    fn row(&self) -> Row {
        self.row.clone().unwrap_or_else(|| Row {
            values: vec![self.name.clone()],
            summary: None,
            folder: String::new(),
            protocol_hash: String::new(),
            clips: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::several::tests::row;
    use super::*;

    fn entry(name: &str, score: Option<f64>, error: Option<&str>) -> Entry {
        let row = error.is_none().then(|| row(&[name], score));
        Entry { name: name.into(), weights: None, row, error: error.map(String::from) }
    }

    #[test]
    fn the_best_is_first_and_the_failed_last() {
        let encoders = Encoders::new(vec![
            entry("broken", None, Some("cut short")),
            entry("low", Some(0.2), None),
            entry("unscored", None, None),
            entry("high", Some(0.6), None),
        ]);
        insta::assert_snapshot!(encoders.table().markdown(), @r"
        | encoder  | J&F-Mean | J-Mean | best | note |
        |----------|----------|--------|------|------|
        | high     |     60.0 |   50.0 | *    |      |
        | low      |     20.0 |   50.0 |      |      |
        | broken   |          |        |      | [1]  |
        | unscored |          |        |      |      |
        ");
        assert_eq!(encoders.notes(), ["[1] broken: cut short"]);
        assert!(encoders.stored().csv().contains("\nbroken,,,,cut short\n"));
        let whole = Encoders::new(vec![entry("a", Some(0.5), None)]);
        assert_eq!(whole.table().columns().last().map(String::as_str), Some("best"));
    }
}
