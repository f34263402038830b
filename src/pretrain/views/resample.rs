//! A crop at another size, to the last bit as Pillow's bilinear `Image.crop(…).resize(…)` makes it.
//!
//! The filter is a triangle that grows with the scale (antialiasing) and sees no pixel outside the
//! box. Rows first, then columns, each in 22-bit fixed point and rounded to bytes. An axis that keeps
//! its size has the weight 1 on each pixel and is skipped, as Pillow does. Next stop: flips and
//! [`super::augment`].

use super::crop::CropBox;
use crate::image::Rgb;

/// Fractional bits of a weight: a byte times a sum of weights just fits 32 bits.
const BITS: u32 = 32 - 8 - 2;
const HALF: i32 = 1 << (BITS - 1);
/// Output rows mixed at a time fit the first-level cache with their accumulators.
const LANES: usize = 96;

/// For each output sample of an axis, its first input sample and the weights from there on.
struct Axis {
    /// First input sample and number of weights that count.
    spans: Vec<(usize, usize)>,
    /// `width` weights for each output sample, zeros after those that count.
    weights: Vec<i32>,
    width: usize,
}

impl Axis {
    fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let width = support.ceil() as usize * 2 + 1;
        let mut axis =
            Self { spans: Vec::with_capacity(output), weights: vec![0; output * width], width };
        let mut exact = Vec::with_capacity(width);
        for (place, weights) in axis.weights.chunks_exact_mut(width).enumerate() {
            let center = (place as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            exact.clear();
            exact.extend((first..end).map(|sample| {
                let distance = (sample as f64 - center + 0.5) * (1.0 / support);
                (1.0 - distance.abs()).max(0.0)
            }));
            let sum: f64 = exact.iter().sum();
            for (weight, exact) in weights.iter_mut().zip(&exact) {
                *weight = (0.5 + exact / sum * f64::from(1_u32 << BITS)) as i32;
            }
            axis.spans.push((first, end - first));
        }
        axis
    }
}

/// The part of `image` inside `crop` at `size` × `size` pixels.
///
/// # Panics
/// The box is not inside the picture or empty, or `size` is 0.
pub fn resized_crop(image: &Rgb, crop: CropBox, size: usize) -> Rgb {
    let inside = crop.top + crop.height <= image.height && crop.left + crop.width <= image.width;
    assert!(inside && crop.height * crop.width * size > 0, "a box outside its picture");
    let stride = 3 * image.width;
    let rows = image.data.chunks_exact(stride).skip(crop.top).take(crop.height);
    let rows = rows.map(|row| &row[3 * crop.left..][..3 * crop.width]);
    let mut narrow = vec![0; crop.height * 3 * size];
    if crop.width == size {
        for (out, row) in narrow.chunks_exact_mut(3 * size).zip(rows) {
            out.copy_from_slice(row);
        }
    } else {
        let axis = Axis::new(crop.width, size);
        for (out, row) in narrow.chunks_exact_mut(3 * size).zip(rows) {
            mix_pixels(out, row, &axis);
        }
    }
    if crop.height == size {
        return Rgb { width: size, height: size, data: narrow };
    }
    let axis = Axis::new(crop.height, size);
    let mut data = vec![0; size * 3 * size];
    pulp::Arch::new().dispatch(|| mix_rows(&mut data, &narrow, 3 * size, &axis));
    Rgb { width: size, height: size, data }
}

/// One row: each output pixel is a weighted sum of neighbouring pixels.
fn mix_pixels(out: &mut [u8], row: &[u8], axis: &Axis) {
    let (pixels, _) = row.as_chunks::<3>();
    let (outputs, _) = out.as_chunks_mut::<3>();
    let weights = axis.weights.chunks_exact(axis.width);
    for ((out, &(first, count)), weights) in outputs.iter_mut().zip(&axis.spans).zip(weights) {
        let mut sums = [HALF; 3];
        for (pixel, weight) in pixels[first..first + count].iter().zip(weights) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*value) * weight;
            }
        }
        *out = sums.map(byte);
    }
}

/// All rows: each output row is a weighted sum of neighbouring rows. Written so that the compiler
/// turns it into vector instructions.
#[inline(always)]
fn mix_rows(out: &mut [u8], rows: &[u8], stride: usize, axis: &Axis) {
    let weights = axis.weights.chunks_exact(axis.width);
    for ((out, &(first, count)), weights) in
        out.chunks_exact_mut(stride).zip(&axis.spans).zip(weights)
    {
        let rows = &rows[first * stride..][..count * stride];
        for (part, out) in out.chunks_mut(LANES).enumerate() {
            let mut sums = [HALF; LANES];
            for (row, weight) in rows.chunks_exact(stride).zip(weights) {
                let row = &row[part * LANES..][..out.len()];
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += i32::from(*value) * weight;
                }
            }
            for (out, sum) in out.iter_mut().zip(&sums) {
                *out = byte(*sum);
            }
        }
    }
}

/// Weights are not negative, yet their rounded sum may be a little above 1.
#[inline(always)]
fn byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}
