//! Resampling, each rule under the name of the program that defined it.
//!
//! Two nearest-neighbour rules and three bilinear ones are in use in this field, and they give
//! different pixels. OpenCV's nearest takes `floor(i * in / out)`, Pillow's the pixel under the
//! centre. OpenCV's bilinear mixes the two neighbours on each axis whatever the scale (no
//! antialiasing), in f32 for float input and in 11-bit fixed point for bytes; Pillow's filters
//! grow with the scale (antialiasing). [`Taps`] holds the first rule for f32 and serves frames
//! and label maps alike.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

use super::resample::{self, Filter, Order};
use super::{LabelImage, Rgb};
use crate::error::{Error, Result};

/// OpenCV's bilinear rule along one axis: output `i` is
/// `near * (1 - weight) + far * weight` of the inputs `near[i]` and `far[i]`.
#[derive(Debug, Clone)]
pub struct Taps {
    /// The input before the sampling point.
    pub near: Vec<usize>,
    /// The input after it; equal to `near` at the border.
    pub far: Vec<usize>,
    /// The weight of `far`, in [0, 1).
    pub weight: Vec<f32>,
}

impl Taps {
    /// The taps that turn `input` samples into `output` ones: half-pixel centres, clamped borders.
    pub fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let mut taps =
            Self { near: Vec::new(), far: Vec::new(), weight: Vec::with_capacity(output) };
        for index in 0..output {
            // Only the weight is rounded to f32: far to the right a rounded position would be off
            // in the fifth digit.
            let center = (index as f64 + 0.5) * scale - 0.5;
            let floor = center.floor();
            let (near, weight) = if floor < 0.0 {
                (0, 0.0)
            } else if floor as usize + 1 >= input {
                (input - 1, 0.0)
            } else {
                (floor as usize, (center - floor) as f32)
            };
            taps.near.push(near);
            taps.far.push((near + 1).min(input - 1));
            taps.weight.push(weight);
        }
        taps
    }

    /// How many samples come out.
    pub fn len(&self) -> usize {
        self.weight.len()
    }

    /// Whether nothing comes out.
    pub fn is_empty(&self) -> bool {
        self.weight.is_empty()
    }

    /// Output `index` as (near, far, weight of near, weight of far).
    #[inline]
    pub fn at(&self, index: usize) -> (usize, usize, f32, f32) {
        let weight = self.weight[index];
        (self.near[index], self.far[index], 1.0 - weight, weight)
    }
}

/// How frames are brought to the encoder's input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum FrameFilter {
    /// OpenCV bilinear on floats in [0, 1], no antialiasing (CropMAE, videowalk).
    Bilinear,
    /// OpenCV bilinear on bytes, in its 11-bit fixed point (DINO, iBOT, RSP).
    #[serde(rename = "bilinear-8bit")]
    #[strum(serialize = "bilinear-8bit")]
    Bilinear8Bit,
    /// Pillow's antialiased bicubic on bytes (DINOv3).
    Bicubic,
    /// Pillow's nearest neighbour (how the `DAVIS_480_880` copies were made).
    Nearest,
}

/// A frame at `height` × `width` as f32 in [0, 1], planes R, G, B (3 × height × width values).
///
/// Nothing is resampled where the size already fits.
///
/// # Errors
/// The frame or the target has no pixels.
pub fn frame_to_planes(
    frame: &Rgb,
    height: usize,
    width: usize,
    filter: FrameFilter,
) -> Result<Vec<f32>> {
    Ok(match resized_bytes(frame, height, width, filter)? {
        Some(bytes) => planes(&bytes),
        None => bilinear_planes(frame, height, width),
    })
}

/// The frame in bytes, where `filter` leaves bytes or the size already fits; `None` where its
/// values are mixed as floats.
///
/// # Errors
/// The frame or the target has no pixels.
pub fn resized_bytes(
    frame: &Rgb,
    height: usize,
    width: usize,
    filter: FrameFilter,
) -> Result<Option<Cow<'_, Rgb>>> {
    if frame.width * frame.height * height * width == 0 {
        return Err(Error::setting("size", "a frame needs at least one row and one column"));
    }
    if (frame.height, frame.width) == (height, width) {
        return Ok(Some(Cow::Borrowed(frame)));
    }
    Ok(match filter {
        FrameFilter::Bilinear => None,
        FrameFilter::Bilinear8Bit => Some(bilinear_8bit(frame, height, width)),
        FrameFilter::Bicubic => Some(bicubic(frame, height, width)),
        FrameFilter::Nearest => Some(nearest_frame(frame, height, width)),
    }
    .map(Cow::Owned))
}

fn planes(frame: &Rgb) -> Vec<f32> {
    let size = frame.width * frame.height;
    let mut out = vec![0.0; 3 * size];
    for (pixel, rgb) in frame.data.chunks_exact(3).enumerate() {
        for (channel, &value) in rgb.iter().enumerate() {
            out[channel * size + pixel] = f32::from(value) / 255.0;
        }
    }
    out
}

