//! Checkpoints that cannot be used: refused by name with a remedy, before anything is written.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::place::{Place, assert_same};

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

/// A file of these tensors.
fn file_of(tensors: &HashMap<String, Tensor>) -> Vec<u8> {
    safetensors::serialize(tensors, None).unwrap()
}

fn golden_tensors() -> HashMap<String, Tensor> {
    candle_core::safetensors::load_buffer(&golden("mae.safetensors"), &Device::Cpu).unwrap()
}

/// What the state dict of a ResNet begins like.
pub(crate) fn resnet() -> Vec<u8> {
    let shapes: [(&str, &[usize]); 6] = [
        ("conv1.weight", &[8, 3, 7, 7]),
        ("bn1.running_mean", &[8]),
        ("layer1.0.conv1.weight", &[8, 8, 3, 3]),
        ("layer1.0.bn1.weight", &[8]),
        ("layer4.0.conv1.weight", &[8, 8, 3, 3]),
        ("fc.weight", &[10, 8]),
    ];
    let tensor = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    file_of(&shapes.iter().map(|(name, shape)| ((*name).to_owned(), tensor(shape))).collect())
}

/// Runs with `bytes` as the checkpoint into a folder that holds an earlier result of good weights.
fn refused(name: &str, bytes: &[u8], more: &str, words: &[&str]) {
    let place = Place::with(&["davis"]);
    place.write("good.safetensors", golden("mae.safetensors"));
    let line =
        |weights: &str| format!("davis --data davis --size 16x24 --out out --weights {weights}");
    place.run(&line("good.safetensors")).exits(0);
    let before = place.files("out");
    place.write(name, bytes);
    let words = [&[name], words].concat();
    place.run(&format!("{} {more}", line(name))).exits(1).refuses(&words);
    assert_same(&place.files("out"), &before, "an earlier result was changed");
    let other = format!("davis --data davis --size 16x24 --out new --weights {name} {more}");
    place.run(&other).exits(1).refuses(&words);
    assert!(!place.path("new").exists(), "a folder was made for nothing");
}

#[test]
fn other_architectures() {
    let mae = golden("mae.safetensors");
    refused("mae.safetensors", &mae, "--arch vits16", &["vits16", "--arch"]);
    refused("mae.safetensors", &mae, "--patch-size 16", &["--patch-size"]);
    refused("resnet.safetensors", &resnet(), "", &["ResNet", "ViT"]);
}

#[test]
fn cut_short() {
    let (tensors, pickle) = (golden("mae.safetensors"), golden("mae.pth"));
    refused("cut.safetensors", &tensors[..tensors.len() / 2], "", &["cut short", "again"]);
    refused("cut.safetensors", &tensors[..40], "", &["again"]);
    refused("cut.pth", &pickle[..pickle.len() / 2], "", &["cut short", "again"]);
    refused("empty.pth", b"", "", &["empty"]);
}

#[test]
fn no_checkpoints_at_all() {
    refused("notes.pth", b"learning rate 1e-3, see the thesis", "", &[]);
    refused("page.safetensors", b"<!doctype html><title>404</title>", "", &[]);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("paper.txt", zip::write::SimpleFileOptions::default()).unwrap();
    let zip = zip.finish().unwrap().into_inner();
    refused("archive.pth", &zip, "", &[]);
    let place = Place::with(&["davis"]);
    let ran = place.run("davis --data davis --weights nowhere.pth --out out").exits(1);
    ran.refuses(&["cannot read nowhere.pth", "check the path"]);
    place.run("davis --data davis --weights davis --out out").exits(1).refuses(&["davis"]);
}

#[test]
fn missing_keys_and_values_that_are_no_numbers() {
    let mut tensors = golden_tensors();
    tensors.remove("blocks.1.attn.qkv.weight").unwrap();
    refused(
        "lacks.safetensors",
        &file_of(&tensors),
        "",
        &["lacks 1 of", "blocks.1.attn.qkv.weight"],
    );
    let mut tensors = golden_tensors();
    let name = "blocks.0.norm1.weight";
    let length = tensors[name].dim(0).unwrap();
    let values = Tensor::from_vec(vec![f32::NAN; length], length, &Device::Cpu).unwrap();
    tensors.insert(name.into(), values);
    refused("nan.safetensors", &file_of(&tensors), "", &["NaN", name, "diverged"]);
}

/// Each kind of file, and its name in the table.
#[test]
fn good_checkpoints_run() {
    let place = Place::with(&["davis"]);
    for name in ["mae.safetensors", "mae.pth", "dino.pth", "timm.safetensors"] {
        place.write(name, golden(name));
        let line = format!("davis --data davis --size 16x24 --weights {name} --out out-{name}");
        let ran = place.run(&line).exits(0);
        assert!(ran.out.contains(&format!("weights: {name} (")), "{}", ran.out);
    }
}
