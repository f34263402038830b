//! A comparison as files: `compare.md`, `compare.csv`, `compare.json`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::statistics::{CONFIDENCE, Interval};
use super::{Comparison, Difference, scatter};
use crate::error::Result;
use crate::files;
use crate::report::{Cell, Table, number};
use crate::wording::counted;

/// What marks a run that should not stand beside the baseline.
const MARK: &str = "NOT COMPARABLE";

impl super::Compared {
    /// The encoder with what was chosen of it; `unknown` where nobody knows it.
    fn encoder(&self, unknown: &str) -> String {
        self.weights.as_deref().unwrap_or(unknown).to_owned() + &self.choices
    }
}

impl Comparison {
    /// The headline of every run.
    pub fn headline(&self) -> Table {
        let columns = self.runs.first().map(|run| run.summary.headline.columns().to_vec());
        let names = ["run", "encoder"].map(String::from).into_iter();
        let mut table =
            Table::new(names.chain(columns.unwrap_or_default()).chain(["note".to_owned()]));
        for (index, run) in self.runs.iter().enumerate() {
            let scores = run.summary.headline.rows().first().cloned().unwrap_or_default();
            let mut row = vec![Cell::from(run.name.clone()), run.encoder("unknown").into()];
            row.extend(scores);
            row.push(self.note(index).into());
            table.push(row);
        }
        table
    }

