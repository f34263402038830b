//! The metrics against what the reference programs computed: the official DAVIS-2017 evaluator, and
//! the VIP and JHMDB evaluations that come with CropMAE.
//!
//! The fixtures are not part of the repository; without them these tests pass with a note,
//! unless `REQUIRE_FIXTURES` is set.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]

#[path = "common/shared.rs"]
mod shared;

use std::fs;
use std::path::{Path, PathBuf};

use cropmae::image::{LabelImage, indexed};
use cropmae::metric::davis::{self, ClipScores, ObjectStatistics};
use cropmae::metric::miou::{Confusion, VIP_CLASSES};
use cropmae::metric::pck::{JointDistances, THRESHOLDS};
use ndarray::Array3;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use shared::shared;

/// A part of the fixtures, where they are here.
fn fixture(part: &str) -> Option<PathBuf> {
    shared(&format!("fixtures/{part}"))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// All PNGs of a folder, in the order of their names.
fn masks(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    paths.sort();
    paths
}

/// Both are the same number, or both have none.
fn assert_close(found: f64, expected: &Value, tolerance: f64, what: &str) {
    match expected.as_f64() {
        Some(expected) => {
            let off = (found - expected).abs();
            assert!(off <= tolerance, "{what}: {found} is {off:e} off {expected}");
        }
        None => assert!(expected.is_null() && found.is_nan(), "{what}: {found}, {expected}"),
    }
}

/// The evaluator sums in another order, which moves a mean of a hundred values by some 1e-16, and
/// the fixtures hold 16 digits: 1e-9 is far more than that and far less than one pixel.
const DAVIS_TOLERANCE: f64 = 1e-9;

fn assert_all_close(found: &[f64], expected: &Value, what: &str) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}: number of frames");
    for (frame, (&found, expected)) in found.iter().zip(expected).enumerate() {
        assert_close(found, expected, DAVIS_TOLERANCE, &format!("{what}, scored frame {frame}"));
    }
}

/// Scores the predictions in one folder against the annotations in another.
fn score_clip(annotations: &Path, predictions: &Path) -> ClipScores {
    let truth = masks(annotations);
    let mut clip = ClipScores::new(davis::object_count(&indexed::read(&truth[0]).unwrap()));
    for path in &truth[davis::scored_frames(truth.len())] {
        let prediction = indexed::read(&predictions.join(path.file_name().unwrap())).unwrap();
        assert!(davis::ids_above(&prediction, clip.objects.len()).is_empty());
        clip.feed(&indexed::read(path).unwrap(), &prediction).unwrap();
    }
    clip
}

fn assert_statistics(found: &ObjectStatistics, expected: &Value, object: &str) {
    for (metric, statistics) in [("J", found.j), ("F", found.f)] {
        for (name, value) in
            [("mean", statistics.mean), ("recall", statistics.recall), ("decay", statistics.decay)]
        {
            let key = format!("{metric}_{name}");
            assert_close(value, &expected[&key], DAVIS_TOLERANCE, &format!("{object} {key}"));
        }
    }
}

/// Every number of a clip against the evaluator's, object by object and frame by frame.
fn assert_clip(name: &str, clip: &ClipScores, expected: &Value) {
    for (index, (object, statistics)) in clip.objects.iter().zip(clip.statistics()).enumerate() {
        let key = format!("{name}_{}", index + 1);
        let expected = &expected["per_object"][&key];
        assert_all_close(&object.j, &expected["J_per_frame"], &format!("J of {key}"));
        assert_all_close(&object.f, &expected["F_per_frame"], &format!("F of {key}"));
        assert_statistics(&statistics, expected, &key);
    }
}

fn assert_global(clips: &[ClipScores], expected: &Value) {
    let objects: usize = clips.iter().map(|clip| clip.objects.len()).sum();
    assert_eq!(objects, expected["per_object"].as_object().unwrap().len());
    for (name, value) in davis::global(clips).named() {
        assert_close(value, &expected["global"][name], DAVIS_TOLERANCE, name);
    }
}

