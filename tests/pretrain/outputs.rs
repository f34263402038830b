//! What a run leaves beside its checkpoints: averaged weights, scores of benchmarks, exports.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use cropmae::pretrain::record::{self, Entry};

use super::common::values;
use super::runs::{fail, losses, pictures, pretrain, refuse, results, succeed};

fn load(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// The measurements of a run by name, in order.
fn measures(out: &Path, wanted: &str) -> Vec<f64> {
    let entries = record::read(&out.join("log.jsonl")).unwrap();
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Measure(measure) if measure.name == wanted => Some(measure.value),
            _ => None,
        })
        .collect()
}

/// `propagate` with arguments, which must succeed; what it printed.
fn propagate(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_propagate"));
    let output = succeed(command.args(arguments));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn averaged_weights_are_kept_exported_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 8);
    let held_out = data.to_str().unwrap();
    let more = |epochs| {
        let average = "optimization.average_decay=0.5";
        vec!["--epochs", epochs, "--set", average, "--keep-last", "9", "--held-out", held_out]
    };
    let out = folder.path().join("straight");
    succeed(&mut pretrain(&data, &out, &[more("2"), vec!["--checkpoint-every", "1"]].concat()));
    let name = "blocks.0.attn.qkv.weight";
    let at = |steps| load(&out.join(format!("checkpoint-{steps:08}.safetensors")));
    let (third, fourth) = (at(3), at(4));
    let by_hand: Vec<f32> = values(&third[&format!("average.{name}")])
        .iter()
        .zip(values(&fourth[name]))
        .map(|(average, weight)| average * 0.5 + weight * 0.5)
        .collect();
    assert_eq!(values(&fourth[&format!("average.{name}")]), by_hand);
    let encoder = load(&out.join("encoder.safetensors"));
    assert_eq!(values(&encoder[name]), by_hand);
    assert_ne!(values(&fourth[name]), by_hand);
    assert_eq!(measures(&out, record::HELD_OUT).len(), 2);
    assert_eq!(measures(&out, record::HELD_OUT_AVERAGE).len(), 2);

    // back to the third step, in the middle of the second epoch
    let straight = results(&out, 4);
    std::fs::remove_file(out.join("checkpoint-00000004.safetensors")).unwrap();
    succeed(&mut pretrain(&data, &out, &[more("2"), vec!["--checkpoint-every", "1"]].concat()));
    assert_eq!(results(&out, 4), straight);
    let checkpoint = out.join("checkpoint-00000004.safetensors");
    let shown = propagate(&["check", "weights", checkpoint.to_str().unwrap()]);
    assert!(shown.contains("vit-32x2-2heads-p8"), "{shown}");
}

#[test]
fn benchmarks_along_the_way_say_what_propagate_says() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let sample = folder.path().join("sample");
    let place = sample.to_str().unwrap();
    propagate(&["sample", "--out", place, "--clips", "1", "--frames", "3", "--size", "48x80"]);
    let evals = ["davis", "vip", "jhmdb"].map(|name| format!("{name}={place}/{name}"));
    let mut more = vec!["--epochs", "3", "--eval-every", "2"];
    evals.iter().for_each(|eval| more.extend(["--eval", eval]));
    succeed(&mut pretrain(&data, &out, &more));
    let encoder = out.join("encoder.safetensors");
    for (benchmark, name, metric) in [
        ("davis", "davis J&F", "J&F-Mean"),
        ("vip", "vip mIoU", "mIoU"),
        ("jhmdb", "jhmdb PCK@0.1", "PCK@0.1"),
    ] {
        let logged = measures(&out, name);
        assert_eq!(logged.len(), 2, "after epochs 2 and 3");
        assert!(out.join("evaluation").join(benchmark).join("predictions").is_dir());
        let (root, again) = (sample.join(benchmark), folder.path().join(benchmark));
        let printed = propagate(&[
            benchmark,
            "--data",
            root.to_str().unwrap(),
            "--weights",
            encoder.to_str().unwrap(),
            "--out",
            again.to_str().unwrap(),
            "--device",
            "cpu",
            "--json",
            "--quiet",
        ]);
        let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let score = printed["metrics"][metric].as_f64().unwrap();
        assert_eq!(logged[1], 100.0 * score, "{benchmark}");
    }
    let error = fail(&mut pretrain(&data, &out, &["--eval", "davis=/nowhere/davis"]));
    assert!(error.contains("/nowhere/davis"), "{error}");
    let error = fail(&mut pretrain(&data, &out, &["--eval", "coco=x"]));
    assert!(error.contains("davis=ROOT") && error.contains("or sample"), "{error}");
}