    fn note(&self, run: usize) -> &'static str {
        match (run == self.baseline, self.runs[run].disagreements.is_empty()) {
            (true, _) => "baseline",
            (false, true) => "",
            (false, false) => MARK,
        }
    }

    /// The differences of every run but the baseline, with intervals and verdicts.
    pub fn differences(&self) -> Table {
        let mut names = vec!["run", "score", "value", "difference", "95 % over clips"];
        names.extend(self.by_object().then_some("95 % over objects"));
        names.push("verdict");
        let marked = !self.disagreements().is_empty();
        names.extend(marked.then_some("note"));
        let mut table = Table::new(names);
        for (run, index, of) in self.each().filter(|(run, ..)| *run != self.baseline) {
            let mut row = vec![
                self.runs[run].name.clone().into(),
                self.scores[index].clone().into(),
                Cell::Score(of.score),
                points(of.difference).into(),
                between(of.over_clips).into(),
            ];
            row.extend(self.by_object().then(|| between(of.over_objects).into()));
            row.push(of.verdict.name().into());
            row.extend(marked.then(|| self.note(run).into()));
            table.push(row);
        }
        table
    }

    /// Whether there are intervals over objects.
    fn by_object(&self) -> bool {
        self.differences.iter().flatten().any(|of| of.over_objects.is_some())
    }

    /// Every run's every score, with its number.
    fn each(&self) -> impl Iterator<Item = (usize, usize, &Difference)> {
        let runs = self.differences.iter().enumerate();
        runs.flat_map(|(run, of)| of.iter().enumerate().map(move |(score, of)| (run, score, of)))
    }

    /// All of [`Comparison::differences`] as numbers, the baseline's scores too: `compare.csv`.
    pub fn stored(&self) -> Table {
        let mut table = Table::new([
            "run",
            "encoder",
            "score",
            "value",
            "difference",
            "clips_low",
            "clips_high",
            "objects_low",
            "objects_high",
            "verdict",
            "note",
        ]);
        for (run, index, of) in self.each() {
            let end = |interval: Option<Interval>, end: fn(Interval) -> f64| {
                Cell::Score(interval.map_or(f64::NAN, end))
            };
            let verdict = if run == self.baseline { "" } else { of.verdict.name() };
            table.push(vec![
                self.runs[run].name.clone().into(),
                self.runs[run].encoder("").into(),
                self.scores[index].clone().into(),
                Cell::Score(of.score),
                Cell::Score(of.difference),
                end(of.over_clips, |interval| interval.low),
                end(of.over_clips, |interval| interval.high),
                end(of.over_objects, |interval| interval.low),
                end(of.over_objects, |interval| interval.high),
                verdict.into(),
                self.note(run).into(),
            ]);
        }
        table
    }

    /// The first score of every run on each clip, and the difference to the baseline:
    /// `per-clip.csv`.
    pub fn per_clip(&self) -> Table {
        let others = || (0..self.runs.len()).filter(|run| *run != self.baseline);
        let names = self.runs.iter().map(|run| run.name.clone());
        let gains = others().map(|run| format!("{} − baseline", self.runs[run].name));
        let mut table = Table::new(std::iter::once("clip".to_owned()).chain(names).chain(gains));
        for (clip, scores) in &self.clips {
            let gain = |run: usize| points(scores[run] - scores[self.baseline]).into();
            let row = scores.iter().map(|score| Cell::Score(*score)).chain(others().map(gain));
            table.push(std::iter::once(Cell::from(clip.clone())).chain(row).collect());
        }
        table
    }

    /// What stands under the tables, what must not be overlooked first.
    pub fn lines(&self) -> Vec<String> {
        let marks = self.disagreements().into_iter();
        let mut lines: Vec<String> =
            marks.map(|(run, why)| format!("{MARK}: {run}: {why}")).collect();
        lines.extend(self.notes.iter().cloned());
        let baseline = &self.runs[self.baseline];
        lines.push(format!("baseline: {}, protocol {}", baseline.name, baseline.protocol));
        let objects = match self.by_object() {
            true => format!(", {}", counted(self.objects, "object")),
            false => String::new(),
        };
        lines.push(format!("data: {}{objects}", self.data));
        lines.push(format!(
            "intervals: {} %, paired bootstrap, {} resamples, seed {}; over clips, all objects of a clip come along",
            100.0 * CONFIDENCE,
            self.resampling.count,
            self.resampling.seed
        ));
        lines.push(
            "verdict: better or worse where the interval over clips excludes 0, else unclear; equal where nothing differs"
                .into(),
        );
        lines
    }

    /// The content of `compare.json`; scores and differences as fractions.
    pub fn json(&self) -> Value {
        let run = |(index, run): (usize, &super::Compared)| {
            json!({
                "name": run.name,
                "folder": run.folder,
                "weights": run.weights,
                "protocol": run.protocol,
                "baseline": index == self.baseline,
                "comparable": run.disagreements.is_empty(),
                "disagreements": run.disagreements,
                "metrics": run.summary.metrics,
                "differences": self.json_of(&self.differences[index]),
            })
        };
        let names = || self.runs.iter().map(|run| run.name.clone());
        let clip = |(clip, scores): &(String, Vec<f64>)| {
            let scores = names().zip(scores.iter().map(|score| number(*score)));
            json!({ "clip": clip, "scores": scores.collect::<Map<_, _>>() })
        };
        json!({
            "benchmark": self.benchmark,
            "baseline": self.runs[self.baseline].name,
            "runs": self.runs.iter().enumerate().map(run).collect::<Vec<_>>(),
            "clips": self.clips.len(),
            "objects": self.objects,
            "per_clip": self.clips.iter().map(clip).collect::<Vec<_>>(),
            "confidence": CONFIDENCE,
            "resamples": self.resampling.count,
            "seed": self.resampling.seed,
            "notes": self.notes,
        })
    }

    fn json_of(&self, differences: &[Difference]) -> Map<String, Value> {
        let of = |of: &Difference| {
            json!({
                "difference": number(of.difference),
                "over_clips": of.over_clips,
                "over_objects": of.over_objects,
                "verdict": of.verdict,
            })
        };
        self.scores.iter().cloned().zip(differences.iter().map(of)).collect()
    }

    /// The content of `compare.md`; `command` is what made it.
    pub fn markdown(&self, command: &str) -> String {
        let mut text = format!("# {} runs compared: {}\n\n", self.runs.len(), self.data);
        if !self.disagreements().is_empty() {
            let _ = writeln!(text, "**{MARK}: these runs differ in more than their encoders.**\n");
        }
        let _ = writeln!(text, "{}\n", self.headline().with_arrows().markdown());
        let _ = writeln!(text, "{}\n", self.differences().markdown());
        for line in self.lines() {
            let _ = writeln!(text, "- {line}");
        }
        let _ = writeln!(text, "\nScores are percentages, differences points. The command was\n");
        let _ = writeln!(text, "```sh\n{command}\n```\n");
        let _ =
            writeln!(text, "## {} of each clip\n\n{}", self.scores[0], self.per_clip().markdown());
        text
    }

    /// Writes `compare.md`, `compare.csv`, `per-clip.csv`, `compare.json` and `per-clip.svg`, all
    /// or none; returns the JSON.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn write(&self, folder: &Path, command: &str) -> Result<Value> {
        let (json, place) = (self.json(), folder.join("compare.json"));
        let bytes = files::json_bytes(&place, &json)?;
        let text = |name: &str, text: String| (folder.join(name), text.into_bytes());
        files::write_together(&[
            (place, bytes),
            text("compare.md", self.markdown(command)),
            text("compare.csv", self.stored().csv()),
            text("per-clip.csv", self.per_clip().csv()),
            text("per-clip.svg", scatter::svg(self)?),
        ])?;
        Ok(json)
    }
}

