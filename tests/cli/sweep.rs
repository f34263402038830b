//! `--sweep`: as many runs, one table, each clip encoded once.

use super::place::{BENCHMARKS, CLIPS, Place, QUICK, assert_same};
use super::resume::essence;

const RANDOM: &str = "--weights random:vitti16@0 --size 96x160 --save-soft-labels";

#[test]
fn every_combination_is_what_its_own_run_is() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        let line = format!("{benchmark} --data {benchmark} {RANDOM}");
        let ran = place
            .run(&format!("{line} --out out --sweep topk=2,7 temperature=0.1,0.7 --queue 2"))
            .exits(0)
            .says(&["features of one clip at a time are kept in out/.unfinished: ", " at most"]);
        for (index, (k, t)) in [(2, 0.1), (2, 0.7), (7, 0.1), (7, 0.7)].into_iter().enumerate() {
            let alone = format!("alone-{index}");
            let settings = format!("--topk {k} --temperature {t} --queue 2");
            place.run(&format!("{line} {settings} --out {alone}")).exits(0);
            let folder = format!("out/topk-{k}_temperature-{t}");
            assert_same(&essence(&place, &folder), &essence(&place, &alone), &folder);
            // Only the first combination called the encoder.
            let json = place.json(&format!("{folder}/results.json"));
            let encode = json["provenance"]["seconds"]["encode"].as_f64().unwrap();
            assert_eq!(encode > 0.0, index == 0, "{folder}: {encode} s");
            let row = &place.json("out/sweep.json")["rows"][index];
            assert_eq!(row["settings"], serde_json::json!({ "topk": k, "temperature": t }));
            assert_eq!(row["metrics"], json["metrics"]);
            assert_eq!(row["protocol_hash"], json["protocol"]["hash"]);
            assert_eq!(row["folder"], folder);
        }
        let lines: Vec<&str> = ran.out.lines().collect();
        assert!(lines[1].trim_start().starts_with("topk   temperature   "), "{}", ran.out);
        assert!(lines[1].ends_with("best"), "{}", ran.out);
        assert!(lines[3..7].iter().any(|row| row.ends_with('*')), "{}", ran.out);
        assert!(ran.out.contains("departure: propagation.queue is 2"), "{}", ran.out);
        assert!(ran.out.contains("sweep: 4 settings of topk, temperature"), "{}", ran.out);
        assert!(ran.err.contains("[12/12]") || benchmark == "jhmdb", "{}", ran.err);
        assert!(!place.path("out/.unfinished").exists());
        let names = place.names("out");
        assert!(!names.iter().any(|name| name.contains("partial")), "{names:?}");
    }
}

#[test]
fn the_table_in_three_formats() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --sweep radius=2,20 neighborhood=circle,square");
    let ran = place.run(&format!("{line} --out out --json")).exits(0);
    assert_eq!(ran.out, place.text("out/sweep.json"));
    let json = ran.json();
    assert_eq!(json["swept"], serde_json::json!(["radius", "neighborhood"]));
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[1]["settings"], serde_json::json!({ "radius": 2, "neighborhood": "square" }));
    let score = |row: &serde_json::Value| row["metrics"]["J&F-Mean"].as_f64().unwrap();
    let best = rows.iter().map(score).fold(0.0, f64::max);
    assert!(rows.iter().all(|row| row["best"] == (score(row) == best)));
    let csv = place.text("out/sweep.csv");
    let header = csv.lines().next().unwrap();
    assert!(header.starts_with("radius,neighborhood,J&F-Mean,") && header.ends_with(",best"));
    assert_eq!(
        csv.lines().filter(|row| row.ends_with(",*")).count(),
        rows.iter().filter(|row| row["best"] == true).count()
    );
    let markdown = place.text("out/sweep.md");
    assert!(markdown.contains("| radius | neighborhood |"), "{markdown}");
    assert!(markdown.contains("out/radius-2_neighborhood-square"), "{markdown}");
}

#[test]
fn a_sweep_goes_on_and_grows() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --out out --sweep");
    let first = place.run(&format!("{line} topk=2,7")).exits(0);
    let table = |out: &str| out.lines().take(6).map(String::from).collect::<Vec<_>>();
    let again = place.run(&format!("{line} topk=2,7")).exits(0);
    assert_eq!(again.err.matches("done by an earlier run").count(), 2 * CLIPS, "{}", again.err);
    assert_eq!(table(&again.out), table(&first.out));
    // One more value; one clip of another combination has to be made again.
    place.remove("out/topk-7/clips/sample-01.json");
    let grown = place.run(&format!("{line} topk=2,7,10")).exits(0);
    let kept = grown.err.matches("done by an earlier run").count();
    assert_eq!(kept, 2 * CLIPS - 1, "{}", grown.err);
    assert!(grown.err.contains("sample-01 (topk 7): ") && grown.out.contains("sweep: 3 settings"));
    assert_eq!(place.json("out/sweep.json")["rows"].as_array().unwrap().len(), 3);
    // A single run is not a sweep's place, nor the other way round.
    let single = format!("davis --data davis {QUICK} --out single");
    place.run(&single).exits(0);
    let refused = place.run(&format!("{single} --sweep topk=2,7")).exits(1);
    refused.refuses(&["single", "other settings"]);
}

