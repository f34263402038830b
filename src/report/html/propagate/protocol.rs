//! The protocol in words: a sentence for every value, with every changed value marked.
//!
//! Sentences are made from the values in the record, so a page can be made of any run. A value
//! without a sentence is shown by its name, so none is left out.

use maud::{Markup, html};
use serde_json::Value;

use crate::protocol::{Benchmark, Departure};
use crate::report::html::page::facts;
use crate::report::record::{ProtocolRecord, flattened, words};

/// What is said of some values.
struct Sentence {
    /// What it is about.
    about: &'static str,
    /// The values that it tells, by the beginnings of their names.
    of: &'static [&'static str],
    text: String,
}

pub(super) fn section(record: &ProtocolRecord) -> Markup {
    let sentences = sentences(record);
    let told = |name: &str| sentences.iter().any(|sentence| sentence.tells(name));
    let mut rows: Vec<(String, Markup)> = Vec::new();
    for sentence in &sentences {
        let departed =
            record.departures.iter().filter(|departure| sentence.tells(&departure.setting));
        rows.push((
            sentence.about.to_owned(),
            html! {
                (sentence.text)
                @for departure in departed { (departed_from(record, departure)) }
            },
        ));
    }
    for (name, value) in flattened("", &record.values).into_iter().filter(|(name, _)| !told(name)) {
        let departed = record.departures.iter().filter(|departure| departure.setting == name);
        rows.push((
            name.clone(),
            html! {
                (value)
                @for departure in departed { (departed_from(record, departure)) }
            },
        ));
    }
    html! {
        p { "Preset " b { (record.preset) } ", version " (record.version) ", hash "
            code { (record.hash) } ". "
            @match record.departures.len() {
                0 => "Every value is the preset's."
                1 => { b { "One value is not the preset's" } "; it is marked." }
                some => { b { (some) " values are not the preset's" } "; they are marked." }
            }
        }
        (facts(&rows))
    }
}

/// The sentences, each with what it is about, for reports without markup.
pub(in crate::report) fn told(record: &ProtocolRecord) -> Vec<(&'static str, String)> {
    sentences(record).into_iter().map(|sentence| (sentence.about, sentence.text)).collect()
}

fn departed_from(
    record: &ProtocolRecord,
    Departure { setting, preset, used }: &Departure,
) -> Markup {
    html! {
        span.departed {
            b { "Departure: " } (setting) " is " (words(used)) ", "
            (record.preset) " has " (words(preset)) "."
        }
    }
}

