//! `explain`: where a number comes from, and how much each choice changes it.

use super::place::{Place, QUICK};

#[test]
fn a_run_in_words() {
    let place = Place::with(&["davis", "vip", "jhmdb"]);
    place.run(&format!("davis --data davis {QUICK} --topk 3 --out a")).exits(0);
    let ran = place.run("explain a").exits(0);
    for part in [
        "on 3 of 3 clips of davis",
        "Affinity: Of these the 3 with the highest cosine are its neighbours",
        "Departures from the preset: input_size.exact is 96x160 and not 480x880; propagation.topk is 3 and not 7.",
        "encoded in f32 on cpu",
        "Pass --data ROOT",
    ] {
        assert!(ran.out.contains(part), "{part:?} is not in {}", ran.out);
    }
    assert!(!place.path("a/explain.md").exists());
    // The stored masks give the stored score again.
    let json = place.run("explain a --data davis --json").exits(0).json();
    let stored = place.json("a/results.json")["metrics"]["J&F-Mean"].clone();
    assert_eq!(json["rescored"][0]["score"], stored);
    assert_eq!(json["rescored"][1]["score"], stored, "the run was scored at native size");
    assert_ne!(json["rescored"][2]["score"], stored);
    let changed = "no longer those that were scored";
    assert!(!json.to_string().contains(changed));
    place.change_mask("a/predictions/sample-00/00001.png", |_| 0);
    let ran = place.run("explain a --data davis").exits(0);
    assert!(ran.out.contains(changed), "{}", ran.out);
    for (benchmark, metric) in [("vip", "mIoU"), ("jhmdb", "PCK@0.1")] {
        place
            .run(&format!("{benchmark} --data {benchmark} {QUICK} --out {benchmark}-run"))
            .exits(0);
        let line = format!("explain {benchmark}-run --data {benchmark} --json");
        let stored = &place.json(&format!("{benchmark}-run/results.json"))["metrics"][metric];
        let again = place.run(&line).exits(0).json()["rescored"][0]["score"].as_f64().unwrap();
        // JHMDB: clips of one folder are pooled in another order
        assert!((again - stored.as_f64().unwrap()).abs() < 1e-12, "{benchmark}");
    }
}

#[test]
fn every_choice_is_measured() {
    let place = Place::with(&["davis"]);
    place.run(&format!("davis --data davis {QUICK} --out a")).exits(0);
    let line = "explain a --data davis --ablate --limit 2";
    let ran = place.run(line).exits(0);
    let json = place.json("a/explain.json");
    let ablation = &json["ablation"];
    assert_eq!((&ablation["clips"], &ablation["base"]), (&2.into(), &ablation["recorded"]));
    let changes = ablation["changes"].as_array().unwrap();
    let size = |change: &serde_json::Value| change["difference"].as_f64().map(f64::abs);
    assert!(changes.windows(2).all(|pair| size(&pair[0]) >= size(&pair[1])), "largest first");
    let of = |setting: &str, to: &str| {
        let found = changes.iter().find(|it| it["setting"] == setting && it["to"] == to);
        found.unwrap_or_else(|| panic!("{setting} {to} is not in {changes:?}"))
    };
    assert_eq!(
        of("jpeg_decoder", "turbojpeg (libjpeg-turbo)")["not_measured"]
            .as_str()
            .unwrap()
            .split(':')
            .next(),
        Some("not in this build")
    );
    // A change is what a run of its own is.
    place.run(&format!("davis --data davis {QUICK} --temperature 0.05 --limit 2 --out t")).exits(0);
    let score = place.json("t/results.json")["metrics"]["J&F-Mean"].as_f64().unwrap();
    let change = of("propagation.temperature", "0.05");
    // the same objects, added in another order
    assert!((change["score"].as_f64().unwrap() - score).abs() < 1e-12, "{change}");
    assert_eq!(change["presets"], serde_json::json!(["crw"]));
    assert!(of("preset", "dino")["score"].is_f64());
    let markdown = place.text("a/explain.md");
    assert!(markdown.contains("## One choice changed at a time") && markdown.contains(line));
    assert!(ran.out.contains("Single changes tried: 28."), "{}", ran.out);
    assert!(!place.path("a/ablation/.unfinished").exists());
    // It goes on where it stopped, and folders of changes are runs like others.
    place.remove("a/ablation/propagation.topk-10/clips/sample-00.json");
    let again = place.run(line).exits(0);
    assert_eq!(again.out, ran.out);
    assert_eq!(again.err.matches("frames/s").count(), 1, "{}", again.err);
    let folders = "a/ablation/as-run a/ablation/propagation.topk-10";
    place
        .run(&format!("compare {folders}"))
        .exits(1)
        .says(&["propagation.topk-10: protocol: propagation.topk is 10, the baseline has 7\n"])
        .refuses(&["(1 difference, named above)", "--force"]);
    // Some of them only.
    let some = place.run(&format!("{line} --only propagation.topk,preset --json")).exits(0);
    let some = &some.json()["ablation"]["changes"];
    assert_eq!(some.as_array().unwrap().len(), 2 + 6, "{some}");
    let unknown = place.run(&format!("{line} --only colour")).exits(2);
    unknown.refuses(&["\"colour\" is not a setting", "There are", "propagation.topk"]);
    for (typed, meant) in [("topk", "propagation.topk"), ("frame_filtr", "frame_filter")] {
        let ran = place.run(&format!("{line} --only {typed}")).exits(2);
        ran.refuses(&[&format!("did you mean {meant}?")]);
    }
    // Other weights are not those of the run.
    let other = place.run("explain a --data davis --weights random:vitti16@0 --ablate").exits(2);
    other.refuses(&["--weights: these are not the weights of a (pixels)"]);
}

