//! Every preset from frames to soft labels, masks and scores, by both engines.

use cropmae::model::source::Choices;
use cropmae::propagation::{Arithmetic, Engine};
use cropmae::protocol::{Benchmark, InputSize, Preset, Protocol, Size};
use serde_json::Value;
use strum::VariantArray;

use super::clip::{assert_masks, assert_scores, dataset, name};
use super::common::{Run, json, values};
use super::{assert_near, encoder, expected, expected_json};

fn size(sides: &[usize]) -> Size {
    Size { height: sides[0], width: sides[1] }
}

/// Our preset with the sizes of a run, its queue and its radius, which are small as the clip is.
fn protocol(run: &Value) -> Protocol {
    let text = |name: &str| run[name].as_str().unwrap();
    let benchmark: Benchmark = text("benchmark").parse().unwrap();
    let preset: Preset = text("preset").parse().unwrap();
    let mut protocol = preset.protocol(benchmark).unwrap();
    let copy: Option<Vec<usize>> = serde_json::from_value(run["copy"].clone()).unwrap();
    assert_eq!(protocol.copy_size.is_some(), copy.is_some());
    protocol.copy_size = copy.as_deref().map(size);
    let sides: Vec<usize> = run["input"].as_array().unwrap()[1..]
        .iter()
        .map(|n| n.as_u64().unwrap() as usize)
        .collect();
    // The rule is the preset's, only its numbers are the run's.
    protocol.input_size = match (protocol.input_size, run["input"][0].as_str().unwrap()) {
        (InputSize::Exact(_), "exact") => InputSize::Exact(size(&sides)),
        (InputSize::LongSide(_), "long") => InputSize::LongSide(sides[0]),
        (InputSize::ShortSide(_), "short") => InputSize::ShortSide(sides[0]),
        (InputSize::ShortSideUp(_), "short-up") => InputSize::ShortSideUp(sides[0]),
        (InputSize::Native, "native") => InputSize::Native,
        (ours, theirs) => panic!("{ours} is not {theirs}"),
    };
    let (queue, radius) = (run["queue"].as_u64().unwrap(), run["radius"].as_f64().unwrap());
    if run["tight"] == true {
        protocol.propagation.queue = queue as usize;
        protocol.propagation.neighborhood.radius = radius;
    }
    let settings = &protocol.propagation;
    assert_eq!((settings.queue as u64, settings.neighborhood.radius), (queue, radius));
    protocol
}

fn compare(run: &str, theirs: &Value, engine: Engine) {
    let protocol = protocol(theirs);
    let encoder = encoder("mae8", Choices::default());
    let (data, clip) = (dataset(protocol.benchmark), name(protocol.benchmark));
    let ours = Run::of(data.path(), &protocol, &encoder, engine);
    let what = format!("{run}, {engine:?}");
    let soft = &expected("runs")[run];
    assert_eq!(ours.soft_labels(clip).dims(), soft.dims(), "{what}");
    // Cosines off by some 1e-7, divided by temperatures down to 0.05, through eight frames. The
    // reference made sure that no label hangs on a tie.
    assert_near(&what, &values(&ours.soft_labels(clip)), &values(soft), 1e-5);
    match protocol.benchmark {
        Benchmark::Jhmdb => assert_joints(&what, &ours, &theirs["joints"]),
        _ => assert_masks(run, &ours.predictions(clip)),
    }
    assert_scores(&what, &ours.metrics, theirs);
}

/// The joints of every frame; those that hang on a tie the reference has left out.
fn assert_joints(what: &str, ours: &Run, theirs: &Value) {
    let ours = json(ours.predictions(name(Benchmark::Jhmdb)).join("joints.json"));
    let read = |frames: &Value| -> Vec<Option<[f32; 2]>> {
        let frames: Vec<Vec<Option<[f32; 2]>>> = serde_json::from_value(frames.clone()).unwrap();
        frames.concat()
    };
    let lost = [-1.0, -1.0];
    let pairs = read(&ours["positions"]).into_iter().zip(read(theirs));
    let clear: Vec<_> = pairs.filter_map(|(a, b)| Some((a.unwrap_or(lost), b?))).collect();
    eprintln!("{what}: {} joints without ties", clear.len());
    assert!(clear.len() > 60, "{}", clear.len());
    let (ours, theirs): (Vec<_>, Vec<_>) = clear.into_iter().unzip();
    // Soft labels within 1e-5 move a mean over cells up to 10 apart by ten times that.
    assert_near(what, &ours.concat(), &theirs.concat(), 1e-4);
}

#[test]
fn every_preset_from_frames_to_scores() {
    let runs = expected_json("runs");
    let runs = runs.as_object().unwrap();
    for preset in Preset::VARIANTS {
        assert!(runs.contains_key(preset.name()), "the reference has no {}", preset.name());
    }
    for engine in [Engine::Tiled, Engine::Fused(Arithmetic::F32), Engine::TensorOps] {
        runs.iter().for_each(|(name, run)| compare(name, run, engine));
    }
}
