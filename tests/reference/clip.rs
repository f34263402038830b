//! The reference's clip in the layout of each dataset, and the program run on it as a user would.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use cropmae::image::indexed;
use cropmae::protocol::Benchmark;
use serde_json::Value;
use tempfile::TempDir;

use super::{expected_json, golden};

/// What the clip is called in a dataset.
pub(crate) fn name(benchmark: Benchmark) -> &'static str {
    match benchmark {
        Benchmark::Davis | Benchmark::Vip => "clip",
        Benchmark::Jhmdb => "move/clip",
    }
}

/// A dataset that holds the clip alone; it lives as long as the value.
pub(crate) fn dataset(benchmark: Benchmark) -> TempDir {
    let folder = TempDir::new().unwrap();
    let name = name(benchmark);
    let (frames, masks) = match benchmark {
        Benchmark::Davis => ("JPEGImages/480p", Some("Annotations/480p")),
        Benchmark::Vip => ("Images", Some("Annotations/Category_ids")),
        Benchmark::Jhmdb => ("Rename_Images", None),
    };
    copy(&golden("clip/frames"), &folder.path().join(frames).join(name));
    match masks {
        Some(masks) => copy(&golden("clip/masks"), &folder.path().join(masks).join(name)),
        None => {
            let place = folder.path().join("joint_positions").join(name);
            fs::create_dir_all(&place).unwrap();
            let file = "joint_positions.mat";
            fs::copy(golden(&format!("clip/{file}")), place.join(file)).unwrap();
        }
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Asserts that the masks in a folder are those that the reference made in `run`.
pub(crate) fn assert_masks(run: &str, folder: &Path) {
    // One picture, frame below frame.
    let theirs = indexed::read(&golden(&format!("masks/{}.png", run.replace(", ", "_")))).unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let ours: Vec<_> = files.iter().map(|file| indexed::read(file).unwrap()).collect();
    assert!(ours.iter().all(|mask| mask.width == theirs.width), "{run}");
    let ours: Vec<u8> = ours.into_iter().flat_map(|mask| mask.data).collect();
    assert_eq!(ours.len(), theirs.data.len(), "{run}");
    let differing = ours.iter().zip(&theirs.data).filter(|(a, b)| a != b).count();
    assert_eq!(differing, 0, "{run}: of {} pixels", ours.len());
}

/// Asserts that every score of the reference is ours.
pub(crate) fn assert_scores(run: &str, ours: &serde_json::Map<String, Value>, theirs: &Value) {
    for (metric, theirs) in theirs["scores"].as_object().unwrap() {
        let (ours, theirs) = (ours[metric].as_f64().unwrap(), theirs.as_f64().unwrap());
        eprintln!("{run} {metric}: {ours:.6}, reference {theirs:.6}");
        // The masks are the same, so only sums of a few f64 quotients differ.
        assert!((ours - theirs).abs() < 1e-12, "{run} {metric}: {ours} {theirs}");
    }
}

/// `propagate` with the encoder of the reference: the scores that it prints, and the run's folder.
fn propagate(benchmark: Benchmark, switches: &str) -> (Value, TempDir) {
    let (data, out) = (dataset(benchmark), TempDir::new().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_propagate"));
    command.arg(benchmark.name()).args(["--json", "--device", "cpu", "--data"]).arg(data.path());
    command.arg("--weights").arg(golden("encoders/mae8.safetensors"));
    command.arg("--out").arg(out.path()).args(switches.split_whitespace());
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    (serde_json::from_slice(&ran.stdout).unwrap(), out)
}

#[test]
fn the_program_scores_what_the_reference_scores() {
    let runs = expected_json("runs");
    for (run, benchmark, switches) in [
        ("cropmae", Benchmark::Davis, "--size 72x104"),
        ("dino", Benchmark::Davis, "--preset dino --short-side 128"),
        ("crw", Benchmark::Davis, "--preset crw"),
        ("dinov3", Benchmark::Davis, "--preset dinov3 --short-side 67"),
        ("vip", Benchmark::Vip, "--long-side 128"),
    ] {
        let (results, out) = propagate(benchmark, switches);
        assert_masks(run, &out.path().join("predictions").join(name(benchmark)));
        assert_scores(run, results["metrics"].as_object().unwrap(), &runs[run]);
    }
}
