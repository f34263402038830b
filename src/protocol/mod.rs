//! Protocols: every setting that changes a score, under a name, a version and a hash.
//!
//! The score of the same weights differs between the settings that papers use: by up to 2.6 J&F
//! points where a single one was changed (results/explain.md). So a preset fixes them all
//! ([`presets`]), every result file holds its name and hash, and values that were changed
//! ([`Protocol::with_setting`]) are listed beside them. [`crate::eval`] follows these settings.

pub mod ablation;
pub mod presets;
mod setting;
pub mod size;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use crate::data::Benchmark;
use crate::digest::hexadecimal;
use crate::error::{Error, Result};
use crate::image::resize::FrameFilter;
use crate::propagation::Settings;
use crate::propagation::labels::{FirstLabels, Readout};
pub use presets::Preset;
pub use size::{InputSize, Size};

/// The nearest-neighbour rule that brings predicted ids to the size they are scored at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NearestRule {
    /// OpenCV's: `floor(i * in / out)`.
    Floor,
    /// Pillow's: the pixel under the centre.
    Centered,
}

/// The size that masks are scored and written at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreSize {
    /// Each annotation's own size.
    Native,
    /// One size for all; annotations are brought to it by Pillow's nearest rule.
    Fixed(Size),
}

impl std::fmt::Display for ScoreSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Fixed(size) => size.fmt(f),
        }
    }
}

impl std::str::FromStr for ScoreSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "native" => Ok(Self::Native),
            _ => text.parse().map(Self::Fixed),
        }
    }
}

/// All that decides a score, but for the weights and the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// The task.
    pub benchmark: Benchmark,
    /// Frames and masks are brought to this size by Pillow's nearest rule before anything else:
    /// what the `DAVIS_480_880` copies hold.
    pub copy_size: Option<Size>,
    /// The encoder's input size.
    pub input_size: InputSize,
    /// How frames are brought to it.
    pub frame_filter: FrameFilter,
    /// Subtracted from R, G, B in [0, 1].
    pub mean: [f32; 3],
    /// What they are divided by then.
    pub std: [f32; 3],
    /// How the first annotation becomes soft labels.
    pub first_labels: FirstLabels,
    /// The affinity and its context.
    pub propagation: Settings,
    /// How soft labels become ids.
    pub readout: Readout,
    /// How ids are brought from the input size to the size they are scored at.
    pub output_nearest: NearestRule,
    /// The size they are scored at.
    pub score_size: ScoreSize,
    /// Whether the given first frame is left out of VIP's mIoU. The published numbers hold it.
    pub exclude_first_frame: bool,
}

/// A value that is not the preset's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Departure {
    /// Which one, as in the result files.
    pub setting: String,
    /// What the preset says.
    pub preset: Value,
    /// What was used.
    pub used: Value,
}

impl Protocol {
    /// The encoder's input size for frames that are released at a size.
    ///
    /// # Errors
    /// The frame is too small for one patch.
    pub fn input(&self, frame: Size, patch: usize) -> Result<Size> {
        self.input_size.resolve(self.copy_size.unwrap_or(frame), patch)
    }

    /// SHA-256 of all values as JSON, the first 16 hexadecimal digits.
    pub fn hash(&self) -> String {
        hash(&self.values())
    }

    /// The values that decide what an encoder makes of a frame, as JSON: two protocols that agree
    /// in them can share features.
    pub fn preprocessing(&self) -> Value {
        json!({
            "copy_size": self.copy_size,
            "input_size": self.input_size,
            "frame_filter": self.frame_filter,
            "mean": self.mean,
            "std": self.std,
        })
    }

