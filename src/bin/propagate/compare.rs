//! `propagate compare`: finished runs side by side, and which differences are significant.

use anyhow::{Result, bail, ensure};
use cropmae::Error;
use cropmae::report::compare::{self, Comparison, statistics::Resampling};
use cropmae::wording::counted;

use crate::args::CompareArgs;
use crate::common::usage::usage;
use crate::show::Notes;
use crate::targets::Inputs;
use crate::{Outcome, common, export, show};

pub(crate) fn run(args: &CompareArgs) -> Result<Outcome> {
    let runs = args.runs.iter().chain(&args.baseline);
    let inputs = runs.fold(Inputs::default(), |all, run| {
        ["results.json", "run.json", "clips"].iter().fold(all, |all, it| all.with(&run.join(it)))
    });
    export::check(&args.export, args.json, &inputs, args.out.as_deref())?;
    let say = Notes::new(args.quiet);
    let mut runs = compare::read(&args.runs)?;
    let baseline = match &args.baseline {
        None => 0,
        Some(wanted) => match compare::find(&runs, wanted) {
            Some(index) => index,
            None => {
                runs = compare::read(&[std::slice::from_ref(wanted), &args.runs[..]].concat())?;
                0
            }
        },
    };
    ensure!(runs.len() > 1, usage!("one run has nothing to be compared with: pass another folder"));
    let resampling = Resampling { seed: args.seed, count: args.resamples };
    let comparison = Comparison::new(runs, baseline, resampling)?;
    refuse(&comparison, args.force)?;
    let json = match &args.out {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(Error::creating(folder))?;
            comparison.write(folder, &common::command("propagate"))?
        }
        None => comparison.json(),
    };
    if args.json {
        show::text(&(serde_json::to_string_pretty(&json)? + "\n"))?;
    } else if !export::takes_stdout(&args.export) {
        show::text(&tables(&comparison, args.per_clip))?;
    }
    export::write(&args.export, &pasted(&comparison), &comparison.stored(), &json)?;
    if let Some(folder) = &args.out {
        say.line(&format!("the comparison is in {}", folder.display()));
    }
    Ok(Outcome::Done)
}

/// Fails where runs differ in more than their encoders, unless that is wanted.
fn refuse(comparison: &Comparison, force: bool) -> Result<()> {
    let reasons = comparison.disagreements();
    if force || reasons.is_empty() {
        return Ok(());
    }
    reasons.iter().for_each(|(run, why)| show::note(&format!("{run}: {why}")));
    let differences = counted(reasons.len(), "difference");
    bail!(
        "these runs differ in more than their encoders ({differences}, named above); --force compares them all the same and marks it"
    )
}

/// What the terminal shows.
fn tables(comparison: &Comparison, per_clip: bool) -> String {
    let mut shown = format!("{}\n", comparison.headline().text());
    shown += &format!("{}\n", comparison.differences().text());
    if per_clip {
        shown += &format!("{}\n", comparison.per_clip().text());
    }
    comparison.lines().iter().for_each(|line| shown += &format!("  {line}\n"));
    shown
}

/// What is ready to paste: both tables, and what must be said with them.
fn pasted(comparison: &Comparison) -> String {
    let (headline, differences) = (comparison.headline().with_arrows(), comparison.differences());
    let lines: String = comparison.lines().iter().map(|line| format!("- {line}\n")).collect();
    format!("{}\n\n{}\n\n{lines}", headline.markdown(), differences.markdown())
}
