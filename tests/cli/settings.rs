//! Presets, what departs from them, and settings that make no sense.

use super::place::{Place, QUICK};

const PRESETS: [&str; 6] = ["cropmae", "cropmae-480x880", "dino", "crw", "rsp", "dinov3"];

/// Large patches keep the full-size presets quick; they are the encoder's, no departure.
#[test]
fn every_preset_runs_as_published() {
    let place = Place::with(&["davis"]);
    let mut hashes = Vec::new();
    for preset in PRESETS {
        let line = format!("davis --data davis --weights pixels --patch-size 32 --preset {preset}");
        let ran = place.run(&format!("{line} --limit 1 --out {preset} --json")).exits(0);
        let protocol = &ran.json()["protocol"];
        assert_eq!(protocol["preset"], preset);
        assert_eq!(protocol["departures"], serde_json::json!([]), "{preset}");
        hashes.push(protocol["hash"].as_str().unwrap().to_owned());
        let mask = place.mask(&format!("{preset}/predictions/sample-00/00003.png"));
        let copied = ["cropmae-480x880", "rsp"].contains(&preset);
        let size = if copied { (480, 880) } else { (96, 160) };
        assert_eq!((mask.height, mask.width), size, "{preset}");
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), PRESETS.len());
}

#[test]
fn input_sizes_are_those_of_the_presets() {
    let place = Place::with(&["davis"]);
    let grids = [
        ("cropmae", "input 480x880 -> grid 30x55"),
        ("cropmae-480x880", "input 480x880 -> grid 30x55"),
        ("dino", "input 480x768 -> grid 30x48"), // 480·160/96 = 800, cut to 768
        ("crw", "input 96x160 -> grid 6x10"),
        ("rsp", "input 480x832 -> grid 30x52"), // of the 480x880 copy
        ("dinov3", "input 960x1600 -> grid 60x100"),
    ];
    for (preset, grid) in grids {
        let line = format!("davis --data davis --weights pixels --preset {preset} --dry-run");
        let ran = place.run(&line).exits(0);
        assert!(ran.out.contains(grid), "{preset}: {}", ran.out);
    }
}

#[test]
fn presets_of_davis_are_refused_elsewhere() {
    let place = Place::with(&["vip", "jhmdb"]);
    for benchmark in ["vip", "jhmdb"] {
        for preset in &PRESETS[1..] {
            let line =
                format!("{benchmark} --data {benchmark} {QUICK} --preset {preset} --out out");
            place.run(&line).exits(2).refuses(&["--preset", preset, "davis", "use cropmae"]);
        }
    }
    assert!(!place.path("out").exists());
}