    /// All values as JSON, nested as in this type.
    pub fn values(&self) -> Value {
        // Plain data: there is no key or number here that JSON could refuse.
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// The protocol that has these values, as [`Protocol::values`] gave them.
    ///
    /// # Errors
    /// They are no protocol of this version of the program.
    pub fn from_values(values: &Value) -> Result<Self> {
        Self::deserialize(values).map_err(|error| {
            Error::failed("protocol", format!("its values are not those of a protocol: {error}"))
        })
    }

    /// What differs from `preset`, in the order of the values.
    pub fn departures(&self, preset: &Self) -> Vec<Departure> {
        departures(&preset.values(), &self.values())
    }
}

/// SHA-256 of values as JSON, the first 16 hexadecimal digits.
pub fn hash(values: &Value) -> String {
    let digest = Sha256::digest(values.to_string().as_bytes());
    hexadecimal(&digest[..8])
}

/// What differs between the values of a preset and those used.
pub fn departures(preset: &Value, used: &Value) -> Vec<Departure> {
    let mut found = Vec::new();
    compare("", preset, used, &mut found);
    found
}

fn compare(name: &str, preset: &Value, used: &Value, found: &mut Vec<Departure>) {
    match (preset, used) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            for (key, value) in a {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                compare(&name, value, &b[key], found);
            }
        }
        _ if preset == used => {}
        _ => found.push(Departure {
            setting: name.to_owned(),
            preset: preset.clone(),
            used: used.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cropmae() -> Protocol {
        Preset::Cropmae.protocol(Benchmark::Davis).unwrap()
    }

    #[test]
    fn a_changed_value_changes_the_hash_and_is_listed() {
        let preset = cropmae();
        let mut used = preset.clone();
        assert!(used.departures(&preset).is_empty());
        assert_eq!(used.hash(), preset.hash());
        used.propagation.topk = 5;
        used.input_size = InputSize::Exact(Size { height: 240, width: 432 });
        assert_ne!(used.hash(), preset.hash());
        let departures = used.departures(&preset);
        let names: Vec<&str> = departures.iter().map(|d| d.setting.as_str()).collect();
        assert_eq!(names, ["input_size.exact", "propagation.topk"]);
        assert_eq!((&departures[1].preset, &departures[1].used), (&7.into(), &5.into()));
    }

    #[test]
    fn features_depend_on_the_frames_preparation_alone() {
        let mut used = cropmae();
        used.propagation.topk = 5;
        used.propagation.queue = 3;
        used.readout = Readout::MinMaxArgmax;
        used.score_size = ScoreSize::Fixed(Size { height: 48, width: 80 });
        assert_eq!(used.preprocessing(), cropmae().preprocessing());
        let changes: [fn(&mut Protocol); 5] = [
            |p| p.copy_size = Some(Size { height: 48, width: 80 }),
            |p| p.input_size = InputSize::Native,
            |p| p.frame_filter = FrameFilter::Bicubic,
            |p| p.mean[2] += 0.001,
            |p| p.std[0] += 0.001,
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut used = cropmae();
            change(&mut used);
            assert_ne!(used.preprocessing(), cropmae().preprocessing(), "change {index}");
        }
    }

    #[test]
    fn values_come_back() {
        use strum::VariantArray;
        for preset in Preset::VARIANTS {
            let mut protocol = preset.protocol(Benchmark::Davis).unwrap();
            // through text, as results.json holds them
            let text = protocol.values().to_string();
            let values: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(Protocol::from_values(&values).unwrap(), protocol);
            protocol.score_size = ScoreSize::Fixed(Size { height: 48, width: 80 });
            assert_eq!(Protocol::from_values(&protocol.values()).unwrap(), protocol);
        }
        let error = Protocol::from_values(&json!({ "score_size": "native" })).unwrap_err();
        assert!(error.to_string().contains("missing field"), "{error}");
    }

    #[test]
    fn score_sizes_are_parsed() {
        assert_eq!("native".parse(), Ok(ScoreSize::Native));
        let fixed = ScoreSize::Fixed(Size { height: 480, width: 880 });
        assert_eq!("480x880".parse(), Ok(fixed));
        assert_eq!(fixed.to_string(), "480x880");
    }
}
