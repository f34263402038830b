//! Exit statuses: 2 where what was typed makes no sense, 1 where nothing could be done, 3 where
//! something could not; and a dry run, which refuses what the run would refuse.

use std::process::Command;

use super::place::{Place, QUICK, assert_same};

/// Refused with 2 in one line of these words, and nothing is left behind.
fn wrong(place: &Place, line: &str, words: &[&str]) {
    let before = place.names(".");
    place.run(line).exits(2).refuses(words);
    assert_eq!(place.names("."), before, "{line}");
}

#[test]
fn what_was_typed_is_wrong() {
    let place = Place::with(&["davis"]);
    let davis = |rest: &str| format!("davis --data davis {QUICK} --out out {rest}");
    wrong(&place, &davis("--temperature 0"), &["--temperature: "]);
    wrong(&place, &davis("--limit 0"), &["--limit: at least one"]);
    wrong(&place, &davis("--split no.txt"), &["--split: \"no.txt\" is neither"]);
    wrong(&place, &davis("--preset dino --exclude-first-frame"), &["--exclude-first-frame"]);
    wrong(&place, &format!("davis {QUICK}"), &["--data ROOT", "DAVIS_ROOT"]);
    wrong(&place, "davis --data davis", &["--weights FILE"]);
    wrong(&place, "davis --data davis --weights smaple", &["--weights: \"smaple\" is not a file"]);
    wrong(&place, "compare davis davis --export-csv - --json", &["one output"]);
    // what is there, or is not, is another matter
    place.run(&format!("davis --data nowhere {QUICK}")).exits(1);
    place.run("davis --data davis --weights nowhere.pth").exits(1);
    place.run("compare davis davis").exits(1);
}

#[test]
fn names_of_clips_are_checked() {
    let place = Place::with(&["davis", "jhmdb"]);
    let clips = |names: &str| format!("davis --data davis {QUICK} --out out --sequences {names}");
    wrong(&place, &clips("sample-01,sampel-02"), &["\"sampel-02\"", "did you mean sample-02?"]);
    let poses = "jhmdb --data jhmdb --weights pixels --sequences sample_walk_0";
    wrong(&place, poses, &["did you mean walk/sample_walk_0?"]);
    wrong(&place, &clips("SAMPLE-01"), &["did you mean sample-01?", "There are 3"]);
    wrong(&place, &clips("bear"), &["\"bear\"", "there are 3, such as sample-00, sample-01"]);
    wrong(&place, &clips("sample-00,"), &["--sequences: a name is empty", "A,B"]);
    wrong(&place, &clips("sample-00,sample-00"), &["sample-00 is given twice"]);
    wrong(&place, &clips("sample-00 --sequences sample-00"), &["sample-00 is given twice"]);
    let trace = "trace davis --data davis --weights pixels --frame 1 --point 5,5 --out a.png";
    wrong(&place, &format!("{trace} --sequence sample01"), &["did you mean sample-01?"]);
    wrong(&place, &format!("{trace} --sequence="), &["--sequence: name a clip"]);
    // blanks around a name are nobody's
    let line = clips("sample-00");
    let mut command = place.command();
    command.args(line.split_whitespace()).args(["--sequences", " sample-02 "]);
    assert!(command.output().unwrap().status.success());
    assert_eq!(place.json("out/results.json")["dataset"]["done"], 2);
}

#[test]
fn sizes_beyond_any_frame_say_what_there_is() {
    let place = Place::with(&["davis"]);
    // less than that, and still more than any memory: said before anything is made
    let davis = "davis --data davis --weights pixels --size 32768x32768 --out out";
    let images = "--weights pixels --images davis/JPEGImages/480p/sample-00 --size 32768x32768";
    let features = format!("features {images} --out f.safetensors");
    for line in [davis, &features] {
        if cropmae::device::available_memory().is_none_or(|free| free > 23 << 30) {
            eprintln!("skipped: this machine has the memory, or does not tell");
            break;
        }
        let words =
            ["--size: frames of 32768x32768 need at least ", " GiB of memory", " GiB are free"];
        wrong(&place, line, &words);
    }
    let ran = place.run("davis --data davis --weights pixels --size 1000000x1000000").exits(2);
    ran.says(&["--size", "a side has 1 to 32768 pixels"]);
    let ran = place.run("davis --data davis --weights pixels --size -4x5").exits(2);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}

