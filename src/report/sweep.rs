//! Several settings side by side: a row for each, the best marked; `sweep.json`, `.csv` and `.md`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::several::{self, Row};
use super::{RunRecord, Summary, Table};
use crate::error::Result;
use crate::wording::counted;

/// All settings of a sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// What was swept: names of flags.
    pub names: Vec<String>,
    /// A row for each combination.
    pub rows: Vec<Row>,
}

impl Sweep {
    /// Settings, their headlines, and a star for the best, or for all that are as good.
    pub fn table(&self) -> Table {
        several::table(&self.names, &self.rows)
    }

    /// The content of `sweep.json`; `record` holds what all rows share.
    pub fn json(&self, record: &RunRecord) -> Value {
        let row = |row: &Row| {
            let values = self.names.iter().cloned().zip(row.values.iter().map(|v| plain(v)));
            json!({
                "settings": values.collect::<Map<_, _>>(),
                "best": several::is_best(row, &self.rows),
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
            "sweep: {} of {names}; * marks the best, by its first score",
            counted(rows, "setting")
        ));
        lines
    }

    /// The content of `sweep.md`.
    fn markdown(&self, record: &RunRecord) -> String {
        let title = format!("{}: {}", record.scored(), self.names.join(", "));
        let folders = several::folders(&self.names, &self.rows);
        let (table, lines) = (self.table(), self.lines(record));
        several::markdown(&title, &table, &lines, &record.provenance.command, &folders)
    }

    /// Writes `sweep.json`, `sweep.csv` and `sweep.md`, all or none; returns the JSON.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, folder: &Path, record: &RunRecord) -> Result<Value> {
        let json = self.json(record);
        several::write(folder, "sweep", (&json, &self.table(), self.markdown(record)))?;
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

    #[test]
    fn values_are_numbers_where_they_are_some() {
        assert_eq!((plain("7"), plain("0.1")), (json!(7), json!(0.1)));
        assert_eq!((plain("circle"), plain("nan")), (json!("circle"), json!("nan")));
    }
}