/// A difference of fractions in points: `+1.5`, and plain `0.0` where there is none. One that is
/// but rounded to nothing keeps its sign, `-0.0`: a verdict may be made of it.
pub fn points(difference: f64) -> String {
    match difference {
        0.0 => "0.0".into(),
        difference if difference.is_nan() => String::new(),
        difference => format!("{:+.1}", 100.0 * difference),
    }
}

/// An interval of differences in points: `[-0.3, +1.5]`.
pub fn between(interval: Option<Interval>) -> String {
    interval.map_or(String::new(), |Interval { low, high }| {
        format!("[{}, {}]", points(low), points(high))
    })
}

#[cfg(test)]
mod tests {
    use super::super::runs::tests::{davis, folder};
    use super::super::statistics::Resampling;
    use super::*;

    fn comparison() -> Comparison {
        let place = tempfile::tempdir().unwrap();
        let a = [("x", davis(&[0.5, 0.25])), ("y", davis(&[0.75]))];
        let b = [("x", davis(&[0.6, 0.35])), ("y", davis(&[0.7999]))];
        let a = folder(&place.path().join("a"), "davis", 7, &a);
        let b = folder(&place.path().join("b"), "davis", 5, &b);
        let runs = super::super::read(&[a, b]).unwrap();
        Comparison::new(runs, 0, Resampling::default()).unwrap()
    }

    #[test]
    fn people_see_points_and_what_is_real() {
        let comparison = comparison();
        insta::assert_snapshot!(comparison.differences().markdown(), @r#"
        | run | score    | value | difference | 95 % over clips | 95 % over objects | verdict | note           |
        |-----|----------|-------|------------|-----------------|-------------------|---------|----------------|
        | b   | J&F-Mean |  68.3 | +8.3       | [+5.0, +10.0]   | [+5.0, +10.0]     | better  | NOT COMPARABLE |
        | b   | J-Mean   |  58.3 | +8.3       | [+5.0, +10.0]   | [+5.0, +10.0]     | better  | NOT COMPARABLE |
        | b   | F-Mean   |  78.3 | +8.3       | [+5.0, +10.0]   | [+5.0, +10.0]     | better  | NOT COMPARABLE |
        "#);
        let lines = comparison.lines();
        assert_eq!(lines[0], "NOT COMPARABLE: b: protocol: topk is 5, the baseline has 7");
        let markdown = comparison.markdown("propagate compare a b");
        assert!(markdown.contains("**NOT COMPARABLE") && markdown.contains("J-Decay ↓"));
        assert!(markdown.contains("| x    |"), "{markdown}");
    }

    #[test]
    fn programs_read_fractions() {
        let comparison = comparison();
        let csv = comparison.stored().csv();
        let row = csv.lines().find(|line| line.starts_with("b,w.pth,J-Mean")).unwrap();
        let cells: Vec<&str> = row.split(',').collect();
        assert!((cells[4].parse::<f64>().unwrap() - 0.0833).abs() < 1e-4, "{row}");
        assert_eq!(cells[9..], ["better", "NOT COMPARABLE"]);
        assert!(csv.lines().nth(1).unwrap().ends_with(",0,0,0,0,0,,baseline"), "{csv}");
        let json = comparison.json();
        assert_eq!(json["runs"][1]["differences"]["J&F-Mean"]["verdict"], "better");
        assert_eq!(json["runs"][1]["comparable"], false);
        assert_eq!(json["per_clip"][0]["clip"], "x");
    }

    #[test]
    fn points_have_signs() {
        assert_eq!([points(0.0), points(0.0149), points(-0.1)], ["0.0", "+1.5", "-10.0"]);
        assert_eq!([points(-0.0), points(-0.0004), points(f64::NAN)], ["0.0", "-0.0", ""]);
        assert_eq!(between(None), "");
    }

    #[test]
    fn everything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        comparison().write(folder.path(), "propagate compare a b").unwrap();
        let mut names: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected =
            ["compare.csv", "compare.json", "compare.md", "per-clip.csv", "per-clip.svg"];
        assert_eq!(names, expected);
        let svg = std::fs::read_to_string(folder.path().join("per-clip.svg")).unwrap();
        for part in ["a: J&amp;F-Mean", "\nx\n", "\ny\n", "</svg>"] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }
}
