//! `--cache`: the same results to the last byte, without decoding and encoding again.

use serde_json::Value;

use super::place::{BENCHMARKS, CLIPS, Place, assert_same};
use super::resume::essence;

const RANDOM: &str = "--weights random:vitti16@0 --size 96x160 --save-soft-labels";

/// Seconds that the run in this folder spent in a stage.
fn seconds(place: &Place, out: &str, stage: &str) -> f64 {
    place.json(&format!("{out}/results.json"))["provenance"]["seconds"][stage].as_f64().unwrap()
}

fn kept(place: &Place) -> Vec<String> {
    place.names("kept")
}

#[test]
fn the_same_bytes_with_and_without() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        let run = |more: &str, out: &str| {
            let line = format!("{benchmark} --data {benchmark} {RANDOM} {more} --out {out}");
            place.run(&line).exits(0)
        };
        run("", "without");
        run("--cache kept", "filling").says(&["features are kept in kept: 45 KiB a frame, "]);
        run("--cache kept", "using");
        let without = essence(&place, "without");
        assert_same(&essence(&place, "filling"), &without, "filling");
        assert_same(&essence(&place, "using"), &without, "using");
        assert!(seconds(&place, "filling", "encode") > 0.0);
        assert_eq!(seconds(&place, "using", "encode"), 0.0);
        assert!(seconds(&place, "using", "propagate") > 0.0);
        // Every setting of the propagation goes without the encoder.
        let other = "--topk 3 --radius 2.5 --neighborhood square --temperature 0.1 --queue 2";
        run(other, "other");
        let ran = run(&format!("{other} --cache kept"), "other-using");
        assert!(!ran.err.contains("made again"), "{}", ran.err);
        assert_same(&essence(&place, "other-using"), &essence(&place, "other"), "other");
        assert_eq!(seconds(&place, "other-using", "encode"), 0.0);
        assert_eq!(kept(&place).len(), place.names("using/clips").len());
    }
}

#[test]
fn other_features_are_never_taken_for_these() {
    let place = Place::with(&["davis"]);
    let run = |more: &str, out: &str| {
        place.run(&format!("davis --data davis {more} --cache kept --out {out}")).exits(0)
    };
    run("--weights random:vitti16@0 --size 96x160", "a");
    let others = [
        "--weights random:vitti16@1 --size 96x160",
        "--weights random:vitti16@0 --size 96x144",
        "--weights random:vitti16@0 --size 96x160 --layer 11",
        "--weights random:vitti16@0 --size 96x160 --dtype f16",
        "--weights random:vitti16@0 --size 96x160 --positions antialias",
        "--weights random:vitti16@0 --size 96x160 --frame-filter nearest",
        "--weights random:vitti16@0 --size 96x160 --batch 2",
        "--weights pixels --size 96x160",
    ];
    for (index, other) in others.iter().enumerate() {
        let out = format!("b{index}");
        run(other, &out);
        assert!(seconds(&place, &out, "encode") > 0.0, "{other}");
        assert_eq!(kept(&place).len(), (2 + index) * CLIPS, "{other}");
    }
    // A frame of the second clip is another picture now.
    let frame = |clip: usize| format!("davis/JPEGImages/480p/sample-{clip:02}/00002.jpg");
    std::fs::copy(place.path(&frame(0)), place.path(&frame(1))).unwrap();
    run("--weights random:vitti16@0 --size 96x160", "c");
    assert!(seconds(&place, "c", "encode") > 0.0);
    place.run("davis --data davis --weights random:vitti16@0 --size 96x160 --out plain").exits(0);
    assert_same(&essence(&place, "c"), &essence(&place, "plain"), "other frames");
}

#[test]
fn what_is_damaged_is_made_again_aloud() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {RANDOM}");
    place.run(&format!("{line} --cache kept --out first")).exits(0);
    let whole = place.files("kept");
    let file = format!("kept/{}", kept(&place)[1]);
    place.cut(&file, 0.7);
    let ran = place.run(&format!("{line} --cache kept --out second")).exits(0);
    let said: Vec<&str> = ran.err.lines().filter(|line| line.contains("made again")).collect();
    assert_eq!(said.len(), 1, "{}", ran.err);
    assert!(said[0].starts_with("sample-01: ") && said[0].contains("bytes and not"), "{}", said[0]);
    assert_same(&essence(&place, "second"), &essence(&place, "first"), "damaged");
    assert_same(&place.files("kept"), &whole, "kept");
    // What the header cannot tell, a refresh mends.
    let mut bytes = whole[&kept(&place)[1]].clone();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x3f;
    place.write(&file, bytes);
    place.run(&format!("{line} --cache refresh:kept --out third")).exits(0);
    assert!(seconds(&place, "third", "encode") > 0.0);
    assert_same(&essence(&place, "third"), &essence(&place, "first"), "refreshed");
    assert_same(&place.files("kept"), &whole, "refreshed");
}

#[test]
fn places_that_cannot_be_used() {
    let place = Place::with(&["davis"]);
    place.write("file", "a file of the user's");
    let line = "davis --data davis --weights pixels --size 96x160 --out out";
    place.run(&format!("{line} --cache file")).exits(1).refuses(&["file", "another folder"]);
    place.run(&format!("{line} --cache refresh:")).exits(2).says(&["--cache", "refresh:DIR"]);
    assert_eq!(place.text("file"), "a file of the user's");
    let ran = place.run(&format!("{line} --cache new --dry-run")).exits(0);
    // 60 patches of 768 values of 4 bytes
    assert!(
        ran.out.contains("features are kept in new: 180 KiB a frame, 2.1 MiB for 12 frames\n"),
        "{}",
        ran.out
    );
    assert!(!place.path("new").exists());
}

/// A limit on the size of files stands in for a full disk.
#[cfg(target_os = "linux")]
#[test]
fn no_room_for_features() {
    let place = Place::with(&["davis"]);
    let line = "davis --data davis --weights pixels --size 96x160 --out out";
    let script = format!(
        "trap '' XFSZ; ulimit -f 400; exec {} {line} --cache kept",
        env!("CARGO_BIN_EXE_propagate")
    );
    let shell = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.path("."))
        .output()
        .unwrap();
    let err = String::from_utf8(shell.stderr).unwrap();
    assert_eq!(shell.status.code(), Some(1), "{err}");
    let last = err.lines().last().unwrap();
    assert!(last.starts_with("error: cannot write kept/"), "{err}");
    assert!(last.contains("File too large") && last.contains("make room"), "{err}");
    assert_eq!(kept(&place), Vec::<String>::new());
    place.run(&format!("{line} --cache kept")).exits(0);
    place.run(&line.replace("--out out", "--out plain")).exits(0);
    assert_same(&essence(&place, "out"), &essence(&place, "plain"), "with room again");
}

/// The cached run tells of the same data, weights and protocol; nothing of the cache is a result.
#[test]
fn a_cache_is_no_setting() {
    let place = Place::with(&["jhmdb"]);
    let line = "jhmdb --data jhmdb --weights pixels --size 96x160 --out out";
    place.run(line).exits(0);
    let run: Value = place.json("out/run.json");
    let ran = place.run(&format!("{line} --cache kept")).exits(0);
    assert_eq!(ran.err.matches("done by an earlier run").count(), CLIPS, "{}", ran.err);
    assert_eq!(place.json("out/run.json"), run);
    assert!(kept(&place).is_empty());
}
