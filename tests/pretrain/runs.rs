//! Whole runs of the program `pretrain` on small drawn pictures: it learns, it stops and goes on,
//! it refuses what it should.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cropmae::files::Occupied;
use cropmae::pretrain::record::{self, Entry};

/// Pictures of coloured waves, no two alike.
pub(super) fn pictures(folder: &Path, count: u32) -> PathBuf {
    let root = folder.join("pictures");
    std::fs::create_dir_all(root.join("deep/er")).unwrap();
    for number in 0..count {
        let picture = image::RgbImage::from_fn(48, 40, |x, y| {
            let wave = |phase: f32| {
                let (x, y, n) = (x as f32, y as f32, number as f32);
                (127.0 + 120.0 * (x * (0.1 + n * 0.01) + y * 0.13 * (n % 3.0) + phase + n).sin())
                    as u8
            };
            image::Rgb([wave(0.0), wave(1.0), wave(2.5)])
        });
        let name =
            if number % 2 == 0 { format!("{number}.png") } else { format!("deep/er/{number}.PNG") };
        picture.save_with_format(root.join(name), image::ImageFormat::Png).unwrap();
    }
    root
}

/// `pretrain` of a network of a few thousand parameters.
pub(super) fn pretrain(data: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pretrain"));
    command.args(["--preset", "tiny", "--device", "cpu", "--quiet", "--threads", "2"]);
    command.arg("--data").arg(data).arg("--out").arg(out);
    for setting in [
        "encoder.width=32",
        "encoder.depth=2",
        "encoder.heads=2",
        "encoder.patch=8",
        "decoder.width=16",
        "decoder.heads=2",
        "decoder.hidden=32",
        "decoder.dropout=0.1",
        "views.size=32",
        "masking_ratio=0.8",
        "optimization.batch_size=4",
    ] {
        command.args(["--set", setting]);
    }
    command.args(more);
    command
}

pub(super) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

pub(super) fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// What is said of settings that make no sense.
pub(super) fn refuse(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

pub(super) fn losses(out: &Path) -> Vec<f64> {
    let entries = record::read(&out.join("log.jsonl")).unwrap();
    entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Step(step) => Some(step.loss),
            _ => None,
        })
        .collect()
}

/// The weights, optimiser and place of the newest checkpoint, and the encoder.
pub(super) fn results(out: &Path, steps: u64) -> (Vec<u8>, Vec<u8>) {
    let read = |name: &str| std::fs::read(out.join(name)).unwrap();
    (read(&format!("checkpoint-{steps:08}.safetensors")), read("encoder.safetensors"))
}

#[test]
fn learns_the_same_every_time_by_every_method() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 12);
    for method in ["cropmae", "mae"] {
        let out = |name: &str| folder.path().join(format!("{method}-{name}"));
        for (name, workers, keep) in [("one", "1", "1024"), ("three", "3", "0")] {
            let more = ["--epochs", "60", "--method", method, "--workers", workers];
            let more = [&more[..], &["--keep-decoded", keep, "--set"]].concat();
            let more =
                [more.as_slice(), &["normalize_target=false", "--base-learning-rate", "0.2"]]
                    .concat();
            succeed(&mut pretrain(&data, &out(name), &more));
        }
        let losses = losses(&out("one"));
        assert_eq!(losses.len(), 180);
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (first, last) = (mean(&losses[..18]), mean(&losses[162..]));
        assert!(last < 0.9 * first, "{method}: from {first} to {last}");
        assert_eq!(results(&out("one"), 180), results(&out("three"), 180));
    }
}

