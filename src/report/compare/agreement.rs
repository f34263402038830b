//! Whether runs may be compared: they need the same task, clips and protocol.

use std::collections::BTreeMap;

use serde_json::json;

use super::runs::ScoredRun;
use crate::error::{Error, Result};
use crate::protocol;
use crate::report::record::words;
use crate::report::scored;
use crate::wording::counted;

/// The one setting that scoring masks shares with making them.
const SIZE: &str = "score_size";

/// What keeps a run from being compared with the baseline, in words; nothing where they agree.
///
/// That a run is partial is no such thing: runs are compared over the clips that all have.
pub(crate) fn disagreements(run: &ScoredRun, baseline: &ScoredRun) -> Vec<String> {
    let mut found = Vec::new();
    let values = |run: &ScoredRun| run.results["protocol"]["values"].clone();
    let (mut theirs, mut ours) = (values(baseline), values(run));
    let scoring = |run: &ScoredRun| run.results["protocol"]["preset"] == scored::PRESET;
    if scoring(run) != scoring(baseline) {
        let whose = if scoring(run) { "its" } else { "the baseline's" };
        found.push(format!(
            "protocol: how {whose} masks were made is not known: they were scored as they lay"
        ));
        // what is known of both
        (theirs, ours) = (json!({ SIZE: theirs[SIZE] }), json!({ SIZE: ours[SIZE] }));
    }
    for departure in protocol::departures(&theirs, &ours) {
        let (used, other) = (words(&departure.used), words(&departure.preset));
        let setting = match departure.setting.as_str() {
            "" => "the protocol",
            setting => setting,
        };
        found.push(format!("protocol: {setting} is {used}, the baseline has {other}"));
    }
    let theirs: BTreeMap<&str, &str> = baseline.clips().into_iter().collect();
    let ours: BTreeMap<&str, &str> = run.clips().into_iter().collect();
    let partial = run.results["partial"] == true || baseline.results["partial"] == true;
    let only = |a: &BTreeMap<&str, &str>, b: &BTreeMap<&str, &str>| -> Vec<String> {
        a.keys().filter(|clip| !b.contains_key(*clip)).map(|clip| (*clip).to_owned()).collect()
    };
    let (missing, more) = (only(&theirs, &ours), only(&ours, &theirs));
    if !partial && !missing.is_empty() {
        found.push(format!("data: it has no clip {}", named(&missing)));
    }
    if !partial && !more.is_empty() {
        found.push(format!("data: the baseline has no clip {}", named(&more)));
    }
    let relabelled = |clip: &&&str| theirs.get(**clip).is_some_and(|line| *line != ours[**clip]);
    let relabelled: Vec<String> = ours.keys().filter(relabelled).map(|c| (*c).to_owned()).collect();
    if !relabelled.is_empty() {
        found.push(format!("data: other frames or given labels in {}", named(&relabelled)));
    }
    found
}

/// Some names, and how many more there are.
fn named(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// What does not decide whether runs may be compared, and is worth a line where it differs.
pub(crate) fn remarks(run: &ScoredRun, baseline: &ScoredRun) -> Vec<String> {
    let fields = [
        ("dtype", "number type"),
        ("jpeg_decoder", "JPEG decoder"),
        ("device", "device"),
        ("version", "version of the program"),
    ];
    let differing = fields.iter().filter_map(|(key, name)| {
        let of = |run: &ScoredRun| words(&run.results["provenance"][*key]);
        let (ours, theirs) = (of(run), of(baseline));
        let differs = ours != theirs;
        differs.then(|| format!("{}: {name} {ours}, the baseline's is {theirs}", run.name))
    });
    differing.chain(encoder(run, baseline)).collect()
}

/// In what the encoders differ where both are of the same file.
fn encoder(run: &ScoredRun, baseline: &ScoredRun) -> Option<String> {
    let (ours, theirs) = (&run.results["weights"], &baseline.results["weights"]);
    if ours["sha256"].is_null() || ours["sha256"] != theirs["sha256"] {
        return None;
    }
    let keys = ["layer", "positions", "heads", "checkpoint_key"].into_iter();
    // what an earlier version has not recorded may be the same
    let known =
        |key: &&str| *key == "checkpoint_key" || !ours[*key].is_null() && !theirs[*key].is_null();
    let differing = keys
        .filter(known)
        .filter(|key| ours[*key] != theirs[*key])
        .map(|key| format!("{key} {}, the baseline's {}", words(&ours[key]), words(&theirs[key])));
    let differing: Vec<String> = differing.collect();
    (!differing.is_empty()).then(|| {
        format!("{}: another encoder of the same weights: {}", run.name, differing.join("; "))
    })
}

/// Leaves in all runs the clips that each of them has, and says what was left out.
///
/// # Errors
/// They have no clip in common, or count other objects in one: nothing is left to compare.
pub(crate) fn narrow(runs: &mut [ScoredRun]) -> Result<Option<String>> {
    let has = |run: &ScoredRun, clip: &str| run.clips().iter().any(|(name, _)| *name == clip);
    let all: Vec<String> = runs
        .iter()
        .flat_map(|run| run.clips().into_iter().map(|(clip, _)| clip.to_owned()))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect();
    let common: Vec<&String> =
        all.iter().filter(|clip| runs.iter().all(|run| has(run, clip))).collect();
    if common.is_empty() {
        return Err(Error::failed("compare", "the runs have no scored clip in common"));
    }
    let common: Vec<String> = common.into_iter().cloned().collect();
    for run in runs.iter_mut() {
        run.keep(|clip| common.iter().any(|wanted| wanted == clip));
    }
    let objects: Vec<Vec<usize>> = runs.iter().map(ScoredRun::objects).collect();
    for (index, clip) in common.iter().enumerate() {
        let counts: Vec<usize> = objects.iter().filter_map(|run| run.get(index).copied()).collect();
        if counts.windows(2).any(|pair| pair[0] != pair[1]) {
            let problem =
                format!("{clip} has {counts:?} objects in the runs: their given labels differ");
            return Err(Error::failed("compare", problem + ", and there are no pairs to compare"));
        }
    }
    let (kept, of) = (common.len(), all.len());
    Ok((kept < of).then(|| {
        format!("PARTIAL: compared over the {kept} of {} that all runs have", counted(of, "clip"))
    }))
}