/// Without `--out` each combination goes where its own run would: what that has done is taken up.
#[test]
fn combinations_share_the_folders_of_single_runs() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK}");
    place.run(&format!("{line} --topk 2")).exits(0);
    let ran = place.run(&format!("{line} --sweep topk=2,3 --cache kept")).exits(0);
    assert_eq!(ran.err.matches("done by an earlier run").count(), CLIPS, "{}", ran.err);
    assert_eq!(place.names("kept").len(), CLIPS);
    let ran = place.run(&format!("{line} --topk 3")).exits(0);
    assert_eq!(ran.err.matches("done by an earlier run").count(), CLIPS, "{}", ran.err);
}

#[test]
fn a_dry_run_lists_the_combinations() {
    let place = Place::with(&["vip"]);
    let line =
        format!("vip --data vip {QUICK} --out out --sweep topk=5,7,10 radius=12,20 --dry-run");
    let ran = place.run(&line).exits(0);
    assert!(ran.out.contains("topk 10, radius 12: out/topk-10_radius-12"), "{}", ran.out);
    assert_eq!(ran.out.matches("out/topk-").count(), 6, "{}", ran.out);
    assert!(!place.path("out").exists());
}

#[test]
fn sweeps_that_make_no_sense() {
    let place = Place::with(&["davis"]);
    let run = |sweep: &str| place.run(&format!("davis --data davis {QUICK} --out out {sweep}"));
    run("--sweep size=96x160").exits(2).says(&["cannot sweep \"size\"; a sweep takes topk, "]);
    run("--sweep topk=5,many").exits(2).says(&["'many' for '--topk <K>'", "a whole number"]);
    run("--sweep topk").exits(2).says(&["write NAME=VALUE,VALUE"]);
    run("--sweep topk=5,5").exits(2).says(&["topk 5 is given twice"]);
    run("--sweep topk=5 --per-item").exits(2).says(&["cannot be used with"]);
    run("--sweep topk=5 --predict-only").exits(2).says(&["cannot be used with"]);
    let none = "'0' for '--topk <K>': a whole number from 1 to 1000000 is needed";
    run("--sweep topk=5,0").exits(2).says(&[none]);
    run("--sweep temperature=0.1,-1")
        .exits(2)
        .refuses(&["--temperature: must be a number above 0"]);
    run("--sweep radius=nan").exits(2).refuses(&["--radius: must be a number above 0"]);
    run("--sweep topk=5 topk=7").exits(2).refuses(&["--sweep: topk is given twice"]);
    run("--sweep topk=5,7 --topk 6").exits(2).refuses(&["topk is set by --topk too"]);
    assert!(!place.path("out").exists());
}

#[test]
fn a_broken_clip_is_named_once_in_the_table() {
    let place = Place::with(&["davis"]);
    place.cut("davis/JPEGImages/480p/sample-01/00002.jpg", 0.1);
    let ran = place.run(&format!("davis --data davis {QUICK} --out out --sweep topk=2,7")).exits(3);
    assert_eq!(ran.out.matches("FAILED sample-01").count(), 1, "{}", ran.out);
    assert!(ran.out.contains("2 of 3 clips"), "{}", ran.out);
    assert!(!place.path("out/.unfinished").exists());
}

/// A look at one clip in the folders of whole runs replaces neither their results nor their pages.
#[test]
fn a_few_clips_do_not_replace_the_whole() {
    let place = Place::with(&["davis"]);
    for (line, folders) in [
        (format!("davis --data davis {QUICK} --out swept --sweep topk=2,7"), ["topk-2", "topk-7"]),
        (
            "davis --data davis --size 48x80 --out both --weights pixels random:vitti16@0".into(),
            ["pixels", "random-vitti16@0"],
        ),
    ] {
        let top = if line.contains("swept") { "swept" } else { "both" };
        place.run(&line).exits(0);
        let whole = folders.map(|folder| place.files(&format!("{top}/{folder}")));
        let ran = place.run(&format!("{line} --limit 1")).exits(0);
        assert!(!ran.err.contains("no report"), "{}", ran.err);
        for (folder, before) in folders.iter().zip(&whole) {
            assert!(before.contains_key("report.html"), "{folder} has no page");
            assert_same(&place.files(&format!("{top}/{folder}")), before, folder);
        }
    }
}
