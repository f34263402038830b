//! A whole run of pre-training on a GPU: its losses are the CPU's, and stopped at any step it goes
//! on to the same bytes. Parts of batches, clipped gradients and averaged weights are all in it.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use cropmae::device::{self, Precision};
use cropmae::pretrain::config::{Config, Preset};
use cropmae::pretrain::record::{self, Entry};
use cropmae::pretrain::samples::{Options, Samples};
use cropmae::pretrain::train::Watcher;
use cropmae::pretrain::{Run, checkpoint, train};

use crate::other_device;

struct Silent;

impl Watcher for Silent {}

/// A network of some thousand parameters, three steps an epoch.
fn config() -> Config {
    let settings = [
        "epochs=2",
        "optimization.warmup_epochs=1",
        "encoder.width=32",
        "encoder.depth=2",
        "encoder.heads=2",
        "encoder.patch=8",
        "decoder.width=16",
        "decoder.depth=1",
        "decoder.heads=2",
        "decoder.hidden=32",
        "decoder.dropout=0.1",
        "views.size=32",
        "masking_ratio=0.8",
        "optimization.batch_size=4",
        "optimization.micro_batch=3",
        "optimization.clip_gradient=0.5",
        "optimization.average_decay=0.9",
    ];
    let set = |config: Config, setting: &&str| config.with_setting(setting).unwrap();
    settings.iter().fold(Preset::Tiny.config(), set)
}

/// Pictures of coloured waves.
pub(super) fn pictures(folder: &Path) {
    for number in 0..12_u32 {
        let picture = image::RgbImage::from_fn(48, 40, |x, y| {
            let wave = |phase: f32| {
                let at = x as f32 * (0.1 + number as f32 * 0.01) + y as f32 * 0.13;
                (127.0 + 120.0 * (at + phase + number as f32).sin()) as u8
            };
            image::Rgb([wave(0.0), wave(1.0), wave(2.5)])
        });
        picture.save(folder.join(format!("{number}.png"))).unwrap();
    }
}

/// Trains, or goes on; returns the last checkpoint's bytes.
fn run(data: &Path, out: &Path, device: &Device) -> Vec<u8> {
    let config = config();
    let run = Run {
        config: &config,
        samples: Arc::new(Samples::open(data, &Options::default()).unwrap()),
        folder: out,
        start: None,
        device,
        dtype: Precision::F32,
        workers: 2,
        save_every: 1,
        checkpoint_every: 1,
        keep_last: 9,
        keep_every: 0,
        command: "test",
    };
    train(&run, &Silent).unwrap();
    std::fs::read(checkpoint::path(out, 6)).unwrap()
}

fn steps(out: &Path) -> Vec<(f64, f64)> {
    let entries = record::read(&out.join("log.jsonl")).unwrap();
    let step = |entry: &Entry| match entry {
        Entry::Step(step) => Some((step.loss, step.gradient_norm)),
        _ => None,
    };
    entries.iter().filter_map(step).collect()
}

#[test]
fn runs_agree_and_go_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let (data, other) = (out("pictures"), other_device());
    std::fs::create_dir(&data).unwrap();
    pictures(&data);
    run(&data, &out("cpu"), &Device::Cpu);
    let whole = run(&data, &out("whole"), &other);
    let (ours, theirs) = (steps(&out("cpu")), steps(&out("whole")));
    assert_eq!((ours.len(), theirs.len()), (6, 6));
    let gaps = ours.iter().zip(&theirs).map(|(a, b)| (b.0 / a.0 - 1.0, b.1 / a.1 - 1.0));
    let largest = gaps.fold(0_f64, |largest, gap| largest.max(gap.0.abs()).max(gap.1.abs()));
    eprintln!("{}: losses and gradients agree to {largest:e}", device::name(&other));
    // sums in another order; and Adam makes whole steps of gradients that are mere noise
    assert!(largest <= 1e-4, "{ours:?} {theirs:?}");
    for stopped in [2, 3, 4] {
        let again = out(&format!("from-{stopped}"));
        std::fs::create_dir(&again).unwrap();
        let from = checkpoint::path(&out("whole"), stopped);
        std::fs::copy(from, checkpoint::path(&again, stopped)).unwrap();
        assert!(run(&data, &again, &other) == whole, "after step {stopped}");
    }
}
