//! Folders that cannot be written to, and disks without room.

use super::place::{Place, QUICK, assert_same};

const LINE: &str = "davis --data davis --weights pixels --size 96x160 --out out";

#[test]
fn a_place_that_cannot_be_written_to() {
    let place = Place::with(&["davis"]);
    place.write("file", "a file of the user's");
    for out in ["file", "file/out"] {
        let ran = place.run(&format!("davis --data davis {QUICK} --out {out}")).exits(1);
        ran.refuses(&["cannot create file", "choose another folder"]);
    }
    let ran = place
        .run("features --weights pixels --images davis/JPEGImages/480p/sample-00 --out file/f.safetensors");
    ran.exits(1).refuses(&["file", "choose another folder"]);
    place.run("sample --out file --benchmark vip").exits(1).refuses(&["file"]);
    assert_eq!(place.text("file"), "a file of the user's");
}

#[test]
fn folders_of_others_are_left_alone() {
    let place = Place::with(&["davis"]);
    place.write("mine/thesis.tex", "...");
    let ran = place.run(&format!("davis --data davis {QUICK} --out mine")).exits(1);
    ran.refuses(&["mine: ", "not empty", "another folder for --out"]);
    assert_eq!(place.names("mine"), ["thesis.tex"]);
    // Nor is a dataset written into.
    let before = place.files("davis");
    place
        .run(&format!("davis --data davis {QUICK} --out davis"))
        .exits(2)
        .refuses(&["davis is what this command reads"]);
    place
        .run(&format!("davis --data davis {QUICK} --out new/../davis"))
        .exits(2)
        .refuses(&["davis is what this command reads"]);
    assert_same(&place.files("davis"), &before, "changed");
}

/// `/dev/full` takes no byte: it stands in for a disk that fills up at one file after another.
#[cfg(target_os = "linux")]
#[test]
fn no_space_left_for_a_file() {
    let full = |place: &Place, file: &str| {
        std::fs::create_dir_all(place.path(file).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/dev/full", place.path(file)).unwrap();
    };
    let words = [
        "cannot write out/",
        "No space left",
        "run the same command again: what is finished is kept",
    ];
    // The record of the second clip, then the tables.
    for file in
        ["clips/sample-01.json.partial", "results.json.partial", "global_results-val.csv.partial"]
    {
        let place = Place::with(&["davis"]);
        place.run(&format!("{LINE} --limit 1")).exits(0);
        let before = place.files("out");
        full(&place, &format!("out/{file}"));
        place.run(LINE).exits(1).refuses(&words);
        for (name, bytes) in &before {
            assert!(place.files("out").get(name) == Some(bytes), "{name} was changed");
        }
        assert!(!place.names("out").iter().any(|name| name.ends_with(".partial")));
        // With room again (the program has taken the link away) the same command completes the run.
        let ran = place.run(LINE).exits(0);
        assert!(ran.err.contains("sample-00: done by an earlier run"), "{}", ran.err);
        place.run(&LINE.replace("--out out", "--out fresh")).exits(0);
        assert_same(
            &place.files("out/predictions"),
            &place.files("fresh/predictions"),
            "predictions",
        );
    }
}

/// A limit on the size of files, which a shell sets without being root, cuts a clip's soft labels or
/// a mask, whichever is written first. Left to itself the system would end the program by a signal,
/// without a word.
#[cfg(target_os = "linux")]
#[test]
fn no_room_in_mid_clip() {
    let place = Place::with(&["davis"]);
    place.run(&format!("{LINE} --limit 1")).exits(0);
    let before = place.files("out");
    let program = env!("CARGO_BIN_EXE_propagate");
    let limited = |line: &str| {
        // Blocks are of 512 bytes.
        let script = format!("ulimit -f 1; exec {program} {line}");
        let shell = std::process::Command::new("sh")
            .args(["-c", &script])
            .current_dir(place.path("."))
            .output()
            .unwrap();
        (shell.status.code(), String::from_utf8(shell.stderr).unwrap())
    };
    let (code, err) = limited(&format!("{LINE} --save-soft-labels"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("cannot write out/") && err.contains(": File too large"), "{err}");
    assert!(err.contains("make room"), "{err}");
    for (name, bytes) in &before {
        assert!(place.files("out").get(name) == Some(bytes), "{name} was changed");
    }
    let (code, err) = limited(
        "features --weights pixels --images davis/JPEGImages/480p/sample-00 --out f.safetensors",
    );
    assert!(code == Some(1) && err.contains("cannot write f.safetensors: File too large"), "{err}");
    let left = ["f.safetensors", "f.safetensors.partial"].map(|name| place.path(name).exists());
    assert_eq!(left, [false, false]);
}
