//! A finished run: how it was made, and every clip's scores, read from its folder
//! (`report::stored`). Here a run becomes sums ([`ScoredRun::tallies`]) for
//! [`super::statistics`].

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::statistics::Tally;
use crate::error::{Error, Result};
use crate::eval::Record;
use crate::eval::vip::{VipScores, pooled};
use crate::metric::davis::ClipScores;
use crate::metric::miou::{Confusion, VIP_CLASSES};
use crate::metric::pck::{JointCount, JointDistances, THRESHOLDS};
use crate::metric::stats::mean;
use crate::protocol::Benchmark;
use crate::report::Summary;
use crate::report::stored::{self, Clips};

/// A run as its folder tells it.
#[derive(Debug, Clone)]
pub struct ScoredRun {
    /// What it is called in tables: its folder's name, where no other run has it.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// The task.
    pub benchmark: Benchmark,
    /// The content of `results.json`.
    pub results: Value,
    /// All that were scored.
    records: Clips,
}

/// What sums are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Clips.
    Clip,
    /// Objects of all clips; DAVIS alone scores them one by one.
    Object,
}

impl ScoredRun {
    /// Reads a folder that `propagate davis|vip|jhmdb` or `propagate score --out` has left.
    ///
    /// # Errors
    /// It holds no finished run, or a damaged one.
    pub fn read(folder: &Path) -> Result<Self> {
        let results = stored::results(folder)?;
        let benchmark = stored::benchmark(&results, folder)?;
        let mut records = Clips::read(folder, benchmark)?;
        records.keep(|_, scored| scored);
        records.sort_plainly();
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        let name = name.file_name().unwrap_or(name.as_os_str()).to_string_lossy().into_owned();
        let run = Self { name, folder: folder.to_path_buf(), benchmark, results, records };
        match run.clips().is_empty() {
            true => Err(Error::data(
                folder,
                "holds scores of no clip",
                "run it again, and have it scored",
            )),
            false => Ok(run),
        }
    }

    /// The clips that were scored: names with a line that changes when the given labels do.
    pub fn clips(&self) -> Vec<(&str, &str)> {
        self.records.names()
    }

    /// Leaves out all other clips.
    pub fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        self.records.keep(|clip, _| wanted(clip));
    }

    /// The headline and all behind it, over the clips that were kept.
    ///
    /// # Errors
    /// VIP: matrices are not of its classes.
    pub fn summary(&self) -> Result<Summary> {
        self.records.summary(&self.results, &self.folder)
    }

    /// Which scores are compared; [`ScoredRun::finish`] makes them of a sum, in this order.
    pub fn scores(benchmark: Benchmark) -> Vec<String> {
        match benchmark {
            Benchmark::Davis => ["J&F-Mean", "J-Mean", "F-Mean"].map(String::from).to_vec(),
            Benchmark::Vip => vec!["mIoU".into()],
            Benchmark::Jhmdb => THRESHOLDS.iter().map(|at| format!("PCK@{at}")).collect(),
        }
    }

    /// What each unit adds to the sums; every clip is a unit, or every object. Clips come in the
    /// order of [`ScoredRun::clips`].
    pub fn tallies(&self, unit: Unit) -> Vec<Tally> {
        match &self.records {
            Clips::Davis(records) => {
                let clips = scores(records).map(objects);
                match unit {
                    Unit::Object => clips.flatten().collect(),
                    Unit::Clip => clips.map(|objects| super::statistics::total(&objects)).collect(),
                }
            }
            Clips::Vip(records) => {
                let exclude = stored::excludes_first_frame(&self.results);
                scores(records).map(|scores| pixels(scores, exclude)).collect()
            }
            Clips::Jhmdb(records) => scores(records).map(joints).collect(),
        }
    }

    /// How many objects each clip has; one where clips are not scored object by object.
    pub fn objects(&self) -> Vec<usize> {
        match &self.records {
            Clips::Davis(records) => scores(records).map(|clip| clip.objects.len()).collect(),
            Clips::Vip(_) | Clips::Jhmdb(_) => vec![1; self.clips().len()],
        }
    }

    /// The scores that a sum of tallies comes to; NaN where nothing was scored.
    pub fn finish(benchmark: Benchmark, sum: &[f64]) -> Vec<f64> {
        match (benchmark, sum) {
            (Benchmark::Davis, [j, f, count]) => {
                let (j, f) = (j / count, f / count);
                vec![(j + f) / 2.0, j, f]
            }
            (Benchmark::Vip, _) => vec![mean_iou(sum)],
            (Benchmark::Jhmdb, _) => pck(sum),
            (Benchmark::Davis, _) => vec![f64::NAN; 3],
        }
    }
}

