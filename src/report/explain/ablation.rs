//! How much each single setting changes a score: the measurements of what
//! [`crate::protocol::ablation`] lists, as a table and in sentences.

use serde_json::{Value, json};

use super::first_score;
use crate::error::Result;
use crate::protocol::Benchmark;
use crate::report::compare::runs::ScoredRun;
use crate::report::compare::tables::{between, points};
use crate::report::compare::{Comparison, Difference, roughness, statistics::Resampling};
use crate::report::{Cell, Table, number};
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
    /// How much it changed the score, whichever way.
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
            "Single changes tried: {}. Of these, {large} changed {score} by a point or more, {equal} not at all.",
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

    pub(super) fn json(&self) -> Value {
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
