//! Single values of a protocol, set by name: what `--set` of the programs takes.
//!
//! Names are those of the result files (`propagation.keep_ties`); their last part is enough
//! (`keep_ties`). A value is written as the results show it: `true`, `7`, `nearest`, `0.5, 0.5,
//! 0.5`, `none`, `short-side 480`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Benchmark, InputSize, Protocol};
use crate::error::{Error, Result};
use crate::nearest::nearest;

/// What errors are about.
const SET: &str = "set";
/// The most neighbours or frames: more cannot be meant.
const MOST: usize = 1_000_000;
/// Values that only masks have.
const OF_MASKS: [&str; 4] = ["first_labels", "readout", "output_nearest", "score_size"];

impl Protocol {
    /// `self` with one value changed: `NAME=VALUE`.
    ///
    /// # Errors
    /// There is no such value, it cannot be this, or it decides nothing for the benchmark.
    pub fn with_setting(&self, setting: &str) -> Result<Self> {
        let values = self.values();
        let names = names("", &values);
        let Some((typed, text)) = setting.split_once('=') else {
            let problem = format!("{setting} has no value; write for example keep_ties=true");
            return Err(Error::setting(SET, problem));
        };
        let name = named(typed.trim(), &names)?;
        self.check_use(name)?;
        let place = format!("/{}", name.replace('.', "/"));
        let mut refused = None;
        for reading in readings(text.trim()) {
            let mut values = values.clone();
            if let Some(value) = values.pointer_mut(&place) {
                *value = reading;
            }
            match Self::deserialize(&values) {
                Ok(changed) => return changed.checked(name),
                Err(error) => drop(refused.get_or_insert_with(|| plain(&error.to_string()))),
            }
        }
        let why = refused.unwrap_or_default();
        Err(Error::setting(SET, format!("{name} cannot be {}: {why}", text.trim())))
    }

    /// Refuses a value that decides nothing here.
    fn check_use(&self, name: &str) -> Result<()> {
        let of = match name {
            "copy_size" if self.benchmark != Benchmark::Davis => "davis",
            "exclude_first_frame" if self.benchmark != Benchmark::Vip => "vip",
            name if OF_MASKS.contains(&name) && self.benchmark == Benchmark::Jhmdb => "masks",
            _ => return Ok(()),
        };
        let problem =
            format!("{name} is for {of}; it decides nothing for {}", self.benchmark.name());
        Err(Error::setting(SET, problem))
    }

    /// `self`, where `name` has a value that can be computed with.
    fn checked(self, name: &str) -> Result<Self> {
        let Self { input_size, mean, std, propagation, .. } = &self;
        let side = match input_size {
            InputSize::LongSide(side) | InputSize::ShortSide(side) => Some(*side),
            InputSize::ShortSideUp(side) => Some(*side),
            InputSize::Exact(_) | InputSize::Native => None,
        };
        let problem = match name {
            "mean" if !mean.iter().all(|value| value.is_finite()) => "needs three numbers",
            "std" if !std.iter().all(|value| value.is_finite() && *value > 0.0) => {
                "needs three numbers above 0"
            }
            "input_size" if side.is_some_and(|side| !(16..=32_768).contains(&side)) => {
                "needs a side of 16 to 32768 pixels"
            }
            "propagation.topk" if propagation.topk > MOST => "can be at most 1000000",
            "propagation.queue" if propagation.queue > MOST => "can be at most 1000000",
            _ => return propagation.validate().map(|()| self),
        };
        Err(Error::setting(SET, format!("{name} {problem}")))
    }
}

/// The names of all values but the benchmark's; sizes are one value each, whatever their form.
fn names(above: &str, values: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in values.as_object().into_iter().flatten() {
        let name = format!("{above}{key}");
        match value {
            Value::Object(_) if !name.ends_with("_size") => {
                found.extend(names(&format!("{name}."), value));
            }
            _ if name == "benchmark" => {}
            _ => found.push(name),
        }
    }
    found
}

/// The name that was typed, in full or its last part.
fn named<'a>(typed: &str, names: &'a [String]) -> Result<&'a str> {
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    let plain = typed.replace('-', "_");
    if let Some(name) = names.iter().find(|name| **name == plain || last(name) == plain) {
        return Ok(name);
    }
    let parts = names.iter().map(|name| last(name));
    let meant = nearest(&plain, names.iter().map(String::as_str).chain(parts));
    let meant = meant.map_or_else(String::new, |name| format!("did you mean {name}? "));
    let problem = format!("there is no {typed:?}; {meant}There are {}", names.join(", "));
    Err(Error::setting(SET, problem))
}

