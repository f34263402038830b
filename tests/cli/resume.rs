//! Interrupted runs: killed at any moment, the same command completes them to the same bytes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cropmae::files::Occupied;
use serde_json::Value;

use super::place::{Files, Place, QUICK, assert_same};

/// Slow enough to be caught in the middle: half a second or so for all clips.
const SLOW: &str = "--weights random:vitti16@0 --size 96x160 --threads 1 --save-soft-labels";
const CLIPS: usize = 6;

fn start(place: &Place, line: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_propagate"))
        .args(line.split_whitespace())
        .current_dir(place.path("."))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until `reached`, then kills the program without warning.
fn kill_when(mut child: Child, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(child.try_wait().unwrap().is_none(), "the run was over before it could be killed");
        assert!(begin.elapsed() < Duration::from_secs(60), "the run does not get there");
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What a run is about: predictions and soft labels as they are, records and results without times.
pub(super) fn essence(place: &Place, out: &str) -> Files {
    let mut files = place.files(out);
    files.retain(|name, _| name != "results.md" && name != "report.html");
    for (name, bytes) in &mut files {
        if name.ends_with(".json") && name != "run.json" {
            let mut json: Value = serde_json::from_slice(bytes).unwrap();
            let record = json.as_object_mut().unwrap();
            record.remove("stages");
            record.remove("provenance");
            *bytes = json.to_string().into_bytes();
        }
    }
    files
}

#[test]
fn killed_at_any_moment_and_completed() {
    let place = Place::new();
    place.sample("davis", CLIPS, 4);
    let line = |out: &str| format!("davis --data davis {SLOW} --out {out}");
    place.run(&line("whole")).exits(0);
    let whole = essence(&place, "whole");
    let records = |out: &str, count: usize| {
        place.path(&format!("{out}/clips")).read_dir().is_ok_and(|c| c.count() >= count)
    };
    let exists = |file: &str| place.path(file).exists();
    let frame = |out: &str, clip: usize, t: usize| {
        format!("{out}/.unfinished/sample-{clip:02}/predictions/{t:05}.png")
    };
    // As soon as the folder is there; inside the first clip; after one; inside the third; after
    // five.
    kill_when(start(&place, &line("a")), || exists("a/run.json"));
    kill_when(start(&place, &line("b")), || exists(&frame("b", 0, 1)));
    kill_when(start(&place, &line("c")), || records("c", 1));
    kill_when(start(&place, &line("d")), || exists(&frame("d", 2, 2)));
    kill_when(start(&place, &line("e")), || records("e", 5));
    for out in ["a", "b", "c", "d", "e"] {
        assert!(!exists(&format!("{out}/results.json")), "{out} was not interrupted");
        let done = place.path(&format!("{out}/clips")).read_dir().map_or(0, Iterator::count);
        let ran = place.run(&line(out)).exits(0);
        let kept = ran.err.matches("done by an earlier run").count();
        assert!(kept <= done && kept + 1 >= done, "{out}: {kept} clips kept of {done}");
        assert!(out != "e" || kept >= 4, "{}", ran.err);
        assert_same(&essence(&place, out), &whole, out);
    }
}

/// What a killed run had begun in the cache is gone after the next one.
#[test]
fn killed_while_features_were_kept() {
    let place = Place::new();
    place.sample("davis", 2, 24);
    let line = format!("davis --data davis {SLOW} --cache kept --out out");
    let names = || {
        let folders = place.path("kept").read_dir().into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| folder.path().read_dir().into_iter().flatten());
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    let begun = || names().iter().any(|name| name.ends_with(".partial"));
    kill_when(start(&place, &line), begun);
    assert!(begun());
    place.run(&line).exits(0);
    assert!(!begun());
    assert_eq!(names().len(), 2);
}

/// Ctrl-C stops with a table of what is done; the same command then does the rest.
#[cfg(unix)]
#[test]
fn interrupted_with_a_table_and_completed() {
    let place = Place::new();
    place.sample("davis", CLIPS, 24);
    let line = |out: &str| format!("davis --data davis {SLOW} --out {out}");
    place.run(&line("whole")).exits(0);
    // a clip that the interrupted run does not come to is of its results all the same, but for one
    // that has another truth by now
    place.run(&(line("out") + " --sequences sample-04,sample-05")).exits(0);
    place.change_mask("davis/Annotations/480p/sample-04/00002.png", |_| 0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_propagate"));
    command.args(line("out").split_whitespace()).current_dir(place.path("."));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let clips = place.path("out/clips");
    let begin = Instant::now();
    while clips.read_dir().unwrap().count() < 3 {
        assert!(begin.elapsed() < Duration::from_secs(60), "the run does not get there");
        std::thread::sleep(Duration::from_micros(200));
    }
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let (out, err) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    let out = String::from_utf8(out).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(out.contains("J&F-Mean") && out.contains("PARTIAL"), "{out}");
    assert!(err.contains("interrupted: ") && err.contains("the same command continues"), "{err}");
    assert!(!err.contains("failed"), "the clip in work is no failure: {err}");
    let results = place.json("out/results.json");
    assert_eq!(results["partial"], true);
    assert_eq!(results["dataset"]["done"], clips.read_dir().unwrap().count());
    assert!(err.contains("report in out/report.html"), "{err}");
    let page = place.text("out/report.html");
    assert!(page.contains("sample-05") && !page.contains("sample-04"));
    assert!(!place.path("out/.unfinished").exists());
    let ran = place.run(&line("out")).exits(0);
    assert!(ran.err.contains("done by an earlier run"), "{}", ran.err);
    assert_same(&place.files("out/predictions"), &place.files("whole/predictions"), "out");
}

#[test]
fn killed_again_and_again() {
    let place = Place::new();
    place.sample("jhmdb", CLIPS, 4);
    let line = |out: &str| format!("jhmdb --data jhmdb {SLOW} --out {out}");
    place.run(&line("whole")).exits(0);
    for count in 1..CLIPS {
        let clips = place.path("out/clips");
        let reached = || clips.read_dir().is_ok_and(|clips| clips.count() >= count);
        kill_when(start(&place, &line("out")), reached);
    }
    place.run(&line("out")).exits(0);
    assert_same(&essence(&place, "out"), &essence(&place, "whole"), "resumed");
}

/// Nothing is written and the same is shown, times included.
#[test]
fn a_finished_run_is_left_as_it_is() {
    for benchmark in ["davis", "vip", "jhmdb"] {
        let place = Place::with(&[benchmark]);
        let line = format!("{benchmark} --data {benchmark} {QUICK} --save-soft-labels --out out");
        let first = place.run(&line).exits(0);
        let before = place.files("out");
        // What an interrupted run would have left.
        place.write("out/.unfinished/sample-00/predictions/00000.png", "half a mask");
        let again = place.run(&line).exits(0);
        assert_eq!(again.out, first.out);
        assert_eq!(again.err.matches("done by an earlier run").count(), 3, "{}", again.err);
        assert_same(&place.files("out"), &before, "changed");
        // Without soft labels there is nothing left to do either.
        let line = line.replace("--save-soft-labels", "");
        assert_eq!(place.run(&line).exits(0).out, first.out);
        assert_same(&place.files("out"), &before, "changed");
    }
}

#[test]
fn settings_and_datasets_never_mix() {
    let place = Place::with(&["davis", "vip"]);
    place.run(&format!("davis --data davis {QUICK} --out out")).exits(0);
    let before = place.files("out");
    std::fs::rename(place.path("davis"), place.path("other")).unwrap();
    place.sample("davis", 3, 4);
    let others = [
        ("davis --data davis --weights pixels --size 96x160 --topk 3", "protocol"),
        ("davis --data davis --weights pixels --size 48x80", "protocol"),
        ("davis --data davis --weights pixels --size 96x160 --preset crw", "preset"),
        ("davis --data davis --weights random:vitti16@0 --size 96x160", "weights_sha256"),
        ("davis --data davis --weights pixels --size 96x160 --dtype bf16", "dtype"),
        ("davis --data davis --weights pixels --size 96x160 --split train", "data"),
        ("davis --data other --weights pixels --size 96x160", "data"),
        ("vip --data vip --weights pixels --size 96x160", "benchmark"),
    ];
    for (line, key) in others {
        let ran = place.run(&format!("{line} --out out")).exits(1);
        ran.refuses(&[
            "out: this folder holds a run with other settings",
            key,
            "another folder for --out",
        ]);
        assert_same(&place.files("out"), &before, line);
    }
    place.run(&format!("davis --data davis {QUICK} --out out --threads 1 --batch 2")).exits(0);
}

/// The official evaluator would stop at a folder that lacks a mask.
#[test]
fn predictions_that_were_lost_are_made_again() {
    for (benchmark, lost) in [
        ("davis", "predictions/sample-01/00002.png"),
        ("jhmdb", "predictions/walk/sample_walk_0/joints.json"),
    ] {
        let place = Place::with(&[benchmark]);
        let line = format!("{benchmark} --data {benchmark} {QUICK} --out out");
        place.run(&line).exits(0);
        let before = place.files("out/predictions");
        place.remove(&format!("out/{lost}"));
        let ran = place.run(&line).exits(0);
        assert_same(&place.files("out/predictions"), &before, benchmark);
        assert!(!ran.err.contains("failed"), "{}", ran.err);
    }
}

/// A truth that was corrected, and a frame that was exchanged, are seen in any frame.
#[test]
fn a_clip_that_changed_is_done_again() {
    let place = Place::with(&["davis"]);
    let line = |out: &str| format!("davis --data davis {QUICK} --out {out}");
    let scores = |out: &str| place.json(&format!("{out}/results.json"))["metrics"].clone();
    let again = |kept: usize| {
        let ran = place.run(&line("out")).exits(0);
        assert_eq!(ran.err.matches("done by an earlier run").count(), kept, "{}", ran.err);
    };
    place.run(&line("out")).exits(0);
    let (first, labels) = (scores("out"), "labels_sha256");
    place.change_mask("davis/Annotations/480p/sample-01/00002.png", |id| id.min(1));
    again(2);
    assert_ne!(scores("out"), first);
    place.run(&line("fresh")).exits(0);
    assert_eq!(scores("out"), scores("fresh"));
    let dataset = |out: &str| place.json(&format!("{out}/results.json"))["dataset"].clone();
    assert_eq!(dataset("out")[labels], dataset("fresh")[labels]);
    let frame = |clip: usize| format!("davis/JPEGImages/480p/sample-{clip:02}/00003.jpg");
    let bytes = |clip: usize| std::fs::read(place.path(&frame(clip))).unwrap();
    assert_ne!(bytes(0).len(), bytes(2).len());
    place.write(&frame(2), bytes(0));
    again(2);
    // written again as it was, and elsewhere: nothing is another
    place.write(&frame(2), bytes(0));
    again(3);
    // earlier versions did not note it
    for clip in 0..3 {
        let file = format!("out/clips/sample-{clip:02}.json");
        let mut record = place.json(&file);
        record.as_object_mut().unwrap().remove("content").unwrap();
        place.write(&file, record.to_string());
    }
    again(3);
}

/// Two at once would take each other's unfinished clips away.
#[test]
fn two_runs_do_not_share_a_folder() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --out out");
    place.run(&line).exits(0);
    let before = place.files("out");
    let other = Occupied::take(&place.path("out")).unwrap();
    place.run(&line).exits(1).refuses(&[
        "out: another run is using this folder",
        "let it end",
        "--out",
    ]);
    place
        .run(&format!("{line} --topk 3"))
        .exits(1)
        .refuses(&["out: another run is using this folder"]);
    drop(other);
    assert_same(&place.files("out"), &before, "changed");
    place.run(&line).exits(0);
    assert_same(&place.files("out"), &before, "changed");
    // one that is at work in the folder of a setting holds up the sweep, and the other way round
    let sweep = format!("davis --data davis {QUICK} --sweep topk=3,5 --out sweep");
    place.run(&sweep).exits(0);
    let other = Occupied::take(&place.path("sweep/topk-5")).unwrap();
    place.run(&sweep).exits(1).refuses(&["sweep/topk-5: another run is using this folder"]);
    drop(other);
    place.run(&sweep).exits(0);
}

#[test]
fn a_damaged_record_is_made_again() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --out out");
    place.run(&line).exits(0);
    let whole = essence(&place, "out");
    place.cut("out/clips/sample-01.json", 0.5);
    place.remove("out/results.json");
    let ran = place.run(&line).exits(0);
    assert_eq!(ran.err.matches("done by an earlier run").count(), 2, "{}", ran.err);
    assert_same(&essence(&place, "out"), &whole, "out");
    place.cut("out/run.json", 0.5);
    place.run(&line).exits(1).refuses(&["out/run.json: is damaged", "remove the folder"]);
}
