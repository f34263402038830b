//! `propagate check`: a dataset or a checkpoint, whole or not.

use std::path::Path;

use super::place::{Place, assert_same};

fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    path.to_string_lossy().into_owned()
}

#[test]
fn whole_datasets() {
    let place = Place::with(&["davis", "vip", "jhmdb"]);
    let official =
        [("davis", "DAVIS-2017 val has 30"), ("vip", "VIP val has 50"), ("jhmdb", "has 268")];
    for (benchmark, count) in official {
        let before = place.files(benchmark);
        let ran = place.run(&format!("check {benchmark} --data {benchmark} --deep")).exits(0);
        assert!(ran.err.is_empty() && ran.out.contains("clips: 3 ("), "{}", ran.out);
        assert!(ran.out.contains(count) && ran.out.contains("frames: 12"), "{}", ran.out);
        assert!(ran.out.contains("\n0 errors, "), "{}", ran.out);
        assert_same(&place.files(benchmark), &before, "changed");
        let json =
            place.run(&format!("check {benchmark} --data {benchmark} --json")).exits(0).json();
        assert_eq!(json["clips"].as_array().unwrap().len(), 3);
        assert_eq!(json["errors"], serde_json::json!([]));
    }
}

#[test]
fn the_hash_of_the_labels_is_that_of_a_run() {
    let place = Place::with(&["davis", "vip", "jhmdb"]);
    for benchmark in ["davis", "vip", "jhmdb"] {
        let checked = place.run(&format!("check {benchmark} --data {benchmark}")).exits(0).out;
        let line =
            format!("{benchmark} --data {benchmark} --weights pixels --size 48x80 --json -q");
        let json = place.run(&line).exits(0).json();
        let hash = json["dataset"]["labels_sha256"].as_str().unwrap();
        assert!(checked.contains(hash), "{hash} is not in {checked}");
    }
}

#[test]
fn damage_is_found_before_a_run() {
    let place = Place::with(&["davis", "vip", "jhmdb"]);
    place.cut("davis/JPEGImages/480p/sample-00/00002.jpg", 0.6);
    place.remove("davis/Annotations/480p/sample-02/00000.png");
    // A header is whole where the pixels are not: only --deep finds that.
    let shallow = place.run("check davis --data davis").exits(3);
    assert!(shallow.out.contains("\n1 error, "), "{}", shallow.out);
    let deep = place.run("check davis --data davis --deep").exits(3);
    for part in
        ["sample-00/00002.jpg: does not decode", "has no annotation 00000.png", "\n2 errors"]
    {
        assert!(deep.out.contains(part), "{part:?} is not in {}", deep.out);
    }
    place.remove("davis/Annotations/480p/sample-01/00001.png");
    let later = place.run("check davis --data davis --json").exits(3).json();
    let found = later["errors"].as_array().unwrap();
    let found = found.iter().find(|found| found["clip"] == "sample-01").unwrap();
    assert!(found["path"].as_str().unwrap().ends_with("sample-01/00001.png"), "{found}");
    assert_eq!(found["problem"], "is not there (1 of 2 frames to score lack it)");
    // predicted, not scored: meant so
    place.remove("davis/Annotations/480p/sample-01/00002.png");
    let later = place.run("check davis --data davis --json").exits(3).json();
    assert!(!later["errors"].to_string().contains("sample-01/"), "{later}");
    assert!(later["warnings"].to_string().contains("can be predicted, not scored"), "{later}");
    place.change_mask("vip/Annotations/Category_ids/videos1/000000000001.png", |_| 31);
    let ran = place.run("check vip --data vip").exits(3);
    assert!(ran.out.contains("error: ") && ran.out.contains("31"), "{}", ran.out);
    place.cut("jhmdb/joint_positions/walk/sample_walk_0/joint_positions.mat", 0.7);
    let ran = place.run("check jhmdb --data jhmdb").exits(3);
    assert!(ran.out.contains("joint_positions.mat: this file is cut short"), "{}", ran.out);
}

#[test]
fn folders_that_are_no_datasets() {
    let place = Place::with(&["davis"]);
    std::fs::create_dir(place.path("empty")).unwrap();
    place.run("check davis --data nowhere").exits(1).refuses(&["nowhere", "no such folder"]);
    place.run("check vip --data empty").exits(1).refuses(&["empty", "Images and Annotations"]);
    place.run("check davis --data davis/JPEGImages/480p").exits(1).refuses(&["pass ", "/davis"]);
    place.run("check jhmdb").exits(2).refuses(&["--data ROOT", "JHMDB_ROOT"]);
    place
        .run("check davis --data davis --split train.txt")
        .exits(2)
        .refuses(&["train.txt", "pass other lists as files"]);
}

#[test]
fn a_usable_checkpoint() {
    let place = Place::new();
    for file in ["mae.pth", "mae.safetensors", "dino.pth", "hf_dinov2.safetensors"] {
        let ran = place.run(&format!("check weights {}", golden(file))).exits(0);
        for part in ["family ", "arch ", "sha256 "] {
            assert!(ran.out.contains(part) && ran.err.is_empty(), "{file}: {}", ran.out);
        }
        let json = place.run(&format!("check weights {} --json", golden(file))).exits(0).json();
        assert_eq!(json["file"], file);
        assert!(json["family"].is_string() && json["report"]["refusal"].is_null(), "{json}");
    }
}

#[test]
fn what_no_tensor_tells_is_said() {
    let place = Place::new();
    let ran = place.run(&format!("check weights {}", golden("mae.pth"))).exits(0);
    for line in [
        "positions   a table of 4x4 and CLS; its 16 rows are taken for a square\n",
        "note        heads: 1, assumed from the width; pass --heads if it is another\n",
    ] {
        assert!(ran.out.contains(line), "{}", ran.out);
    }
}

#[test]
fn checkpoints_that_cannot_be_used() {
    let place = Place::new();
    place.write("resnet.safetensors", super::bad_weights::resnet());
    let ran = place.run("check weights resnet.safetensors").exits(3);
    assert!(ran.out.contains("ResNet"), "{}", ran.out);
    let json = place.run("check weights resnet.safetensors --json").exits(3).json();
    assert!(json["report"]["refusal"]["remedy"].is_string(), "{json}");
    place.write("words.pth", "these are no weights");
    place.run("check weights words.pth").exits(1).refuses(&["words.pth"]);
    place.run("check weights nowhere.pth").exits(1).refuses(&["nowhere.pth", "check the path"]);
}

#[test]
fn encoders_that_are_in_no_file() {
    let place = Place::new();
    for (word, part) in [
        ("sample", "arch        vit"),
        ("random:vitti16@3", "arch        vitti16"),
        ("pixels", "the pixels of each patch"),
    ] {
        let ran = place.run(&format!("check weights {word}")).exits(0);
        assert!(ran.out.starts_with(&format!("file        {word}\n")), "{}", ran.out);
        assert!(ran.out.contains(part) && ran.out.ends_with("usable\n"), "{}", ran.out);
        let json = place.run(&format!("check weights {word} --json")).exits(0).json();
        assert_eq!(json["file"], word);
        place
            .run(&format!("check weights {word} --checkpoint-key model"))
            .exits(2)
            .refuses(&[word]);
    }
}