fn pretrain(place: &Place, line: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pretrain"));
    let output =
        command.args(line.split_whitespace()).current_dir(place.path(".")).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn both_programs_say_the_same() {
    let place = Place::new();
    place.write("photographs/a.jpg", "no picture");
    for (line, code) in [
        ("--preset tiny --show-config --set masking_ratio=2", 2),
        ("--preset tiny --show-config --set colour=blue", 2),
        ("--preset tiny --show-config --epochs 0", 2),
        ("--preset tiny --data nowhere --out run --device cpu", 1),
        ("--preset tiny --data photographs --out photographs/run --device cpu", 2),
        ("report nowhere", 1),
    ] {
        let (found, said) = pretrain(&place, line);
        assert_eq!(found, Some(code), "pretrain {line}: {said}");
        assert!(said.starts_with("error: "), "pretrain {line}: {said}");
    }
}

/// No other clip stands in for a broken one, and a table of none is none.
#[test]
fn the_first_clips_broken() {
    let place = Place::with(&["davis"]);
    for clip in ["sample-00", "sample-01"] {
        place.remove(&format!("davis/Annotations/480p/{clip}/00000.png"));
    }
    let line = format!("davis --data davis {QUICK} --out out");
    for limit in [1, 2] {
        let ran = place.run(&format!("{line} --limit {limit}")).exits(1);
        let asked = ["0 of 1 clip could be done", "0 of 2 clips could be done"][limit - 1];
        ran.says(&["sample-00: failed: "]).refuses(&[asked]);
    }
    let ran = place.run(&format!("{line} --limit 3 -q")).exits(3);
    assert!(ran.out.contains("FAILED sample-01: "), "{}", ran.out);
    place.run(&format!("{line} --sequences sample-01")).exits(1);
}

/// The results are there, and so is the table: what cannot be drawn is said whatever is quiet.
#[test]
fn pictures_and_pages_that_cannot_be_written() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --out out");
    place.run(&format!("{line} --overlays none --report none")).exits(0);
    let table = place.run(&format!("{line} --overlays none --report none")).exits(0).out;
    place.write("out/overlays", "a file in the way");
    place.write("out/report.html/keep", "a folder in the way");
    let ran = place.run(&format!("{line} -q")).exits(3);
    assert_eq!(ran.out, table);
    ran.says(&["no overlays: cannot create ", "no report: cannot write out/report.html"]);
    assert_eq!(place.text("out/overlays"), "a file in the way");
    let ran = place.run(&format!("{line} --overlays none -q")).exits(3);
    assert!(ran.err.starts_with("no report: ") && ran.err.lines().count() == 1, "{}", ran.err);
    // a single picture
    place.remove("out/report.html");
    place.remove("out/overlays");
    place.run(&line).exits(0);
    place.remove("out/overlays/sample-01.png");
    place.write("out/overlays/sample-01.png/keep", "a folder in the way");
    let ran = place.run(&format!("{line} -q")).exits(3);
    assert!(ran.err.starts_with("sample-01: no overlay: cannot write"), "{}", ran.err);
    assert!(place.path("out/overlays/sample-02.png").is_file());
    assert!(place.path("out/report.html").is_file());
    place.remove("out/overlays/sample-01.png");
    place.run(&format!("{line} -q")).exits(0);
}

#[test]
fn pictures_of_several_that_cannot_be_written() {
    let place = Place::with(&["davis"]);
    for (more, folder) in [
        ("--size 96x160 --weights pixels --sweep topk=2,3", "out/topk-3"),
        ("--size 96x160 --weights pixels sample", "out/sample"),
    ] {
        let line = format!("davis --data davis {more} --limit 1 --out out --report none -q");
        place.run(&format!("{line} --overlays none")).exits(0);
        place.write(&format!("{folder}/overlays"), "a file in the way");
        let ran = place.run(&line).exits(3);
        assert!(ran.out.contains('*'), "{}", ran.out);
        ran.says(&["no overlays: cannot create "]);
        place.remove("out");
    }
}

#[test]
fn a_dry_run_refuses_what_the_run_would() {
    let place = Place::with(&["davis"]);
    place.run(&format!("davis --data davis {QUICK} --out done -q")).exits(0);
    place.write("file", "a file of the user's");
    place.write("mine/thesis.tex", "...");
    let before = place.files(".");
    let single = QUICK.to_owned();
    let several = "--size 96x160 --weights pixels sample".to_owned();
    let sweep = format!("{QUICK} --sweep topk=2,3");
    for (settings, of) in [(&single, "topk"), (&several, "weights"), (&sweep, "sweep")] {
        let run = |more: &str| format!("davis --data davis {settings} {more}");
        let topk = if of == "sweep" { "" } else { "--topk 3" };
        for (more, code, words) in [
            ("--out file", 1, "file is in the way: choose another folder"),
            ("--out file/out", 1, "file is in the way: choose another folder"),
            ("--out mine", 1, "mine: this folder is not empty and holds no run"),
            (
                &*format!("--out done {topk}"),
                1,
                "done: this folder holds a run with other settings",
            ),
            ("--out davis/new", 2, "which this command reads and leaves as it is"),
            ("--out new --cache file", 1, "file is in the way: choose another folder"),
        ] {
            for line in [run(&format!("{more} --dry-run")), run(more)] {
                place.run(&line).exits(code).refuses(&[words]);
                assert_same(&place.files("."), &before, &line);
            }
        }
        place.run(&run("--out new/out --dry-run")).exits(0);
        assert_same(&place.files("."), &before, settings);
        assert!(!place.path("new").exists());
    }
    place.run(&format!("davis --data davis {QUICK} --out done --dry-run")).exits(0);
    let other = cropmae::files::Occupied::take(&place.path("done")).unwrap();
    let busy = place.run(&format!("davis --data davis {QUICK} --out done --dry-run")).exits(1);
    busy.refuses(&["done: another run is using this folder"]);
    drop(other);
    // one encoder of several that cannot be used stops none of the others
    place.write("broken.pth", "no checkpoint");
    let line = "davis --data davis --size 96x160 --weights pixels broken.pth --out new --dry-run";
    let ran = place.run(line).exits(3).says(&["broken: broken.pth: "]);
    assert!(ran.out.contains("pixels (patches of 16): new/pixels"), "{}", ran.out);
}
