//! The run's record: the scores and everything that determined them.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::scored::PRESET;
use super::{Summary, Table, official};
use crate::error::Result;
use crate::eval::Stages;
use crate::protocol::{self, Benchmark, Departure, Preset, Protocol};
use crate::wording::counted;

/// The encoder's part of the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WeightsRecord {
    /// The file's name, or how the weights were made (`random:vits16@0`, `pixels`).
    pub file: String,
    /// Where that file lay, absolute; not in `results.json`, which holds on any machine: see
    /// [`super::origin`]. None in a record that was read back.
    #[serde(skip)]
    pub place: Option<PathBuf>,
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
    /// Attention heads; none for pixels, and in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Which entry of the file was asked for, where one was: a file may hold several encoders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_key: Option<String>,
    /// The dict of a `.pth` that the encoder was taken from, asked for or not; none where the file
    /// has but one level, and in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<String>,
    /// What was chosen otherwise than the encoder has it of itself, in words: `layer 3 of 12`. Not
    /// in records of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen: Vec<String>,
    /// What a reader of the scores must know of the encoder. Not in records of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl WeightsRecord {
    /// What was chosen, each choice after a comma; nothing where all is as usual.
    pub fn choices(&self) -> String {
        let layer = self.chosen.is_empty() && self.layer != "last";
        let earlier = layer.then(|| format!("layer {}", self.layer));
        self.chosen.iter().chain(&earlier).map(|choice| format!(", {choice}")).collect()
    }
}

/// The data's part of the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DatasetRecord {
    /// The name of the root folder.
    pub name: String,
    /// Which list the clips are from.
    pub split: String,
    /// Clips that the list names.
    pub clips: usize,
    /// Clips done.
    pub done: usize,
    /// Frames of the clips done.
    pub frames: usize,
    /// Hash of the given labels of all clips asked for; none where some cannot be read.
    pub labels_sha256: Option<String>,
}

/// The machine's part of the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provenance {
    /// This package's version.
    pub version: String,
    /// The commit that it was built from.
    pub git_commit: String,
    /// The device.
    pub device: String,
    /// The number type of the encoder; none where there was none.
    pub dtype: Option<String>,
    /// Whose code ran the encoder, `fused` or `tensor`; none where there was nothing to choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<String>,
    /// The arithmetic of the affinity's products where it is not f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// CPU threads.
    pub threads: usize,
    /// The JPEG decoder.
    pub jpeg_decoder: String,
    /// Seconds per stage, over all clips; decoding overlaps the others.
    pub seconds: Stages,
    /// Seconds from start to table, of the last run alone.
    pub wall_seconds: f64,
    /// Clips that earlier runs had done.
    pub resumed: usize,
    /// The most memory held, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// The command that made it.
    pub command: String,
}

/// A preset's name with what was really used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProtocolRecord {
    /// The task; `results.json` has it beside the protocol.
    #[serde(skip_serializing)]
    pub benchmark: Benchmark,
    /// The preset's name; `score` where predictions of others were scored.
    pub preset: String,
    /// Its version.
    pub version: u32,
    /// The hash of the values.
    pub hash: String,
    /// What was used.
    pub values: Value,
    /// Where it is not the preset's.
    pub departures: Vec<Departure>,
}

impl ProtocolRecord {
    /// Of a run that began with a preset.
    ///
    /// # Errors
    /// There is no such preset for the benchmark.
    pub fn of_run(preset: Preset, used: &Protocol) -> Result<Self> {
        let published = preset.protocol(used.benchmark)?.values();
        let name = (preset.name().to_owned(), preset.version());
        Ok(Self::new(used.benchmark, name, &published, used.values()))
    }

    /// Of scores alone: nobody knows here how the predictions were made.
    pub fn of_scores(benchmark: Benchmark, usual: &Value, used: Value) -> Self {
        Self::new(benchmark, (PRESET.into(), 1), usual, used)
    }

