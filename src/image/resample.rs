//! Pillow's resampling of bytes, to the last bit: `Image.crop(…).resize(…)`.
//!
//! The filter grows with the scale (antialiasing) and uses no pixel outside the box. The axes are
//! resized one after the other, each in 22-bit fixed point and rounded to bytes; an axis that keeps
//! its size is left alone. Views for training are cut with it, and frames resized for DINOv3.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::Rgb;

/// The kernel that pixels are mixed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Filter {
    /// A triangle (CropMAE, SiamMAE)
    #[default]
    Bilinear,
    /// The cubic convolution kernel with a = -0.5 (MAE, DINOv3)
    Bicubic,
}

impl Filter {
    /// How far it reaches at a scale of one.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The weight of a pixel so far away.
    fn weight(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        match (self, distance.abs()) {
            (Self::Bilinear, x) => (1.0 - x).max(0.0),
            (Self::Bicubic, x) if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            (Self::Bicubic, x) if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            (Self::Bicubic, _) => 0.0,
        }
    }
}

/// A box of whole pixels inside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CropBox {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// How many rows.
    pub height: usize,
    /// How many columns.
    pub width: usize,
}

/// Which axis is resized first: it moves pixels by a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Pixels within their rows, as Pillow did until version 12.
    AcrossFirst,
    /// As since version 13: rows first where the height shrinks by more than twice what the width
    /// does, because less is left to do then.
    Cheapest,
}

/// Fractional bits of a weight: 8 are kept free for the byte and 2 for overshoot.
const BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (BITS - 1);
/// Values of a row that are mixed at a time: their sums stay in registers.
const LANES: usize = 32;

/// For each output sample of an axis, its first input sample and the weights from there on.
struct Axis {
    /// First input sample and number of weights that count.
    spans: Vec<(usize, usize)>,
    /// `width` weights for each output sample, zeros after those that count.
    weights: Vec<i32>,
    width: usize,
}

impl Axis {
    fn new(input: usize, output: usize, filter: Filter) -> Self {
        let scale = input as f64 / output as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let width = support.ceil() as usize * 2 + 1;
        let mut axis =
            Self { spans: Vec::with_capacity(output), weights: vec![0; output * width], width };
        let mut exact = Vec::with_capacity(width);
        for (place, weights) in axis.weights.chunks_exact_mut(width).enumerate() {
            let center = (place as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend(
                (first..end)
                    .map(|sample| filter.weight((sample as f64 - center + 0.5) * (1.0 / stretch))),
            );
            let sum: f64 = exact.iter().sum();
            for (weight, exact) in weights.iter_mut().zip(&exact) {
                *weight = (exact / sum * f64::from(1_u32 << BITS)).round() as i32;
            }
            axis.spans.push((first, end - first));
        }
        axis
    }
}

/// Rows of pixels inside a picture.
#[derive(Clone, Copy)]
struct Rows<'a> {
    /// From the first pixel of the first row on.
    data: &'a [u8],
    /// Bytes from row to row.
    stride: usize,
    height: usize,
    width: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn row(self, number: usize) -> &'a [u8] {
        &self.data[number * self.stride..][..3 * self.width]
    }

    /// With `size` pixels in each row.
    fn across(self, size: usize, filter: Filter) -> Vec<u8> {
        let mut out = vec![0; self.height * 3 * size];
        if self.width == size {
            let rows =
                out.chunks_exact_mut(3 * size).zip((0..self.height).map(|row| self.row(row)));
            rows.for_each(|(out, row)| out.copy_from_slice(row));
        } else {
            let axis = Axis::new(self.width, size, filter);
            pulp::Arch::new().dispatch(Across(Pass { out: &mut out, rows: self, axis: &axis }));
        }
        out
    }

    /// With `size` rows.
    fn down(self, size: usize, filter: Filter) -> Vec<u8> {
        let mut out = vec![0; size * 3 * self.width];
        if self.height == size {
            let rows = out.chunks_exact_mut(3 * self.width).zip((0..size).map(|row| self.row(row)));
            rows.for_each(|(out, row)| out.copy_from_slice(row));
        } else {
            let axis = Axis::new(self.height, size, filter);
            pulp::Arch::new().dispatch(Down(Pass { out: &mut out, rows: self, axis: &axis }));
        }
        out
    }
}

/// The part of `image` inside `crop` at (height, width) `size`.
///
/// # Panics
/// The box is not inside the picture or empty, or the size is.
pub fn resampled(
    image: &Rgb,
    crop: CropBox,
    (height, width): (usize, usize),
    filter: Filter,
    order: Order,
) -> Rgb {
    let inside = crop.top + crop.height <= image.height && crop.left + crop.width <= image.width;
    assert!(inside && crop.height * crop.width * height * width > 0, "a box outside its picture");
    let stride = 3 * image.width;
    let data = &image.data[crop.top * stride + 3 * crop.left..];
    let rows = Rows { data, stride, height: crop.height, width: crop.width };
    let down_first = order == Order::Cheapest
        && crop.height.saturating_sub(height) > 2 * crop.width.saturating_sub(width);
    let data = if down_first {
        let data = rows.down(height, filter);
        Rows { data: &data, stride: 3 * crop.width, height, width: crop.width }
            .across(width, filter)
    } else {
        let data = rows.across(width, filter);
        Rows { data: &data, stride: 3 * width, height: crop.height, width }.down(height, filter)
    };
    Rgb { width, height, data }
}

