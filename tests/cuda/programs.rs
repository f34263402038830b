//! The programs themselves on a GPU: several of them, one with too little memory, a training run.

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Device;
use cropmae::pretrain::record::{self, Entry};

use super::{other_device, rendered};

/// A program, which may lie elsewhere (benchmarks/gpu.sh moves it).
fn program(name: &str, built: &str) -> Command {
    let elsewhere = std::env::var_os(name.to_uppercase()).map(PathBuf::from);
    Command::new(elsewhere.unwrap_or_else(|| built.into()))
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `propagate davis` on small frames, with the predictions' bytes, file by file.
fn predictions(data: &Path, out: &Path, more: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    let mut command = program("propagate", env!("CARGO_BIN_EXE_propagate"));
    command.arg("davis").arg("--data").arg(data.join("davis")).arg("--out").arg(out);
    command.args(["--weights", "random:vitti16@0", "--size", "96x160", "--overlays", "none"]);
    // bytes that the emulated GPU has: enough for the weights and some frames; a real one does not ask
    command.args(more).env("EMULATED_MEMORY", "28000000");
    succeed(&mut command);
    let mut files = Vec::new();
    let mut folders = vec![out.join("predictions")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = std::fs::read(&path).unwrap();
                    files.push((path.strip_prefix(out).unwrap().to_owned(), bytes));
                }
            }
        }
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn several_gpus_and_batches_that_do_not_fit_change_no_prediction() {
    if matches!(other_device(), Device::Cpu) {
        return eprintln!("skipped: tests/cli does the same on the CPU");
    }
    let (folder, out) = (rendered(2, 6), tempfile::tempdir().unwrap());
    let run = |name: &str, more: &[&str]| predictions(folder.path(), &out.path().join(name), more);
    let one = run("one", &["--device", "cuda:0", "--batch", "1"]);
    // as many frames at once as the memory has room for
    let large = run("large", &["--device", "cuda:0", "--batch", "auto"]);
    assert!(one == large, "the batch changed a prediction");
    let both = match cropmae::device::open(cropmae::device::Choice::Cuda(1)) {
        Ok(_) => "cuda:0,cuda:1",
        Err(_) => "cuda:0,cuda:0",
    };
    let several = run("several", &["--device", both, "--clips-at-once", "2", "--batch", "1"]);
    assert!(one == several, "the device changed a prediction");
}

/// Losses of a short run of CropMAE.
fn losses(data: &Path, out: &Path, device: &str) -> Vec<f64> {
    let mut command = program("pretrain", env!("CARGO_BIN_EXE_pretrain"));
    command.args(["--preset", "tiny", "--quiet", "--threads", "2", "--device", device]);
    command.arg("--data").arg(data.join("davis/JPEGImages")).arg("--out").arg(out);
    for setting in [
        "encoder.width=48",
        "encoder.depth=2",
        "encoder.heads=3",
        "decoder.width=32",
        "decoder.heads=2",
        "decoder.hidden=64",
        "decoder.dropout=0.1",
        "views.size=64",
        "masking_ratio=0.8",
        "optimization.batch_size=4",
        "epochs=2",
        "optimization.warmup_epochs=0",
    ] {
        command.args(["--set", setting]);
    }
    succeed(&mut command);
    let entries = record::read(&record::path(out)).unwrap().into_iter();
    entries
        .filter_map(|entry| if let Entry::Step(step) = entry { Some(step.loss) } else { None })
        .collect()
}

#[test]
fn a_training_run_goes_as_on_the_cpu() {
    if matches!(other_device(), Device::Cpu) {
        return eprintln!("skipped: nothing to compare the CPU with");
    }
    let (folder, out) = (rendered(2, 8), tempfile::tempdir().unwrap());
    let run = |name: &str, device: &str| losses(folder.path(), &out.path().join(name), device);
    let (ours, theirs) = (run("cpu", "cpu"), run("gpu", "cuda:0"));
    assert_eq!(ours.len(), 8);
    for (step, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        // sums in another order; where a gradient is near 0, Adam makes a step of its noise
        assert!((ours - theirs).abs() <= 1e-4 * ours, "step {step}: {ours} {theirs}");
    }
}
