//! What the integration tests share: where the reference's fixtures are, how to read them, and a
//! run of ours to hold against them.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs
)]

mod shared;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use cropmae::data::{self, Need, Split};
use cropmae::eval::{self, Batch, RunFolder, Setup, flat_name};
use cropmae::model::Encoder;
use cropmae::progress::Silent;
use cropmae::propagation::Engine;
use cropmae::protocol::{Benchmark, Protocol};
use serde_json::{Map, Value};
pub(crate) use shared::shared;
use tempfile::TempDir;

pub fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn tensors(path: PathBuf) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// All values of a tensor.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference, and where.
pub fn largest_gap(ours: &[f32], theirs: &[f32]) -> (f32, usize) {
    assert_eq!(ours.len(), theirs.len());
    let gaps = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    gaps.enumerate().fold(
        (0.0, 0),
        |worst, (at, gap)| {
            if gap > worst.0 || gap.is_nan() { (gap, at) } else { worst }
        },
    )
}

/// A run of ours on a dataset: predictions, soft labels, scores.
pub struct Run {
    folder: TempDir,
    pub metrics: Map<String, Value>,
}

impl Run {
    /// Evaluates the dataset in `root` and keeps the soft labels.
    pub fn of(root: &Path, protocol: &Protocol, encoder: &Encoder, engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = RunFolder::open(&folder.path().join("out"), &protocol.values()).unwrap();
        let batch = Batch::fixed(1);
        let setup =
            Setup { save_soft_labels: true, ..Setup::new(protocol, encoder, engine, &batch) };
        let metrics = match protocol.benchmark {
            Benchmark::Davis => {
                let dataset = data::davis::open(root, &Split::Val, Need::Frames).unwrap();
                let outcome = eval::davis::evaluate(&dataset, &setup, &out, &Silent).unwrap();
                cropmae::report::davis::summary(&outcome).metrics
            }
            Benchmark::Vip => {
                let dataset = data::vip::open(root, &Split::Val, Need::Frames).unwrap();
                let outcome = eval::vip::evaluate(&dataset, &setup, &out, &Silent).unwrap();
                cropmae::report::vip::summary(&outcome, false).unwrap().metrics
            }
            Benchmark::Jhmdb => {
                let dataset = data::jhmdb::open(root, &Split::Val, Need::Frames).unwrap();
                let outcome = eval::jhmdb::evaluate(&dataset, &setup, &out, &Silent).unwrap();
                cropmae::report::jhmdb::summary(&outcome).metrics
            }
        };
        Self { folder, metrics }
    }

    /// Soft labels of a clip: [T, h, w, C].
    pub fn soft_labels(&self, clip: &str) -> Tensor {
        let name = format!("out/soft_labels/{}.safetensors", flat_name(clip));
        tensors(self.folder.path().join(name)).remove("soft_labels").unwrap()
    }

    /// The folder of a clip's predictions.
    pub fn predictions(&self, clip: &str) -> PathBuf {
        self.folder.path().join("out/predictions").join(clip)
    }
}
