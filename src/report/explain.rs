//! Where a score comes from: a finished run in words, and how much each single setting changes its
//! score.
//!
//! [`facts`] describes a result folder in sentences. An [`Ablation`] holds the measurements of what
//! [`crate::protocol::ablation`] lists: the same encoder on the same clips with one setting
//! changed, the difference to the run itself, and an interval of it ([`super::compare`]).
//! `explain.md` and `explain.json` store both.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::compare::runs::ScoredRun;
use super::compare::tables::{between, points};
use super::compare::{Comparison, Difference, roughness, statistics::Resampling};
use super::html::propagate::protocol::told as in_sentences;
use super::record::words;
use super::{Cell, RunRecord, Table, number};
use crate::error::Result;
use crate::files;
use crate::protocol::{Benchmark, Departure};
use crate::wording::counted;

/// A choice that was changed, and what came of it.
#[derive(Debug, Clone)]
pub struct Change {
    /// The setting, as in the result files; `preset` where all of another's values were taken.
    pub setting: String,
    /// Its value in the run.
    pub from: String,
    /// Its value now.
    pub to: String,
    /// Who publishes with it.
    pub presets: Vec<String>,
    /// The first score's difference to the run, or why it was not measured.
    pub measured: std::result::Result<Difference, String>,
}

impl Change {
    /// How far it moved the score, whichever way.
    fn size(&self) -> f64 {
        self.measured.as_ref().map_or(f64::NEG_INFINITY, |of| of.difference.abs())
    }
}

/// Every change that was tried, the largest difference first.
#[derive(Debug, Clone)]
pub struct Ablation {
    benchmark: Benchmark,
    /// The run again, by this build on this machine, on the clips that were taken.
    base: f64,
    /// What the run's own records say of these clips.
    recorded: f64,
    clips: usize,
    objects: usize,
    resampling: Resampling,
    changes: Vec<Change>,
}

impl Ablation {
    /// Of changes to a run: `recorded` is the run as it was, `base` the same settings again, both
    /// over the clips taken.
    pub fn new(
        recorded: &ScoredRun,
        base: &ScoredRun,
        resampling: Resampling,
        mut changes: Vec<Change>,
    ) -> Result<Self> {
        changes.sort_by(|a, b| b.size().total_cmp(&a.size()));
        Ok(Self {
            benchmark: base.benchmark,
            base: first_score(base)?,
            recorded: first_score(recorded)?,
            clips: base.clips().len(),
            objects: base.objects().iter().sum(),
            resampling,
            changes,
        })
    }

    /// The first score's name.
    fn score(&self) -> String {
        ScoredRun::scores(self.benchmark).swap_remove(0)
    }

    /// A row for each change.
    pub fn table(&self) -> Table {
        let score = self.score();
        let mut table = Table::new([
            "changed",
            "to",
            "from",
            "as in",
            &score,
            "difference",
            "95 % over clips",
            "verdict",
        ]);
        for change in &self.changes {
            let mut row: Vec<Cell> =
                [&change.setting, &change.to, &change.from, &change.presets.join(", ")]
                    .map(|text| Cell::Text(text.clone()))
                    .to_vec();
            row.extend(match &change.measured {
                Ok(of) => [
                    Cell::Score(of.score),
                    points(of.difference).into(),
                    between(of.over_clips).into(),
                    of.verdict.name().into(),
                ],
                Err(why) => [f64::NAN.into(), "".into(), "".into(), why.clone().into()],
            });
            table.push(row);
        }
        table
    }

    /// What the table comes to, in sentences.
    pub fn lesson(&self) -> Vec<String> {
        let Self { clips, objects, base, .. } = self;
        let score = self.score();
        let again = match self.recorded - base {
            0.0 => "to the last digit what the run's own records say".to_owned(),
            gap => format!("{} points from what the run's own records say", points(-gap)),
        };
        let mut lines = vec![format!(
            "The same settings again give {score} {:.1} on {} ({}), {again}.",
            100.0 * base,
            counted(*clips, "clip"),
            counted(*objects, "object")
        )];
        let single = self.measured().filter(|(change, _)| change.setting != "preset");
        let single: Vec<_> = single.collect();
        let large = single.iter().filter(|(_, of)| of.difference.abs() >= 0.01).count();
        let equal = single.iter().filter(|(_, of)| of.difference == 0.0).count();
        lines.push(format!(
            "Single changes tried: {}. They move {score} by a point or more: {large}; not at all: {equal}.",
            single.len()
        ));
        if let Some((change, of)) = single.first() {
            lines.push(format!(
                "The largest is {} {} in place of {}: {} points.",
                change.setting,
                change.to,
                change.from,
                points(of.difference)
            ));
        }
        if let Some((change, of)) = self.measured().find(|(change, _)| change.setting == "preset") {
            lines.push(format!(
                "Of whole presets, {} is farthest away: {} points.",
                change.to,
                points(of.difference)
            ));
        }
        lines.extend(roughness(self.clips).map(|few| format!("Note: {few}.")));
        lines
    }