fn scores<S>(records: &[Record<S>]) -> impl Iterator<Item = &S> {
    records.iter().filter_map(|record| record.scores.as_ref())
}

/// J, F and 1 of each object; nothing of one without a scored frame, which the means leave out.
fn objects(clip: &ClipScores) -> Vec<Tally> {
    let of = |statistics: crate::metric::davis::ObjectStatistics| {
        let (j, f) = (statistics.j.mean, statistics.f.mean);
        if j.is_nan() || f.is_nan() { vec![0.0; 3] } else { vec![j, f, 1.0] }
    };
    clip.statistics().into_iter().map(of).collect()
}

/// Pixels found, true and predicted, of class after class.
fn pixels(scores: &VipScores, exclude_first_frame: bool) -> Tally {
    let matrix = pooled([scores], exclude_first_frame);
    let matrix = matrix.unwrap_or_else(|_| Confusion::new(VIP_CLASSES.len()));
    let classes = 0..VIP_CLASSES.len();
    let at = |row: usize, column: usize| matrix.row(row).get(column).copied().unwrap_or(0) as f64;
    let sum = |of: &dyn Fn(usize) -> f64| classes.clone().map(of).sum::<f64>();
    let class = |c: usize| [at(c, c), sum(&|other| at(c, other)), sum(&|other| at(other, c))];
    classes.clone().flat_map(class).collect()
}

fn mean_iou(sum: &[f64]) -> f64 {
    let classes = sum.as_chunks::<3>().0.iter();
    mean(classes.map(|[found, truth, predicted]| found / (truth + predicted - found)))
}

/// Frames with a prediction and those near at each threshold, of joint after joint.
fn joints(scores: &JointDistances) -> Tally {
    let of = |JointCount { found, near }: JointCount| {
        std::iter::once(found).chain(near).map(|count| count as f64)
    };
    scores.counts().into_iter().flat_map(of).collect()
}

fn pck(sum: &[f64]) -> Vec<f64> {
    let joints = sum.as_chunks::<{ 1 + THRESHOLDS.len() }>().0;
    let at = |threshold: usize| mean(joints.iter().map(|joint| joint[1 + threshold] / joint[0]));
    (0..THRESHOLDS.len()).map(at).collect()
}

#[cfg(test)]
pub(in crate::report) mod tests {
    use serde_json::json;

    use super::*;
    use crate::metric::davis::ObjectScores;

    fn record(clip: &str, scores: Value) -> Value {
        json!({
            "clip": clip, "frames": 4, "labels": format!("{clip} 4 abc"), "soft_labels": false,
            "scored": true, "scores": scores, "notes": [],
            "stages": { "decode": 0.0, "encode": 0.0, "propagate": 0.0, "read_out": 0.0,
                        "write": 0.0, "score": 0.0 },
        })
    }