#[test]
fn killed_ten_times_it_ends_where_the_straight_run_does() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 13); // no multiple of the batch: a sample is left over
    std::fs::write(data.join("broken.png"), b"not a picture").unwrap();
    let more = ["--epochs", "120", "--checkpoint-every", "2", "--set"];
    let settings = ["optimization.micro_batch=3", "--set", "reading.max_unreadable=0.1"];
    let more = [&more[..], &settings].concat();
    let (straight, killed) = (folder.path().join("straight"), folder.path().join("killed"));
    succeed(&mut pretrain(&data, &straight, &more));
    let mut interrupted = 0;
    for round in 0..10_u64 {
        let mut child = pretrain(&data, &killed, &more).spawn().unwrap();
        // moments all over the run: while starting, stepping, writing
        std::thread::sleep(Duration::from_millis(20 + round * 7919 % 311));
        child.kill().unwrap(); // SIGKILL on Unix
        interrupted += usize::from(!child.wait().unwrap().success());
    }
    assert!(interrupted >= 5, "the run is too short to be killed: {interrupted}");
    succeed(&mut pretrain(&data, &killed, &more));
    assert_eq!(results(&killed, 360), results(&straight, 360));
    assert_eq!(losses(&killed), losses(&straight));
    let unreadable = |out: &Path| std::fs::read_to_string(out.join("unreadable.txt")).unwrap();
    assert_eq!(unreadable(&killed), unreadable(&straight));
    assert_eq!(unreadable(&straight).lines().count(), 120);
}

/// A log that is no longer read (`2>&1 | head`) stops no run.
#[test]
fn nobody_reads_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 4), folder.path().join("out"));
    let mut loud = Command::new(env!("CARGO_BIN_EXE_pretrain"));
    let quiet = pretrain(&data, &out, &["--epochs", "20"]);
    loud.args(quiet.get_args().filter(|word| *word != "--quiet"));
    let mut child = loud.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(losses(&out).len(), 20);
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 4), folder.path().join("out"));
    std::fs::create_dir(&out).unwrap();
    let other = Occupied::take(&out).unwrap();
    let error = fail(&mut pretrain(&data, &out, &["--epochs", "2"]));
    assert!(error.contains("another run is using this folder"), "{error}");
    assert!(!out.join("config.toml").exists());
    drop(other);
    succeed(&mut pretrain(&data, &out, &["--epochs", "2"]));
    assert!(!out.join(Occupied::NAME).exists());
}

#[test]
fn checkpoints_come_every_so_many_epochs_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 12); // three steps an epoch
    let out = folder.path().join("out");
    let more = ["--epochs", "5", "--save-every", "2", "--keep-last", "9", "--set"];
    succeed(&mut pretrain(&data, &out, &[&more[..], &["optimization.warmup_epochs=1"]].concat()));
    let names = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("checkpoint"));
    names.sort();
    let wanted = [6, 12, 15].map(|steps| format!("checkpoint-{steps:08}.safetensors"));
    assert_eq!(names, wanted);
}

#[test]
fn a_dry_run_checks_and_says_what_a_run_would_do_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 9), folder.path().join("out"));
    let said = |more: &[&str]| {
        let mut command = pretrain(&data, &out, &[more, &["--dry-run"]].concat());
        let output = succeed(command.current_dir(folder.path()));
        String::from_utf8(output.stdout).unwrap()
    };
    let plan = said(&["--epochs", "3", "--eval", "sample"]);
    let line = plan.lines().next().unwrap();
    assert!(line.starts_with("cropmae vit-32x2-2heads-p8, "), "{line}");
    assert!(line.contains(": 9 images, 2 steps of 4 an epoch, 3 epochs, into "), "{line}");
    assert!(plan.contains("\nstarts from the beginning\n"), "{plan}");
    assert!(!out.exists() && !folder.path().join("runs").exists(), "no sample is rendered");
    let dry = |more: &[&str]| fail(&mut pretrain(&data, &out, &[more, &["--dry-run"]].concat()));
    assert!(dry(&["--batch-size", "10"]).contains("9 samples: pass --batch-size 9 or less"));
    assert!(dry(&["--eval", "davis=nowhere"]).contains("nowhere"));
    assert!(dry(&["--held-out", "nowhere"]).contains("nowhere"));
    assert!(!out.exists());

    let loud = |more: &[&str]| {
        let quiet = pretrain(&data, &out, more);
        let arguments: Vec<_> = quiet.get_args().filter(|it| *it != "--quiet").collect();
        let output = succeed(Command::new(env!("CARGO_BIN_EXE_pretrain")).args(arguments));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (path, told) = loud(&["--epochs", "1"]);
    assert_eq!(path, format!("{}\n", out.join("encoder.safetensors").display()));
    assert!(told.contains(": 9 images, 2 steps of 4 an epoch, 1 epoch, into "), "{told}");
    assert!(told.contains(&format!("report: {}", out.join("report.html").display())), "{told}");
    let before = std::fs::read(out.join("log.jsonl")).unwrap();
    assert!(said(&["--epochs", "1"]).contains("\nnothing is left to do\n"));
    assert!(dry(&["--epochs", "2"]).contains("was trained with epochs = 1, not 2"));
    assert_eq!(std::fs::read(out.join("log.jsonl")).unwrap(), before);
}