    fn measured(&self) -> impl Iterator<Item = (&Change, &Difference)> {
        self.changes.iter().filter_map(|change| Some((change, change.measured.as_ref().ok()?)))
    }

    fn json(&self) -> Value {
        let change = |change: &Change| {
            let of = change.measured.as_ref().ok();
            json!({
                "setting": change.setting,
                "from": change.from,
                "to": change.to,
                "presets": change.presets,
                "score": of.map(|of| number(of.score)),
                "difference": of.map(|of| number(of.difference)),
                "over_clips": of.and_then(|of| of.over_clips),
                "over_objects": of.and_then(|of| of.over_objects),
                "not_measured": change.measured.as_ref().err(),
            })
        };
        json!({
            "score": self.score(),
            "base": number(self.base),
            "recorded": number(self.recorded),
            "clips": self.clips,
            "objects": self.objects,
            "resamples": self.resampling.count,
            "seed": self.resampling.seed,
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
        })
    }
}

impl From<f64> for Cell {
    fn from(score: f64) -> Self {
        Self::Score(score)
    }
}

fn first_score(run: &ScoredRun) -> Result<f64> {
    let summary = run.summary()?;
    let name = ScoredRun::scores(run.benchmark).swap_remove(0);
    Ok(summary.metrics.get(&name).and_then(Value::as_f64).unwrap_or(f64::NAN))
}

/// What a change did to the first score.
///
/// # Errors
/// The two have no clip in common.
pub fn difference(
    base: &ScoredRun,
    changed: ScoredRun,
    resampling: Resampling,
) -> Result<Difference> {
    let comparison = Comparison::new(vec![base.clone(), changed], 0, resampling)?;
    Ok(comparison.differences[1][0])
}

/// A run in words: its score, its encoder, what was done to a clip, what departs from the preset,
/// and what else can move the last digits.
///
/// # Errors
/// Its records cannot be summed up.
pub fn facts(run: &ScoredRun) -> Result<Vec<String>> {
    let results = &run.results;
    let text = |value: &Value| words(value);
    let score = ScoredRun::scores(run.benchmark).swap_remove(0);
    let (done, clips) = (&results["dataset"]["done"], &results["dataset"]["clips"]);
    let partial = if results["partial"] == true { ": PARTIAL" } else { "" };
    let mut lines = vec![format!(
        "{score} {:.1} on {done} of {} of {}, {}{partial}.",
        100.0 * first_score(run)?,
        counted(clips.as_u64().unwrap_or_default(), "clip"),
        text(&results["dataset"]["name"]),
        text(&results["dataset"]["split"]),
    )];
    let weights = &results["weights"];
    lines.push(match weights.is_object() {
        true => format!(
            "Encoder: {}, {}, {}; features of layer {}{}.",
            text(&weights["file"]),
            text(&weights["family"]),
            text(&weights["arch"]),
            text(&weights["layer"]),
            // raw pixels and rotary positions have no table
            match weights["positions"].as_str() {
                Some(rule) => format!(", position table by rule {rule}"),
                None => String::new(),
            },
        ),
        false => {
            "Encoder: unknown; the predictions came from elsewhere and were scored as they were."
                .into()
        }
    });
    if !weights.is_object() {
        lines.push(scores(run)?);
    }
    let protocol = &results["protocol"];
    lines.push(format!("Protocol: {} v{}.", text(&protocol["preset"]), protocol["version"]));
    if let Ok(record) = RunRecord::from_json(results) {
        let told = in_sentences(&record.protocol).into_iter();
        lines.extend(told.map(|(about, text)| format!("{about}: {text}")));
    }
    lines.push(departures(&protocol["departures"]));
    let by = &results["provenance"];
    let program = format!("cropmae {} ({})", text(&by["version"]), text(&by["git_commit"]));
    lines.push(match weights.is_object() {
        true => format!(
            "JPEG decoded by {}, encoded in {} on {}, {program}.",
            text(&by["jpeg_decoder"]),
            text(&by["dtype"]),
            text(&by["device"]),
        ),
        false => format!("Scored by {program}; no frame was decoded or encoded."),
    });
    Ok(lines)
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

/// A run explained.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What it is called.
    pub name: String,
    /// [`facts`].
    pub facts: Vec<String>,
    /// The stored predictions scored anew: in words, and the first score.
    pub rescored: Vec<(String, f64)>,
    /// The changes that were tried.
    pub ablation: Option<Ablation>,
}

impl Explanation {
    /// The stored predictions scored anew.
    fn rescored(&self) -> Table {
        let mut table = Table::new(["the stored predictions, scored", "score"]);
        for (how, score) in &self.rescored {
            table.push(vec![how.clone().into(), Cell::Score(*score)]);
        }
        table
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text: String = self.facts.iter().map(|line| format!("{line}\n")).collect();
        if !self.rescored.is_empty() {
            let _ = write!(text, "\n{}\n", self.rescored().text());
        }
        if let Some(ablation) = &self.ablation {
            let _ = write!(text, "\n{}\n", ablation.table().text());
            ablation.lesson().iter().for_each(|line| text += &format!("  {line}\n"));
        }
        text
    }

