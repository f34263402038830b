//! Runs that begin with a checkpoint: an encoder, a whole network, or a run of the reference's
//! program with its optimiser (golden/training.pth, written by golden/make_training.py).

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use cropmae::pretrain::config::Preset;
use cropmae::pretrain::start::Start;
use cropmae::pretrain::{Config, checkpoint};

use super::common::values;
use super::runs::{fail, losses, pictures, pretrain, succeed};

/// The sizes of golden/training.pth.
const SIZES: [&str; 10] = [
    "encoder.width=8",
    "encoder.depth=1",
    "encoder.heads=2",
    "encoder.patch=4",
    "decoder.width=8",
    "decoder.depth=1",
    "decoder.heads=2",
    "decoder.hidden=16",
    "views.size=8",
    "masking_ratio=0.5",
];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/training.pth")
}

fn config() -> Config {
    let tiny = Preset::Tiny.config();
    SIZES.iter().fold(tiny, |config, setting| config.with_setting(setting).unwrap())
}

/// The flags of [`SIZES`], and more.
fn sized<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SIZES.iter().flat_map(|setting| ["--set", setting]).chain(more.iter().copied()).collect()
}

/// As `slope` in make_training.py.
fn slope(name: &str) -> f32 {
    let sum: usize = name.bytes().zip(1..).map(|(byte, place)| usize::from(byte) * place).sum();
    (sum % 61 + 1) as f32 / 64.0
}

#[test]
fn the_references_moments_find_their_parameters() {
    let (start, notices) = Start::after_reference(&golden(), &config()).unwrap();
    assert_eq!((start.place.epoch, start.place.steps), (2, 2));
    assert!(notices[0].contains("after 2 epochs and 2 steps"), "{notices:?}");
    let mut seen = 0;
    for (name, tensor) in &start.tensors {
        let Some(parameter) = name.strip_prefix("optimizer.") else { continue };
        // two steps of a gradient g: (1 - 0.9^2) g and (1 - 0.95^2) g^2
        let (parameter, wanted) = match parameter.strip_suffix(".mean") {
            Some(parameter) => (parameter, 0.19 * slope(parameter)),
            None => {
                let parameter = parameter.strip_suffix(".square").unwrap();
                (parameter, 0.0975 * slope(parameter).powi(2))
            }
        };
        assert_eq!(start.tensors[parameter].dims(), tensor.dims(), "{name}");
        for value in values(tensor) {
            assert!((value - wanted).abs() < 1e-6, "{name}: {value}, not {wanted}");
        }
        seen += 1;
    }
    assert_eq!(seen, 2 * 42, "42 parameters");
}

#[test]
fn a_run_of_the_reference_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let file = golden();
    let resume = ["--resume", file.to_str().unwrap()];
    let more = sized(&[resume.as_slice(), &["--epochs", "4", "--keep-last", "9"]].concat());
    succeed(&mut pretrain(&data, &out, &more));
    assert_eq!(losses(&out).len(), 4, "two of four epochs are left");
    let (state, tensors) = checkpoint::load(&checkpoint::path(&out, 6)).unwrap();
    assert_eq!((state.place.epoch, state.place.steps), (4, 6));
    assert!(tensors.contains_key("optimizer.mask_token.mean"));
    // the same again has nothing left to do
    succeed(&mut pretrain(&data, &out, &more));
    assert_eq!(losses(&out).len(), 4);
    let over = sized(&[resume.as_slice(), &["--epochs", "2"]].concat());
    let error = fail(&mut pretrain(&data, &folder.path().join("over"), &over));
    assert!(error.contains("has done 2 epochs"), "{error}");
    let other = ["--set", "decoder.hidden=32"];
    let other = sized(&[resume.as_slice(), &other].concat());
    let error = fail(&mut pretrain(&data, &folder.path().join("other"), &other));
    assert!(error.contains("of this shape"), "{error}");
}

/// Who would have it go on is told how: with no flag at all.
#[test]
fn a_run_of_ours_is_not_resumed_by_a_flag() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    succeed(&mut pretrain(&data, &out, &["--epochs", "1"]));
    let ours = checkpoint::path(&out, 2);
    let next = folder.path().join("next");
    let error = fail(&mut pretrain(&data, &next, &["--resume", ours.to_str().unwrap()]));
    for part in [
        "checkpoint-00000002.safetensors: is of this program, whose runs continue by themselves",
        "give the command of its run again, or begin a new run with its weights: --init",
    ] {
        assert!(error.contains(part), "{part:?} is not in {error}");
    }
    assert!(!next.exists());
}