#[test]
fn goes_on_only_with_the_same_settings_and_data() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    succeed(&mut pretrain(&data, &out, &["--epochs", "2"]));
    let error = fail(&mut pretrain(&data, &out, &["--epochs", "3"]));
    assert!(error.contains("was trained with epochs = 2, not 3; optimization.warmup"), "{error}");
    let newest = out.join("checkpoint-00000004.safetensors");
    let longer = format!("--init {} with another folder for --out", newest.display());
    assert!(error.contains(&longer), "{error}");
    // how many samples may be unreadable changes no result; the folder's file is of the present
    // command
    std::fs::remove_file(out.join("encoder.safetensors")).unwrap();
    std::fs::write(out.join("config.toml"), "bad = [").unwrap();
    let more = ["--epochs", "2", "--set", "reading.max_unreadable=0.5"];
    succeed(&mut pretrain(&data, &out, &more));
    let written = std::fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(written.contains("max_unreadable = 0.5"), "{written}");
    std::fs::remove_file(data.join("0.png")).unwrap();
    let error = fail(&mut pretrain(&data, &out, &["--epochs", "2"]));
    assert!(error.contains("other data"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let more = ["--epochs", "40", "--base-learning-rate", "1e9", "--checkpoint-every", "1"];
    let error = fail(&mut pretrain(&data, &out, &more));
    assert!(error.contains("a lower learning rate"), "{error}");
    let weights =
        candle_core::safetensors::load(out.join("encoder.safetensors"), &candle_core::Device::Cpu);
    for (name, tensor) in weights.unwrap() {
        let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        assert!(values.iter().all(|value| value.is_finite()), "{name}");
    }
}

#[test]
fn pictures_that_cannot_be_read_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 12), folder.path().join("out"));
    std::fs::write(data.join("broken.jpg"), b"not a picture").unwrap();
    let error = fail(&mut pretrain(&data, &out, &["--epochs", "2"]));
    assert!(error.contains("1 of the 13 of an epoch so far, more than the 0 allowed"), "{error}");
    assert!(error.contains("broken.jpg"), "{error}");
    // what it says to do, in the same folder
    let told = "the same command with --set reading.max_unreadable=0.2 continues";
    assert!(error.contains(told), "{error}");
    let more = ["--epochs", "2", "--set", "reading.max_unreadable=0.2"];
    succeed(&mut pretrain(&data, &out, &more));
    let named = std::fs::read_to_string(out.join("unreadable.txt")).unwrap();
    assert_eq!(named.lines().filter(|line| line.contains("broken.jpg")).count(), 2, "{named}");
}

#[test]
fn what_comes_out_is_an_encoder_that_propagate_takes() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    succeed(&mut pretrain(&data, &out, &["--epochs", "1"]));
    for name in ["encoder.safetensors", "checkpoint-00000002.safetensors"] {
        let check = Command::new(env!("CARGO_BIN_EXE_propagate"))
            .args(["check", "weights"])
            .arg(out.join(name))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(check.status.success(), "{text}{}", String::from_utf8_lossy(&check.stderr));
        assert!(text.contains("vit-32x2-2heads-p8"), "{text}");
    }
}

