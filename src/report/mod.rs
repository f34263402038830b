//! The output of a run for people and programs: tables, CSV files, `results.json`, `results.md`.
//!
//! Each benchmark's file turns an [`Outcome`](crate::eval::Outcome) into a [`Summary`]: the
//! headline as papers print it, the rows behind it, the numbers at full precision. [`record`] adds
//! everything that determined the numbers, and [`write()`] stores all of it, with [`origin`] beside
//! it; [`scored`] does the same for predictions of other programs. [`sweep`] and [`encoders`] list
//! the headlines of several settings, or encoders; [`compare`] reads finished runs back (`stored`)
//! and says which differences between them are significant, [`explain`] where a score comes from,
//! and [`html`] turns a run's folder into a page for a browser.

pub mod compare;
pub mod davis;
pub mod encoders;
pub mod explain;
pub mod html;
pub mod jhmdb;
mod official;
pub mod origin;
pub mod record;
pub mod scored;
pub mod several;
pub(crate) mod stored;
pub mod sweep;
pub mod table;
pub mod vip;

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::Result;
use crate::files;
pub use encoders::Encoders;
pub use record::RunRecord;
pub use stored::no_run;
pub use sweep::Sweep;
pub use table::{Cell, Table};

/// A benchmark's scores, ready to be shown.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// One row of scores, as papers print it.
    pub headline: Table,
    /// Rows behind it: objects, classes, joints.
    pub items: Table,
    /// Tables stored as CSV, by file name.
    pub files: Vec<(&'static str, Table)>,
    /// Scores as fractions, for `results.json`.
    pub metrics: Map<String, Value>,
    /// Scores of each object (DAVIS), class (VIP) or joint (JHMDB) by its name, beside `metrics`.
    pub per_object: Map<String, Value>,
    /// What a reader should know: shares left out, conventions.
    pub remarks: Vec<String>,
}

/// Writes `results.json`, `results.md`, the CSV files and, where the weights were read from a file,
/// where that lay ([`origin`]), all or none; returns the JSON.
///
/// # Errors
/// The folder cannot be written to.
pub fn write(folder: &Path, summary: &Summary, record: &RunRecord) -> Result<Value> {
    let tables = summary.files.iter();
    let mut written: Vec<_> =
        tables.map(|(name, table)| (folder.join(name), table.csv().into_bytes())).collect();
    let (json, place) = (record.json(summary), folder.join("results.json"));
    let bytes = files::json_bytes(&place, &json)?;
    written.push((place, bytes));
    written.push((folder.join("results.md"), record.markdown(summary).into_bytes()));
    if let Some(weights) = record.weights.as_ref().and_then(|weights| weights.place.as_deref()) {
        written.extend(origin::file(folder, weights));
    }
    files::write_together(&written)?;
    Ok(json)
}

/// A fraction as JSON; `null` where there is none.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or(Value::Null, Value::Number)
}
