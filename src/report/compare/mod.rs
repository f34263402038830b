//! Runs side by side: one table, differences, and which of them are significant.
//!
//! [`runs`] reads result folders, `agreement` says whether they may be compared at all,
//! [`statistics`] computes the intervals, and [`Comparison`] holds the result; [`tables`] and
//! `scatter` show it. Everything is based on pairs: the same clip, labelled by one encoder and by
//! another.

pub(crate) mod agreement;
pub mod runs;
pub(crate) mod scatter;
pub mod statistics;
pub mod tables;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::protocol::Benchmark;
use crate::report::record::WeightsRecord;
use crate::report::{Summary, official};
use crate::wording::counted;
use runs::{ScoredRun, Unit};
use statistics::{Interval, Resampling, Verdict, intervals, resampled, total};

/// A run among others.
#[derive(Debug, Clone)]
pub struct Compared {
    /// What it is called.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its encoder.
    pub weights: Option<String>,
    /// What was chosen of the encoder otherwise than usual, each choice after a comma.
    pub choices: String,
    /// Its preset, with version and hash.
    pub protocol: String,
    /// Its headline over the clips compared.
    pub summary: Summary,
    /// Why it should not be compared with the baseline; empty where it may.
    pub disagreements: Vec<String>,
}

/// The difference of a run to the baseline in one score; fractions.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// The run's score.
    pub score: f64,
    /// Less the baseline's.
    pub difference: f64,
    /// The interval of resampled clips.
    pub over_clips: Option<Interval>,
    /// The interval of resampled objects; none where objects are not scored one by one.
    pub over_objects: Option<Interval>,
    /// What the interval over clips says.
    pub verdict: Verdict,
}

/// Several runs over the same clips.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The task.
    pub benchmark: Benchmark,
    /// What the runs are of, in words: the benchmark, or clips in its layout.
    pub data: String,
    /// Which run the others are compared with.
    pub baseline: usize,
    /// The runs.
    pub runs: Vec<Compared>,
    /// The scores compared, the headline's first.
    pub scores: Vec<String>,
    /// `[run][score]`; the baseline's are 0.
    pub differences: Vec<Vec<Difference>>,
    /// The clips: names, and every run's first score on that clip alone.
    pub clips: Vec<(String, Vec<f64>)>,
    /// Objects of all clips.
    pub objects: usize,
    /// What should be known.
    pub notes: Vec<String>,
    /// How intervals were drawn.
    pub resampling: Resampling,
}

/// Reads result folders and gives every run a name of its own.
///
/// # Errors
/// One of them holds no finished run.
pub fn read(folders: &[PathBuf]) -> Result<Vec<ScoredRun>> {
    let mut runs: Vec<ScoredRun> =
        folders.iter().map(|folder| ScoredRun::read(folder)).collect::<Result<_>>()?;
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for run in &mut runs {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = run.folder.display().to_string();
        }
    }
    Ok(runs)
}

impl Comparison {
    /// Compares runs with one of them. Whoever does not want to compare what cannot be compared
    /// looks at [`Comparison::disagreements`] then.
    ///
    /// # Errors
    /// They are of several benchmarks, or have nothing in common.
    pub fn new(mut runs: Vec<ScoredRun>, baseline: usize, resampling: Resampling) -> Result<Self> {
        let Some(benchmark) = runs.get(baseline).map(|run| run.benchmark) else {
            return Err(Error::failed("compare", "there is no such baseline"));
        };
        if let Some(other) = runs.iter().find(|run| run.benchmark != benchmark) {
            let (name, theirs) = (&other.name, other.benchmark);
            let problem =
                format!("{name} is of {theirs}, the baseline of {benchmark}: they share no score");
            return Err(Error::failed("compare", problem));
        }
        let disagreements: Vec<Vec<String>> =
            runs.iter().map(|run| agreement::disagreements(run, &runs[baseline])).collect();
        let mut notes: Vec<String> =
            runs.iter().flat_map(|run| agreement::remarks(run, &runs[baseline])).collect();
        notes.extend(runs.iter().filter_map(stale));
        notes.splice(0..0, agreement::narrow(&mut runs)?);
        let differences = differences(&runs, benchmark, baseline, resampling);
        let clips = per_clip(&runs, benchmark);
        notes.extend(roughness(clips.len()));
        let objects = runs[baseline].objects().iter().sum();
        let data = data(&runs[baseline]);
        let each = runs.iter().zip(disagreements);
        let runs = each.map(|(run, disagreements)| compared(run, disagreements));
        let (runs, scores) = (runs.collect::<Result<_>>()?, ScoredRun::scores(benchmark));
        Ok(Self {
            benchmark,
            data,
            baseline,
            runs,
            scores,
            differences,
            clips,
            objects,
            notes,
            resampling,
        })
    }

    /// Why these runs should not be compared: (run, reason).
    pub fn disagreements(&self) -> Vec<(&str, &str)> {
        let each = self.runs.iter();
        each.flat_map(|run| run.disagreements.iter().map(move |why| (&*run.name, &**why))).collect()
    }
}

