//! The run's record: beside the scores, everything that decided them.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Summary, Table};
use crate::eval::Stages;
use crate::protocol::{Departure, Protocol};

/// The encoder's part of the record.
#[derive(Debug, Clone, Serialize)]
pub struct WeightsRecord {
    /// The file's name, or how the weights were made (`random:vits16@0`, `pixels`).
    pub file: String,
    /// SHA-256 of the file, or of the description where there is none.
    pub sha256: String,
    /// The family that the tensors' names belong to.
    pub family: String,
    /// The architecture.
    pub arch: String,
    /// Which blocks' output is the feature.
    pub layer: String,
    /// How the position table is resampled.
    pub positions: Option<crate::model::config::PositionRule>,
}

/// The data's part of the record.
#[derive(Debug, Clone, Serialize)]
pub struct DatasetRecord {
    /// The name of the root folder.
    pub name: String,
    /// Which list the clips are from.
    pub split: String,
    /// Clips asked for.
    pub clips: usize,
    /// Clips done.
    pub done: usize,
    /// Frames of the clips done.
    pub frames: usize,
    /// Hash of the given labels of all clips asked for.
    pub labels_sha256: String,
}

/// The machine's part of the record.
#[derive(Debug, Clone, Serialize)]
pub struct Provenance {
    /// This package's version.
    pub version: String,
    /// The commit that it was built from.
    pub git_commit: String,
    /// The device.
    pub device: String,
    /// The number type of the encoder.
    pub dtype: String,
    /// CPU threads.
    pub threads: usize,
    /// The JPEG decoder.
    pub jpeg_decoder: String,
    /// Seconds per stage; decoding overlaps the others.
    pub seconds: Stages,
    /// Seconds from start to table.
    pub wall_seconds: f64,
    /// The most memory held, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// The command that made it.
    pub command: String,
}

/// A preset's name with what was really used.
#[derive(Debug, Clone)]
pub struct ProtocolRecord {
    /// The preset's name.
    pub preset: String,
    /// Its version.
    pub version: u32,
    /// What was used.
    pub used: Protocol,
    /// Where it is not the preset's.
    pub departures: Vec<Departure>,
}

/// Everything beside the scores.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// What was propagated and scored how.
    pub protocol: ProtocolRecord,
    /// With which encoder; none where predictions of others were scored.
    pub weights: Option<WeightsRecord>,
    /// On what.
    pub dataset: DatasetRecord,
    /// By what.
    pub provenance: Provenance,
    /// Notes on clips: (clip, note).
    pub notes: Vec<(String, String)>,
    /// Clips that could not be done: (clip, why).
    pub failures: Vec<(String, String)>,
}

impl RunRecord {
    /// Whether this is all of what the dataset's list holds.
    pub fn partial(&self) -> bool {
        self.dataset.done < self.dataset.clips
    }

    /// The content of `results.json`; scores as fractions.
    pub fn json(&self, summary: &Summary) -> Value {
        let pairs = |key: &str, pairs: &[(String, String)]| -> Vec<Value> {
            pairs.iter().map(|(clip, text)| json!({ "clip": clip, key: text })).collect()
        };
        let mut json = json!({
            "benchmark": self.protocol.used.benchmark,
            "metrics": summary.metrics,
            "protocol": {
                "preset": self.protocol.preset,
                "version": self.protocol.version,
                "hash": self.protocol.used.hash(),
                "values": self.protocol.used.values(),
                "departures": self.protocol.departures,
            },
            "weights": self.weights,
            "dataset": self.dataset,
            "partial": self.partial(),
            "remarks": summary.remarks,
            "notes": pairs("note", &self.notes),
            "failures": pairs("error", &self.failures),
            "provenance": self.provenance,
        });
        if let Some(per_object) = &summary.per_object {
            json["per_object"] = per_object.clone();
        }
        json
    }

    /// The content of `results.md`.
    pub fn markdown(&self, summary: &Summary) -> String {
        let mut text = format!("# {}\n\n", self.protocol.used.benchmark);
        let _ = writeln!(text, "{}\n", summary.headline.markdown());
        for line in self.lines(summary) {
            let _ = writeln!(text, "- {line}");
        }
        let _ = writeln!(text, "\n```\n{}\n```\n", self.provenance.command);
        if !summary.items.is_empty() {
            let _ = writeln!(text, "{}\n", summary.items.markdown());
        }
        text + &self.values().markdown() + "\n"
    }

    /// The protocol's values as a table.
    fn values(&self) -> Table {
        let mut table = Table::new(["setting", "value"]);
        let values = self.protocol.used.values();
        for (name, value) in values.as_object().into_iter().flatten() {
            table.push(vec![name.as_str().into(), value.to_string().replace('"', "").into()]);
        }
        table
    }

    /// What stands under the table: what was done, and all that a reader must know to trust it.
    pub fn lines(&self, summary: &Summary) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(weights) = &self.weights {
            let sha = weights.sha256.get(..12).unwrap_or(&weights.sha256);
            lines.push(format!(
                "weights: {} ({}, {}, sha256 {sha})",
                weights.file, weights.family, weights.arch
            ));
        }
        let preset = &self.protocol;
        lines.push(format!(
            "protocol: {} v{} (hash {})",
            preset.preset,
            preset.version,
            preset.used.hash()
        ));
        lines.extend(preset.departures.iter().map(|departure| {
            format!(
                "departure: {} is {}, the preset has {}",
                departure.setting, departure.used, departure.preset
            )
        }));
        let dataset = &self.dataset;
        lines.push(format!(
            "data: {}, {}: {} of {} clips, {} frames{}",
            dataset.name,
            dataset.split,
            dataset.done,
            dataset.clips,
            dataset.frames,
            if self.partial() { " — PARTIAL" } else { "" }
        ));
        let by = &self.provenance;
        lines.push(format!(
            "by: cropmae {} ({}), {}, {}, {} threads, JPEG by {}, {:.1} s",
            by.version,
            by.git_commit,
            by.device,
            by.dtype,
            by.threads,
            by.jpeg_decoder,
            by.wall_seconds
        ));
        lines.extend(summary.remarks.iter().cloned());
        lines.extend(self.notes.iter().map(|(clip, note)| format!("{clip}: {note}")));
        lines.extend(self.failures.iter().map(|(clip, error)| format!("FAILED {clip}: {error}")));
        lines
    }
}
