//! `--sweep`: every combination of some settings, each with a result folder as if it had been run
//! alone, and one table of all.
//!
//! A clip is encoded for the first combination that needs it. The others read its features from
//! `--cache`, or from a temporary file that is deleted when the clip is done. So memory use is that
//! of one setting, however many there are.

use std::path::{Path, PathBuf};

use anyhow::Result;
use cropmae::data::Opened;
use cropmae::eval::{self, Cache, Kept, Run, RunFolder};
use cropmae::protocol::{self, Benchmark, Protocol};
use cropmae::report::record::{ProtocolRecord, WeightsRecord};
use cropmae::report::{RunRecord, Sweep};
use serde_json::{Value, json};

use crate::args::{AffinityArgs, Axis, EvaluateArgs, PropagationArgs, ProtocolArgs};
use crate::common::usage::usage;
use crate::done::Done;
use crate::evaluate;
use crate::overlays::Drawn;
use crate::progress::{Bars, OfSetting};
use crate::ready::Ready;
use crate::show::Notes;
use crate::{Outcome, export, interrupt, plan, show};

/// One combination of the values.
struct Combination {
    /// The values as typed, in the order of the axes.
    values: Vec<String>,
    /// In words: `topk 5, radius 12`.
    words: String,
    used: Protocol,
    protocol: ProtocolRecord,
}

pub(crate) fn run(benchmark: Benchmark, args: &EvaluateArgs) -> Result<Outcome> {
    let say = Notes::new(args.output.quiet);
    let (used, protocol) = plan::protocol(benchmark, &args.propagation.protocol)?;
    let combinations = combinations(benchmark, &args.propagation)?;
    let ready = Ready::new(benchmark, args, &used, &say)?;
    let identities: Vec<Value> =
        combinations.iter().map(|one| ready.identity(&one.protocol)).collect();
    let out = out(args, &protocol, &identities);
    let folders = folders(args, &out, &ready.weights, &combinations, &identities);
    evaluate::check_cache(&args.output)?;
    if args.output.dry_run {
        RunFolder::check(&out, &swept(&identities))?;
        let mut places = folders.iter().zip(&identities);
        places.try_for_each(|(to, identity)| RunFolder::check(to, identity))?;
        let mut lines = plan::describe(&ready.clips, &used, &ready.loaded, ready.engine, &out)?;
        lines.extend(ready.cache_line(args, &used)?);
        let places = combinations.iter().zip(&folders);
        lines.extend(places.map(|(one, to)| format!("  {}: {}", one.words, to.display())));
        show::text(&(lines.join("\n") + "\n"))?;
        return Ok(Outcome::Done);
    }
    let top = RunFolder::open(&out, &swept(&identities))?;
    // where a killed sweep has left features
    top.clean()?;
    let opened =
        folders.iter().zip(&identities).map(|(to, identity)| RunFolder::open(to, identity));
    let opened: Vec<RunFolder> = opened.collect::<cropmae::Result<_>>()?;
    let cache = cache(&ready, args, &used, &out, &say)?;
    interrupt::listen();
    let done = evaluate_each(&ready, args, &combinations, &opened, &cache)?;
    top.clean()?;
    let (_, record) = ready.record(protocol, Done::together(&done));
    let mut whole = true;
    let mut sweep = Sweep { names: names(&args.propagation.sweep), rows: Vec::new() };
    for ((one, done), folder) in combinations.into_iter().zip(done).zip(&folders) {
        let failures = done.failures.clone();
        let (row, shows) = evaluate::stored_row(&ready, one.protocol, one.values, done, folder)?;
        sweep.rows.push(row);
        let drawn = Drawn { clips: &ready.clips, folder };
        whole &= evaluate::draw(&args.output, &drawn, shows, &failures, &say);
    }
    finish(args, &out, &ready.clips, (&sweep, whole), &record, &say)
}

/// All that decides a sweep's table.
fn swept(identities: &[Value]) -> Value {
    json!({ "sweep": identities })
}

/// What was swept.
fn names(axes: &[Axis]) -> Vec<String> {
    axes.iter().map(|axis| axis.name.clone()).collect()
}