/// What a run is of, as far as it is compared.
fn data(run: &ScoredRun) -> String {
    let dataset = &run.results["dataset"];
    let name = dataset["name"].as_str().unwrap_or("unknown");
    let listed = dataset["clips"].as_u64().and_then(|clips| usize::try_from(clips).ok());
    official::scored(run.benchmark, (name, listed.unwrap_or_default()), run.clips().len())
}

/// What is to be known of intervals over so few clips; nothing where there are enough.
pub fn roughness(clips: usize) -> Option<String> {
    match clips {
        1 => Some("unclear: one clip cannot tell how others would differ".to_owned()),
        few if few < FEW => {
            Some(format!("intervals over {few} clips are rough, and a little too narrow"))
        }
        _ => None,
    }
}

/// Fewer clips than this get a warning.
const FEW: usize = 10;

fn compared(run: &ScoredRun, disagreements: Vec<String>) -> Result<Compared> {
    let (results, protocol) = (&run.results, &run.results["protocol"]);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Compared {
        name: run.name.clone(),
        folder: run.folder.clone(),
        weights: results["weights"]["file"].as_str().map(String::from),
        choices: serde_json::from_value::<WeightsRecord>(results["weights"].clone())
            .map_or(String::new(), |weights| weights.choices()),
        protocol: format!(
            "{} v{} ({})",
            text(&protocol["preset"]),
            protocol["version"],
            text(&protocol["hash"])
        ),
        summary: run.summary()?,
        disagreements,
    })
}

/// Says where `results.json` is of other clips than the records beside it.
fn stale(run: &ScoredRun) -> Option<String> {
    let done = usize::try_from(run.results["dataset"]["done"].as_u64()?).ok()?;
    let found = run.clips().len();
    (done != found).then(|| {
        format!(
            "{}: results.json is of {}, its folder holds scores of {found}, which count here",
            run.name,
            counted(done, "clip")
        )
    })
}

fn differences(
    runs: &[ScoredRun],
    benchmark: Benchmark,
    baseline: usize,
    resampling: Resampling,
) -> Vec<Vec<Difference>> {
    let finish = |sum: &[f64]| ScoredRun::finish(benchmark, sum);
    let drawn = |unit: Unit| {
        let units: Vec<_> = runs.iter().map(|run| run.tallies(unit)).collect();
        intervals(&resampled(&units, finish, resampling), baseline)
    };
    let clips = runs[baseline].clips().len();
    let over_clips = drawn(Unit::Clip);
    let over_objects = (benchmark == Benchmark::Davis).then(|| drawn(Unit::Object));
    let scores: Vec<Vec<f64>> =
        runs.iter().map(|run| finish(&total(&run.tallies(Unit::Clip)))).collect();
    let interval = |from: &[Vec<Option<Interval>>], run: usize, score: usize| {
        from.get(run).and_then(|run| run.get(score).copied()).flatten()
    };
    let of = |run: usize, index: usize, score: f64| {
        let over_clips = interval(&over_clips, run, index);
        Difference {
            score,
            difference: score - scores[baseline][index],
            over_clips,
            over_objects: over_objects.as_ref().and_then(|from| interval(from, run, index)),
            verdict: Verdict::over(clips, over_clips),
        }
    };
    let run = |(run, scores): (usize, &Vec<f64>)| {
        scores.iter().enumerate().map(|(index, score)| of(run, index, *score)).collect()
    };
    scores.iter().enumerate().map(run).collect()
}

/// Every run's first score on each clip.
fn per_clip(runs: &[ScoredRun], benchmark: Benchmark) -> Vec<(String, Vec<f64>)> {
    let tallies: Vec<_> = runs.iter().map(|run| run.tallies(Unit::Clip)).collect();
    let names = runs.first().map(ScoredRun::clips).unwrap_or_default();
    let score = |clip: usize, units: &Vec<statistics::Tally>| {
        units.get(clip).and_then(|sum| ScoredRun::finish(benchmark, sum).first().copied())
    };
    let row = |(clip, (name, _)): (usize, &(&str, &str))| {
        let scores = tallies.iter().map(|units| score(clip, units).unwrap_or(f64::NAN));
        ((*name).to_owned(), scores.collect())
    };
    names.iter().enumerate().map(row).collect()
}