/// All of `image` at (height, width) `size`.
///
/// # Panics
/// The picture or the size is empty.
pub fn resized(image: &Rgb, size: (usize, usize), filter: Filter, order: Order) -> Rgb {
    let whole = CropBox { top: 0, left: 0, height: image.height, width: image.width };
    resampled(image, whole, size, filter, order)
}

/// One axis' work.
struct Pass<'a> {
    out: &'a mut [u8],
    rows: Rows<'a>,
    axis: &'a Axis,
}

/// Rows become longer or shorter. A type, since a closure of this size would not be compiled for
/// the widest vectors: only what is inlined into the dispatching function is.
struct Across<'a>(Pass<'a>);

impl pulp::NullaryFnOnce for Across<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        mix_pixels(self.0);
    }
}

/// Columns become longer or shorter.
struct Down<'a>(Pass<'a>);

impl pulp::NullaryFnOnce for Down<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        mix_rows(self.0);
    }
}

/// Each output pixel is a weighted sum of its row's pixels. Four rows at a time lie side by side, a
/// pixel in four bytes, so that one weight serves sixteen values and the compiler makes vector
/// instructions of them.
#[inline(always)]
fn mix_pixels(Pass { out, rows, axis }: Pass<'_>) {
    let size = axis.spans.len();
    let mut columns = vec![[0_u8; 16]; rows.width];
    let mut mixed = vec![[0_u8; 16]; size];
    for (group, out) in out.chunks_mut(4 * 3 * size).enumerate() {
        // the last group may have fewer rows: its last one is then there again
        let row = |lane: usize| rows.row((4 * group + lane).min(rows.height - 1)).as_chunks().0;
        gather(&mut columns, [row(0), row(1), row(2), row(3)]);
        let weights = axis.weights.chunks_exact(axis.width);
        for ((mixed, &(first, count)), weights) in mixed.iter_mut().zip(&axis.spans).zip(weights) {
            let mut sums = [HALF; 16];
            for (column, weight) in columns[first..first + count].iter().zip(weights) {
                add(&mut sums, column, *weight);
            }
            // all sixteen are kept: sums that nobody reads would break the vectors up
            *mixed = bytes(&sums);
        }
        for (lane, row) in out.chunks_exact_mut(3 * size).enumerate() {
            for (pixel, mixed) in row.as_chunks_mut::<3>().0.iter_mut().zip(&mixed) {
                pixel.copy_from_slice(&mixed[4 * lane..4 * lane + 3]);
            }
        }
    }
}

/// Lays four rows side by side.
#[inline(always)]
fn gather(columns: &mut [[u8; 16]], [a, b, c, d]: [&[[u8; 3]]; 4]) {
    for (column, (((a, b), c), d)) in columns.iter_mut().zip(a.iter().zip(b).zip(c).zip(d)) {
        *column =
            [a[0], a[1], a[2], 0, b[0], b[1], b[2], 0, c[0], c[1], c[2], 0, d[0], d[1], d[2], 0];
    }
}

/// Each output row is a weighted sum of rows.
#[inline(always)]
fn mix_rows(Pass { out, rows, axis }: Pass<'_>) {
    let weights = axis.weights.chunks_exact(axis.width);
    let outputs = out.chunks_exact_mut(3 * rows.width).zip(&axis.spans).zip(weights);
    for ((out, &(first, count)), weights) in outputs {
        let weighted = || (first..first + count).map(|row| rows.row(row)).zip(weights);
        let (parts, rest) = out.as_chunks_mut::<LANES>();
        for (part, out) in parts.iter_mut().enumerate() {
            let mut sums = [HALF; LANES];
            for (row, weight) in weighted() {
                add(&mut sums, &row.as_chunks::<LANES>().0[part], *weight);
            }
            *out = bytes(&sums);
        }
        let done = parts.len() * LANES;
        for (place, out) in (done..).zip(rest) {
            let sum = weighted().map(|(row, weight)| i32::from(row[place]) * weight).sum::<i32>();
            *out = byte(HALF + sum);
        }
    }
}

/// A plain loop: `map` of an array would not become vector instructions.
#[inline(always)]
fn bytes<const N: usize>(sums: &[i32; N]) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, sum) in bytes.iter_mut().zip(sums) {
        *byte = self::byte(*sum);
    }
    bytes
}

#[inline(always)]
fn add<const N: usize>(sums: &mut [i32; N], values: &[u8; N], weight: i32) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += i32::from(*value) * weight;
    }
}

/// Cubic weights overshoot, and the rounded sum of others may be a little above 1.
#[inline(always)]
fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}
