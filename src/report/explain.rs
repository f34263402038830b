//! Where a score comes from: a finished run in words, and how much each single setting changes its
//! score.
//!
//! [`facts()`] describes a result folder in sentences. An [`Ablation`] holds the measurements of what
//! [`crate::protocol::ablation`] lists: the same encoder on the same clips with one setting
//! changed, the difference to the run itself, and an interval of it ([`super::compare`]).
//! `explain.md` and `explain.json` store both.

mod ablation;
mod facts;

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

pub use self::ablation::{Ablation, Change, difference};
pub use self::facts::facts;
use super::compare::runs::ScoredRun;
use super::{Cell, Table, number};
use crate::error::Result;
use crate::files;

/// A run explained.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What it is called.
    pub name: String,
    /// [`facts()`].
    pub facts: Vec<String>,
    /// The stored predictions scored anew: in words, and the first score.
    pub rescored: Vec<(String, f64)>,
    /// Which clips those are of: `2 of 7 clips`.
    pub rescored_of: String,
    /// The changes that were tried.
    pub ablation: Option<Ablation>,
}

impl Explanation {
    /// The stored predictions scored anew.
    fn rescored(&self) -> Table {
        let of = format!("the stored predictions of {}, scored", self.rescored_of);
        let mut table = Table::new([of.as_str(), "score"]);
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
            "rescored_of": self.rescored_of,
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

fn first_score(run: &ScoredRun) -> Result<f64> {
    let summary = run.summary()?;
    let name = ScoredRun::scores(run.benchmark).swap_remove(0);
    Ok(summary.metrics.get(&name).and_then(Value::as_f64).unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::compare::read;
    use crate::report::compare::runs::tests::{davis, folder};
    use crate::report::compare::statistics::Resampling;

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
        Single changes tried: 3. Of these, 1 changed J&F-Mean by a point or more, 1 not at all.
        The largest is low 5 in place of 7: -10.0 points.
        Of whole presets, 5 is farthest away: -10.0 points.
        Note: intervals over 2 clips are rough, and a little too narrow.
        "#);
        let explanation = Explanation {
            name: "base".into(),
            facts: facts(&base).unwrap(),
            rescored: vec![("at native size".into(), 0.65)],
            rescored_of: "1 of 2 clips".into(),
            ablation: Some(ablation),
        };
        let markdown = explanation.markdown("propagate explain base --ablate");
        assert!(markdown.contains("Nothing departs from the preset."), "{markdown}");
        assert!(markdown.contains("| the stored predictions of 1 of 2 clips, scored | score |"));
        assert!(markdown.contains("| at native size"), "{markdown}");
        assert_eq!(explanation.json()["ablation"]["changes"][0]["setting"], "preset");
        assert!(explanation.text().starts_with("J&F-Mean 65.0 on 2 of 2 clips"));
    }
}