/// Which of the runs a name or folder means.
pub fn find(runs: &[ScoredRun], wanted: &Path) -> Option<usize> {
    let same = |run: &&ScoredRun| match (run.folder.canonicalize(), wanted.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let named = |run: &ScoredRun| run.name == wanted.to_string_lossy();
    runs.iter().position(|run| same(&run)).or_else(|| runs.iter().position(named))
}

#[cfg(test)]
mod tests {
    use super::runs::tests::{davis, folder};
    use super::*;
    use serde_json::Value;

    /// A run: its folder's name, its top-k, and the record of every clip.
    type Made<'a> = (&'a str, usize, &'a [(&'a str, Value)]);

    fn read_all(place: &Path, runs: &[Made<'_>]) -> Vec<ScoredRun> {
        let folders: Vec<PathBuf> = runs
            .iter()
            .map(|(name, topk, clips)| folder(&place.join(name), "davis", *topk, clips))
            .collect();
        read(&folders).unwrap()
    }

    fn compare(runs: Vec<ScoredRun>) -> Comparison {
        Comparison::new(runs, 0, Resampling { seed: 0, count: 500 }).unwrap()
    }

    #[test]
    fn differences_by_hand() {
        let place = tempfile::tempdir().unwrap();
        let a = [("x", davis(&[0.5, 0.25])), ("y", davis(&[0.75]))];
        let b = [("x", davis(&[0.75, 0.5])), ("y", davis(&[0.75]))];
        let comparison = compare(read_all(place.path(), &[("a", 7, &a), ("b", 7, &b)]));
        assert!(comparison.disagreements().is_empty());
        // J: (0.5 + 0.25 + 0.75) / 3 = 0.5 and 2/3; F is 0.2 above
        let [jf, j, f] = comparison.differences[1][..] else { panic!("three scores") };
        assert!((j.score - 2.0 / 3.0).abs() < 1e-12 && (f.difference - 0.5 / 3.0).abs() < 1e-12);
        // clips: both x, gain 0.25; x and y, 1/6; both y, none
        let near = |interval: Option<Interval>, low: f64, high: f64| {
            let interval = interval.unwrap();
            (interval.low - low).abs() < 1e-9 && (interval.high - high).abs() < 1e-9
        };
        assert!(near(jf.over_clips, 0.0, 0.25), "{jf:?}");
        assert!(near(jf.over_objects, 0.0, 0.25), "{jf:?}");
        assert_eq!(jf.verdict, Verdict::Unclear);
        assert_eq!(comparison.differences[0][0].verdict, Verdict::Equal);
        assert_eq!(comparison.clips[0].0, "x");
        assert!((comparison.clips[0].1[1] - 0.725).abs() < 1e-12);
        assert_eq!(comparison.objects, 3);
    }

    #[test]
    fn what_differs_is_named() {
        let place = tempfile::tempdir().unwrap();
        let a = [("x", davis(&[0.5])), ("y", davis(&[0.75]))];
        let mut runs = read_all(
            place.path(),
            &[("a", 7, &a), ("topk", 5, &a), ("fewer", 7, &a[..1]), ("labels", 7, &a)],
        );
        let file = place.path().join("labels/clips/y.json");
        let text = std::fs::read_to_string(&file).unwrap().replace("y 4 abc", "y 4 other");
        std::fs::write(&file, text).unwrap();
        runs[3] = ScoredRun::read(&place.path().join("labels")).unwrap();
        let comparison = compare(runs.clone());
        assert_eq!(
            comparison.disagreements(),
            [
                ("topk", "protocol: topk is 5, the baseline has 7"),
                ("fewer", "data: it has no clip y"),
                ("labels", "data: other frames or given labels in y"),
            ]
        );
        assert!(comparison.notes[0].starts_with("PARTIAL: compared over the 1 of 2 clips"));
        assert_eq!(comparison.clips.len(), 1);
        // A partial run is compared over what it has.
        runs[2].results["partial"] = true.into();
        let comparison = compare(vec![runs[0].clone(), runs[2].clone()]);
        assert!(comparison.disagreements().is_empty());
        assert!(comparison.notes[0].starts_with("PARTIAL"));
    }

    #[test]
    fn what_cannot_be_compared_at_all() {
        let place = tempfile::tempdir().unwrap();
        let refused = |runs: Vec<ScoredRun>| {
            Comparison::new(runs, 0, Resampling { seed: 0, count: 10 }).unwrap_err().to_string()
        };
        let mut runs = read_all(
            place.path(),
            &[
                ("a", 7, &[("x", davis(&[0.5]))]),
                ("b", 7, &[("y", davis(&[0.5]))]),
                ("c", 7, &[("x", davis(&[0.5, 0.5]))]),
            ],
        );
        assert!(refused(runs[..2].to_vec()).contains("no scored clip in common"));
        runs.swap(1, 2);
        assert!(refused(runs[..2].to_vec()).contains("x has [1, 2] objects"));
        let poses = serde_json::json!({ "joints": vec![
            serde_json::json!({ "found": [0.1], "missing": 0 }); 15
        ] });
        let other = folder(&place.path().join("p"), "jhmdb", 7, &[("x", poses)]);
        runs[1] = ScoredRun::read(&other).unwrap();
        assert!(refused(runs[..2].to_vec()).contains("p is of JHMDB, the baseline of DAVIS-2017"));
    }

    #[test]
    fn runs_are_found_by_folder_and_by_name() {
        let place = tempfile::tempdir().unwrap();
        let clip = [("x", davis(&[0.5]))];
        let runs = read_all(place.path(), &[("a", 7, &clip), ("b", 7, &clip), ("c/b", 7, &clip)]);
        assert_eq!(find(&runs, &place.path().join("c/../b")), Some(1));
        assert_eq!(find(&runs, Path::new("a")), Some(0));
        assert_eq!(find(&runs, Path::new("d")), None);
        assert_eq!(runs[2].name, place.path().join("c/b").display().to_string());
    }
}