fn bilinear_planes(frame: &Rgb, height: usize, width: usize) -> Vec<f32> {
    let (rows, columns) = (Taps::new(frame.height, height), Taps::new(frame.width, width));
    let source = planes(frame);
    let size = frame.width * frame.height;
    let mut out = vec![0.0; 3 * height * width];
    out.par_chunks_mut(width).enumerate().for_each(|(line, out)| {
        let (channel, y) = (line / height, line % height);
        let (top, bottom, of_top, of_bottom) = rows.at(y);
        let plane = &source[channel * size..][..size];
        let (top, bottom) = (&plane[top * frame.width..], &plane[bottom * frame.width..]);
        for (x, out) in out.iter_mut().enumerate() {
            let (left, right, of_left, of_right) = columns.at(x);
            let upper = top[left] * of_left + top[right] * of_right;
            let lower = bottom[left] * of_left + bottom[right] * of_right;
            *out = upper * of_top + lower * of_bottom;
        }
    });
    out
}

/// OpenCV's bilinear for bytes: weights in 1/2048, the row sums cut by 4 bits before the second
/// product so that it fits 32 bits, two rounding bits at the end.
fn bilinear_8bit(frame: &Rgb, height: usize, width: usize) -> Rgb {
    let rows = coarse_taps(frame.height, height, false);
    let columns = coarse_taps(frame.width, width, true);
    let fixed = |weight: f32| (weight * 2048.0).round_ties_even() as i32;
    let mut data = vec![0; 3 * height * width];
    data.par_chunks_mut(3 * width).enumerate().for_each(|(y, out)| {
        let (top, bottom, of_top, of_bottom) = rows.at(y);
        let stride = 3 * frame.width;
        let (top, bottom) = (&frame.data[top * stride..], &frame.data[bottom * stride..]);
        for (x, out) in out.chunks_exact_mut(3).enumerate() {
            let (left, right, of_left, of_right) = columns.at(x);
            for (channel, out) in out.iter_mut().enumerate() {
                let mix = |row: &[u8]| {
                    i32::from(row[3 * left + channel]) * fixed(of_left)
                        + i32::from(row[3 * right + channel]) * fixed(of_right)
                };
                let upper = (fixed(of_top) * (mix(top) >> 4)) >> 16;
                let lower = (fixed(of_bottom) * (mix(bottom) >> 4)) >> 16;
                *out = ((upper + lower + 2) >> 2).clamp(0, 255) as u8;
            }
        }
    });
    Rgb { width, height, data }
}

/// [`Taps`] as OpenCV computes them for bytes: the position is rounded to f32 before its weight
/// is taken, and above and below the picture the two rows, though they are one, keep their weights,
/// which the cutting of bits shows.
fn coarse_taps(input: usize, output: usize, one_at_border: bool) -> Taps {
    let scale = input as f64 / output as f64;
    let mut taps = Taps { near: Vec::new(), far: Vec::new(), weight: Vec::new() };
    for index in 0..output {
        let center = ((index as f64 + 0.5) * scale - 0.5) as f32;
        let floor = center.floor();
        let clamped = |place: f32| (place.max(0.0) as usize).min(input - 1);
        let (near, far) = (clamped(floor), clamped(floor + 1.0));
        let weight = if one_at_border && near == far { 0.0 } else { center - floor };
        taps.near.push(near);
        taps.far.push(far);
        taps.weight.push(weight);
    }
    taps
}

/// Pillow's bicubic, to the last bit, in the order of axes that published numbers were made with.
///
/// # Panics
/// The frame or the size is empty.
pub fn bicubic(frame: &Rgb, height: usize, width: usize) -> Rgb {
    resample::resized(frame, (height, width), Filter::Bicubic, Order::AcrossFirst)
}

/// Pillow's nearest neighbour for a frame.
pub fn nearest_frame(frame: &Rgb, height: usize, width: usize) -> Rgb {
    let (rows, columns) = (centered(frame.height, height), centered(frame.width, width));
    let mut data = Vec::with_capacity(3 * height * width);
    for &y in &rows {
        for &x in &columns {
            data.extend_from_slice(&frame.data[3 * (y * frame.width + x)..][..3]);
        }
    }
    Rgb { width, height, data }
}

/// Pillow's nearest neighbour for ids: the pixel under each output pixel's centre.
pub fn nearest_centered(labels: &LabelImage, height: usize, width: usize) -> LabelImage {
    pick(labels, &centered(labels.height, height), &centered(labels.width, width))
}

/// OpenCV's nearest neighbour for ids: `floor(i * in / out)`, not pixel-centred.
pub fn nearest_floor(labels: &LabelImage, height: usize, width: usize) -> LabelImage {
    pick(labels, &floored(labels.height, height), &floored(labels.width, width))
}