    fn new(
        benchmark: Benchmark,
        (preset, version): (String, u32),
        usual: &Value,
        values: Value,
    ) -> Self {
        let (hash, departures) = (protocol::hash(&values), protocol::departures(usual, &values));
        Self { benchmark, preset, version, hash, values, departures }
    }
}

/// Everything beside the scores.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// How it was propagated and scored.
    pub protocol: ProtocolRecord,
    /// The encoder; none where another program's predictions were scored.
    pub weights: Option<WeightsRecord>,
    /// The clips.
    pub dataset: DatasetRecord,
    /// The program and machine, with times and memory.
    pub provenance: Provenance,
    /// Notes on clips: (clip, note).
    pub notes: Vec<(String, String)>,
    /// Clips that could not be done: (clip, why).
    pub failures: Vec<(String, String)>,
}

impl RunRecord {
    /// What was scored, in words: the benchmark, or clips in its layout.
    pub(super) fn scored(&self) -> String {
        let DatasetRecord { name, clips, done, .. } = &self.dataset;
        official::scored(self.protocol.benchmark, (name, *clips), *done)
    }

    /// Whether this is all of what the dataset's list holds.
    pub fn partial(&self) -> bool {
        self.dataset.done < self.dataset.clips
    }

    /// The content of `results.json`; scores as fractions.
    pub fn json(&self, summary: &Summary) -> Value {
        let pairs = |key: &str, pairs: &[(String, String)]| -> Vec<Value> {
            pairs.iter().map(|(clip, text)| json!({ "clip": clip, key: text })).collect()
        };
        json!({
            "benchmark": self.protocol.benchmark,
            "metrics": summary.metrics,
            "per_object": summary.per_object,
            "protocol": self.protocol,
            "weights": self.weights,
            "dataset": self.dataset,
            "partial": self.partial(),
            "remarks": summary.remarks,
            "notes": pairs("note", &self.notes),
            "failures": pairs("error", &self.failures),
            "provenance": self.provenance,
        })
    }

    /// What [`Self::json`] tells of a record: all but the scores.
    ///
    /// # Errors
    /// A part is missing or of another kind.
    pub fn from_json(json: &Value) -> serde_json::Result<Self> {
        let mut protocol = json["protocol"].clone();
        if let Value::Object(protocol) = &mut protocol {
            protocol.insert("benchmark".into(), json["benchmark"].clone());
        }
        let pairs = |list: &str, key: &str| -> Vec<(String, String)> {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let pairs = json[list].as_array().into_iter().flatten();
            pairs.map(|pair| (text(&pair["clip"]), text(&pair[key]))).collect()
        };
        Ok(Self {
            protocol: serde_json::from_value(protocol)?,
            weights: serde_json::from_value(json["weights"].clone())?,
            dataset: serde_json::from_value(json["dataset"].clone())?,
            provenance: serde_json::from_value(json["provenance"].clone())?,
            notes: pairs("notes", "note"),
            failures: pairs("failures", "error"),
        })
    }

    /// The content of `results.md`.
    pub fn markdown(&self, summary: &Summary) -> String {
        let mut text = format!("# {}\n\n", self.scored());
        let _ = writeln!(text, "{}\n", summary.headline.markdown());
        for line in self.lines(summary) {
            let _ = writeln!(text, "- {line}");
        }
        let _ = writeln!(text, "\nScores are percentages. The command was\n");
        let _ = writeln!(text, "```sh\n{}\n```\n", self.provenance.command);
        if !summary.items.is_empty() {
            let rows = match self.protocol.benchmark {
                Benchmark::Davis => "Objects",
                Benchmark::Vip => "Classes",
                Benchmark::Jhmdb => "Joints",
            };
            let _ = writeln!(text, "## {rows}\n\n{}\n", summary.items.markdown());
        }
        let _ = writeln!(text, "## Protocol\n\n{}", self.values().markdown());
        text
    }

