//! `compare`: which differences between finished runs are real, and which runs may be compared.

use serde_json::Value;

use super::place::{BENCHMARKS, Place, QUICK};

/// Two runs of a benchmark, of pixels and of a random encoder.
fn two_runs(benchmark: &str) -> Place {
    let place = Place::with(&[benchmark]);
    place.run(&format!("{benchmark} --data {benchmark} {QUICK} --out a")).exits(0);
    let random = "--weights random:vitti16@0 --size 96x160";
    place.run(&format!("{benchmark} --data {benchmark} {random} --out b")).exits(0);
    place
}

#[test]
fn runs_of_every_benchmark_are_compared() {
    for (benchmark, _) in BENCHMARKS {
        let place = two_runs(benchmark);
        let ran = place.run("compare a b --out compared --per-clip").exits(0);
        assert!(
            ran.out.contains("random:vitti16@0") && ran.out.contains("baseline"),
            "{}",
            ran.out
        );
        let json = place.json("compared/compare.json");
        let metric = ["J&F-Mean", "mIoU", "PCK@0.1"]
            .into_iter()
            .find(|name| json["runs"][1]["metrics"][*name].is_f64())
            .unwrap();
        let score =
            |run: &str| place.json(&format!("{run}/results.json"))["metrics"][metric].clone();
        let gain = score("b").as_f64().unwrap() - score("a").as_f64().unwrap();
        let of = &json["runs"][1]["differences"][metric];
        // the same sums, added in another order
        assert!((of["difference"].as_f64().unwrap() - gain).abs() < 1e-12, "{of}");
        let end = |side: &str| of["over_clips"][side].as_f64().unwrap();
        assert!(end("low") <= gain + 1e-12 && gain <= end("high") + 1e-12, "{of}");
        assert_eq!(of["over_objects"].is_object(), benchmark == "davis");
        for file in ["compare.md", "compare.csv", "per-clip.csv", "per-clip.svg"] {
            assert!(!place.text(&format!("compared/{file}")).is_empty(), "{file}");
        }
        assert_eq!(
            place.text("compared/per-clip.csv").lines().count(),
            1 + json["per_clip"].as_array().unwrap().len()
        );
        // The same again, to the last byte; and to stdout.
        let before = place.files("compared");
        let again = place.run("compare a b --out compared --per-clip --json").exits(0);
        assert_eq!(before["compare.csv"], place.files("compared")["compare.csv"]);
        assert_eq!(again.json(), json);
    }
}

#[test]
fn a_run_does_not_differ_from_itself() {
    let place = Place::with(&["davis"]);
    place.run(&format!("davis --data davis {QUICK} --out a")).exits(0);
    place.run(&format!("davis --data davis {QUICK} --out b")).exits(0);
    let ran = place.run("compare a b --json").exits(0);
    let of = &ran.json()["runs"][1]["differences"];
    for metric in ["J&F-Mean", "J-Mean", "F-Mean"] {
        let nothing = serde_json::json!({ "low": 0.0, "high": 0.0 });
        let expected = serde_json::json!({
            "difference": 0.0, "over_clips": nothing, "over_objects": nothing, "verdict": "equal",
        });
        assert_eq!(of[metric], expected, "{metric}");
    }
    let shown = place.run("compare a b").exits(0).out;
    assert!(shown.contains("[0.0, 0.0]") && shown.contains("equal"), "{shown}");
}

#[test]
fn other_protocols_and_other_data_are_refused() {
    let place = Place::with(&["davis", "vip"]);
    let run = |more: &str| place.run(&format!("davis --data davis {QUICK} {more}")).exits(0);
    run("--out a");
    run("--out topk --topk 3");
    run("--out part --limit 2");
    place.run(&format!("vip --data vip {QUICK} --out parts")).exits(0);
    let refused = place.run("compare a topk --out compared").exits(1);
    refused
        .says(&["topk: protocol: propagation.topk is 3, the baseline has 7\n"])
        .refuses(&["1 difference", "--force"]);
    assert!(!place.path("compared").exists());
    let forced = place.run("compare a topk --force --out compared").exits(0);
    assert!(forced.out.contains("NOT COMPARABLE: topk: protocol: propagation.topk is 3"));
    for file in ["compare.md", "compare.csv"] {
        assert!(place.text(&format!("compared/{file}")).contains("NOT COMPARABLE"), "{file}");
    }
    assert_eq!(place.json("compared/compare.json")["runs"][1]["comparable"], false);
    // A part of the clips is compared, loudly.
    let part = place.run("compare a part").exits(0);
    assert!(part.out.contains("PARTIAL: compared over the 2 of 3 clips"), "{}", part.out);
    // Other labels, other tasks.
    let given = "davis/Annotations/480p/sample-01/00000.png";
    place.change_mask(given, |id| match id {
        1 => 2,
        2 => 1,
        other => other,
    });
    run("--out labels");
    let refused = place.run("compare a labels").exits(1);
    refused
        .says(&["labels: data: other frames or given labels in sample-01\n"])
        .refuses(&["1 difference"]);
    place.change_mask(given, |id| u8::from(id > 0));
    run("--out fewer");
    let refused = place.run("compare a fewer --force").exits(1);
    refused.refuses(&["sample-01 has [4, 1] objects in the runs: their given labels differ"]);
    place.run("compare a parts").exits(1).refuses(&["parts is of VIP, the baseline of DAVIS-2017"]);
    place.run("compare a parts --force").exits(1).refuses(&["they share no score"]);
}

