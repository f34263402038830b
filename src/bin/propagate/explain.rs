//! `propagate explain`: how a run's score was made, and with `--ablate` which settings change it.

use std::cell::Cell;
use std::path::Path;

use anyhow::{Result, ensure};
use cropmae::data::{Dataset, LabelClip, Need, Opened};
use cropmae::eval;
use cropmae::protocol::{Preset, Protocol, ScoreSize, Size};
use cropmae::report::compare::runs::ScoredRun;
use cropmae::report::explain::{self, Explanation};
use cropmae::wording::counted;

use crate::args::ExplainArgs;
use crate::clips;
use crate::done::Done;
use crate::show::Notes;
use crate::{Outcome, ablate, common, show};

/// The size of the copies of DAVIS that some publish with.
const COPIES: Size = Size { height: 480, width: 880 };

pub(crate) fn run(args: &ExplainArgs) -> Result<Outcome> {
    let say = Notes::new(args.quiet);
    let run = ScoredRun::read(&args.folder)?;
    let mut facts = explain::facts(&run)?;
    let (rescored, rescored_of) = match clips::is_named(run.benchmark, args.data.data.as_deref()) {
        _ if !run.folder.join("predictions").is_dir() => {
            facts.push(
                "This folder holds no predictions to be scored again; `propagate score` does so where they lie."
                    .into(),
            );
            Default::default()
        }
        true => rescored(&run, args, &say, &mut facts)?,
        false => {
            facts.push("Pass --data ROOT to have the stored predictions scored again.".into());
            Default::default()
        }
    };
    let (ablation, partial) = match args.ablate {
        true => match ablate::ablation(&run, args, &say)? {
            Some((ablation, partial)) => (Some(ablation), partial),
            None => return Ok(Outcome::Interrupted),
        },
        false => (None, false),
    };
    let ablated = ablation.is_some();
    let explanation =
        Explanation { name: run.name.clone(), facts, rescored, rescored_of, ablation };
    if ablated {
        explanation.write(&args.folder, &common::command("propagate"))?;
        say.line(&format!("all of it is in {}", args.folder.join("explain.md").display()));
    }
    match args.json {
        true => show::text(&(serde_json::to_string_pretty(&explanation.json())? + "\n"))?,
        false => show::text(&explanation.text())?,
    }
    Ok(if partial { Outcome::Partial } else { Outcome::Done })
}

/// The stored predictions scored anew: as they were, and at the sizes that people publish with; and
/// in words how many of the run's clips that are.
fn rescored(
    run: &ScoredRun,
    args: &ExplainArgs,
    say: &Notes,
    facts: &mut Vec<String>,
) -> Result<(Vec<(String, f64)>, String)> {
    let mut clips = clips::open(run.benchmark, &args.data, Need::LabelsOnly, say)?;
    clips.keep(|clip| run.clips().iter().any(|(known, _)| *known == clip));
    ensure!(!clips.overview().clips.is_empty(), "{} holds none of this data's clips", run.name);
    let predictions = run.folder.join("predictions");
    let used = Protocol::from_values(&run.results["protocol"]["values"]);
    let used = used.or_else(|_| Preset::Cropmae.protocol(run.benchmark))?;
    let told = Cell::new(false);
    let first = |done: Result<Done>| -> Result<f64> {
        let done = done?;
        if let Some((clip, why)) = done.failures.first().filter(|_| !told.replace(true)) {
            say.line(&format!("{clip}: not scored again: {why}"));
        }
        let name = ScoredRun::scores(run.benchmark).swap_remove(0);
        let score = done.summary.and_then(|summary| summary.metrics.get(&name)?.as_f64());
        Ok(score.unwrap_or(f64::NAN))
    };
    let scores = match &clips {
        Opened::Davis(dataset) => davis(dataset, &predictions, &used, &first)?,
        Opened::Vip(dataset) => {
            let outcome = eval::vip::score(dataset, &predictions, &used);
            vec![("as the run was".into(), first(Done::vip(&outcome, &used))?)]
        }
        Opened::Jhmdb(dataset) => {
            // our files name their own grid
            let outcome = eval::jhmdb::score(dataset, &predictions, (1, 1));
            vec![("as the run was".into(), first(Done::jhmdb(&outcome))?)]
        }
    };
    let (taken, all) = (clips.overview().clips.len(), run.clips().len());
    let stored = run.results["metrics"][ScoredRun::scores(run.benchmark).swap_remove(0)].as_f64();
    let now = scores.first().map(|(_, score)| *score);
    // clips may be summed up in another order
    let differ = stored.zip(now).is_some_and(|(stored, now)| (stored - now).abs() > 1e-9);
    if differ && taken == all && !told.get() {
        facts.push(
            "The predictions in this folder are no longer those that were scored: scored again, they give another number."
                .into(),
        );
    }
    Ok((scores, format!("{taken} of {}", counted(all, "clip"))))
}

/// J&F as the run was scored, at native size and at that of the copies.
fn davis(
    dataset: &Dataset<LabelClip>,
    predictions: &Path,
    used: &Protocol,
    first: &dyn Fn(Result<Done>) -> Result<f64>,
) -> Result<Vec<(String, f64)>> {
    let at = |copy_size: Option<Size>, score_size: ScoreSize| {
        let protocol = Protocol { copy_size, score_size, ..used.clone() };
        first(Done::davis(&eval::davis::rescore(dataset, predictions, &protocol)))
    };
    let how = |size: &str| format!("{size}, masks brought there by nearest neighbour");
    Ok(vec![
        ("as the run was".into(), at(used.copy_size, used.score_size)?),
        (how("at native size, as the official evaluator does"), at(None, ScoreSize::Native)?),
        (how(&format!("at {COPIES}")), at(None, ScoreSize::Fixed(COPIES))?),
    ])
}
