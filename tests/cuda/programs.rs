//! The program `propagate` on a GPU, on several, and on one with little memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Device;

use super::{other_device, rendered};

/// `propagate davis` on small frames, with the predictions' bytes, file by file.
fn predictions(data: &Path, out: &Path, more: &[&str]) -> Vec<(PathBuf, Vec<u8>)> {
    // benchmarks/gpu.sh runs this where the program lies elsewhere
    let elsewhere = std::env::var_os("PROPAGATE");
    let built = || env!("CARGO_BIN_EXE_propagate").into();
    let mut command = Command::new(elsewhere.unwrap_or_else(built));
    command.arg("davis").arg("--data").arg(data.join("davis")).arg("--out").arg(out);
    command.args(["--weights", "random:vitti16@0", "--size", "96x160", "--overlays", "none"]);
    // bytes that the emulated GPU has: enough for the weights and some frames; a real one does not
    // ask
    command.args(more).env("EMULATED_MEMORY", "28000000");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
