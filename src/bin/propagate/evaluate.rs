//! `propagate davis|vip|jhmdb`: one encoder with one setting, from what is [`crate::ready`] to the
//! table. [`crate::sweep`] and [`crate::encoders`] build on it.

use std::path::Path;

use anyhow::Result;
use cropmae::data::Opened;
use cropmae::eval::{self, RunFolder, Setup};
use cropmae::files::check_folder;
use cropmae::protocol::Benchmark;
use cropmae::report::record::ProtocolRecord;
use cropmae::report::several::Row;
use cropmae::report::{self, RunRecord, Summary};
use cropmae::wording::counted;
use serde_json::{Value, json};

use crate::args::{EvaluateArgs, OutputArgs};
use crate::done::Done;
use crate::overlays::{self, Drawn};
use crate::progress::Bars;
use crate::ready::Ready;
use crate::show::Notes;
use crate::{Outcome, export, interrupt, page, plan, show};

pub(crate) fn run(benchmark: Benchmark, args: &EvaluateArgs) -> Result<Outcome> {
    let say = Notes::new(args.output.quiet);
    let (used, protocol) = plan::protocol(benchmark, &args.propagation.protocol)?;
    let ready = Ready::new(benchmark, args, &used, &say)?;
    let identity = ready.identity(&protocol);
    let out = plan::out(&args.output, &protocol, &ready.weights, &identity);
    check_cache(&args.output)?;
    RunFolder::check_single(&out)?;
    if args.output.dry_run {
        RunFolder::check(&out, &identity)?;
        let mut lines = plan::describe(&ready.clips, &used, &ready.loaded, ready.engine, &out)?;
        lines.extend(ready.cache_line(args, &used)?);
        show::text(&(lines.join("\n") + "\n"))?;
        return Ok(Outcome::Done);
    }
    let folder = RunFolder::open(&out, &identity)?;
    ready.cache_line(args, &used)?.iter().for_each(|line| say.line(line));
    let cache = ready.cache(args, &used)?;
    let setup = ready.setup(&args.output, &used, cache.as_ref());
    interrupt::listen();
    let done = evaluate(&ready, &setup, &folder, args.output.quiet)?;
    let (summary, record) = ready.record(protocol, done);
    let drawn = Drawn { clips: &ready.clips, folder: &out };
    finish(&args.output, &drawn, summary, record, &say)
}

/// Refuses a place where no features can be kept, before a folder of results is made.
pub(crate) fn check_cache(args: &OutputArgs) -> Result<()> {
    Ok(args.cache.as_ref().map_or(Ok(()), |cache| check_folder(&cache.folder))?)
}

/// Propagates and scores all clips.
pub(crate) fn evaluate(
    ready: &Ready,
    setup: &Setup<'_>,
    folder: &RunFolder,
    quiet: bool,
) -> Result<Done> {
    let bars = Bars::new(&ready.clips, 1, quiet);
    let done = match &*ready.clips {
        Opened::Davis(dataset) => {
            Done::davis(&eval::davis::evaluate(dataset, setup, folder, &bars)?)
        }
        Opened::Vip(dataset) => {
            Done::vip(&eval::vip::evaluate(dataset, setup, folder, &bars)?, setup.protocol)
        }
        Opened::Jhmdb(dataset) => {
            Done::jhmdb(&eval::jhmdb::evaluate(dataset, setup, folder, &bars)?)
        }
    };
    bars.finish();
    done
}

/// Stores and shows what came out.
fn finish(
    args: &OutputArgs,
    drawn: &Drawn<'_>,
    summary: Option<Summary>,
    mut record: RunRecord,
    say: &Notes,
) -> Result<Outcome> {
    let Drawn { clips, folder: out } = *drawn;
    failures_if_quiet(args, &record);
    let interrupted = interrupted(clips, &record, say);
    if interrupted && record.dataset.done == 0 {
        return Ok(Outcome::Interrupted);
    }
    ensure_some(&record, clips)?;
    let stored = stored(out);
    keep_unchanged(stored.as_ref(), &mut record);
    let whole;
    match summary {
        Some(summary) => {
            let keep = show_scores(args, drawn, &summary, &record, stored.as_ref())?;
            whole = draw(args, drawn, !keep, &record.failures, say);
            say.line(&match keep {
                true => format!("{} keeps the results of all clips", out.display()),
                false => format!("results in {}", out.display()),
            });
        }
        None => {
            if args.json {
                let json = record.json(&Summary::default());
                show::text(&(serde_json::to_string_pretty(&json)? + "\n"))?;
            }
            whole = overlays::after(drawn, &args.overlay, say);
            say.line(unscored(args));
            say.line(&format!("predictions in {}", out.join("predictions").display()));
        }
    }
    Ok(outcome(interrupted, &record, whole))
}

