//! A run in words: its score, its encoder, what was done to a clip, and what departs from the preset.

use serde_json::Value;

use super::first_score;
use crate::error::Result;
use crate::protocol::Departure;
use crate::report::RunRecord;
use crate::report::compare::runs::ScoredRun;
use crate::report::html::propagate::protocol::told as in_sentences;
use crate::report::record::words;
use crate::wording::counted;

/// A run in words: its score, its encoder, what was done to a clip, what departs from the preset,
/// and what else can move the last digits.
///
/// # Errors
/// Its records cannot be summed up.
pub fn facts(run: &ScoredRun) -> Result<Vec<String>> {
    let results = &run.results;
    let mut lines = vec![headline(run)?];
    let weights = Some(&results["weights"]).filter(|weights| weights.is_object());
    match weights {
        Some(weights) => lines.push(encoder(weights)),
        None => {
            let elsewhere = "Encoder: unknown; the predictions came from elsewhere and were scored as they were.";
            lines.extend([elsewhere.into(), scores(run)?]);
        }
    }
    let protocol = &results["protocol"];
    lines.push(format!("Protocol: {} v{}.", words(&protocol["preset"]), protocol["version"]));
    if let Ok(record) = RunRecord::from_json(results) {
        let told = in_sentences(&record.protocol).into_iter();
        lines.extend(told.map(|(about, text)| format!("{about}: {text}")));
    }
    lines.push(departures(&protocol["departures"]));
    lines.push(machine(&results["provenance"], weights.is_some()));
    Ok(lines)
}

/// The first score, and of what.
fn headline(run: &ScoredRun) -> Result<String> {
    let (score, of) = (ScoredRun::scores(run.benchmark).swap_remove(0), &run.results["dataset"]);
    let partial = if run.results["partial"] == true { ": PARTIAL" } else { "" };
    Ok(format!(
        "{score} {:.1} on {} of {} of {}, {}{partial}.",
        100.0 * first_score(run)?,
        of["done"],
        counted(of["clips"].as_u64().unwrap_or_default(), "clip"),
        words(&of["name"]),
        words(&of["split"]),
    ))
}

/// The encoder and its features.
fn encoder(weights: &Value) -> String {
    // raw pixels and rotary positions have no table
    let positions = weights["positions"].as_str();
    format!(
        "Encoder: {}, {}, {}; features of layer {}{}.",
        words(&weights["file"]),
        words(&weights["family"]),
        words(&weights["arch"]),
        words(&weights["layer"]),
        positions.map_or(String::new(), |rule| format!(", position table by rule {rule}")),
    )
}

/// What decoded, encoded and scored, whether there was an encoder or not.
fn machine(by: &Value, encoded: bool) -> String {
    let program = format!("cropmae {} ({})", words(&by["version"]), words(&by["git_commit"]));
    match encoded {
        true => format!(
            "JPEG decoded by {}, encoded in {} on {}, {program}.",
            words(&by["jpeg_decoder"]),
            words(&by["dtype"]),
            words(&by["device"]),
        ),
        false => format!("Scored by {program}; no frame was decoded or encoded."),
    }
}

/// All scores of a run in a sentence.
fn scores(run: &ScoredRun) -> Result<String> {
    let summary = run.summary()?;
    let score = |name: &String| summary.metrics.get(name).and_then(Value::as_f64);
    let names = ScoredRun::scores(run.benchmark);
    let each = names.iter().filter_map(|name| Some((name, score(name)?)));
    let each: Vec<String> =
        each.map(|(name, score)| format!("{name} {:.1}", 100.0 * score)).collect();
    Ok(format!("Scores: {}.", each.join(", ")))
}

fn departures(departures: &Value) -> String {
    let each = departures.as_array().into_iter().flatten().map(|departure| {
        let Departure { setting, preset, used } = Departure {
            setting: words(&departure["setting"]),
            preset: departure["preset"].clone(),
            used: departure["used"].clone(),
        };
        format!("{setting} is {} and not {}", words(&used), words(&preset))
    });
    let each: Vec<String> = each.collect();
    match each.is_empty() {
        true => "Nothing departs from the preset.".into(),
        false => format!("Departures from the preset: {}.", each.join("; ")),
    }
}