#[test]
fn j_and_f_of_thirty_sequences_are_the_official_evaluators() {
    let Some(root) = fixture("metrics") else { return };
    let expected = json(&root.join("metrics_osvos_vs_rvos_drop.json"));
    let names: Vec<&String> = expected["sequences"].as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 30);
    let score = |name: &&String| {
        score_clip(&root.join("osvos/Annotations/480p").join(name), &root.join("rvos").join(name))
    };
    let clips: Vec<_> = names.par_iter().map(score).collect();
    names.iter().zip(&clips).for_each(|(name, clip)| assert_clip(name, clip, &expected));
    assert_global(&clips, &expected);
}

#[test]
fn j_and_f_of_propagated_masks_are_the_official_evaluators() {
    for run in ["default", "alt"] {
        let Some(run) = fixture("propagation/dev_davis").map(|root| root.join(run)) else { return };
        let Some(annotations) = fixture("data/DAVIS/Annotations/480p/bmx-trees") else { return };
        let expected = json(&run.join("metrics.json"));
        let clip = score_clip(&annotations, &run.join("davis_out/bmx-trees"));
        assert_clip("bmx-trees", &clip, &expected);
        assert_global(&[clip], &expected);
    }
}

#[test]
fn stored_scores_give_the_same_numbers() {
    let Some(run) = fixture("propagation/dev_davis/default") else { return };
    let Some(annotations) = fixture("data/DAVIS/Annotations/480p/bmx-trees") else { return };
    let clip = score_clip(&annotations, &run.join("davis_out/bmx-trees"));
    let stored = serde_json::to_string(&clip).unwrap();
    let read: ClipScores = serde_json::from_str(&stored).unwrap();
    for (stored, computed) in
        davis::global([&read]).named().into_iter().zip(davis::global([&clip]).named())
    {
        // Reading a decimal may be off by one unit in the last place.
        assert!((stored.1 - computed.1).abs() < 1e-15, "{stored:?} {computed:?}");
    }
}

/// The predicted classes of a frame at the annotation's size: channels become ids, and the nearest
/// pixel is the one whose centre is nearest, as Pillow has it.
fn vip_prediction(channels: &LabelImage, ids: &[u8], width: usize, height: usize) -> LabelImage {
    let source = |place: usize, to: usize, from: usize| (2 * place + 1) * from / (2 * to);
    let pixel = |place: usize| {
        let y = source(place / width, height, channels.height);
        let x = source(place % width, width, channels.width);
        ids[usize::from(channels.data[y * channels.width + x])]
    };
    LabelImage { width, height, data: (0..width * height).map(pixel).collect() }
}

fn confusion_of_vip(run: &Path, annotations: &Path) -> Confusion {
    let bytes = fs::read(run.join("tensors/videos1.safetensors")).unwrap();
    let set = f64_tensor(&bytes, "lbl_set");
    let ids: Vec<u8> = set.1.chunks(set.0[1]).map(|color| color[0] as u8).collect();
    let (truth, channels) = (masks(annotations), masks(&run.join("label_index/videos1")));
    assert_eq!(truth.len(), channels.len());
    let mut confusion = Confusion::new(VIP_CLASSES.len());
    for (truth, channels) in truth.iter().zip(&channels) {
        let (truth, channels) = (indexed::read(truth).unwrap(), indexed::read(channels).unwrap());
        let prediction = vip_prediction(&channels, &ids, truth.width, truth.height);
        confusion.feed(&truth, &prediction).unwrap();
    }
    confusion
}

#[test]
fn the_confusion_of_propagated_parts_is_the_references() {
    for run in ["default", "alt"] {
        let Some(run) = fixture("propagation/dev_vip").map(|root| root.join(run)) else { return };
        let Some(annotations) = fixture("data/VIP/Annotations/Category_ids/videos1") else {
            return;
        };
        let expected = json(&run.join("metrics.json"));
        let reference: Confusion = serde_json::from_value(expected["hist"].clone()).unwrap();
        assert_eq!(confusion_of_vip(&run, &annotations), reference);
        let classes: Vec<String> = serde_json::from_value(expected["classes"].clone()).unwrap();
        assert_eq!(classes, VIP_CLASSES);
        assert_semantic(&reference, &expected);
    }
}

