//! Maps of numbers as colours over a picture.
//!
//! The colours go from near black through violet, red and orange to pale yellow. The path is a
//! curve in Björn Ottosson's Oklab, whose distances match what eyes see: lightness and hue change
//! evenly, the chroma is a fixed share of the largest that a screen can show, and equal steps of a
//! number are equal steps along the path.

use std::sync::LazyLock;

use super::Rgb;
use super::resize::Taps;

/// How much of a colour is the map's; the rest is the picture's grey.
const OPACITY: f32 = 0.65;
/// The largest values beyond this share of them look alike: single patches must not darken the
/// rest.
const BRIGHTEST: f64 = 0.995;

/// Lightness at both ends of the way.
const LIGHTNESS: (f64, f64) = (0.12, 0.95);
/// Hue in degrees at both ends.
const HUE: (f64, f64) = (285.0, 465.0);
/// The share of the largest chroma.
const CHROMA: f64 = 0.9;

/// 256 colours, evenly along the way.
static COLORS: LazyLock<Vec<[u8; 3]>> = LazyLock::new(|| {
    const FINE: usize = 4096;
    let way: Vec<[f64; 3]> = (0..=FINE).map(|place| oklab(place as f64 / FINE as f64)).collect();
    let mut lengths = vec![0.0];
    for pair in way.windows(2) {
        let last = lengths.last().copied().unwrap_or(0.0);
        lengths.push(last + distance(&pair[0], &pair[1]));
    }
    let whole = lengths.last().copied().unwrap_or(0.0);
    (0..256)
        .map(|step| {
            let length = whole * f64::from(step) / 255.0;
            let place = lengths.partition_point(|passed| *passed < length).min(FINE);
            linear(way[place]).map(|value| (255.0 * encoded(value)).round() as u8)
        })
        .collect()
});

/// The colour of a number from 0 to 1.
pub fn color(share: f32) -> [u8; 3] {
    let step = (share.clamp(0.0, 1.0) * 255.0).round() as usize;
    COLORS.get(step).copied().unwrap_or_default()
}

/// A point of the way, as lightness, a and b.
fn oklab(share: f64) -> [f64; 3] {
    let between = |(from, to): (f64, f64)| from + (to - from) * share;
    let (lightness, hue) = (between(LIGHTNESS), between(HUE).to_radians());
    let at = |chroma: f64| [lightness, chroma * hue.cos(), chroma * hue.sin()];
    // the most chroma that all three colours of a screen can show, by halving
    let (mut low, mut high) = (0.0, 0.4);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        match linear(at(middle)).iter().all(|value| (0.0..=1.0).contains(value)) {
            true => low = middle,
            false => high = middle,
        }
    }
    at(CHROMA * low)
}

