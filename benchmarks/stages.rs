//! Every stage of an evaluation by itself, timed by criterion.
//!
//! `cargo bench --bench stages -- [FILTER]`, for example `cpu/affinity`: a frame of 480×854 read,
//! cut to 480×880 patches of 16, encoded, labelled from 21 others, read out, written and scored.
//! Names begin with the device; where there is a GPU (feature `cuda`), encoder and affinity run
//! there too, each time until the result is there. `encoder.rs`, `affinity.rs` and gpu.sh hold the
//! same stages against ceilings; this is for looking at one of them while changing it.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use cropmae::data::Benchmark;
use cropmae::device::{self, Choice, Precision};
use cropmae::eval::stream::input_planes;
use cropmae::image::{LabelImage, decode, indexed};
use cropmae::metric::davis::score_frame;
use cropmae::model::vit::{Layer, Vit};
use cropmae::model::{Encoder, VitConfig, init};
use cropmae::propagation::labels::{FirstLabels, first_frame, hard_labels};
use cropmae::propagation::{Engine, LabelMap, Propagation};
use cropmae::protocol::{Preset, Protocol};
use cropmae::sample;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INPUT: (usize, usize) = (480, 880);
const GRID: (usize, usize) = (30, 55);

fn protocol() -> Protocol {
    Preset::Cropmae.protocol(Benchmark::Davis).unwrap()
}

/// One rendered clip of two frames of 480×854, in a folder that lives as long as the value.
struct Clip {
    _folder: tempfile::TempDir,
    picture: PathBuf,
    masks: [LabelImage; 2],
}

fn clip() -> Clip {
    let folder = tempfile::tempdir().unwrap();
    let settings = sample::default_settings(Benchmark::Davis);
    let settings = sample::Settings { clips: 1, frames: 2, ..settings };
    let root = folder.path().join("davis");
    sample::render(&root, Benchmark::Davis, &settings).unwrap();
    let files = |kind: &str| -> Vec<PathBuf> {
        let clips = root.join(kind).join("480p");
        let clip = std::fs::read_dir(clips).unwrap().next().unwrap().unwrap().path();
        let mut files: Vec<_> =
            std::fs::read_dir(clip).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    let annotations = files("Annotations");
    let masks = [0, 1].map(|index| indexed::read(&annotations[index]).unwrap());
    Clip { picture: files("JPEGImages").remove(0), masks, _folder: folder }
}

/// The CPU, and the GPU where there is one.
fn devices() -> Vec<(&'static str, Device)> {
    let gpu =
        device::open(Choice::Cuda(0), Precision::F32, &|_| {}).ok().map(|device| ("cuda", device));
    std::iter::once(("cpu", Device::Cpu)).chain(gpu).collect()
}

fn frames(criterion: &mut Criterion) {
    let (clip, protocol) = (clip(), protocol());
    criterion.bench_function("cpu/decode/480x854", |bench| {
        bench.iter(|| decode::read(&clip.picture).unwrap());
    });
    let picture = decode::read(&clip.picture).unwrap();
    criterion.bench_function("cpu/resize/480x880", |bench| {
        bench.iter(|| input_planes(picture.clone(), &protocol, 16).unwrap());
    });
}

fn encoder(criterion: &mut Criterion) {
    let (height, width) = INPUT;
    let pixels = (0..3 * height * width).map(|i| ((i * 7919 % 1009) as f32 / 70.0).sin());
    let frame = Tensor::from_iter(pixels, &Device::Cpu).unwrap();
    let frame = frame.reshape((1, 3, height, width)).unwrap();
    for (name, device) in devices() {
        let types: &[DType] =
            if device.is_cpu() { &[DType::F32] } else { &[DType::F32, DType::BF16] };
        for arch in ["vitti16", "vits16"] {
            let checkpoint = init::random(&VitConfig::named(arch).unwrap(), 0).unwrap();
            for dtype in types {
                let vit = Vit::new(&checkpoint, Layer::Last, &device, *dtype).unwrap();
                let encoder = Encoder::Vit(Box::new(vit));
                let frame = frame.to_device(&device).unwrap();
                let id = format!("{name}/encoder/{arch}/{}", dtype.as_str());
                criterion.bench_function(&id, |bench| {
                    bench.iter(|| {
                        let features = encoder.features(&frame).unwrap();
                        device.synchronize().unwrap();
                        features
                    });
                });
            }
        }
    }
}

/// Unit vectors that look random, others for every seed.
fn features(seed: usize, device: &Device) -> Tensor {
    let count = GRID.0 * GRID.1;
    let values = (0..count * 384).map(|i| (((i + seed * 31) * 7919 % 1009) as f32 / 70.0).sin());
    let values = Tensor::from_iter(values, device).unwrap().reshape((count, 384)).unwrap();
    let lengths = values.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
    values.broadcast_div(&lengths).unwrap()
}

fn affinity(criterion: &mut Criterion) {
    let settings = protocol().propagation;
    let values = (0..GRID.0 * GRID.1 * 2).map(|i| (i % 2) as f32).collect();
    let labels = LabelMap { grid: GRID, channels: 2, values };
    for (name, device) in devices() {
        let all: Vec<Tensor> = (0..8).map(|seed| features(seed, &device)).collect();
        let engine = Engine::of(&device);
        let mut clip = Propagation::start(&settings, engine, &all[0], &labels).unwrap();
        for step in 0..settings.queue {
            clip.step(&all[step % 8]).unwrap();
        }
        let mut step = 0;
        criterion.bench_function(&format!("{name}/affinity/30x55x21"), |bench| {
            bench.iter(|| {
                step += 1;
                clip.step(&all[step % 8]).unwrap()
            });
        });
    }
}

fn masks(criterion: &mut Criterion) {
    let (clip, protocol) = (clip(), protocol());
    let first = first_frame(&clip.masks[0], INPUT, GRID, FirstLabels::Bilinear);
    criterion.bench_function("cpu/read-out/480x880", |bench| {
        bench.iter(|| hard_labels(&first.labels, &first.ids, INPUT, protocol.readout));
    });
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("mask.png");
    criterion.bench_function("cpu/png/480x854", |bench| {
        bench.iter(|| indexed::write(&file, &clip.masks[0]).unwrap());
    });
    let [truth, prediction] = &clip.masks;
    criterion.bench_function("cpu/score/480x854", |bench| {
        bench.iter(|| score_frame(truth, prediction, first.ids.len() - 1).unwrap());
    });
}

criterion_group! {
    name = stages;
    config = Criterion::default().sample_size(10);
    targets = frames, encoder, affinity, masks
}
criterion_main!(stages);
