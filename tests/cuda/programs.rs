//! The program `propagate` on a GPU, on several, and on one with little memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::Device;
use cropmae::device::{self, Choice, Precision};

use super::{other_device, rendered};

/// A program; benchmarks/gpu.sh runs these tests where `propagate` lies elsewhere.
fn program(name: &str) -> Command {
    match (name, std::env::var_os("PROPAGATE")) {
        ("propagate", Some(elsewhere)) => Command::new(elsewhere),
        ("propagate", None) => Command::new(env!("CARGO_BIN_EXE_propagate")),
        _ => Command::new(env!("CARGO_BIN_EXE_pretrain")),
    }
}

/// `propagate davis` on small frames, with what it says and the predictions' bytes, file by file.
fn predictions(
    data: &Path,
    out: &Path,
    more: &[&str],
    environment: &[(&str, &str)],
) -> (String, Vec<(PathBuf, Vec<u8>)>) {
    let mut command = program("propagate");
    command.arg("davis").arg("--data").arg(data.join("davis")).arg("--out").arg(out);
    command.args(["--weights", "random:vitti16@0", "--size", "96x160", "--overlays", "none"]);
    command.args(more).envs(environment.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let mut files = Vec::new();
    let mut folders = vec![out.join("predictions")];
    folders.extend(Some(out.join("soft_labels")).filter(|folder| folder.is_dir()));
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
    (said, files)
}

#[test]
fn several_gpus_and_batches_that_do_not_fit_change_no_prediction() {
    if matches!(other_device(), Device::Cpu) {
        return eprintln!("skipped: tests/cli does the same on the CPU");
    }
    let (folder, out) = (rendered(2, 6), tempfile::tempdir().unwrap());
    // bytes that the emulated GPU has: enough for the weights and some frames; a real one does not
    // ask
    let little = [("EMULATED_MEMORY", "28000000")];
    let run = |name: &str, more: &[&str]| {
        predictions(folder.path(), &out.path().join(name), more, &little).1
    };
    let soft = ["--batch", "1", "--save-soft-labels", "--device"];
    let one = run("one", &[&soft[..], &["cuda:0"]].concat());
    // as many frames at once as the memory has room for
    let large = run("large", &["--device", "cuda:0", "--batch", "auto"]);
    let masks = one.iter().filter(|(path, _)| path.starts_with("predictions"));
    assert!(masks.eq(&large), "the batch changed a prediction");
    let second = Choice::Cuda(1);
    let both = match device::open(second, Precision::F32, &|_| {}) {
        Ok(_) => "cuda:0,cuda:1",
        Err(_) => "cuda:0,cuda:0",
    };
    for devices in [both, "cuda:0"] {
        let several = run(devices, &[&soft[..], &[devices, "--clips-at-once", "2"]].concat());
        assert!(one == several, "{devices}: clips side by side changed a label");
    }
}

/// The emulated GPU can be told that a kernel does nothing; a real one is hoped to be whole.
#[test]
fn kernels_that_fail_their_trial_are_not_used() {
    if std::env::var_os("EMULATED").is_none() {
        return eprintln!("skipped: no GPU here is broken");
    }
    let (folder, out) = (rendered(1, 5), tempfile::tempdir().unwrap());
    let run = |name: &str, more: &[&str], environment: &[(&str, &str)]| {
        let on = ["--device", "cuda:0", "--batch", "1"];
        let arguments: Vec<&str> = on.iter().chain(more).copied().collect();
        predictions(folder.path(), &out.path().join(name), &arguments, environment)
    };
    let (said, whole) = run("whole", &[], &[]);
    assert!(!said.contains("failed"), "{said}");
    let (_, by_operations) = run("operations", &["--encoder", "tensor"], &[]);
    for (kernel, wanted, named) in [
        ("attention", &by_operations, "for the encoder"),
        ("bias_gelu", &by_operations, "for the encoder"),
        ("affinity_search", &whole, "for the affinity"),
        ("affinity_mix", &whole, "for the affinity"),
    ] {
        let (said, found) = run(kernel, &[], &[("EMULATED_FAULT", kernel)]);
        assert!(said.contains(&format!("{named} failed")), "{kernel}: {said}");
        assert!(found == *wanted, "{kernel}: other predictions");
    }
}

#[test]
fn no_run_trains_on_a_gpu_that_fails_its_trial() {
    if std::env::var_os("EMULATED").is_none() {
        return eprintln!("skipped: no GPU here is broken");
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("pictures"), folder.path().join("run"));
    std::fs::create_dir(&data).unwrap();
    crate::runs::pictures(&data);
    for (kernel, dtype) in
        [("patch_errors_backward", "f32"), ("adamw", "f32"), ("attention", "bf16")]
    {
        let mut command = program("pretrain");
        command.args(["--preset", "tiny", "--device", "cuda:0", "--dtype", dtype]);
        command.args(["--set", "views.size=32", "--set", "masking_ratio=0.5"]);
        command.args(["--set", "optimization.batch_size=4"]);
        command.arg("--data").arg(&data).arg("--out").arg(&out).env("EMULATED_FAULT", kernel);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("failed its trial"), "{kernel}: {said}");
    }
}