#[test]
fn the_sample_is_rendered_where_propagate_does_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    // the poses, with large patches, because they are the quickest
    let sizes = ["--set", "encoder.patch=16", "--masking-ratio", "0.75"];
    let more = [&sizes[..], &["--epochs", "1", "--eval", "jhmdb=sample"]].concat();
    succeed(pretrain(&data, &out, &more).current_dir(folder.path()));
    let logged = measures(&out, "jhmdb PCK@0.1");
    let mut command = Command::new(env!("CARGO_BIN_EXE_propagate"));
    command.args(["jhmdb", "--data", "sample", "--device", "cpu", "--json", "--quiet"]);
    command.args(["--out", "again", "--weights", "out/encoder.safetensors"]);
    let printed = succeed(command.current_dir(folder.path())).stdout;
    let printed: serde_json::Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(logged, [100.0 * printed["metrics"]["PCK@0.1"].as_f64().unwrap()]);
    assert_eq!(printed["dataset"]["clips"], 6);
}

#[test]
fn a_broken_clip_is_named_and_left_out_of_the_score() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let place = folder.path().to_str().unwrap();
    let render = ["sample", "--benchmark", "davis", "--frames", "3", "--size", "48x80"];
    propagate(&[&render[..], &["--clips", "3", "--out", place]].concat());
    let davis = folder.path().join("davis");
    // one cannot be opened, one not be decoded
    std::fs::remove_file(davis.join("Annotations/480p/sample-01/00000.png")).unwrap();
    std::fs::write(davis.join("JPEGImages/480p/sample-02/00001.jpg"), "no picture").unwrap();
    let eval = format!("davis={}", davis.display());
    let more = ["--epochs", "2", "--eval-every", "1", "--eval", &eval];
    let output = succeed(&mut pretrain(&data, &out, &more));
    let said = String::from_utf8(output.stderr).unwrap();
    for clip in ["sample-01", "sample-02"] {
        let line = format!("davis J&F: left out {clip}: ");
        assert_eq!(said.matches(&line).count(), 1, "{said}");
    }
    let logged = measures(&out, "davis J&F");
    assert_eq!(logged.len(), 2);
    let alone = ["davis", "--data", davis.to_str().unwrap(), "--sequences", "sample-00"];
    let (encoder, again) = (out.join("encoder.safetensors"), folder.path().join("again"));
    let more = ["--weights", encoder.to_str().unwrap(), "--out", again.to_str().unwrap()];
    let rest = ["--device", "cpu", "--json", "--quiet"];
    let printed = propagate(&[&alone[..], &more, &rest].concat());
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(logged[1], 100.0 * printed["metrics"]["J&F-Mean"].as_f64().unwrap());
    // without a truth there will be no score, which is said before training
    for clip in ["sample-00", "sample-02"] {
        std::fs::remove_file(davis.join(format!("Annotations/480p/{clip}/00001.png"))).unwrap();
    }
    let unscored = folder.path().join("unscored");
    let error = fail(&mut pretrain(&data, &unscored, &["--epochs", "1", "--eval", &eval]));
    assert!(error.contains("no frame but the first of each clip has an annotation"), "{error}");
    std::fs::remove_dir_all(davis.join("Annotations/480p/sample-00")).unwrap();
    std::fs::remove_dir_all(davis.join("Annotations/480p/sample-02")).unwrap();
    let none = folder.path().join("none");
    let error = fail(&mut pretrain(&data, &none, &["--epochs", "1", "--eval", &eval]));
    assert!(error.contains("sample-0"), "no clip is whole: {error}");
}

