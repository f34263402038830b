//! `propagate davis|vip|jhmdb`: streams, switches, and the same again.

use serde_json::Value;

use super::place::{BENCHMARKS, Files, Place, QUICK, assert_same};

#[test]
fn stdout_is_the_table_and_nothing_else() {
    let columns = [
        "J&F-Mean J-Mean J-Recall J-Decay F-Mean F-Recall F-Decay",
        "mIoU mean accuracy overall accuracy frequency-weighted IoU",
        "PCK@0.1 PCK@0.2 PCK@0.3 PCK@0.4 PCK@0.5",
    ];
    for ((benchmark, _), columns) in BENCHMARKS.iter().zip(columns) {
        let place = Place::with(&[benchmark]);
        let ran = place.run(&format!("{benchmark} --data {benchmark} {QUICK} --out out")).exits(0);
        let lines: Vec<&str> = ran.out.lines().collect();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(lines[1]), columns);
        let percent =
            |word: &str| word.parse::<f64>().is_ok() && word.rsplit_once('.').unwrap().1.len() == 1;
        assert!(lines[3].split_whitespace().all(percent), "{}", lines[3]);
        assert!([0, 2, 4].iter().all(|&rule| lines[rule].chars().all(|c| c == '─')), "{}", ran.out);
        let few = "not comparable with published numbers: they are of the ";
        let labels = ["weights: ", "protocol: ", "departure: ", "data: ", few, "by: "];
        for (line, label) in lines[5..].iter().zip(labels) {
            assert!(line.starts_with(&format!("  {label}")), "{line:?} is not the {label} line");
        }
        assert!(!ran.out.contains('\u{1b}'), "escape codes in a pipe");
        assert!(ran.err.contains("[3/3] ") && ran.err.ends_with("results in out\n"), "{}", ran.err);
        assert!(!ran.err.contains('\u{1b}'), "escape codes in a log");
    }
}

#[test]
fn json_on_stdout_is_the_file() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        let line = format!("{benchmark} --data {benchmark} {QUICK} --out out --json");
        let ran = place.run(&line).exits(0);
        assert_eq!(ran.out, place.text("out/results.json"));
        assert_eq!(ran.json()["benchmark"], benchmark);
    }
}

#[test]
fn quiet_is_quiet() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        let line =
            format!("{benchmark} --data {benchmark} --weights random:vitti16@0 --size 48x80 -q");
        let ran = place.run(&line).exits(0);
        assert_eq!(ran.err, "");
        assert!(ran.out.contains("random:vitti16@0 (random, vitti16, "), "{}", ran.out);
    }
}

#[test]
fn rows_of_items_when_asked() {
    for (benchmark, rows) in
        [("davis", "sample-01_2"), ("vip", "sun-glasses"), ("jhmdb", "left knee")]
    {
        let place = Place::with(&[benchmark]);
        let line = format!("{benchmark} --data {benchmark} {QUICK} --out out");
        let without = place.run(&line).exits(0).out;
        let with = place.run(&format!("{line} --per-item")).exits(0).out;
        assert!(!without.contains(rows) && with.contains(rows), "{with}");
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = Place::with(&["davis"]);
    let before = place.files(".");
    let ran =
        place.run("davis --data davis --weights random:vitti16@3 --dry-run --out out").exits(0);
    assert_same(&place.files("."), &before, "changed");
    for part in [
        "3 clips, 12 frames",
        "frames 96x160 -> input 480x880 -> grid 30x55",
        "context of 21 frames: 25.4 MiB", // 21 · 30·55 · 192 · 4 bytes
        "encoder: vitti16 (random, fused), Tiled affinity",
        "output: out",
        "sample-02: 4 frames",
    ] {
        assert!(ran.out.contains(part), "{part:?} is not in:\n{}", ran.out);
    }
}

#[test]
fn a_limit_counts_broken_clips() {
    let place = Place::with(&["davis"]);
    place.remove("davis/Annotations/480p/sample-01/00000.png");
    let ran = place.run(&format!("davis --data davis {QUICK} --limit 2 --out two")).exits(3);
    assert!(ran.err.contains("sample-01") && !ran.err.contains("sample-02"), "{}", ran.err);
}

#[test]
fn a_few_clips_make_a_partial_result() {
    let place = Place::with(&["davis"]);
    let ran = place.run(&format!("davis --data davis {QUICK} --limit 2 --out two")).exits(0);
    assert!(ran.out.contains("2 of 3 clips, 8 frames — PARTIAL"), "{}", ran.out);
    assert_eq!(place.json("two/results.json")["partial"], true);
    let line = format!("davis --data davis {QUICK} --sequences sample-02,sample-00 --out named");
    let ran = place.run(&line).exits(0);
    assert!(ran.out.contains("2 of 3 clips") && ran.err.contains("[2/2] sample-02"), "{}", ran.err);
    let line = format!("davis --data davis {QUICK} --sequences sample-00,bear --out none");
    place.run(&line).exits(2).refuses(&["\"bear\"", "there are 3, such as sample-00, sample-01"]);
    place
        .run(&format!("davis --data davis {QUICK} --limit 0 --out none"))
        .exits(2)
        .refuses(&["--limit"]);
    assert!(!place.path("none").exists());
}

/// A look at one clip in the folder of a whole run does not replace its results.
#[test]
fn a_few_clips_do_not_replace_the_whole() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --out out");
    place.run(&line).exits(0);
    let before = place.files("out");
    let ran =
        place.run(&format!("{line} --limit 1")).exits(0).says(&["out keeps the results of all"]);
    assert!(ran.out.contains("1 of 3 clips") && ran.out.contains("PARTIAL"), "{}", ran.out);
    assert_same(&place.files("out"), &before, "changed");
    // The other way round, the whole run takes up what is there.
    place.run(&format!("davis --data davis {QUICK} --out other --limit 1")).exits(0);
    let ran = place.run(&format!("davis --data davis {QUICK} --out other")).exits(0);
    assert!(ran.err.contains("[1/3] sample-00: done by an earlier run"), "{}", ran.err);
    assert!(ran.out.contains("(1 clip by an earlier run)"), "{}", ran.out);
    assert_eq!(place.json("other/results.json")["partial"], false);
}