impl Sentence {
    fn tells(&self, setting: &str) -> bool {
        self.of.iter().any(|of| {
            setting.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// All that can be said of the values; one that is missing leaves its sentence out.
fn sentences(record: &ProtocolRecord) -> Vec<Sentence> {
    let values = &record.values;
    let joints = !record.benchmark.has_masks();
    let sentence = |about, of: &'static [&'static str], text: Option<String>| {
        text.map(|text| Sentence { about, of, text })
    };
    let labels: &[&str] = &["first_labels"];
    let all = [
        sentence("Frames", &["copy_size"], copy(values)),
        sentence("Encoder's input", &["input_size", "frame_filter"], input(values)),
        sentence("Colours", &["mean", "std"], colors(values)),
        sentence(
            "Given labels",
            labels,
            if joints { given_joints(values) } else { given_masks(values) },
        ),
        sentence("Context", &["propagation.queue", "propagation.padded"], context(values)),
        sentence(
            "Neighbourhood",
            &["propagation.neighborhood", "propagation.restrict_first"],
            neighborhood(values),
        ),
        sentence(
            "Affinity",
            &["propagation.topk", "propagation.keep_ties", "propagation.temperature"],
            affinity(values),
        ),
        sentence(
            "Read-out",
            &["readout"],
            if joints { joints_read(values) } else { masks_read(values) },
        ),
        sentence(
            "Size scored at",
            &["score_size", "output_nearest"],
            if joints { joints_size(values) } else { masks_size(values) },
        ),
        sentence("Score", &["benchmark", "exclude_first_frame"], score(record.benchmark, values)),
    ];
    all.into_iter().flatten().collect()
}

/// A value by its path, in words.
fn said(values: &Value, path: &str) -> Option<String> {
    values.pointer(path).map(words)
}

fn yes(values: &Value, path: &str) -> Option<bool> {
    values.pointer(path)?.as_bool()
}

fn copy(values: &Value) -> Option<String> {
    Some(match values.get("copy_size")? {
        Value::Null => "Frames and labels are taken as they are released.".into(),
        size => format!(
            "Frames and labels are first brought to {} (height x width) by nearest neighbour, as the \
             resized copies of the dataset were.",
            words(size)
        ),
    })
}

fn input(values: &Value) -> Option<String> {
    let (rule, size) = match values.get("input_size")? {
        Value::Object(rule) => {
            rule.iter().next().map(|(rule, size)| (rule.as_str(), words(size)))?
        }
        rule => (rule.as_str()?, String::new()),
    };
    let size = match rule {
        "exact" => format!("Frames enter at {size} (height x width), whatever their aspect"),
        "long-side" => format!(
            "The longer side of a frame becomes {size}, the other keeps the ratio, cut to a \
             multiple of 64"
        ),
        "short-side" => format!(
            "The shorter side of a frame becomes {size}, the other keeps the ratio, cut to a \
             multiple of 64"
        ),
        "short-side-up" => format!(
            "The shorter side of a frame becomes {size}, the other keeps the ratio, both \
             rounded up to whole patches"
        ),
        "native" => "Frames enter at their own size, cut to whole patches".to_owned(),
        _ => return None,
    };
    let filter = match values.get("frame_filter")?.as_str()? {
        "bilinear" => "bilinear on floats without antialiasing (OpenCV's rule)",
        "bilinear-8bit" => "bilinear on bytes in fixed point (OpenCV's rule)",
        "bicubic" => "bicubic on bytes with antialiasing (Pillow's rule)",
        "nearest" => "nearest neighbour (Pillow's rule)",
        _ => return None,
    };
    Some(format!("{size}; resized by {filter}."))
}

fn colors(values: &Value) -> Option<String> {
    let (mean, std) = (said(values, "/mean")?, said(values, "/std")?);
    Some(format!("Red, green and blue in 0 to 1, less {mean}, divided by {std}."))
}

fn given_masks(values: &Value) -> Option<String> {
    let words = match values.get("first_labels")?.as_str()? {
        "bilinear" => {
            "The first frame's labels, one-hot at the frame's size, are averaged bilinearly into \
             soft labels on the grid of patches."
        }
        "nearest" => {
            "The first frame's labels are brought to the grid of patches by nearest neighbour, \
             then one-hot."
        }
        _ => return None,
    };
    Some(words.to_owned())
}

fn given_joints(values: &Value) -> Option<String> {
    let rule = said(values, "/first_labels")?;
    Some(format!(
        "Each joint of the first frame is a Gaussian of half a patch's deviation on the grid of \
         patches. (The rule for masks, {rule}, does not apply.)"
    ))
}

fn context(values: &Value) -> Option<String> {
    let queue = said(values, "/propagation/queue")?;
    let early = match yes(values, "/propagation/padded")? {
        true => {
            "copies of frame 0 fill the queue until so many have passed, and take places among \
             the neighbours"
        }
        false => "early frames have fewer",
    };
    Some(format!(
        "A frame takes its labels from frame 0 and the {queue} frames before it; {early}."
    ))
}

fn neighborhood(values: &Value) -> Option<String> {
    let radius = said(values, "/propagation/neighborhood/radius")?;
    let shape = match values.pointer("/propagation/neighborhood/shape")?.as_str()? {
        "circle" => format!("closer than {radius} patches"),
        "circle-inclusive" => format!("at most {radius} patches away"),
        "square" => format!("at most {radius} patches away along each axis"),
        _ => return None,
    };
    let first = match yes(values, "/propagation/restrict_first")? {
        true => "in frame 0 as in all others",
        false => "but for frame 0, all of which is searched",
    };
    Some(format!("A patch finds its neighbours among patches {shape}, {first}."))
}

fn affinity(values: &Value) -> Option<String> {
    let (topk, temperature) =
        (said(values, "/propagation/topk")?, said(values, "/propagation/temperature")?);
    let ties = match yes(values, "/propagation/keep_ties")? {
        true => ", and all as close as the last of them,",
        false => "",
    };
    Some(format!(
        "Of these the {topk} with the highest cosine{ties} are its neighbours; their labels are \
         averaged with weights from a softmax over cosine / {temperature}."
    ))
}

fn masks_read(values: &Value) -> Option<String> {
    let words = match values.get("readout")?.as_str()? {
        "argmax" => "Soft labels are upsampled bilinearly; each pixel takes the largest.",
        "min-max-argmax" => {
            "Soft labels are upsampled bilinearly, each stretched to 0 to 1 over the frame; each \
             pixel takes the largest."
        }
        "cell-min-max-argmax" => {
            "Soft labels are each stretched to 0 to 1 over the frame; each patch takes the largest, \
             and each pixel that of its patch."
        }
        _ => return None,
    };
    Some(words.to_owned())
}

fn joints_read(values: &Value) -> Option<String> {
    let rule = said(values, "/readout")?;
    Some(format!(
        "A joint lies at the mean of its five strongest patches, weighted by their labels; \
         without any it is lost. (The rule for masks, {rule}, does not apply.)"
    ))
}

fn masks_size(values: &Value) -> Option<String> {
    let size = match values.get("score_size")? {
        Value::String(native) if native == "native" => "each annotation's own size".to_owned(),
        size => format!(
            "{} (height x width), annotations too",
            words(size).trim_start_matches("fixed ")
        ),
    };
    let rule = match values.get("output_nearest")?.as_str()? {
        "floor" => "OpenCV's",
        "centered" => "Pillow's",
        _ => return None,
    };
    Some(format!("Predictions are brought to {size}, by {rule} nearest neighbour."))
}

fn joints_size(values: &Value) -> Option<String> {
    let (size, rule) = (said(values, "/score_size")?, said(values, "/output_nearest")?);
    Some(format!(
        "Joints are scored in pixels of the frames. (The rules for masks, {size} and {rule}, do \
         not apply.)"
    ))
}

fn score(benchmark: Benchmark, values: &Value) -> Option<String> {
    let excluded = yes(values, "/exclude_first_frame")?;
    Some(match benchmark {
        Benchmark::Davis => "J, the overlap of regions, and F, the agreement of contours, of \
            every object in every frame but the first, which is given, and the last; the mean \
            over frames, then over objects."
            .to_owned(),
        Benchmark::Vip => {
            let first = if excluded {
                "the given first frames left out"
            } else {
                "the given first frames among them"
            };
            format!(
                "Pixels of all frames of all videos are counted together, {first}; mIoU is \
                 the mean over the classes that occur, background among them."
            )
        }
        Benchmark::Jhmdb => "A joint is found where it is at most the threshold times the \
            person's size away, which is 0.6 times the diagonal of the box around the joints. \
            Joints predicted lost are left out; the mean over frames, then over joints."
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;
    use crate::protocol::{Preset, ScoreSize};

    fn records() -> Vec<ProtocolRecord> {
        let mut records = Vec::new();
        for benchmark in Benchmark::VARIANTS {
            for preset in Preset::VARIANTS {
                if let Ok(protocol) = preset.protocol(*benchmark) {
                    records.push(ProtocolRecord::of_run(*preset, &protocol).unwrap());
                }
            }
        }
        records
    }

    #[test]
    fn every_value_of_every_preset_is_told_in_a_sentence() {
        assert_eq!(records().len(), 8);
        for record in records() {
            let sentences = sentences(&record);
            assert_eq!(sentences.len(), 10, "{}: a sentence is missing", record.preset);
            for (name, _) in flattened("", &record.values) {
                let told = sentences.iter().filter(|sentence| sentence.tells(&name)).count();
                assert_eq!(told, 1, "{name} of {}", record.preset);
            }
        }
    }

    #[test]
    fn a_departure_stands_with_its_sentence() {
        let mut used = Preset::Cropmae.protocol(Benchmark::Davis).unwrap();
        used.propagation.topk = 5;
        used.score_size = ScoreSize::Fixed("96x160".parse().unwrap());
        let record = ProtocolRecord::of_run(Preset::Cropmae, &used).unwrap();
        let html = section(&record).into_string();
        for part in [
            "2 values are not the preset's",
            "Of these the 5 with the highest cosine are its neighbours",
            "</b>propagation.topk is 5, cropmae has 7.",
            "Predictions are brought to 96x160 (height x width), annotations too",
            "</b>score_size is fixed 96x160, cropmae has native.",
        ] {
            assert!(html.contains(part), "{part:?} is not in {html}");
        }
        assert_eq!(html.matches("Departure").count(), 2);
    }

    #[test]
    fn values_that_no_sentence_knows_are_shown_by_name() {
        let values = serde_json::json!({ "score_size": "native", "grid<": 3 });
        let record = ProtocolRecord::of_scores(Benchmark::Davis, &values, values.clone());
        let html = section(&record).into_string();
        assert!(html.contains("<dt>grid&lt;</dt><dd>3</dd>"), "{html}");
        assert!(html.contains("<dt>score_size</dt><dd>native</dd>"), "{html}");
    }
}