fn distance(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Oklab as linear sRGB.
fn linear([lightness, a, b]: [f64; 3]) -> [f64; 3] {
    let long = (lightness + 0.3963377774 * a + 0.2158037573 * b).powi(3);
    let middle = (lightness - 0.1055613458 * a - 0.0638541728 * b).powi(3);
    let short = (lightness - 0.0894841775 * a - 1.2914855480 * b).powi(3);
    [
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    ]
}

/// A linear value as sRGB stores it.
fn encoded(value: f64) -> f64 {
    match value.clamp(0.0, 1.0) {
        dark if dark <= 0.0031308 => 12.92 * dark,
        value => 1.055 * value.powf(1.0 / 2.4) - 0.055,
    }
}

/// Brings numbers to 0 to 1: the least is 0, the one in two hundred that is largest is 1, as is all
/// above it.
pub fn stretched(values: &[f32]) -> Vec<f32> {
    let mut sorted: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let place = (BRIGHTEST * sorted.len().saturating_sub(1) as f64).round() as usize;
    let (least, most) = match (sorted.first(), sorted.get(place)) {
        (Some(least), Some(most)) if most > least => (*least, *most),
        _ => return vec![0.0; values.len()],
    };
    values.iter().map(|value| ((value - least) / (most - least)).clamp(0.0, 1.0)).collect()
}

/// A map of `rows` × `columns` numbers from 0 to 1 over a picture: its colours, interpolated
/// between the middles of cells, over the picture's grey.
pub fn over(picture: &Rgb, map: &[f32], (rows, columns): (usize, usize)) -> Rgb {
    if map.len() != rows * columns || map.is_empty() {
        return picture.clone();
    }
    let (down, across) = (Taps::new(rows, picture.height), Taps::new(columns, picture.width));
    let mut out = picture.clone();
    for (index, pixel) in out.data.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (top, bottom, of_top, of_bottom) = down.at(index / picture.width);
        let (left, right, of_left, of_right) = across.at(index % picture.width);
        let along = |row: usize| {
            map[row * columns + left] * of_left + map[row * columns + right] * of_right
        };
        let value = along(top) * of_top + along(bottom) * of_bottom;
        let [red, green, blue] = pixel.map(f32::from);
        // the grey of Rec. 601
        let grey = 0.299 * red + 0.587 * green + 0.114 * blue;
        *pixel = color(value)
            .map(|heat| (OPACITY * f32::from(heat) + (1.0 - OPACITY) * grey).round() as u8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sRGB bytes as linear light and Oklab's lightness of it, by the inverse formulas.
    fn lightness(color: [u8; 3]) -> f64 {
        let [r, g, b] = color.map(|byte| {
            let value = f64::from(byte) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        let long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b).cbrt();
        let middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b).cbrt();
        let short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b).cbrt();
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short
    }

    #[test]
    fn colors_grow_lighter_in_even_steps() {
        let steps: Vec<f64> = (0..=16).map(|n| lightness(color(n as f32 / 16.0))).collect();
        assert!((steps[0] - LIGHTNESS.0).abs() < 0.02 && (steps[16] - LIGHTNESS.1).abs() < 0.02);
        let mean = (steps[16] - steps[0]) / 16.0;
        for pair in steps.windows(2) {
            let step = pair[1] - pair[0];
            // the hue's share of a step is not lightness
            assert!((0.5..1.6).contains(&(step / mean)), "{step} where {mean} is the mean");
        }
        assert_eq!(color(-1.0), color(0.0));
        assert_eq!(color(f32::NAN), color(0.0));
    }

    #[test]
    fn one_bright_patch_leaves_the_rest_visible() {
        let mut values: Vec<f32> = (0..1000).map(|n| n as f32 / 1000.0).collect();
        values[500] = 1e6;
        let stretched = stretched(&values);
        assert_eq!((stretched[0], stretched[500], stretched[999]), (0.0, 1.0, 1.0));
        assert!((stretched[300] - 0.3).abs() < 0.01);
        assert_eq!(super::stretched(&[2.0; 4]), [0.0; 4]);
        assert_eq!(super::stretched(&[]), [0.0; 0]);
        assert_eq!(super::stretched(&[f32::NAN, 0.0, 1.0])[1..], [0.0, 1.0]);
    }

    #[test]
    fn a_map_lies_over_the_grey_of_the_picture() {
        let picture = Rgb { width: 4, height: 2, data: vec![100; 24] };
        let out = over(&picture, &[0.0, 1.0], (1, 2));
        let mixed = |share: f32| {
            color(share).map(|heat| (OPACITY * f32::from(heat) + (1.0 - OPACITY) * 100.0).round())
        };
        let pixel = |index: usize| [0, 1, 2].map(|c| f32::from(out.data[3 * index + c]));
        assert_eq!(pixel(0), mixed(0.0));
        assert_eq!(pixel(3), mixed(1.0));
        assert_eq!(pixel(1), mixed(0.25), "a quarter of the way between the middles of two cells");
        assert_eq!(over(&picture, &[1.0], (2, 2)), picture, "a map that does not fit");
    }
}
