//! What a command must not write over: its own input, files of other kinds, a dataset.

use super::place::{Place, QUICK, assert_same};

const IMAGE: &str = "davis/JPEGImages/480p/sample-00/00000.jpg";

#[test]
fn no_command_writes_over_what_it_reads_or_over_files_of_other_kinds() {
    let place = Place::with(&["davis"]);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mae.safetensors");
    place.write("w.safetensors", std::fs::read(golden).unwrap());
    place.write("w.pth", "a checkpoint");
    place.write("notes.txt", "mine");
    place.write("list.csv", "sample-00\n");
    place.run(&format!("davis --data davis {QUICK} --out out -q")).exits(0);
    let before = place.files(".");
    let refused = |line: &str, words: &[&str]| {
        place.run(line).exits(2).refuses(words);
        assert_same(&place.files("."), &before, line);
    };
    let features = format!("features --weights w.safetensors --images {IMAGE} --out");
    refused(&format!("{features} ./w.safetensors"), &["--out", "what this command reads"]);
    for file in ["w.pth", "new", IMAGE] {
        refused(&format!("{features} {file}"), &["--out", file]);
    }
    let trace = format!(
        "trace davis --data davis {QUICK} --sequence sample-00 --frame 1 --point 5,5 --out"
    );
    refused(&format!("{trace} notes.txt"), &["--out", ".png"]);
    refused(&format!("{trace} new.jpg"), &["--out", ".png"]);
    refused(&format!("{trace} davis/new.png"), &["--out", "leaves as it is"]);
    let figure = "overlays out --data davis --figure";
    refused(&format!("{figure} davis/ImageSets/2017/val.txt"), &["--figure", "leaves as it is"]);
    refused(&format!("{figure} out/predictions/sample-00/00001.png"), &["--figure"]);
    refused(&format!("{figure} notes.txt"), &["--figure", ".png"]);
    refused(&format!("{figure} out"), &["--figure", "is a folder"]);
    let compare = "compare out out --force --export-json";
    refused(&format!("{compare} out/results.json"), &["--export-json", "what this command reads"]);
    let run = format!("davis --data davis {QUICK} --out new");
    refused(&format!("{run} --export-markdown notes.txt"), &["--export-markdown", "not replaced"]);
    refused(&format!("{run} --export-csv davis/a.csv"), &["--export-csv", "leaves as it is"]);
    refused(&format!("{run} --split list.csv --export-csv list.csv"), &["--export-csv"]);
    refused("score davis --data davis --predictions out/predictions --out davis/s", &["--out"]);
}

#[test]
fn exports_that_cannot_be_written_are_refused_before_the_run() {
    let place = Place::with(&["davis"]);
    let run = |more: &str| place.run(&format!("davis --data davis {QUICK} --out out {more}"));
    run("--export-csv nowhere/x.csv").exits(2).refuses(&["--export-csv", "nowhere; make it first"]);
    assert!(!place.path("out").exists(), "it ran");
    // the folder of results is there by then
    run("--export-csv out/x.csv --export-json a.json").exits(0);
    run("--export-csv out/x.csv --export-json a.json").exits(0);
    assert!(place.path("out/x.csv").exists() && place.path("a.json").exists());
}

#[test]
fn nothing_is_written_into_a_datasets_folder() {
    for benchmark in ["davis", "vip", "jhmdb"] {
        let place = Place::with(&[benchmark]);
        let before = place.files(benchmark);
        let line = format!("{benchmark} --data {benchmark} {QUICK}");
        for more in [format!("--out {benchmark}/x"), format!("--out a --cache {benchmark}/c")] {
            place.run(&format!("{line} {more}")).exits(2).refuses(&["leaves as it is"]);
        }
        // where nothing is said, results go to ./runs
        let mut inside = place.command();
        inside.current_dir(place.path(benchmark));
        let words = format!("{benchmark} --data . {QUICK}");
        let output = inside.args(words.split_whitespace()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_same(&place.files(benchmark), &before, benchmark);
    }
}