#[test]
fn held_out_images_that_cannot_be_read_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let broken = |others: &Path| {
        for name in ["a.jpg", "b.jpg"] {
            std::fs::write(others.join(name), "no picture").unwrap();
        }
    };
    let others = tempfile::tempdir().unwrap();
    broken(others.path());
    let more = ["--epochs", "1", "--held-out", others.path().to_str().unwrap()];
    let error = fail(&mut pretrain(&data, &out, &more));
    assert!(error.contains(".jpg") && error.contains("neither a JPEG"), "{error}");
    broken(&pictures(others.path(), 8));
    let said = String::from_utf8(succeed(&mut pretrain(&data, &out, &more)).stderr).unwrap();
    assert!(said.contains("4 held-out images left out as unreadable; the first: "), "{said}");
    assert_eq!(measures(&out, "held-out loss").len(), 1);
}

#[test]
fn encoders_are_exported_from_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let more = ["--epochs", "1", "--set", "optimization.average_decay=0.9"];
    succeed(&mut pretrain(&data, &out, &more));
    let checkpoint = out.join("checkpoint-00000002.safetensors");
    let export = |name: &str, more: &[&str]| {
        let file = folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pretrain"));
        succeed(command.arg("export").arg(&checkpoint).arg("--out").arg(&file).args(more));
        file
    };
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    let whole = export("whole.safetensors", &["--average"]);
    let encoder = out.join("encoder.safetensors");
    assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&encoder).unwrap());
    let half = export("half.safetensors", &["--dtype", "f16"]);
    let share = size(&half) as f64 / size(&whole) as f64;
    assert!((0.5..0.6).contains(&share), "{share}"); // the header stays as it is
    let current = load(&checkpoint);
    for (name, tensor) in load(&half) {
        assert_eq!(values(&tensor.to_dtype(DType::F32).unwrap()), {
            let rounded = current[&name].to_dtype(DType::F16).unwrap();
            values(&rounded.to_dtype(DType::F32).unwrap())
        });
    }
    let shown = propagate(&["check", "weights", half.to_str().unwrap()]);
    assert!(shown.contains("vit-32x2-2heads-p8") && shown.contains("f16"), "{shown}");
    let plain = folder.path().join("plain");
    succeed(&mut pretrain(&data, &plain, &["--epochs", "1"]));
    assert_eq!(losses(&plain).len(), 2);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pretrain"));
    command.arg("export").arg(plain.join("checkpoint-00000002.safetensors"));
    let none = folder.path().join("no.safetensors");
    let error = fail(command.args(["--average", "--out"]).arg(none));
    assert!(error.contains("no averaged weights"), "{error}");
    let before = std::fs::read(&checkpoint).unwrap();
    for (from, to, said) in [
        (&checkpoint, &checkpoint, "which is not replaced"),
        (&checkpoint, &folder.path().join("e.pth"), "what is written is .safetensors"),
        (&encoder, &half, "is not a checkpoint of a training run"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pretrain"));
        let error = fail(command.arg("export").arg(from).arg("--out").arg(to));
        assert!(error.contains(said) && !error.contains("remove it"), "{error}");
    }
    assert_eq!(std::fs::read(&checkpoint).unwrap(), before);
}