#[test]
fn predictions_alone() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        let line = format!("{benchmark} --data {benchmark} {QUICK} --out out");
        let ran = place.run(&format!("{line} --predict-only")).exits(0);
        assert!(ran.out.is_empty(), "{}", ran.out);
        assert!(
            ran.err.ends_with("nothing was scored, as asked for\npredictions in out/predictions\n")
        );
        let predicted = place.files("out/predictions");
        assert!(!predicted.is_empty() && !place.path("out/results.json").exists());
        let json = place.run(&format!("{line} --predict-only --json -q")).exits(0).json();
        assert_eq!(
            (&json["metrics"], &json["benchmark"]),
            (&serde_json::json!({}), &benchmark.into())
        );
        for export in ["markdown -", "csv a.csv", "json a.json"] {
            let ran = place.run(&format!("{line} --predict-only --export-{export}")).exits(2);
            ran.says(&["--predict-only", "cannot be used with", "--export-"]);
        }
        // Scored after all: the same predictions, and the table.
        place.run(&line).exits(0);
        assert_same(&place.files("out/predictions"), &predicted, "predictions");
        assert!(place.path("out/results.json").exists());
    }
}

/// Only the first annotation is needed to predict; without others there is nothing to score.
#[test]
fn first_annotations_are_enough_to_predict() {
    let place = Place::with(&["davis"]);
    for clip in 0..3 {
        (1..4).for_each(|t| {
            place.remove(&format!("davis/Annotations/480p/sample-{clip:02}/{t:05}.png"))
        });
    }
    let ran = place.run(&format!("davis --data davis {QUICK} --out out")).exits(0);
    assert!(ran.out.is_empty() && ran.err.contains("no frame but the given first"), "{}", ran.err);
    assert_eq!(place.names("out/predictions").len(), 12);
}

/// The predictions and soft labels of a run, and its scores.
fn outcome(place: &Place, out: &str) -> (Files, Value) {
    let files = place
        .files(out)
        .into_iter()
        .filter(|(name, _)| name.starts_with("predictions") || name.starts_with("soft_labels"));
    let json = place.json(&format!("{out}/results.json"));
    (files.collect(), serde_json::json!([json["metrics"], json["per_object"]]))
}

/// Twice the same, on one thread as on two, clip after clip as four at once on two devices (which
/// the CPU stands in for), and frames encoded one by one as in threes.
#[test]
fn the_same_bytes_again() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        let weights = "--weights random:vitti16@7 --size 96x160 --save-soft-labels";
        let run = |out: &str, more: &str| {
            place
                .run(&format!("{benchmark} --data {benchmark} {weights} --out {out} {more}"))
                .exits(0);
            outcome(&place, out)
        };
        let first = run("first", "--threads 2");
        let several = "--device cpu,cpu --clips-at-once 2";
        for (out, threads) in
            [("again", "--threads 2"), ("one-thread", "--threads 1"), ("several", several)]
        {
            let (files, scores) = run(out, threads);
            assert_same(&first.0, &files, out);
            assert_eq!(first.1, scores, "{benchmark}: {out}");
        }
        let (files, scores) = run("batch", "--batch 3");
        let predictions = |files: &Files| -> Files {
            let hard = files.iter().filter(|(name, _)| name.starts_with("predictions"));
            hard.map(|(name, bytes)| (name.clone(), bytes.clone())).collect()
        };
        assert_same(&predictions(&first.0), &predictions(&files), "batch");
        assert_eq!(first.1, scores, "{benchmark}: batch");
    }
}

#[test]
fn the_environment_names_the_folder() {
    let place = Place::with(&["vip"]);
    let output = place
        .command()
        .args("vip --weights pixels --size 48x80 --out out".split(' '))
        .env("VIP_ROOT", place.path("vip"))
        .output()
        .unwrap();
    assert!(output.status.success());
    place.run(&format!("vip {QUICK}")).exits(2).refuses(&[
        "--data ROOT",
        "VIP_ROOT",
        "--data sample",
    ]);
}

/// What a newcomer types first.
#[test]
fn the_sample_is_rendered_on_the_way() {
    let place = Place::new();
    let ran = place.run("jhmdb --data sample --size 96x96").exits(0);
    assert!(ran.err.starts_with("rendering 6 sample clips in runs/sample/jhmdb\n"), "{}", ran.err);
    assert!(ran.out.contains("6 of 6 clips, 144 frames"), "{}", ran.out);
    let folder = ran.err.lines().last().unwrap().strip_prefix("results in ").unwrap();
    assert!(folder.starts_with("runs/jhmdb-cropmae-sample-"), "{folder}");
    assert!(place.path(folder).join("results.md").exists());
    let again = place.run("jhmdb --data sample --size 96x96").exits(0);
    assert!(!again.err.contains("rendering") && again.out == ran.out, "{}", again.err);
    // Other settings go elsewhere by themselves.
    let other = place.run("jhmdb --data sample --size 96x96 --limit 1 --topk 3").exits(0);
    assert!(!other.err.contains(folder), "{}", other.err);
}