/// What a text may stand for, the likeliest first.
fn readings(text: &str) -> Vec<Value> {
    let word = |text: &str| Value::String(text.to_owned());
    let scalar = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| word(text));
    let list = text.trim_start_matches('[').trim_end_matches(']').split(',');
    let list: Vec<Value> = list.map(|part| scalar(part.trim())).collect();
    let mut readings = vec![scalar(text), Value::Array(list)];
    readings.extend(text.split_once(' ').map(|(form, size)| json!({ form: scalar(size.trim()) })));
    readings.extend([json!({ "exact": text }), json!({ "fixed": text })]);
    readings.extend((text == "none").then_some(Value::Null));
    readings
}

/// What serde says of a value, in plain words: the names where one was none of them.
fn plain(said: &str) -> String {
    let names = said.strip_prefix("unknown variant ").and_then(|it| it.split_once(", expected"));
    match names {
        Some((_, names)) => {
            let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
            format!("it is one of {}", names.join(", "))
        }
        None => said.replace('`', ""),
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::super::{Preset, ScoreSize, Size};
    use super::*;

    fn of(benchmark: Benchmark) -> Protocol {
        Preset::Cropmae.protocol(benchmark).unwrap()
    }

    /// Every value of every preset can be set: from one protocol any other can be made.
    #[test]
    fn any_preset_is_made_of_any_other_value_by_value() {
        let shown = |value: &Value| match value {
            Value::Null => "none".to_owned(),
            Value::String(word) => word.clone(),
            Value::Object(form) => {
                let (form, size) = form.iter().next().unwrap();
                format!("{form} {}", size.as_str().map_or(size.to_string(), str::to_owned))
            }
            value => value.to_string(),
        };
        for preset in Preset::VARIANTS {
            let wanted = preset.protocol(Benchmark::Davis).unwrap();
            let values = wanted.values();
            let names = names("", &values);
            assert_eq!(names.len(), 18, "seventeen, and exclude_first_frame: {names:?}");
            let mut made = of(Benchmark::Davis);
            for name in names.iter().filter(|name| *name != "exclude_first_frame") {
                let value = values.pointer(&format!("/{}", name.replace('.', "/"))).unwrap();
                made = made.with_setting(&format!("{name}={}", shown(value))).unwrap();
            }
            assert_eq!(made, wanted, "{preset:?}");
        }
    }

    #[test]
    fn values_are_written_as_people_do() {
        let base = of(Benchmark::Davis);
        let set = |setting: &str| base.with_setting(setting).unwrap();
        assert!(set("keep_ties = true").propagation.keep_ties);
        assert!(!set("propagation.padded=false").propagation.padded);
        assert_eq!(set("mean=0.5, 0.5,0.25").mean, [0.5, 0.5, 0.25]);
        assert_eq!(set("std=[1,1,1]").std, [1.0; 3]);
        assert_eq!(set("topk=5").propagation.topk, 5);
        let size = Size { height: 48, width: 80 };
        assert_eq!(set("copy-size=48x80").copy_size, Some(size));
        assert_eq!(set("input_size=48x80").input_size, InputSize::Exact(size));
        assert_eq!(set("input_size=short-side 96").input_size, InputSize::ShortSide(96));
        assert_eq!(set("score_size=48x80").score_size, ScoreSize::Fixed(size));
        let vip = of(Benchmark::Vip).with_setting("exclude_first_frame=true").unwrap();
        assert!(vip.exclude_first_frame);
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (benchmark, setting, said) in [
            (Benchmark::Davis, "keep_tie=true", "did you mean keep_ties? There are copy_size, "),
            (Benchmark::Davis, "zebra=1", "there is no \"zebra\"; There are"),
            (Benchmark::Davis, "benchmark=vip", "there is no \"benchmark\""),
            (Benchmark::Davis, "keep_ties", "keep_ties has no value"),
            (Benchmark::Davis, "keep_ties=yes", "propagation.keep_ties cannot be yes: "),
            (
                Benchmark::Davis,
                "readout=floor",
                "readout cannot be floor: it is one of argmax, min-max-argmax",
            ),
            (Benchmark::Davis, "topk=-1", "propagation.topk cannot be -1"),
            (Benchmark::Davis, "topk=0", "topk: at least one neighbour"),
            (Benchmark::Davis, "topk=5000000000", "propagation.topk can be at most 1000000"),
            (Benchmark::Davis, "std=0,1,1", "std needs three numbers above 0"),
            (Benchmark::Davis, "mean=1e60,0,0", "mean needs three numbers"),
            (Benchmark::Davis, "input_size=long-side 99999999999", "16 to 32768 pixels"),
            (Benchmark::Davis, "exclude_first_frame=true", "exclude_first_frame is for vip"),
            (Benchmark::Vip, "copy_size=48x80", "copy_size is for davis"),
            (Benchmark::Jhmdb, "readout=argmax", "readout is for masks"),
        ] {
            let error = of(benchmark).with_setting(setting).unwrap_err().to_string();
            assert!(error.contains(said), "{setting}: {error}");
        }
    }
}