#[test]
fn a_learnt_position_table_is_not_taken_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (fixed, learnt) = (folder.path().join("fixed.st"), folder.path().join("learnt.st"));
    let (Start { mut tensors, .. }, _) = Start::with_weights(&golden(), &config()).unwrap();
    candle_core::safetensors::save(&tensors, &fixed).unwrap();
    let table = tensors["pos_embed"].clone();
    tensors.insert("pos_embed".into(), (&table + 0.1).unwrap());
    candle_core::safetensors::save(&tensors, &learnt).unwrap();
    let (_, notices) = Start::with_weights(&fixed, &config()).unwrap();
    assert_eq!(notices.len(), 1, "{notices:?}");
    let (start, notices) = Start::with_weights(&learnt, &config()).unwrap();
    assert!(notices[1].contains("learnt.st: its position table was learnt"), "{notices:?}");
    assert_eq!(values(&start.tensors["pos_embed"]), values(&table));
}

#[test]
fn an_encoder_with_parts_that_training_has_not_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let scaled = folder.path().join("scaled.st");
    let (Start { mut tensors, .. }, _) = Start::with_weights(&golden(), &config()).unwrap();
    for name in ["blocks.0.ls1.gamma", "blocks.0.ls2.gamma"] {
        tensors.insert(name.into(), Tensor::full(0.5_f32, 8, &Device::Cpu).unwrap());
    }
    candle_core::safetensors::save(&tensors, &scaled).unwrap();
    let error = Start::with_weights(&scaled, &config()).unwrap_err().to_string();
    assert!(error.contains("scaled.st: has blocks.0.ls1.gamma, which"), "{error}");
}

#[test]
fn weights_of_any_checkpoint_begin_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("first"));
    succeed(&mut pretrain(&data, &out, &["--epochs", "1"]));
    let load = |path: &Path| candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let first = load(&out.join("checkpoint-00000002.safetensors"));
    for (file, whole) in [("checkpoint-00000002", true), ("encoder", false)] {
        let init = out.join(format!("{file}.safetensors"));
        let next = folder.path().join(file);
        // a learning rate of next to nothing leaves what the run began with
        let still = ["--epochs", "1", "--base-learning-rate", "1e-20", "--init"];
        let mut command = pretrain(&data, &next, &[&still[..], &[init.to_str().unwrap()]].concat());
        succeed(&mut command);
        let second = load(&next.join("checkpoint-00000002.safetensors"));
        let same = |name: &str| values(&first[name]) == values(&second[name]);
        assert!(same("blocks.1.mlp.fc1.weight") && same("cls_token"), "{file}");
        assert_eq!(same("decoder_pred.weight"), whole, "{file}");
    }
    let (_, notices) = Start::with_weights(&golden(), &config()).unwrap();
    assert!(notices[0].contains("encoder and decoder taken"), "{notices:?}");
    let wider = config().with_setting("decoder.hidden=32").unwrap();
    let (_, notices) = Start::with_weights(&golden(), &wider).unwrap();
    let notice = &notices[0];
    assert!(notice.contains("22 of 25 decoder tensors") && notice.contains("linear1"), "{notice}");
    let other = folder.path().join("other");
    let error = fail(&mut pretrain(&data, &other, &["--init", golden().to_str().unwrap()]));
    assert!(error.contains("and the run is of"), "{error}");
}

#[test]
fn a_run_that_diverged_names_what_a_new_one_can_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    // a step or two make the weights so large that f32 cannot hold the loss
    let rate = ["--epochs", "9", "--base-learning-rate", "1e28"];
    let error = fail(&mut pretrain(&data, &out, &[&rate[..], &["--save-every", "9"]].concat()));
    assert!(error.contains("in another folder for --out, with a lower learning rate"), "{error}");
    assert!(!error.contains("--init"), "there is no checkpoint yet: {error}");
    let error = fail(&mut pretrain(&data, &out, &rate));
    let init = error.split_once("--init ").unwrap().1.split_once(" begins").unwrap().0;
    assert_eq!(Path::new(init).parent(), Some(out.as_path()));
    let (state, _) = checkpoint::load(Path::new(init)).unwrap();
    let (_, notices) = Start::with_weights(Path::new(init), &state.config).unwrap();
    assert!(notices[0].contains("encoder and decoder taken"), "{notices:?}");
}