#[test]
fn a_run_takes_no_folder_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 8);
    let error = fail(&mut pretrain(&data, &data, &["--epochs", "1"]));
    assert!(error.contains("is what this command reads"), "{error}");
    let error = fail(&mut pretrain(&data, &data.join("run"), &["--epochs", "1"]));
    assert!(error.contains("which this command reads"), "{error}");
    let mine = folder.path().join("mine");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("report.html"), "my own").unwrap();
    let error = refuse(&mut pretrain(&data, &mine, &["--epochs", "1"]));
    assert!(error.contains("report.html") && error.contains("no training run"), "{error}");
    assert_eq!(std::fs::read_dir(&mine).unwrap().count(), 1);
    // but what a start leaves that was killed at once is no other's
    let begun = folder.path().join("begun");
    std::fs::create_dir(&begun).unwrap();
    std::fs::write(begun.join("config.toml.partial"), "seed").unwrap();
    succeed(&mut pretrain(&data, &begun, &["--epochs", "1"]));
    for file in ["report.html", "report.html/out"] {
        let error = refuse(&mut pretrain(&data, &mine.join(file), &["--epochs", "1"]));
        assert!(
            error.contains("--out: ") && error.contains(&format!("{file} is a file")),
            "{error}"
        );
    }
}

/// `pretrain report` of a folder.
fn report(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pretrain"));
    command.arg("report").arg(folder);
    command
}

#[test]
fn a_run_leaves_a_page_that_loads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let more = ["--epochs", "3", "--pictures-every", "1", "--measure-every", "1"];
    let held_out = ["--held-out", data.to_str().unwrap()];
    succeed(&mut pretrain(&data, &out, &[&more[..], &held_out].concat()));
    let page = out.join("report.html");
    let html = std::fs::read_to_string(&page).unwrap();
    for part in [
        "3 of 3 epochs",
        "6 steps of 4 images",
        "Learning rate",
        "held-out loss",
        "epoch 3<",
        "encoder]",
        "pretrain --preset tiny",
        concat!("cropmae ", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(html.contains(part), "{part:?} is not in\n{html}");
    }
    let lines = html.split("<path ").skip(1);
    assert!(lines.filter(|line| line.contains("data-name=\"training\"")).count() == 1);
    let shown = 6 * (3 + 3); // samples, of three parts that stay the same and three epochs
    assert_eq!(html.matches("src=\"data:image/jpeg;base64,").count(), shown);
    assert_eq!(html.matches("src=").count(), shown);
    for outside in ["http:", "https:", "url(", "@import", "<iframe", "<object"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.len() < 1 << 20, "{} bytes", html.len());

    // made again, it is the same; of a folder without a run it is none
    std::fs::remove_file(&page).unwrap();
    let printed = succeed(&mut report(&out)).stdout;
    assert_eq!(String::from_utf8(printed).unwrap(), format!("{}\n", page.display()));
    assert_eq!(std::fs::read_to_string(&page).unwrap(), html);
    let error = fail(&mut report(&data));
    assert!(
        error.contains("config.toml is missing") && error.contains("pass the folder"),
        "{error}"
    );
    assert!(!data.join("report.html").exists());
    let error = fail(&mut report(&data.join("none")));
    assert!(error.contains("there is no such folder"), "{error}");
}

#[test]
fn sessions_of_a_run_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let more = ["--epochs", "2", "--checkpoint-every", "1", "--keep-last", "9"];
    succeed(&mut pretrain(&data, &out, &more));
    // back to the third of four steps; then a start that finds nothing to do
    std::fs::remove_file(out.join("checkpoint-00000004.safetensors")).unwrap();
    succeed(&mut pretrain(&data, &out, &[&more[..], &["--workers", "1"]].concat()));
    succeed(&mut pretrain(&data, &out, &more));
    let log = record::read(&out.join("log.jsonl")).unwrap();
    let sessions: Vec<(u64, bool)> = log
        .iter()
        .filter_map(Entry::session)
        .map(|session| (session.steps, session.command.contains("--workers 1")))
        .collect();
    assert_eq!(sessions, [(0, false), (3, true)]);
    assert_eq!(losses(&out).len(), 4);
    let html = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(html.contains("From step 4 on"), "{html}");
}
