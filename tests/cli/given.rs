//! `--weights features:DIR`: features from another program, here made of those that `--cache` keeps.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::place::{BENCHMARKS, Place};

const ENCODER: &str = "--weights random:vitti16@0 --size 96x160";
/// Rows and columns of 96x160 pixels in patches of 16.
const GRID: (usize, usize) = (6, 10);

/// Evaluates with an encoder, and writes what it made into `DIR`, a file for each clip.
fn features_of(place: &Place, benchmark: &str, folder: &str, dtype: DType) {
    let line = format!("{benchmark} --data {benchmark} {ENCODER} --cache kept-{benchmark}");
    place.run(&format!("{line} --out encoded-{benchmark}")).exits(0);
    for file in place.names(&format!("kept-{benchmark}")) {
        let kept = place.path(&format!("kept-{benchmark}/{file}"));
        let features = &candle_core::safetensors::load(kept, &Device::Cpu).unwrap()["features"];
        let (frames, _, width) = features.dims3().unwrap();
        let features = features.reshape((frames, GRID.0, GRID.1, width)).unwrap();
        // <encoder>/<clip>-<frames>.safetensors; a folder's name in a clip's is parted by two lines
        let name = file.rsplit_once('/').unwrap().1.rsplit_once('-').unwrap().0;
        let path = place.path(&format!("{folder}/{}.safetensors", name.replace("__", "/")));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // of any length: they are brought to one
        let features = (features * 3.0).unwrap().to_dtype(dtype).unwrap();
        candle_core::safetensors::save(&HashMap::from([("features", features)]), path).unwrap();
    }
}

#[test]
fn given_features_score_as_the_encoder_that_made_them() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        features_of(&place, benchmark, "given", DType::F32);
        let line = format!("{benchmark} --data {benchmark} --weights features:given --size 96x160");
        let ran = place.run(&format!("{line} --out given-{benchmark}")).exits(0);
        assert!(
            ran.out.contains("weights: features:given (given features, patches of 16"),
            "{}",
            ran.out
        );
        let scores =
            |out: &str| place.json(&format!("{out}-{benchmark}/results.json"))["metrics"].clone();
        let predictions = |out: &str| place.files(&format!("{out}-{benchmark}/predictions"));
        // Lengths are one again but for the last bits, which no pixel of these clips hangs on; joints
        // are means of cells.
        if benchmark != "jhmdb" {
            assert!(predictions("given") == predictions("encoded"), "{benchmark}");
        }
        assert!(!scores("given").is_null());
        assert_eq!(scores("given"), scores("encoded"), "{benchmark}");
        let record = place.json(&format!("given-{benchmark}/results.json"));
        assert_eq!(record["provenance"]["seconds"]["encode"], 0.0);
        assert_eq!(record["weights"]["sha256"].as_str().unwrap().len(), 64);
        // again: all clips are done
        place.run(&format!("{line} --out given-{benchmark}")).exits(0);
    }
}

#[test]
fn a_patch_is_traced_in_any_frame_and_hidden_files_are_no_features() {
    let place = Place::with(&["davis"]);
    features_of(&place, "davis", "given", DType::F32);
    // what a Mac leaves beside files on other disks
    place.write("given/._sample-00.safetensors", "no features");
    let neighbours = |weights: &str| {
        let line = format!(
            "trace davis --data davis {weights} --sequence sample-00 --frame 2 --point 80,50 --out a.png --json"
        );
        let found = place.run(&line).exits(0).json()["neighbours"].clone();
        let places = found.as_array().unwrap().iter().map(|neighbour| {
            (neighbour["frame"].clone(), neighbour["row"].clone(), neighbour["column"].clone())
        });
        places.collect::<Vec<_>>()
    };
    let given = neighbours("--weights features:given --size 96x160");
    assert!(!given.is_empty());
    assert_eq!(given, neighbours(ENCODER));
}

#[test]
fn half_precision_several_and_sweeps() {
    let place = Place::with(&["davis"]);
    features_of(&place, "davis", "half", DType::F16);
    features_of(&place, "davis", "whole", DType::F32);
    let line = "davis --data davis --size 96x160 --weights features:half";
    let ran = place.run(&format!("{line} features:whole pixels --out several")).exits(0);
    for name in ["features-half", "features-whole", "pixels"] {
        assert!(ran.out.contains(name), "{}", ran.out);
    }
    let ran = place.run(&format!("{line} --sweep topk=1,3 --out sweep")).exits(0);
    assert!(!ran.err.contains("are kept in"), "{}", ran.err);
    let ran = place.run("check weights features:half").exits(0);
    assert!(ran.out.contains("width       192"), "{}", ran.out);
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = Place::with(&["davis"]);
    features_of(&place, "davis", "given", DType::F32);
    let line = "davis --data davis --weights features:given";
    let size = "--size 96x160";
    // the grid of another input, of another patch: every clip says so
    let ran = place.run(&format!("{line} --out a")).exits(1);
    assert!(ran.err.contains("30x55 patches of 16") && ran.err.contains("--size"), "{}", ran.err);
    let ran = place.run(&format!("{line} {size} --patch-size 8 --out b")).exits(1);
    assert!(
        ran.err.contains("12x20 patches of 8") && ran.err.contains("--patch-size"),
        "{}",
        ran.err
    );
    place.run(&format!("{line} {size} --layer 3")).exits(2).refuses(&["--layer", "given features"]);
    place
        .run(&format!("{line} {size} --cache kept"))
        .exits(2)
        .refuses(&["--cache", "leave it out"]);
    place.run(&format!("{line} {size} --out given/here")).exits(2);
    let nowhere = format!("davis --data davis {size} --weights features:nowhere");
    place.run(&nowhere).exits(1).refuses(&["nowhere"]);
    place
        .run("attention --weights features:given --images davis/JPEGImages/480p/sample-00 --out x")
        .exits(2);
    // one clip's file is lost: the others are done
    let lost = place.names("given").swap_remove(0);
    place.remove(&format!("given/{lost}"));
    let ran = place.run(&format!("{line} {size} --out c")).exits(3);
    assert!(ran.err.contains(&lost) || ran.out.contains(&lost), "{} {}", ran.out, ran.err);
    place.run("explain c --data davis --ablate").exits(2).refuses(&["--ablate", "--sweep"]);
    let zeros = Tensor::zeros((1, 2), DType::F32, &Device::Cpu).unwrap();
    let path = place.path(&format!("given/{lost}"));
    candle_core::safetensors::save(&HashMap::from([("x", zeros)]), path).unwrap();
    place.run(&format!("{line} {size} --out d")).refuses(&["has no tensor `features`"]);
}