/// Stores scores, shows and exports them; whether the folder keeps those of more clips.
fn show_scores(
    args: &OutputArgs,
    drawn: &Drawn<'_>,
    summary: &Summary,
    record: &RunRecord,
    stored: Option<&Value>,
) -> Result<bool> {
    let (json, keep) = store(drawn.folder, drawn.clips, summary, record, stored)?;
    if !export::takes_stdout(&args.export) {
        show::results(summary, record, &json, args.json, args.per_item)?;
    }
    let row = record.row(summary);
    export::write(&args.export, &row.clone().with_arrows().markdown(), &row, &json)?;
    Ok(keep)
}

/// What is said where clips were done and none has a score.
pub(crate) fn unscored(args: &OutputArgs) -> &'static str {
    match args.predict_only {
        true => "nothing was scored, as asked for",
        false => "nothing was scored: no frame but the given first ones has a truth",
    }
}

/// Fails where not a single clip could be done: there is no table of the others then.
pub(crate) fn ensure_some(record: &RunRecord, clips: &Opened) -> Result<()> {
    let asked = counted(clips.overview().asked(), "clip");
    anyhow::ensure!(
        record.dataset.done > 0,
        "0 of {asked} could be done: the reasons are listed above"
    );
    Ok(())
}

/// Whether a signal kept clips from being done; that is said.
pub(crate) fn interrupted(clips: &Opened, record: &RunRecord, say: &Notes) -> bool {
    let (done, asked) = (record.dataset.done, clips.overview().asked());
    let interrupted = interrupt::asked() && done + record.failures.len() < asked;
    if interrupted {
        say.line(&format!(
            "interrupted: {done} of {} done; the same command continues",
            counted(asked, "clip")
        ));
    }
    interrupted
}

/// What the exit status says of a run; `whole` is whether all pictures and pages could be written.
pub(crate) fn outcome(interrupted: bool, record: &RunRecord, whole: bool) -> Outcome {
    match (interrupted, record.failures.is_empty() && whole) {
        (true, _) => Outcome::Interrupted,
        (false, true) => Outcome::Done,
        (false, false) => Outcome::Partial,
    }
}

/// Failures are errors, which stand on stderr where all else is quiet too.
pub(crate) fn failures_if_quiet(args: &OutputArgs, record: &RunRecord) {
    if args.quiet {
        record
            .failures
            .iter()
            .for_each(|(clip, why)| show::note(&format!("{clip}: failed: {why}")));
    }
}

/// Stores the scores, but where the folder keeps those of more clips: a smoke run into the folder
/// of a whole one does not replace its results. The content of `results.json`, and whether it is
/// kept.
pub(crate) fn store(
    out: &Path,
    clips: &Opened,
    summary: &Summary,
    record: &RunRecord,
    stored: Option<&Value>,
) -> Result<(Value, bool)> {
    let fewer = clips.overview().is_narrowed() || interrupt::asked();
    let keep = fewer && stored.is_some_and(|json| json["partial"] == false);
    let json = if keep { record.json(summary) } else { report::write(out, summary, record)? };
    Ok((json, keep))
}

/// Draws what was stored: overlays, and the page, where the scores that it `shows` were stored.
/// Whether all of it could be written.
pub(crate) fn draw(
    args: &OutputArgs,
    drawn: &Drawn<'_>,
    shows: bool,
    failures: &[(String, String)],
    say: &Notes,
) -> bool {
    let drawn_all = overlays::after(drawn, &args.overlay, say);
    let page = !shows || page::after(args.report, drawn.folder, drawn.clips, failures, say);
    drawn_all && page
}

/// Stores results as a single run would have, for the table of several; also whether a page is to
/// show them: not where there are no scores, and not where the folder keeps those of more clips.
pub(crate) fn stored_row(
    ready: &Ready,
    protocol: ProtocolRecord,
    values: Vec<String>,
    done: Done,
    folder: &Path,
) -> Result<(Row, bool)> {
    let protocol_hash = protocol.hash.clone();
    let (summary, mut record) = ready.record(protocol, done);
    let stored = stored(folder);
    keep_unchanged(stored.as_ref(), &mut record);
    let shows = match &summary {
        Some(summary) => !store(folder, &ready.clips, summary, &record, stored.as_ref())?.1,
        None => false,
    };
    let (clips, folder) = (record.dataset.done, folder.display().to_string());
    Ok((Row { values, summary, folder, protocol_hash, clips }, shows))
}

/// The results of an earlier run in this folder.
pub(crate) fn stored(out: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(out.join("results.json")).ok()?).ok()
}

/// Takes the stored provenance, where this run has done nothing but find the same again.
pub(crate) fn keep_unchanged(stored: Option<&Value>, record: &mut RunRecord) {
    let Some(stored) = stored else { return };
    let idle = record.provenance.resumed == record.dataset.done && record.failures.is_empty();
    let same = stored["dataset"] == json!(record.dataset);
    if let Ok(provenance) = serde_json::from_value(stored["provenance"].clone())
        && idle
        && same
    {
        record.provenance = provenance;
    }
}