/// An encoder with rotary positions has no rule of them to change, but number types.
#[test]
fn number_types_are_changed_whatever_the_positions() {
    let place = Place::with(&["davis"]);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    place.write("w.pth", std::fs::read(golden.join("dinov3_plain.pth")).unwrap());
    let run = "davis --data davis --size 16x24 --weights w.pth --report none --overlays none";
    place.run(&format!("{run} --out a")).exits(0);
    assert!(place.json("a/results.json")["weights"]["positions"].is_null());
    let line = "explain a --data davis --ablate --limit 1 --json --only";
    place.run(&format!("{line} dtype")).exits(0);
    assert!(place.path("a/ablation").join("dtype-bf16").is_dir());
    place.run(&format!("{line} positions")).exits(2).refuses(&["is not a setting"]);
}

/// The encoder that is run again is the run's, of all that its file holds.
#[test]
fn the_encoder_is_that_of_the_run() {
    let place = Place::with(&["davis"]);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dino.pth");
    place.write("dino.pth", std::fs::read(&golden).unwrap());
    let run = "davis --data davis --size 16x24 --weights dino.pth --report none --overlays none";
    let chosen = "--checkpoint-key student --heads 4 --encoder tensor";
    place.run(&format!("{run} {chosen} --out a")).exits(0);
    let weights = place.json("a/results.json")["weights"].clone();
    assert_eq!((&weights["heads"], &weights["dictionary"]), (&4.into(), &"student".into()));
    let line = "explain a --data davis --weights dino.pth --ablate --only dtype --json";
    let ablation = &place.run(line).exits(0).json()["ablation"];
    assert_eq!(ablation["base"], ablation["recorded"]);
    let again = place.json("a/ablation/as-run/results.json");
    assert_eq!(again["weights"], weights);
    assert_eq!(again["provenance"]["encoder"], "tensor");
    // the record says which file it was, where it lay, and what was in it
    let recorded = line.replace("--weights dino.pth ", "");
    assert_eq!(&place.run(&recorded).exits(0).json()["ablation"], ablation);
    let away = recorded.replace("explain a --data davis", "explain ../a --data ../davis");
    assert_eq!(&place.run_in("away", &away).exits(0).json()["ablation"], ablation);
    // of which results that are sent to others say nothing
    let folder = place.path("dino.pth").display().to_string();
    assert!(place.text("a/origin.json").contains(&folder));
    let told = |file: &str| place.text(file).contains(&folder);
    assert!(!["a/results.json", "a/results.md", "a/run.json"].into_iter().any(told));
    let whole = std::fs::read(place.path("dino.pth")).unwrap();
    place.cut("dino.pth", 0.9);
    place.run(&recorded).exits(2).refuses(&["a was made with dino.pth", "other weights by now"]);
    // a whole checkpoint, but another one
    place.write("dino.pth", std::fs::read(golden.with_file_name("mae.pth")).unwrap());
    place.run(&recorded).exits(2).refuses(&["a was made with dino.pth", "other weights by now"]);
    place.remove("dino.pth");
    let lost = ["a was made with dino.pth, which is not there, nor is ", &folder];
    place.run_in("away", &away).exits(2).refuses(&lost);
    place.write("away/dino.pth", &whole);
    assert_eq!(&place.run_in("away", &away).exits(0).json()["ablation"], ablation);
    place.write("dino.pth", whole);
    // what is typed all the same must be that too
    place.run(&format!("{line} {chosen}")).exits(0);
    for (other, words) in [
        ("--heads 2", "--heads, --arch: a was made by vit-8x"),
        ("--checkpoint-key teacher", "--checkpoint-key: a was made by the dict student"),
        ("--encoder fused", "--encoder: a was encoded by tensor"),
    ] {
        place.run(&format!("{line} {other}")).exits(2).refuses(&[words]);
    }
    // an earlier version's record, which does not say how many heads there were
    let mut results = place.json("a/results.json");
    let old = results["weights"].as_object_mut().unwrap();
    old.remove("heads").and(old.remove("dictionary")).unwrap();
    place.write("a/results.json", results.to_string());
    place.run(line).exits(2).refuses(&["--heads", "4heads", "pass what it was made with"]);
    place.run(&format!("{line} --heads 4")).exits(0);
    // an entry that nobody asked for is named too
    place.run(&format!("{run} --out b")).exits(0);
    assert_eq!(place.json("b/results.json")["weights"]["dictionary"], "teacher");
    let line = line.replace("explain a", "explain b");
    place.run(&line).exits(0);
    place.run(&format!("{line} --checkpoint-key student")).exits(2).refuses(&["the dict teacher"]);
}

/// Scores of predictions that came from elsewhere: no table of nothing, and nothing of encoding.
#[test]
fn scores_alone_are_explained_as_such() {
    let place = Place::with(&["davis"]);
    place.run(&format!("davis --data davis {QUICK} --out a")).exits(0);
    place.run("score davis --data davis --predictions a/predictions --out s").exits(0);
    let ran = place.run("explain s --data davis").exits(0);
    assert_eq!(ran.err, "");
    for part in ["came from elsewhere", "Scores: J&F-Mean ", ", F-Mean ", "holds no predictions"] {
        assert!(ran.out.contains(part), "{part:?} is not in {}", ran.out);
    }
    assert!(!ran.out.contains("JPEG") && !ran.out.contains("│"), "{}", ran.out);
    // a clip whose predictions are gone is told of once
    place.remove("a/predictions/sample-01");
    let ran = place.run("explain a --data davis").exits(0);
    assert_eq!(ran.err.matches("sample-01: not scored again").count(), 1, "{}", ran.err);
}