fn assert_semantic(confusion: &Confusion, expected: &Value) {
    // Twenty quotients of exact counts: sums in another order differ by less than 1e-14.
    let tolerance = 1e-12;
    let scores = confusion.finish();
    for (key, value) in [
        ("mIoU", scores.mean_iou),
        ("overall_accuracy", scores.overall_accuracy),
        ("mean_accuracy", scores.mean_accuracy),
        ("fwavacc", scores.frequency_weighted_iou),
    ] {
        assert_close(value, &expected[key], tolerance, key);
    }
    for (key, values) in [("per_class_IoU", scores.iou), ("per_class_accuracy", scores.accuracy)] {
        assert_eq!(values.len(), expected[key].as_array().unwrap().len());
        for (class, value) in values.iter().enumerate() {
            let what = format!("{key} of {}", VIP_CLASSES[class]);
            assert_close(value.unwrap_or(f64::NAN), &expected[key][class], tolerance, &what);
        }
    }
}

/// Shape and values of a tensor of 32- or 64-bit floats.
fn f64_tensor(bytes: &[u8], name: &str) -> (Vec<usize>, Vec<f64>) {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let values = match tensor.dtype() {
        Dtype::F32 => {
            let floats = tensor.data().as_chunks().0.iter();
            floats.map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
        }
        Dtype::F64 => {
            tensor.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
        }
        other => panic!("{name} is {other:?}"),
    };
    (tensor.shape().to_vec(), values)
}

/// `pos_img` of a `joint_positions.mat`.
fn joint_positions(path: &Path) -> Array3<f64> {
    let joints = cropmae::data::joints::read(path).unwrap();
    Array3::from_shape_fn((2, 15, joints.frames), |(axis, joint, t)| {
        joints.positions[t][joint][axis]
    })
}

#[test]
fn pck_of_propagated_joints_is_the_references() {
    let clip = "ride_bike/bmx_trees_ride_bike_0";
    for run in ["default", "alt"] {
        let Some(run) = fixture("propagation/dev_jhmdb").map(|root| root.join(run)) else { return };
        let Some(data) = fixture("data/JHMDB") else { return };
        let file = format!("coords/{}.safetensors", clip.replace('/', "__"));
        let (shape, values) = f64_tensor(&fs::read(run.join(file)).unwrap(), "coords");
        let predicted = Array3::from_shape_vec((shape[0], shape[1], shape[2]), values).unwrap();
        let truth =
            joint_positions(&data.join("joint_positions").join(clip).join("joint_positions.mat"));
        let frame = data.join("Rename_Images").join(clip).join("00001.png");
        let mut distances = JointDistances::new();
        distances
            .feed(predicted.view(), truth.view(), indexed::size(&frame).unwrap(), (20, 20))
            .unwrap();
        assert_pck(&distances, &json(&run.join("metrics.json")));
    }
}

fn assert_pck(distances: &JointDistances, expected: &Value) {
    let scores = distances.finish();
    assert_eq!(scores.left_out, 0.0, "the reference found all joints of this clip");
    for (at, threshold) in scores.at.iter().zip(THRESHOLDS) {
        let key = format!("PCK_{threshold}");
        // The reference has percentages: a share that is off by one frame of 25 is off by 4.
        assert_close(100.0 * at.mean, &expected[&key], 1e-9, &key);
        let expected = &expected["per_joint"][threshold.to_string()];
        assert_eq!(expected.as_array().unwrap().len(), at.per_joint.len());
        for (joint, share) in at.per_joint.iter().enumerate() {
            assert_close(100.0 * share.unwrap_or(f64::NAN), &expected[joint], 1e-9, &key);
        }
    }
}