#[test]
fn a_run_can_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 12);
    let size = |picture: &Path| image::image_dimensions(picture).unwrap();
    for (name, more, columns) in [
        ("cropmae", &["--held-out", data.to_str().unwrap()][..], 4),
        ("mae", &["--method", "mae"], 3), // of training samples
    ] {
        let out = folder.path().join(name);
        let more = [more, &["--epochs", "5", "--pictures-every", "2"]].concat();
        succeed(&mut pretrain(&data, &out, &more));
        let mut drawn: Vec<_> = std::fs::read_dir(out.join("pictures"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        drawn.sort();
        let epochs = ["0001", "0002", "0004", "0005"].map(|epoch| format!("epoch-{epoch}.png"));
        assert_eq!(drawn, epochs);
        let grid = size(&out.join("pictures/epoch-0005.png"));
        assert_eq!(grid, (columns * 36 - 4, 8 * 36 - 4), "32 pixels a view, 4 between them");
        let curve = std::fs::read_to_string(out.join("loss.svg")).unwrap();
        assert!(curve.contains("training loss") && curve.ends_with("</svg>\n"));
        assert_eq!(curve.contains("held-out loss"), name == "cropmae");
        let events = std::fs::read_dir(&out).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("events.out.tfevents.")
        });
        assert_eq!(events.count(), 1);
    }
    let out = folder.path().join("blind");
    succeed(&mut pretrain(&data, &out, &["--epochs", "1", "--pictures-every", "0"]));
    assert!(!out.join("pictures").exists());
}

#[test]
fn mistakes_in_the_command_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path(), 3);
    let out = folder.path().join("out");
    let error = fail(&mut pretrain(&data, &out, &[]));
    assert!(error.contains("3 samples: pass --batch-size 3 or less"), "{error}");
    let data = pictures(folder.path(), 4);
    for (more, part) in [
        (vec!["--set", "views.flop=1"], "there is no setting views.flop; did you mean views.flip?"),
        (vec!["--set", "zebra=1"], "there is no setting zebra; --show-config lists all"),
        (
            vec!["--set", "masking_ratio"],
            "error: --set: masking_ratio has no value; write masking_ratio=0.8",
        ),
        (vec!["--set", "epochs=many"], "epochs needs a whole number, not \"many\""),
        (vec!["--set", "encoder.heads=5"], "encoder.heads (5)"),
        (vec!["--masking-ratio", "0.99"], "masking_ratio: "),
        (vec!["--config", "nowhere.toml"], "nowhere.toml"),
        (vec!["--arch", "resnet50"], "resnet50"),
        (vec!["--eval", "davis=a", "--eval", "davis=b"], "davis is given twice, with a and with b"),
        (vec!["--eval", "sample", "--eval", "vip=b"], "vip is given twice"),
        (vec!["--set", "views.size=160000"], "views.size: is 160000: it must be at most 32768"),
    ] {
        let error = fail(&mut pretrain(&data, &out, &more));
        assert!(error.contains(part), "{more:?}: {error}");
    }
    let error = fail(&mut pretrain(&folder.path().join("nothing"), &out, &[]));
    assert!(error.contains("nothing"), "{error}");
    let many = refuse(&mut pretrain(&data, &out, &["--epochs", "many"]));
    assert!(many.contains("'many' for '--epochs <N>': a whole number from 1 is needed"), "{many}");
    match cropmae::device::available_memory() {
        // some 350 GB
        Some(free) if free < 300 << 30 => {
            let error = refuse(&mut pretrain(&data, &out, &["--set", "views.size=32768"]));
            assert!(error.contains("views of 32768x32768 pixels need at least "), "{error}");
        }
        _ => eprintln!("skipped: this machine has the memory, or does not tell"),
    }
    assert!(!out.join("config.toml").exists());
    let shown = succeed(Command::new(env!("CARGO_BIN_EXE_pretrain")).args([
        "--preset",
        "siammae-k400",
        "--set",
        "views.flip=0",
        "--show-config",
    ]));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("method = \"siammae\"") && shown.contains("flip = 0.0"), "{shown}");
}