    /// The headline after the encoder's name: a row to be put under others.
    pub fn row(&self, summary: &Summary) -> Table {
        let columns = summary.headline.columns().iter().cloned();
        let mut table = Table::new(std::iter::once("encoder".to_owned()).chain(columns));
        let encoder = self.weights.as_ref().map_or("unknown", |weights| &weights.file);
        for scores in summary.headline.rows() {
            table.push(std::iter::once(encoder.into()).chain(scores.iter().cloned()).collect());
        }
        table
    }

    /// The protocol's values as a table.
    fn values(&self) -> Table {
        let mut table = Table::new(["setting", "value"]);
        for (name, value) in flattened("", &self.protocol.values) {
            table.push(vec![name.into(), value.into()]);
        }
        table
    }

    /// What stands under the table: what was done, and all that a reader must know to trust it.
    pub fn lines(&self, summary: &Summary) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(weights) = &self.weights {
            let sha = weights.sha256.get(..12).unwrap_or(&weights.sha256);
            let WeightsRecord { file, family, arch, .. } = weights;
            let choices = weights.choices();
            lines.push(format!("weights: {file} ({family}, {arch}{choices}, sha256 {sha})"));
            lines.extend(weights.notes.iter().cloned());
        }
        let ProtocolRecord { preset, version, hash, departures, .. } = &self.protocol;
        lines.push(format!("protocol: {preset} v{version} (hash {hash})"));
        lines.extend(departures.iter().map(|Departure { setting, preset, used }| {
            format!("departure: {setting} is {}, the preset has {}", words(used), words(preset))
        }));
        let DatasetRecord { name, split, clips, done, frames, .. } = &self.dataset;
        let partial = if self.partial() { " — PARTIAL" } else { "" };
        lines.push(format!(
            "data: {name}, {split}: {done} of {}, {}{partial}",
            counted(*clips, "clip"),
            counted(*frames, "frame")
        ));
        let lacking = official::lacking(self.protocol.benchmark, &self.dataset);
        lines.extend(lacking.map(|why| format!("not comparable with published numbers: {why}")));
        lines.push(self.machine());
        lines.extend(summary.remarks.iter().cloned());
        lines.extend(self.notes.iter().map(|(clip, note)| format!("{clip}: {note}")));
        lines.extend(self.failures.iter().map(|(clip, error)| format!("FAILED {clip}: {error}")));
        lines
    }

    /// Which program on which machine, and how long it took.
    fn machine(&self) -> String {
        let by = &self.provenance;
        let mut line = format!("by: cropmae {} ({})", by.version, by.git_commit);
        if let Some(dtype) = &by.dtype {
            let _ = write!(line, ", {}, {dtype}, JPEG by {}", by.device, by.jpeg_decoder);
        }
        if by.encoder.as_deref() == Some("tensor") {
            line += ", encoder by tensor operations";
        }
        if let Some(affinity) = &by.affinity {
            let _ = write!(line, ", affinity in {affinity}");
        }
        let _ = write!(line, ", {}, {:.1} s", counted(by.threads, "thread"), by.wall_seconds);
        match by.resumed {
            0 => {}
            1 => line += " (1 clip by an earlier run)",
            more => line += &format!(" ({more} clips by earlier runs)"),
        }
        line
    }
}

/// Values by their names, those of parts as `whole.part`.
pub(crate) fn flattened(name: &str, value: &Value) -> Vec<(String, String)> {
    let Value::Object(parts) = value else {
        return vec![(name.to_owned(), words(value))];
    };
    let joined =
        |part: &String| if name.is_empty() { part.clone() } else { format!("{name}.{part}") };
    parts.iter().flat_map(|(part, value)| flattened(&joined(part), value)).collect()
}