#[test]
fn departures_are_listed() {
    let place = Place::with(&["davis", "vip"]);
    let knobs = "--topk 3 --radius 2.5 --neighborhood square --temperature 0.1 --queue 2 \
                 --frame-filter nearest --score-size 48x80";
    let ran = place.run(&format!("davis --data davis {QUICK} {knobs} --out out")).exits(0);
    let departures: Vec<&str> =
        ran.out.lines().filter(|line| line.contains("departure: ")).collect();
    insta::assert_snapshot!(departures.join("\n"), @r"
    departure: frame_filter is nearest, the preset has bilinear
    departure: input_size.exact is 96x160, the preset has 480x880
    departure: propagation.neighborhood.radius is 2.5, the preset has 20
    departure: propagation.neighborhood.shape is square, the preset has circle
    departure: propagation.queue is 2, the preset has 20
    departure: propagation.temperature is 0.1, the preset has 0.7
    departure: propagation.topk is 3, the preset has 7
    departure: score_size is fixed 48x80, the preset has native
    ");
    // Spelled out, the preset's own values are no departure.
    let line = "davis --data davis --weights pixels --patch-size 32 --limit 1 --topk 7 --queue 20 \
                --size 480x880 --out same";
    let ran = place.run(line).exits(0);
    assert!(!ran.out.contains("departure"), "{}", ran.out);
    let ran =
        place.run(&format!("vip --data vip {QUICK} --exclude-first-frame --out vip-out")).exits(0);
    assert!(ran.out.contains("departure: exclude_first_frame is true, the preset has false"));
    assert!(
        ran.out.contains("departure: input_size is exact 96x160, the preset has long-side 880")
    );
}

/// Values without a flag; a flag wins.
#[test]
fn any_value_is_set_by_name() {
    let place = Place::with(&["davis", "vip"]);
    let knobs = "--set keep_ties=true --set readout=min-max-argmax --set mean=0.5,0.5,0.5 \
                 --set topk=3 --topk 4";
    let ran = place.run(&format!("davis --data davis {QUICK} {knobs} --out out")).exits(0);
    for departure in [
        "mean is 0.5, 0.5, 0.5, the preset has 0.485, 0.456, 0.406",
        "propagation.keep_ties is true, the preset has false",
        "propagation.topk is 4, the preset has 7",
        "readout is min-max-argmax, the preset has argmax",
    ] {
        assert!(ran.out.contains(&format!("departure: {departure}\n")), "{}", ran.out);
    }
    let set = |knob: &str| place.run(&format!("davis --data davis {QUICK} --set {knob} --out no"));
    set("keep_tie=true").exits(2).refuses(&["--set: there is no", "did you mean keep_ties?"]);
    set("readout=floor").exits(2).refuses(&["--set: readout", "argmax, min-max-argmax"]);
    set("topk=5 --sweep topk=5,7").exits(2).refuses(&["--sweep: topk is set by --set too"]);
    let vip = format!("vip --data vip {QUICK} --set copy_size=48x80 --out no");
    place.run(&vip).exits(2).refuses(&["--set: copy_size is for davis"]);
    assert!(!place.path("no").exists());
}

/// The settings of other programs' users.
#[test]
fn old_spellings_work() {
    let place = Place::with(&["davis"]);
    let old = "--knn-k 4 --n_last_frames 3 --size_mask_neighborhood 2";
    let new = "--topk 4 --queue 3 --radius 2";
    let run = |knobs: &str, out: &str| {
        place.run(&format!("davis --data davis {QUICK} {knobs} --out {out} --json")).exits(0).json()
    };
    assert_eq!(run(old, "old")["protocol"], run(new, "new")["protocol"]);
}

#[test]
fn values_that_make_no_sense() {
    let place = Place::with(&["davis", "jhmdb", "vip"]);
    let davis = [
        ("--temperature 0", "--temperature"),
        ("--temperature nan", "--temperature"),
        ("--radius -3", "--radius"),
        ("--temperature -1", "--temperature"),
        ("--affinity tf32", "needs a GPU"),
        ("--exclude-first-frame", "--exclude-first-frame"),
        ("--arch vits16", "--arch"),
        ("--layer 3", "--layer"),
    ];
    for (knob, name) in davis {
        let ran = place.run(&format!("davis --data davis {QUICK} {knob} --out out")).exits(2);
        ran.refuses(&[name]);
        assert!(!place.path("out").exists(), "{knob} left a folder");
    }
    let unknown = [
        "--topk 0",
        "--topk x",
        "--queue 100000000",
        "--patch-size 0",
        "--batch 0",
        "--batch many",
        "--clips-at-once 0",
        "--device cpu,tpu",
        "--threads 0",
        "--threads 100000",
    ];
    for knob in unknown {
        let ran = place.run(&format!("davis --data davis {QUICK} {knob} --out out")).exits(2);
        ran.says(&["invalid value", knob.split(' ').next().unwrap()]);
    }
    let ran = place.run(&format!("davis --data davis {QUICK} --topk x")).exits(2);
    ran.says(&["'x' for '--topk <K>': a whole number from 1 to 1000000 is needed"]);
    place
        .run(&format!("jhmdb --data jhmdb {QUICK} --score-size 48x80"))
        .exits(2)
        .refuses(&["--score-size"]);
    let random = "davis --data davis --weights random:vitti16@0";
    place.run(&format!("{random} --arch vits16")).exits(2).refuses(&["--arch", "omit it"]);
    place
        .run(&format!("{random} --layer 13 --size 96x160"))
        .exits(2)
        .refuses(&["--layer", "1 to 12"]);
    // Nothing was finished with a size smaller than a patch, so the folder is free for another.
    let small = "davis --data davis --weights pixels --size 8x8 --out out";
    place.run(small).exits(1).says(&["less than one patch of 16"]).refuses(&["0 of 3 clips"]);
    place.run(&format!("davis --data davis {QUICK} --out out")).exits(0);
}

/// "No limit at all" is answered as quickly as any.
#[test]
fn values_beyond_any_frame_are_no_limit() {
    let place = Place::with(&["davis"]);
    let run = |knobs: &str, out: &str| {
        let line = format!("davis --data davis {QUICK} {knobs} --out {out} --json");
        place.run(&line).exits(0).json()["metrics"].clone()
    };
    assert_eq!(run("--radius 1e300 --topk 5", "a"), run("--radius 99 --topk 5", "b"));
    assert_eq!(run("--topk 1000000", "c"), run("--topk 9999", "d"));
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_that_this_build_cannot_use() {
    let place = Place::with(&["davis"]);
    let ran = place.run(&format!("davis --data davis {QUICK} --device cuda --out out")).exits(1);
    ran.refuses(&["without CUDA", "--features cuda", "--device cpu"]);
    assert!(!place.path("out").exists());
    place.run(&format!("davis --data davis {QUICK} --device auto --out out")).exits(0);
}

#[test]
fn half_precision_runs_and_is_recorded() {
    let place = Place::with(&["davis"]);
    for dtype in ["bf16", "f16"] {
        let line =
            format!("davis --data davis --weights random:vitti16@0 --size 48x80 --dtype {dtype}");
        let json = place.run(&format!("{line} --out {dtype} --limit 1 --json")).exits(0).json();
        assert_eq!(json["provenance"]["dtype"], dtype);
    }
}

/// One file may hold several encoders: the entry asked for is part of what a folder is about.
#[test]
fn entries_of_one_checkpoint_have_folders_of_their_own() {
    let place = Place::with(&["davis"]);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dino.pth");
    place.write("dino.pth", std::fs::read(golden).unwrap());
    let line = "davis --data davis --size 16x24 --weights dino.pth";
    for entry in ["teacher", "student"] {
        place.run(&format!("{line} --checkpoint-key {entry}")).exits(0);
    }
    place.run(line).exits(0);
    let folders: Vec<_> = std::fs::read_dir(place.path("runs")).unwrap().collect();
    assert_eq!(folders.len(), 3, "{folders:?}");
    let keys: std::collections::BTreeSet<String> = folders
        .into_iter()
        .map(|folder| format!("runs/{}/run.json", folder.unwrap().file_name().display()))
        .map(|file| place.json(&file)["checkpoint_key"].to_string())
        .collect();
    let expected = ["\"student\"", "\"teacher\"", "null"].map(String::from);
    assert_eq!(keys, expected.into());
    let out = |entry: &str| format!("{line} --out out --checkpoint-key {entry}");
    place.run(&out("teacher")).exits(0);
    place.run(&out("student")).exits(1).refuses(&["other settings (checkpoint_key)"]);
}

#[test]
fn what_the_cpu_does_not_compute_is_refused() {
    let place = Place::with(&["davis"]);
    let line = "davis --data davis --weights random:vitti16@0 --size 48x80 --device cpu --out out";
    place.run(&format!("{line} --dtype tf32")).exits(2).refuses(&["--dtype", "a GPU's arithmetic"]);
    let fused = format!("{line} --dtype bf16 --encoder fused");
    place.run(&fused).exits(2).refuses(&["--encoder", "no fused encoder", "bf16"]);
    assert!(!place.path("out").exists());
}

#[test]
fn whose_code_runs_is_chosen_and_said() {
    let place = Place::with(&["davis"]);
    let line = "davis --data davis --weights random:vitti16@0 --size 48x80 --limit 1 --device cpu";
    for (option, said) in
        [("", "fused"), (" --encoder fused", "fused"), (" --encoder tensor", "tensor")]
    {
        let plan = place.run(&format!("{line}{option} --dry-run")).exits(0).out;
        assert!(plan.contains(&format!("vitti16 (random, {said})")), "{plan}");
    }
    let ran = place.run(&format!("{line} --encoder tensor --out out --json")).exits(0);
    assert_eq!(ran.json()["provenance"]["encoder"], "tensor");
    // other last bits: not to be mixed with those that are there
    place.run(&format!("{line} --out out")).exits(1).refuses(&["encoder"]);
}

/// What was chosen of the encoder stands wherever the encoder does.
#[test]
fn another_layer_is_told_everywhere() {
    let place = Place::with(&["davis"]);
    let line = "davis --data davis --weights random:vitti16@0 --size 96x160 --out";
    let usual = place.run(&format!("{line} a")).exits(0).out;
    assert!(usual.contains("vitti16, sha256 "), "{usual}");
    assert!(place.json("a/results.json")["weights"].get("chosen").is_none());
    let ran = place.run(&format!("{line} b --layer 3 --positions size")).exits(0);
    let chosen = "layer 3 of 12, positions by the rule size";
    for text in [&ran.out, &place.text("b/results.md"), &place.text("b/report.html")] {
        assert!(text.contains(&format!(", {chosen}")), "{text}");
    }
    let compared = place.run("compare a b").exits(0).out;
    assert!(compared.contains(&format!("random:vitti16@0, {chosen}")), "{compared}");
    let told = "b: another encoder of the same weights: layer 3, the baseline's last; positions size, the baseline's offset";
    assert!(compared.contains(told), "{compared}");
}

/// That it is a guess does not depend on who reads stderr.
#[test]
fn guessed_heads_are_told_with_the_scores() {
    let place = Place::with(&["davis"]);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/mae.pth");
    place.write("w.pth", std::fs::read(golden).unwrap());
    let line = "davis --data davis --weights w.pth --size 24x40 -q --out";
    let ran = place.run(&format!("{line} a")).exits(0);
    assert!(
        ran.out.contains("  heads: 1, assumed from the width; pass --heads if it is another\n"),
        "{}",
        ran.out
    );
    let note = "heads: 1, assumed from the width";
    for file in ["a/results.json", "a/results.md", "a/report.html"] {
        assert!(place.text(file).contains(note), "{file}");
    }
    let told = place.run(&format!("{line} b --heads 2")).exits(0);
    assert!(
        told.out.contains(", heads 2, sha256") && !told.out.contains("assumed"),
        "{}",
        told.out
    );
}
