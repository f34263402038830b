//! Our numbers against a reference written in PyTorch, OpenCV and Pillow: `golden/reference.py`,
//! which anybody can read and run. What it computed on tiny inputs lies in `golden/reference/`, so
//! these tests need nothing beside the checkout: every encoder family, position rule, resampling
//! rule and preset, from frames to soft labels, masks and scores.

// helpers of tests are tests, which the lints only see inside #[test]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clip;
#[path = "../common/mod.rs"]
mod common;
mod encoder;
mod joints;
mod labels;
mod positions;
mod propagation;
mod resampling;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use common::{json, largest_gap, tensors};
use cropmae::model::Encoder;
use cropmae::model::source::{self, Choices, Source};
use serde_json::Value;

/// A file or folder of what the reference computed.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/reference").join(name)
}

/// The tensors of one of its files, in the order of their names.
fn expected(name: &str) -> BTreeMap<String, Tensor> {
    tensors(golden(&format!("{name}.safetensors"))).into_iter().collect()
}

fn expected_json(name: &str) -> Value {
    json(golden(&format!("{name}.json")))
}

/// One of the reference's encoders, loaded as a user's checkpoint is.
fn encoder(name: &str, choices: Choices) -> Encoder {
    let file = ["safetensors", "pth"].map(|kind| golden(&format!("encoders/{name}.{kind}")));
    let file = file.into_iter().find(|file| file.exists()).unwrap();
    // The safetensors files hold the number of heads; a .pth has no place for it.
    let heads = (file.extension().unwrap() == "pth").then_some(3);
    let choices = Choices { heads, ..choices };
    source::load(&Source::File(file), &choices, &Device::Cpu, DType::F32).unwrap().encoder
}

/// Asserts that no value is farther from the reference's than `tolerance`, and says how far they
/// are.
fn assert_near(what: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    let (gap, at) = largest_gap(ours, theirs);
    eprintln!("{what}: within {gap:.1e}");
    assert!(gap <= tolerance, "{what}: {} for {} (value {at})", ours[at], theirs[at]);
}

/// The bytes of a tensor of ids or grey levels.
fn bytes(tensor: &Tensor) -> Vec<u8> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The two numbers in `480x880`.
fn pair(text: &str) -> (usize, usize) {
    let (a, b) = text.split_once('x').unwrap();
    (a.parse().unwrap(), b.parse().unwrap())
}