    /// A folder of these clips' scores.
    pub(in crate::report) fn folder(
        root: &Path,
        benchmark: &str,
        topk: usize,
        clips: &[(&str, Value)],
    ) -> PathBuf {
        std::fs::create_dir_all(root.join("clips")).unwrap();
        for (clip, scores) in clips {
            let path = root.join(format!("clips/{clip}.json"));
            std::fs::write(path, record(clip, scores.clone()).to_string()).unwrap();
        }
        let values = json!({ "topk": topk, "exclude_first_frame": false });
        let results = json!({
            "benchmark": benchmark, "partial": false, "weights": { "file": "w.pth" },
            "protocol": { "preset": "cropmae", "version": 1, "hash": "0", "values": values },
            "provenance": { "device": "cpu", "dtype": "f32", "jpeg_decoder": "image" },
            "dataset": { "clips": clips.len(), "done": clips.len() },
        });
        std::fs::write(root.join("results.json"), results.to_string()).unwrap();
        root.to_path_buf()
    }

    /// Scores of a clip whose objects have these J, and F 0.2 above.
    pub(in crate::report) fn davis(objects: &[f64]) -> Value {
        let object = |&j: &f64| ObjectScores { j: vec![j, j], f: vec![j + 0.2, j + 0.2] };
        json!(ClipScores { objects: objects.iter().map(object).collect() })
    }

    /// Sums come to what the metrics say of all clips at once.
    fn assert_agrees(folder: &Path) {
        let run = ScoredRun::read(folder).unwrap();
        let sum = super::super::statistics::total(&run.tallies(Unit::Clip));
        let summary = run.summary().unwrap();
        let names = ScoredRun::scores(run.benchmark);
        for (name, score) in names.iter().zip(ScoredRun::finish(run.benchmark, &sum)) {
            let said = summary.metrics[name].as_f64().unwrap();
            // the same few numbers, added in another order
            assert!((score - said).abs() < 1e-12, "{name}: {score} {said}");
        }
    }

    #[test]
    fn sums_are_the_metrics() {
        let place = tempfile::tempdir().unwrap();
        let clips = [("a", davis(&[0.5, 0.25])), ("b", davis(&[0.7]))];
        let davis = folder(&place.path().join("davis"), "davis", 7, &clips);
        assert_agrees(&davis);
        let run = ScoredRun::read(&davis).unwrap();
        assert_eq!((run.objects(), run.tallies(Unit::Object).len()), (vec![2, 1], 3));
        let matrix = |seed: u64| -> Vec<Vec<u64>> {
            let row = |r: u64| (0..20).map(|c| (seed * (r + 3) * (c + 5)) % 11).collect();
            (0..20).map(row).collect()
        };
        let video = |seed| json!({ "first": matrix(seed), "others": matrix(seed + 3) });
        assert_agrees(&folder(
            &place.path().join("vip"),
            "vip",
            10,
            &[("v1", video(2)), ("v2", video(5))],
        ));
        let joint = |seed: f64| json!({ "found": [0.05 * seed, 0.2, null], "missing": 1 });
        let pose = |seed: f64| json!({ "joints": (0..15).map(|j| joint(seed + f64::from(j))).collect::<Vec<_>>() });
        let poses = [("p__1", pose(0.0)), ("p__2", pose(2.0))];
        assert_agrees(&folder(&place.path().join("jhmdb"), "jhmdb", 7, &poses));
    }

    #[test]
    fn other_folders_are_named() {
        let place = tempfile::tempdir().unwrap();
        let refused = |folder: &Path| ScoredRun::read(folder).unwrap_err().to_string();
        assert!(refused(&place.path().join("none")).contains("is not there"));
        assert!(refused(place.path()).contains("holds no results"));
        std::fs::write(place.path().join("run.json"), "{}").unwrap();
        assert!(refused(place.path()).contains("not finished"));
        std::fs::write(place.path().join("sweep.json"), "{}").unwrap();
        assert!(refused(place.path()).contains("of a sweep"));
        let run = folder(&place.path().join("run"), "davis", 7, &[("a", davis(&[0.5]))]);
        std::fs::write(run.join("clips/a.json"), "{").unwrap();
        assert!(refused(&run).contains("a.json: is damaged"));
        std::fs::remove_dir_all(run.join("clips")).unwrap();
        assert!(refused(&run).contains("holds no results"));
    }
}