/// Every combination of the axes' values, the last axis fastest.
fn combinations(benchmark: Benchmark, args: &PropagationArgs) -> Result<Vec<Combination>> {
    let axes = &args.sweep;
    for (index, axis) in axes.iter().enumerate() {
        let name = &axis.name;
        let twice = axes[..index].iter().any(|earlier| earlier.name == *name);
        anyhow::ensure!(
            !twice,
            usage!("--sweep: {name} is given twice; write its values in one list")
        );
        let set = args.protocol.settings.iter().filter_map(|setting| setting.split_once('='));
        let mut set = set.filter_map(|(setting, _)| setting.trim().rsplit('.').next());
        anyhow::ensure!(
            !set.any(|setting| setting == name || (setting == "shape" && name == "neighborhood")),
            usage!("--sweep: {name} is set by --set too; leave one of them out")
        );
        let typed = axis.values.iter().any(|(_, value)| overlap(&args.protocol.affinity, value));
        anyhow::ensure!(
            !typed,
            usage!("--sweep: {name} is set by --{name} too; leave one of them out")
        );
    }
    let mut found = vec![(Vec::new(), args.protocol.affinity.clone())];
    for axis in axes {
        let with = |(values, affinity): &(Vec<String>, AffinityArgs)| {
            let (values, affinity) = (values.clone(), affinity.clone());
            let one = move |(value, more): &(String, AffinityArgs)| {
                let values = values.iter().chain([value]).cloned().collect();
                (values, merged(&affinity, more))
            };
            axis.values.iter().map(one).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(with).collect();
    }
    let combination = |(values, affinity): (Vec<String>, AffinityArgs)| {
        let (used, protocol) =
            plan::protocol(benchmark, &ProtocolArgs { affinity, ..args.protocol.clone() })?;
        let words = axes.iter().zip(&values).map(|(axis, value)| format!("{} {value}", axis.name));
        let words = words.collect::<Vec<_>>().join(", ");
        Ok(Combination { values, words, used, protocol })
    };
    found.into_iter().map(combination).collect()
}

/// Whether both set the same.
fn overlap(a: &AffinityArgs, b: &AffinityArgs) -> bool {
    a.topk.and(b.topk).is_some()
        || a.radius.and(b.radius).is_some()
        || a.neighborhood.and(b.neighborhood).is_some()
        || a.temperature.and(b.temperature).is_some()
        || a.queue.and(b.queue).is_some()
}

fn merged(a: &AffinityArgs, b: &AffinityArgs) -> AffinityArgs {
    AffinityArgs {
        topk: b.topk.or(a.topk),
        radius: b.radius.or(a.radius),
        neighborhood: b.neighborhood.or(a.neighborhood),
        temperature: b.temperature.or(a.temperature),
        queue: b.queue.or(a.queue),
    }
}

/// The sweep's folder: `--out`, or one named after all that decides the results.
fn out(args: &EvaluateArgs, protocol: &ProtocolRecord, identities: &[Value]) -> PathBuf {
    args.output.out.clone().unwrap_or_else(|| {
        let hash = protocol::hash(&json!(identities));
        let (benchmark, preset) = (protocol.benchmark.name(), &protocol.preset);
        Path::new("runs").join(format!("{benchmark}-{preset}-sweep-{}", &hash[..8]))
    })
}

/// Each combination's folder: in `--out`, or where it would go if it were run alone.
fn folders(
    args: &EvaluateArgs,
    out: &Path,
    weights: &WeightsRecord,
    combinations: &[Combination],
    identities: &[Value],
) -> Vec<PathBuf> {
    let each = combinations.iter().zip(identities);
    let folder = |(one, identity): (&Combination, &Value)| match args.output.out {
        Some(_) => out.join(one.words.replace(", ", "_").replace(' ', "-")),
        None => plan::out(&args.output, &one.protocol, weights, identity),
    };
    each.map(folder).collect()
}

/// Where features are kept: for good, or for a clip in the sweep's folder.
fn cache(
    ready: &Ready,
    args: &EvaluateArgs,
    used: &Protocol,
    out: &Path,
    say: &Notes,
) -> Result<Cache> {
    if let Some(cache) = ready.cache(args, used)? {
        ready.cache_line(args, used)?.iter().for_each(|line| say.line(line));
        return Ok(cache);
    }
    let place = out.join(".unfinished");
    // given features are read again for each setting
    if !ready.given() {
        let longest = ready.clips.overview().longest();
        let size = plan::features_size(&ready.clips, used, &ready.loaded, longest)?;
        let place = place.display();
        say.line(&format!("features of one clip at a time are kept in {place}: {size} at most"));
    }
    Ok(Cache::open(&place, &ready.features_key(&args.model, used), Kept::WithinClip)?)
}

fn evaluate_each(
    ready: &Ready,
    args: &EvaluateArgs,
    combinations: &[Combination],
    folders: &[RunFolder],
    cache: &Cache,
) -> Result<Vec<Done>> {
    let bars = Bars::new(&ready.clips, combinations.len(), args.output.quiet);
    let each = combinations.iter();
    let watchers: Vec<OfSetting<'_>> =
        each.map(|one| OfSetting { bars: &bars, setting: &one.words }).collect();
    let each = combinations.iter().zip(folders).zip(&watchers);
    let runs: Vec<Run<'_>> = each
        .map(|((one, folder), observer)| {
            let setup = ready.setup(&args.output, &one.used, Some(cache));
            Run { setup, folder, observer }
        })
        .collect();
    let done = evaluate_runs(ready, &runs);
    bars.finish();
    done
}

/// Takes every clip through all of these before the next.
pub(crate) fn evaluate_runs(ready: &Ready, runs: &[Run<'_>]) -> Result<Vec<Done>> {
    match &*ready.clips {
        Opened::Davis(dataset) => {
            eval::davis::sweep(dataset, runs)?.iter().map(Done::davis).collect()
        }
        Opened::Vip(dataset) => {
            let outcomes = eval::vip::sweep(dataset, runs)?;
            let each = outcomes.iter().zip(runs);
            each.map(|(outcome, run)| Done::vip(outcome, run.setup.protocol)).collect()
        }
        Opened::Jhmdb(dataset) => {
            eval::jhmdb::sweep(dataset, runs)?.iter().map(Done::jhmdb).collect()
        }
    }
}

/// Stores and shows the table; `whole` is whether all pictures and pages could be written.
fn finish(
    args: &EvaluateArgs,
    out: &Path,
    clips: &Opened,
    (sweep, whole): (&Sweep, bool),
    record: &RunRecord,
    say: &Notes,
) -> Result<Outcome> {
    evaluate::failures_if_quiet(&args.output, record);
    let interrupted = evaluate::interrupted(clips, record, say);
    if interrupted && record.dataset.done == 0 {
        return Ok(Outcome::Interrupted);
    }
    evaluate::ensure_some(record, clips)?;
    let json = sweep.write(out, record)?;
    let table = sweep.table();
    export::several(&args.output, (&table, &[]), &table, &sweep.lines(record), &json)?;
    if sweep.rows.iter().all(|row| row.summary.is_none()) {
        say.line(evaluate::unscored(&args.output));
    }
    say.line(&format!("the table is in {}, with the folder of each row's results", out.display()));
    Ok(evaluate::outcome(interrupted, record, whole))
}