    /// The content of `explain.json`.
    pub fn json(&self) -> Value {
        let rescored = self.rescored.iter();
        let rescored = rescored.map(|(how, score)| json!({ "how": how, "score": number(*score) }));
        json!({
            "run": self.name,
            "facts": self.facts,
            "rescored": rescored.collect::<Vec<_>>(),
            "ablation": self.ablation.as_ref().map(Ablation::json),
        })
    }

    /// The content of `explain.md`; `command` is what made it.
    pub fn markdown(&self, command: &str) -> String {
        let mut text = format!("# Where {} comes from\n\n", self.name);
        self.facts.iter().for_each(|line| text += &format!("- {line}\n"));
        if !self.rescored.is_empty() {
            let _ = write!(text, "\n{}\n", self.rescored().markdown());
        }
        if let Some(ablation) = &self.ablation {
            let _ = write!(text, "\n## One choice changed at a time\n\n");
            ablation.lesson().iter().for_each(|line| text += &format!("- {line}\n"));
            let _ = write!(text, "\n{}\n", ablation.table().markdown());
            let _ =
                writeln!(text, "\nScores are percentages, differences points. The command was\n");
            let _ = writeln!(text, "```sh\n{command}\n```");
        }
        text
    }

    /// Writes `explain.md` and `explain.json`, both or none.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, folder: &Path, command: &str) -> Result<()> {
        let place = folder.join("explain.json");
        let bytes = files::json_bytes(&place, &self.json())?;
        files::write_together(&[
            (place, bytes),
            (folder.join("explain.md"), self.markdown(command).into_bytes()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::read;
    use super::super::compare::runs::tests::{davis, folder};
    use super::*;

    fn change(setting: &str, base: &ScoredRun, to: Option<&ScoredRun>) -> Change {
        let resampling = Resampling { seed: 0, count: 200 };
        let measured = to.map(|to| difference(base, to.clone(), resampling).unwrap());
        let (from, to) = ("7".into(), "5".into());
        let measured = measured.ok_or_else(|| "not in this build".to_owned());
        Change { setting: setting.into(), from, to, presets: vec!["dino".into()], measured }
    }

    #[test]
    fn the_largest_difference_comes_first() {
        let place = tempfile::tempdir().unwrap();
        let run = |name: &str, j: [f64; 2]| {
            let clips = [("x", davis(&j[..1])), ("y", davis(&j[1..]))];
            folder(&place.path().join(name), "davis", 7, &clips)
        };
        let folders = [run("base", [0.5, 0.6]), run("low", [0.4, 0.5]), run("near", [0.5, 0.61])];
        let [base, low, near] = read(&folders).unwrap().try_into().unwrap();
        let changes = vec![
            change("jpeg_decoder", &base, None),
            change("same", &base, Some(&base)),
            change("near", &base, Some(&near)),
            change("preset", &base, Some(&low)),
            change("low", &base, Some(&low)),
        ];
        let resampling = Resampling { seed: 0, count: 200 };
        let ablation = Ablation::new(&base, &base, resampling, changes).unwrap();
        insta::assert_snapshot!(ablation.table().markdown(), @r#"
        | changed      | to | from | as in | J&F-Mean | difference | 95 % over clips | verdict           |
        |--------------|----|------|-------|----------|------------|-----------------|-------------------|
        | preset       | 5  | 7    | dino  |     55.0 | -10.0      | [-10.0, -10.0]  | worse             |
        | low          | 5  | 7    | dino  |     55.0 | -10.0      | [-10.0, -10.0]  | worse             |
        | near         | 5  | 7    | dino  |     65.5 | +0.5       | [0.0, +1.0]     | unclear           |
        | same         | 5  | 7    | dino  |     65.0 | 0.0        | [0.0, 0.0]      | equal             |
        | jpeg_decoder | 5  | 7    | dino  |          |            |                 | not in this build |
        "#);
        insta::assert_snapshot!(ablation.lesson().join("\n"), @r#"
        The same settings again give J&F-Mean 65.0 on 2 clips (2 objects), to the last digit what the run's own records say.
        Single changes tried: 3. They move J&F-Mean by a point or more: 1; not at all: 1.
        The largest is low 5 in place of 7: -10.0 points.
        Of whole presets, 5 is farthest away: -10.0 points.
        Note: intervals over 2 clips are rough, and a little too narrow.
        "#);
        let explanation = Explanation {
            name: "base".into(),
            facts: facts(&base).unwrap(),
            rescored: vec![("at native size".into(), 0.65)],
            ablation: Some(ablation),
        };
        let markdown = explanation.markdown("propagate explain base --ablate");
        assert!(markdown.contains("Nothing departs from the preset."), "{markdown}");
        assert!(markdown.contains("| at native size"), "{markdown}");
        assert_eq!(explanation.json()["ablation"]["changes"][0]["setting"], "preset");
        assert!(explanation.text().starts_with("J&F-Mean 65.0 on 2 of 2 clips"));
    }
}