#[test]
fn folders_without_a_finished_run() {
    let place = Place::with(&["davis"]);
    place.run(&format!("davis --data davis {QUICK} --out a")).exits(0);
    place.run(&format!("davis --data davis {QUICK} --out sweep --sweep topk=2,3")).exits(0);
    place.run("compare a").exits(2).refuses(&["pass another folder"]);
    place.run("compare a none").exits(1).refuses(&["none: is not there"]);
    place.run("compare a sweep").exits(1).refuses(&["sweep: is the folder of a sweep"]);
    place.run("compare").exits(2);
    place.run("compare a a --resamples 5").exits(2);
    // Settings of a sweep are runs like others; the baseline may be any, or one more.
    let ran = place.run("compare sweep/topk-2 sweep/topk-3 --force --baseline topk-3").exits(0);
    assert!(ran.out.contains("baseline: topk-3"), "{}", ran.out);
    let ran = place.run("compare sweep/topk-2 --force --baseline a").exits(0);
    assert!(ran.out.contains("baseline: a"), "{}", ran.out);
}

#[test]
fn tables_are_sent_on() {
    let place = two_runs("davis");
    let markdown = place.run("compare a b --export-markdown -").exits(0).out;
    assert!(markdown.starts_with("| run | encoder"), "{markdown}");
    assert!(markdown.contains("J&F-Mean ↑") && markdown.contains("J-Decay ↓"), "{markdown}");
    let csv = place.run("compare a b --export-csv -").exits(0).out;
    assert!(csv.starts_with("run,encoder,score,value,difference,clips_low"), "{csv}");
    let ran = place.run("compare a b --export-json c.json --export-markdown c.md").exits(0);
    assert!(ran.out.contains("verdict"), "the table is shown too");
    assert_eq!(place.json("c.json")["baseline"], "a");
    assert_eq!(place.text("c.md"), markdown);
    let mixed = place.run("compare a b --export-csv - --json").exits(2);
    mixed.refuses(&["stdout takes one output"]);
}

/// The table of a single run, and of a sweep, go the same ways.
#[test]
fn tables_of_runs_are_sent_on() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK}");
    let ran = place.run(&format!("{line} --out a --export-markdown - --export-csv a.csv")).exits(0);
    assert!(ran.out.starts_with("| encoder | J&F-Mean ↑ | J-Mean ↑ |"), "{}", ran.out);
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    let csv = place.text("a.csv");
    assert!(csv.starts_with("encoder,J&F-Mean,J-Mean,") && csv.contains("\npixels,0."), "{csv}");
    let ran = place.run(&format!("{line} --out a --export-json -")).exits(0);
    let json: Value = ran.json();
    assert_eq!(json, place.json("a/results.json"));
    let sweep = format!("{line} --out s --sweep topk=2,3 --export-markdown -");
    let ran = place.run(&sweep).exits(0);
    assert!(ran.out.starts_with("| topk | J&F-Mean ↑ |"), "{}", ran.out);
    let mixed = place.run(&format!("{line} --out b --export-csv - --export-json -")).exits(2);
    mixed.refuses(&["stdout takes one output"]);
    assert!(!place.path("b").exists(), "refused before anything is done");
}

/// Masks of any program are compared once they are scored.
#[test]
fn scored_predictions_are_compared() {
    let place = two_runs("davis");
    for run in ["a", "b"] {
        let line = format!("score davis --data davis --predictions {run}/predictions --out s{run}");
        place.run(&line).exits(0);
    }
    let scored = place.run("compare sa sb --json").exits(0).json();
    let runs = place.run("compare a b --json").exits(0).json();
    assert_eq!(scored["runs"][1]["differences"], runs["runs"][1]["differences"]);
    let mixed = place.run("compare sa b").exits(1);
    mixed
        .says(&["b: protocol: how the baseline's masks were made is not known"])
        .refuses(&["(1 difference"]);
    place.run(&format!("davis --data davis {QUICK} --predict-only --out p")).exits(0);
    place.run("compare a p").exits(1).refuses(&["p: was predicted, not scored", "propagate score"]);
}