fn centered(input: usize, output: usize) -> Vec<usize> {
    let scale = input as f64 / output as f64;
    // Pillow walks by adding the step, and where a centre falls on the border of two pixels (480
    // rows from 448: in four of them) what the additions round to decides which one is taken.
    let centers = std::iter::successors(Some(scale * 0.5), |center| Some(center + scale));
    centers.take(output).map(|center| (center as usize).min(input - 1)).collect()
}

fn floored(input: usize, output: usize) -> Vec<usize> {
    let scale = 1.0 / (output as f64 / input as f64);
    (0..output).map(|i| ((i as f64 * scale).floor() as usize).min(input - 1)).collect()
}

fn pick(labels: &LabelImage, rows: &[usize], columns: &[usize]) -> LabelImage {
    if (rows.len(), columns.len()) == (labels.height, labels.width) {
        return labels.clone();
    }
    let mut data = Vec::with_capacity(rows.len() * columns.len());
    for &y in rows {
        let row = &labels.data[y * labels.width..][..labels.width];
        data.extend(columns.iter().map(|&x| row[x]));
    }
    LabelImage { width: columns.len(), height: rows.len(), data }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 5 × 7 pixels with values that no two rules treat alike.
    fn frame() -> Rgb {
        let data = (0..5 * 7 * 3).map(|i| ((i * 89 + i * i * 7) % 256) as u8).collect();
        Rgb { width: 7, height: 5, data }
    }

    #[test]
    fn taps_of_a_halved_and_a_doubled_axis() {
        // 4 -> 2: centres at 0.5 and 2.5. 2 -> 4: -0.25 (clamped), 0.25, 0.75, 1.25 (clamped).
        let half = Taps::new(4, 2);
        assert_eq!((half.near, half.far, half.weight), (vec![0, 2], vec![1, 3], vec![0.5, 0.5]));
        let double = Taps::new(2, 4);
        assert_eq!(double.near, [0, 0, 0, 1]);
        assert_eq!(double.weight, [0.0, 0.25, 0.75, 0.0]);
    }

    #[test]
    fn the_two_nearest_rules_differ() {
        let labels = LabelImage { width: 5, height: 1, data: vec![0, 1, 2, 3, 4] };
        // 5 -> 2: floor(i * 2.5) = 0, 2; centres at 1.25 and 3.75.
        assert_eq!(nearest_floor(&labels, 1, 2).data, [0, 2]);
        assert_eq!(nearest_centered(&labels, 1, 2).data, [1, 3]);
    }

    #[test]
    fn a_constant_frame_stays_constant_under_every_filter() {
        let frame = Rgb { width: 6, height: 4, data: vec![77; 72] };
        for filter in [
            FrameFilter::Bilinear,
            FrameFilter::Bilinear8Bit,
            FrameFilter::Bicubic,
            FrameFilter::Nearest,
        ] {
            let out = frame_to_planes(&frame, 9, 5, filter).unwrap();
            // One f32 rounding in each of the three products.
            assert!(out.iter().all(|v| (v - 77.0 / 255.0).abs() < 1e-7), "{filter:?}");
        }
    }

    // cv2 4.x: cv2.resize(frame, (4, 3)) on bytes, cv2.resize(frame / 255 as f32, (4, 3)) on
    // floats, PIL Image.resize((4, 3), NEAREST | BICUBIC); the red channel of the frame above.
    #[test]
    fn filters_agree_with_opencv_and_pillow() {
        let red = |filter| frame_to_planes(&frame(), 3, 4, filter).unwrap()[..12].to_vec();
        let bytes = |filter: FrameFilter| -> Vec<u8> {
            red(filter).iter().map(|v| (v * 255.0).round() as u8).collect()
        };
        assert_eq!(bytes(FrameFilter::Bilinear8Bit), EXPECTED_8BIT);
        assert_eq!(bytes(FrameFilter::Nearest), EXPECTED_NEAREST);
        assert_eq!(bytes(FrameFilter::Bicubic), EXPECTED_BICUBIC);
        for (ours, theirs) in red(FrameFilter::Bilinear).iter().zip(EXPECTED_FLOAT) {
            assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}");
        }
    }

    const EXPECTED_8BIT: [u8; 12] = [40, 42, 43, 74, 135, 181, 141, 111, 53, 154, 148, 173];
    const EXPECTED_NEAREST: [u8; 12] = [0, 18, 28, 30, 214, 176, 130, 76, 36, 198, 96, 242];
    const EXPECTED_BICUBIC: [u8; 12] = [45, 46, 67, 89, 96, 111, 164, 124, 50, 141, 165, 159];
    const EXPECTED_FLOAT: [f32; 12] = [
        0.1594771, 0.1653595, 0.1676471, 0.2918301, 0.5303922, 0.7107843, 0.5529412, 0.4333333,
        0.2084967, 0.6052288, 0.5800654, 0.6767974,
    ];
}
