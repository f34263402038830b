//! Loading checkpoints: the same encoder as every program saves it, what is refused and why, and
//! damaged files. The files in `golden/` are written by `golden/make_checkpoints.py`,
//! `golden/make_later.py` and `golden/make_dinov3.py`.

// helpers of tests are tests, which the lints only see inside #[test]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod damage;
mod dinov3;
mod families;
mod later;
mod refusals;
#[path = "../common/shared.rs"]
mod shared;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use cropmae::error::Result;
use cropmae::model::weights::{Checkpoint, Overrides, load};
use tempfile::TempDir;

/// A file of `golden/`.
fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn load_golden(name: &str) -> Checkpoint {
    load(&golden(name), &Overrides::default()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The tensors of a golden safetensors file, to be changed and written again.
fn tensors_of(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(name), &Device::Cpu).unwrap()
}

/// Loads a safetensors file of these tensors.
fn load_changed(tensors: &HashMap<String, Tensor>, overrides: &Overrides) -> Result<Checkpoint> {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, tensors);
    load(&path, overrides)
}

fn write(folder: &TempDir, tensors: &HashMap<String, Tensor>) -> PathBuf {
    let path = folder.path().join("changed.safetensors");
    candle_core::safetensors::save(tensors, &path).unwrap();
    path
}

/// The message of a refusal.
fn refusal(tensors: &HashMap<String, Tensor>) -> String {
    match load_changed(tensors, &Overrides::default()) {
        Ok(_) => panic!("was loaded"),
        Err(error) => error.to_string(),
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    assert!(tensor.is_contiguous() && tensor.dtype() == DType::F32);
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}