/// A value for people.
pub fn words(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(parts) => {
            let parts = parts.iter().map(|(name, value)| format!("{name} {}", words(value)));
            parts.collect::<Vec<_>>().join(", ")
        }
        // JSON knows 64-bit numbers alone: what is exactly a 32-bit one is shown as that, 0.485.
        Value::Number(number) => match number.as_f64() {
            Some(wide) if number.is_f64() && f64::from(wide as f32) == wide => {
                (wide as f32).to_string()
            }
            _ => number.to_string(),
        },
        Value::Bool(on) => on.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_they_were_typed() {
        let values = json!({
            "mean": [0.485_f32, 1.0_f32], "temperature": 0.7, "topk": 7, "copy_size": null,
            "input_size": { "exact": "480x880" }, "padded": true,
        });
        let shown: Vec<String> = flattened("", &values)
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        copy_size = none
        input_size.exact = 480x880
        mean = 0.485, 1
        padded = true
        temperature = 0.7
        topk = 7
        ");
        assert_eq!(words(&values["input_size"]), "exact 480x880");
    }

    #[test]
    fn a_record_comes_back_from_its_json() {
        let used = Protocol { score_size: "96x96".parse().unwrap(), ..vip() };
        let weights = json!({
            "file": "w.pth", "sha256": "ab", "family": "MAE", "arch": "vits16", "layer": "last",
            "positions": "offset",
        });
        let dataset = json!({
            "name": "vip", "split": "val", "clips": 3, "done": 2, "frames": 9, "labels_sha256": null,
        });
        let provenance = json!({
            "version": "1", "git_commit": "c", "device": "cpu", "dtype": "f32", "threads": 2,
            "jpeg_decoder": "d", "seconds": Stages::default(), "wall_seconds": 0.1, "resumed": 0,
            "peak_memory_bytes": null, "command": "propagate vip",
        });
        let record = RunRecord {
            protocol: ProtocolRecord::of_run(Preset::Cropmae, &used).unwrap(),
            weights: serde_json::from_value(weights).unwrap(),
            dataset: serde_json::from_value(dataset).unwrap(),
            provenance: serde_json::from_value(provenance).unwrap(),
            notes: vec![("a".into(), "odd".into())],
            failures: vec![("b".into(), "broken".into())],
        };
        let json = record.json(&Summary::default());
        let back = RunRecord::from_json(&json).unwrap();
        assert_eq!(back.json(&Summary::default()), json);
        assert_eq!((back.protocol.benchmark, back.partial()), (Benchmark::Vip, true));
        assert!(RunRecord::from_json(&json!({ "benchmark": "vip" })).is_err());
        let first = |json: &Value| {
            RunRecord::from_json(json).unwrap().lines(&Summary::default()).swap_remove(0)
        };
        assert_eq!(first(&json), "weights: w.pth (MAE, vits16, sha256 ab)");
        let mut chosen = json.clone();
        chosen["weights"]["layer"] = "3".into();
        let told = "weights: w.pth (MAE, vits16, layer 3, sha256 ab)";
        assert_eq!(first(&chosen), told, "of an earlier version");
        chosen["weights"]["chosen"] = json!(["layer 3 of 12", "heads 4"]);
        let told = "weights: w.pth (MAE, vits16, layer 3 of 12, heads 4, sha256 ab)";
        assert_eq!(first(&chosen), told);
    }

    fn vip() -> Protocol {
        Preset::Cropmae.protocol(Benchmark::Vip).unwrap()
    }

    #[test]
    fn scores_say_nothing_of_how_predictions_were_made() {
        let used = json!({ "score_size": "480x880" });
        let record = ProtocolRecord::of_scores(
            Benchmark::Davis,
            &json!({ "score_size": "native" }),
            used.clone(),
        );
        assert_eq!((record.preset.as_str(), &record.values), ("score", &used));
        assert_eq!(record.departures.len(), 1);
        assert_eq!(record.hash, protocol::hash(&used));
    }
}
