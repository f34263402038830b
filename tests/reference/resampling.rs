//! Frames by every filter, and the source pixels of both nearest rules.

use cropmae::image::resize::{FrameFilter, frame_to_planes, nearest_centered, nearest_floor};
use cropmae::image::{LabelImage, Rgb};
use strum::VariantArray;

use super::common::values;
use super::{assert_near, bytes, expected, pair};

#[test]
fn frames_by_every_filter() {
    let all = expected("resampling");
    let mut compared = 0;
    for filter in FrameFilter::VARIANTS {
        let prefix = format!("{}.", <&str>::from(filter));
        for (key, theirs) in &all {
            let Some(rest) = key.strip_prefix(&prefix) else { continue };
            let (index, size) = rest.split_once('.').unwrap();
            let source = &all[&format!("frame.{index}")];
            let (height, width, _) = source.dims3().unwrap();
            let frame = Rgb { width, height, data: bytes(source) };
            let (height, width) = pair(size);
            let planes = frame_to_planes(&frame, height, width, *filter).unwrap();
            compare(key, *filter, &interleaved(&planes), theirs);
            compared += 1;
        }
    }
    assert_eq!(compared, 12);
}

fn compare(key: &str, filter: FrameFilter, ours: &[f32], theirs: &candle_core::Tensor) {
    if filter == FrameFilter::Bilinear {
        // Two interpolations of values up to 1, fused or not.
        return assert_near(key, ours, &values(theirs), 1e-6);
    }
    let theirs: Vec<f32> = bytes(theirs).into_iter().map(f32::from).collect();
    let ours: Vec<f32> = ours.iter().map(|value| (value * 255.0).round()).collect();
    // Bytes are exact.
    assert_near(key, &ours, &theirs, 0.0);
}

/// Planes R, G, B as pixels.
fn interleaved(planes: &[f32]) -> Vec<f32> {
    let size = planes.len() / 3;
    (0..planes.len()).map(|at| planes[at % 3 * size + at / 3]).collect()
}

type Rule = fn(&LabelImage, usize, usize) -> LabelImage;

#[test]
fn nearest_sources_are_those_of_opencv_and_pillow() {
    let mut compared = 0;
    for (key, theirs) in &expected("resampling") {
        let parts: Vec<&str> = key.split('.').collect();
        let (nearest, input) = match parts[..] {
            ["floor", input, _] => (nearest_floor as Rule, input),
            ["centered", input, _] => (nearest_centered as Rule, input),
            _ => continue,
        };
        let input: usize = input.parse().unwrap();
        let output = theirs.dims2().unwrap().1;
        // Places do not fit a byte: their high and their low ones are two rows of pixels.
        let row = |byte: fn(usize) -> u8| {
            let data = (0..input).map(byte).collect();
            nearest(&LabelImage { width: input, height: 1, data }, 1, output).data
        };
        let ours = [row(|place| (place >> 8) as u8), row(|place| place as u8)].concat();
        assert_eq!(ours, bytes(theirs), "{key}");
        compared += 1;
    }
    assert_eq!(compared, 16);
}
