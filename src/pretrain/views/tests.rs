use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::*;
use crate::pretrain::random::Purpose;

fn shared(name: &str) -> Option<PathBuf> {
    let path =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures/pretrain")).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A picture of planes [3, h, w].
fn interleaved(planes: &Tensor) -> Rgb {
    let (_, height, width) = planes.dims3().unwrap();
    let data = planes.permute((1, 2, 0)).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    Rgb { width, height, data }
}

fn number(value: &serde_json::Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn most_off(ours: &Rgb, theirs: &Rgb) -> u8 {
    assert_eq!((ours.height, ours.width), (theirs.height, theirs.width));
    ours.data.iter().zip(&theirs.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

/// A picture without any symmetry.
fn picture(height: usize, width: usize) -> Rgb {
    let data = (0..3 * height * width).map(|at| (at * 131 % 251 + at / 7 % 5) as u8).collect();
    Rgb { width, height, data }
}

fn stream(sample: u64) -> Stream {
    Stream::new(3, Purpose::Views, 1, sample)
}

#[test]
fn the_reference_s_crops_come_out_to_the_last_bit() {
    let Some(source) = shared("resized_crops_src0.png") else { return };
    let image = crate::image::decode::read(&source).unwrap();
    let theirs = tensors(&shared("resized_crops.safetensors").unwrap());
    let mut compared = 0;
    for case in json(&shared("resized_crops.json").unwrap()).as_array().unwrap() {
        let key = case["key"].as_str().unwrap();
        let Some(theirs) = theirs.get(key).filter(|_| !key.ends_with("bicubic")) else { continue };
        let [top, left, height, width] = ["i", "j", "h", "w"].map(|name| number(&case[name]));
        let ours = resized_crop(&image, CropBox { top, left, height, width }, 224);
        assert_eq!(most_off(&ours, &interleaved(theirs)), 0, "{key}");
        compared += 1;
    }
    assert_eq!(compared, 5);
}

// The global view as it was before its flip gives the local one, before its own flip.
#[test]
fn the_reference_s_local_views_come_out_of_its_global_ones() {
    let Some(batch) = shared("batch_u8.safetensors") else { return };
    let views = &tensors(&batch)["views_u8"];
    let pairs = json(&shared("pairs.json").unwrap());
    for (number_of_pair, pair) in pairs["pairs"].as_array().unwrap().iter().take(2).enumerate() {
        let view = |which: usize| {
            let mut view = interleaved(&views.get(number_of_pair).unwrap().get(which).unwrap());
            if pair["flips"][which].as_bool().unwrap() {
                mirror(&mut view);
            }
            view
        };
        let [top, left, height, width] = [0, 1, 2, 3].map(|at| number(&pair["local"][0][at]));
        let ours = resized_crop(&view(0), CropBox { top, left, height, width }, 224);
        assert_eq!(most_off(&ours, &view(1)), 0, "pair {number_of_pair}");
    }
}
