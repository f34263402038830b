use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::*;
use crate::pretrain::random::Purpose;

fn shared(name: &str) -> Option<PathBuf> {
    crate::fixtures::shared(&format!("fixtures/pretrain/{name}"))
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

fn resized_crop(image: &Rgb, crop: CropBox, size: usize) -> Rgb {
    resampled(image, crop, (size, size), Filter::Bilinear, Order::Cheapest)
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
        let Some(theirs) = theirs.get(key) else { continue };
        let [top, left, height, width] = ["i", "j", "h", "w"].map(|name| number(&case[name]));
        let crop = CropBox { top, left, height, width };
        let filter = if key.ends_with("bicubic") { Filter::Bicubic } else { Filter::Bilinear };
        let ours = resampled(&image, crop, (224, 224), filter, Order::Cheapest);
        assert_eq!(most_off(&ours, &interleaved(theirs)), 0, "{key}");
        compared += 1;
    }
    assert_eq!(compared, 6);
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

// tests/golden/make_crops.py
#[test]
fn crops_are_pillow_s_to_the_last_bit() {
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
    let cases = json(&golden.join("crops.json"));
    let strip = crate::image::decode::read(&golden.join("crops.png")).unwrap();
    let image = picture(number(&cases["picture"][0]), number(&cases["picture"][1]));
    let size = number(&cases["size"]);
    let theirs = strip.data.chunks_exact(3 * size * size);
    let boxes = cases["boxes"].as_array().unwrap();
    assert_eq!(theirs.len(), boxes.len());
    for (crop, theirs) in boxes.iter().zip(theirs) {
        let [top, left, height, width] = [0, 1, 2, 3].map(|at| number(&crop[at]));
        let crop = CropBox { top, left, height, width };
        let theirs = Rgb { width: size, height: size, data: theirs.to_vec() };
        assert_eq!(most_off(&resized_crop(&image, crop, size), &theirs), 0, "{crop:?}");
    }
}

#[test]
fn one_color_stays_one_color() {
    for (height, width, size) in [(5, 7, 16), (100, 30, 16), (30, 100, 33), (16, 16, 16)] {
        let image = Rgb { width, height, data: [1, 128, 255].repeat(height * width) };
        let crop = CropBox { top: 0, left: 0, height, width };
        assert_eq!(resized_crop(&image, crop, size).data, [1, 128, 255].repeat(size * size));
    }
}

fn settings(strategy: Strategy) -> ViewSettings {
    ViewSettings { strategy, size: 32, flip: 0.0, ..ViewSettings::default() }
}

#[test]
fn the_local_view_comes_out_of_the_resized_global_one() {
    let image = picture(70, 90);
    let (size, aspect) = (32, settings(Strategy::GlobalToLocal).aspect);
    let mut boxes = stream(5);
    let global = crop::draw(70, 90, [0.1, 1.0], aspect, &mut boxes);
    let local = crop::draw(size, size, [0.3, 0.6], aspect, &mut boxes);
    let global = resized_crop(&image, global, size);
    let local = resized_crop(&global, local, size);
    let down = draw(&image, &settings(Strategy::GlobalToLocal), &mut stream(5));
    assert_eq!((down.first(), down.second()), (&global, &local));
    let up = draw(&image, &settings(Strategy::LocalToGlobal), &mut stream(5));
    assert_eq!((up.first(), up.second()), (&local, &global));
    let same = draw(&image, &settings(Strategy::SameViews), &mut stream(5));
    assert!(same.is_same());
    assert_eq!((same.first(), same.second()), (&global, &global));
    let random = draw(&image, &settings(Strategy::RandomViews), &mut stream(5));
    assert_eq!(random.first(), &global);
    assert!(random.second() != &global && random.second() != &local);
}

#[test]
fn flips_are_drawn_for_each_view_by_itself() {
    let image = picture(50, 50);
    let flipped = |strategy, sample| {
        let plain = draw(&image, &settings(strategy), &mut stream(sample));
        let pair =
            draw(&image, &ViewSettings { flip: 0.5, ..settings(strategy) }, &mut stream(sample));
        let is_flipped = |plain: &Rgb, view: &Rgb| {
            let mut mirrored = plain.clone();
            mirror(&mut mirrored);
            assert!(view == plain || *view == mirrored);
            view != plain
        };
        (is_flipped(plain.first(), pair.first()), is_flipped(plain.second(), pair.second()))
    };
    let mut counts = [[0; 2]; 2];
    for sample in 0..400 {
        let (first, second) = flipped(Strategy::GlobalToLocal, sample);
        counts[usize::from(first)][usize::from(second)] += 1;
        let (first, second) = flipped(Strategy::SameViews, sample);
        assert_eq!(first, second);
    }
    assert!(counts.iter().flatten().all(|count| (65..135).contains(count)), "{counts:?}");
}

#[test]
fn frames_share_crop_and_flip() {
    let image = picture(60, 80);
    for sample in 0..20 {
        let settings = ViewSettings { flip: 0.5, ..settings(Strategy::GlobalToLocal) };
        let pair = draw_frames(&image, &image, &settings, &mut stream(sample));
        assert_eq!(pair.first(), pair.second());
        let small = picture(30, 200);
        assert_eq!(draw_frames(&image, &small, &settings, &mut stream(sample)).second().width, 32);
    }
}

#[test]
fn colors_and_blur_change_the_first_view_alone() {
    let image = picture(60, 80);
    for strategy in [Strategy::GlobalToLocal, Strategy::SameViews] {
        let plain = draw(&image, &settings(strategy), &mut stream(1));
        for (color_jitter, blur) in [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)] {
            let settings = ViewSettings { color_jitter, blur, ..settings(strategy) };
            let changed = draw(&image, &settings, &mut stream(1));
            assert_ne!(plain.first(), changed.first());
            assert_eq!(plain.second(), changed.second());
            assert!(!changed.is_same());
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let good = ViewSettings::default();
    good.check().unwrap();
    let wrong = [
        ("views.global_area", ViewSettings { global_area: [0.0, 1.0], ..good.clone() }),
        ("views.local_area", ViewSettings { local_area: [0.6, 0.3], ..good.clone() }),
        ("views.aspect", ViewSettings { aspect: [f64::NAN, 1.0], ..good.clone() }),
        ("views.flip", ViewSettings { flip: 1.5, ..good.clone() }),
        ("views.blur", ViewSettings { blur: -0.1, ..good.clone() }),
        ("views.color_jitter", ViewSettings { color_jitter: f64::NAN, ..good.clone() }),
        ("views.size", ViewSettings { size: 0, ..good.clone() }),
    ];
    for (name, settings) in wrong {
        let message = settings.check().unwrap_err().to_string();
        assert!(message.starts_with(&format!("{name}: is ")), "{message}");
    }
}
