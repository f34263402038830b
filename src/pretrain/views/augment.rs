//! Colour jitter and Gaussian blur of the first view, off by default.
//!
//! Both follow torchvision's definitions for bytes, and are applied before normalisation. The
//! reference jitters the *normalised* first view and clamps it to 0…1, which blackens everything
//! darker than the mean, and its blur asks for a kernel of even size, which torchvision refuses. So
//! there is no reference to match to the last bit.

use crate::image::Rgb;
use crate::pretrain::random::Stream;

/// Rows and columns on each side that a blurred pixel sees: a kernel of 13, three of the largest
/// standard deviation, where the reference asks for 12.
const RADIUS: usize = 6;

/// Changes brightness, contrast, saturation and hue in random order.
///
/// The first three factors are uniform in 1 ± `strength`, the hue turns by up to a quarter of
/// `strength` (1 is the whole circle). A strength of 0.4 is the reference's.
pub fn jitter(image: &mut Rgb, strength: f64, stream: &mut Stream) {
    let order = stream.order(4);
    let mut factor = || stream.between((1.0 - strength).max(0.0), 1.0 + strength);
    let (brightness, contrast, saturation) = (factor(), factor(), factor());
    let turn = stream.between(-strength / 4.0, strength / 4.0) as f32;
    for change in order {
        match change {
            0 => change_brightness(image, brightness),
            1 => change_contrast(image, contrast),
            2 => change_saturation(image, saturation),
            _ => turn_hue(image, turn),
        }
    }
}

/// Mixes `factor` of every value with black.
fn change_brightness(image: &mut Rgb, factor: f64) {
    for_pixels(image, |rgb| rgb.map(|value| blend(value, 0.0, factor)));
}

/// Mixes `factor` of every value with the mean grey of the picture.
fn change_contrast(image: &mut Rgb, factor: f64) {
    let greys = image.data.as_chunks::<3>().0.iter().map(|rgb| u64::from(grey(*rgb)));
    let mean = greys.sum::<u64>() as f64 / (image.width * image.height) as f64;
    for_pixels(image, |rgb| rgb.map(|value| blend(value, mean as f32, factor)));
}

/// Mixes `factor` of every value with the grey of its pixel.
fn change_saturation(image: &mut Rgb, factor: f64) {
    for_pixels(image, |rgb| {
        let grey = f32::from(grey(rgb));
        rgb.map(|value| blend(value, grey, factor))
    });
}

/// Turns every hue by this share of the circle.
fn turn_hue(image: &mut Rgb, turn: f32) {
    for_pixels(image, |rgb| turned(rgb, turn));
}

fn for_pixels(image: &mut Rgb, change: impl Fn([u8; 3]) -> [u8; 3]) {
    for rgb in image.data.as_chunks_mut::<3>().0 {
        *rgb = change(*rgb);
    }
}

/// `share` of the value and the rest of the other, cut to a byte.
fn blend(value: u8, other: f32, share: f64) -> u8 {
    // each share rounded for itself, as torchvision has it: where the sum is a whole number, the
    // last bit decides
    let (share, rest) = (share as f32, (1.0 - share) as f32);
    (share * f32::from(value) + rest * other).clamp(0.0, 255.0) as u8
}

fn grey([red, green, blue]: [u8; 3]) -> u8 {
    (0.2989 * f32::from(red) + 0.587 * f32::from(green) + 0.114 * f32::from(blue)) as u8
}

/// The colour with its hue turned by this share of the circle; value and saturation stay.
fn turned(rgb: [u8; 3], turn: f32) -> [u8; 3] {
    let [red, green, blue] = rgb.map(|value| f32::from(value) / 255.0);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range == 0.0 {
        return rgb;
    }
    let sixth = if most == red {
        (green - blue) / range
    } else if most == green {
        2.0 + (blue - red) / range
    } else {
        4.0 + (red - green) / range
    };
    let hue = (sixth / 6.0 + 1.0 + turn).rem_euclid(1.0) * 6.0;
    // Along the circle a channel is full for two sixths, falls for one, is least for two, rises for
    // one.
    let channel = |start: f32| {
        let place = (hue + start).rem_euclid(6.0);
        let share = (place.min(4.0 - place)).clamp(0.0, 1.0);
        most - range * share
    };
    [channel(5.0), channel(3.0), channel(1.0)].map(|value| (value * 255.999) as u8)
}

/// Blurs with a Gaussian whose standard deviation is uniform in 0.1…2 pixels; the picture is
/// mirrored at its borders.
pub fn blur(image: &mut Rgb, stream: &mut Stream) {
    convolve(image, &kernel(stream.between(0.1, 2.0)));
}

/// Weighs each pixel's neighbours in its row, then those sums in their column.
fn convolve(image: &mut Rgb, kernel: &[f32; 2 * RADIUS + 1]) {
    let (rows, columns) = (mirrored(image.height), mirrored(image.width));
    let stride = 3 * image.width;
    let mut across = vec![0.0_f32; image.data.len()];
    for (out, row) in across.chunks_exact_mut(stride).zip(image.data.chunks_exact(stride)) {
        let (pixels, _) = row.as_chunks::<3>();
        for (out, columns) in
            out.as_chunks_mut::<3>().0.iter_mut().zip(columns.windows(kernel.len()))
        {
            for (&column, weight) in columns.iter().zip(kernel) {
                for (out, value) in out.iter_mut().zip(pixels[column]) {
                    *out += weight * f32::from(value);
                }
            }
        }
    }
    let mut sums = vec![0.0_f32; stride];
    for (out, rows) in image.data.chunks_exact_mut(stride).zip(rows.windows(kernel.len())) {
        sums.fill(0.0);
        for (&row, weight) in rows.iter().zip(kernel) {
            for (sum, value) in sums.iter_mut().zip(&across[row * stride..][..stride]) {
                *sum += weight * value;
            }
        }
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = sum.round_ties_even() as u8;
        }
    }
}

fn kernel(deviation: f64) -> [f32; 2 * RADIUS + 1] {
    let weight = |place: usize| {
        let distance = (place as f64 - RADIUS as f64) / deviation;
        (-0.5 * distance * distance).exp()
    };
    let sum: f64 = (0..=2 * RADIUS).map(weight).sum();
    std::array::from_fn(|place| (weight(place) / sum) as f32)
}

/// The samples that lie at −[`RADIUS`] … `length` + [`RADIUS`] − 1 when the picture is mirrored at
/// its first and last sample, as often as it takes.
fn mirrored(length: usize) -> Vec<usize> {
    let period = (2 * (length - 1)).max(1);
    let start = period * RADIUS - RADIUS;
    let fold = |place: usize| (place % period).min(period - place % period).min(length - 1);
    (start..start + length + 2 * RADIUS).map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::random::Purpose;

    fn stream(sample: u64) -> Stream {
        Stream::new(0, Purpose::Views, 0, sample)
    }

    // torchvision.transforms.functional's rules by hand: 0.2989 · 200 + 0.587 · 100 + 0.114 · 50
    // = 124.18, cut to 124; 0.5 · 200 + 0.5 · 124 = 162.
    #[test]
    fn values_are_mixed_as_torchvision_does() {
        assert_eq!(grey([200, 100, 50]), 124);
        assert_eq!(blend(200, 124.0, 0.5), 162);
        assert_eq!(blend(200, 0.0, 1.4), 255);
        assert_eq!(blend(201, 0.0, 0.5), 100);
        assert_eq!(blend(10, 200.0, 1.4), 0);
    }

    // tests/golden/make_augment.py. Each of torchvision's changes ends in bytes, as ours do. Sums
    // in another order (the mean grey, the blur) can tip a value to the next byte: of these
    // pictures one value does.
    #[test]
    fn changes_are_torchvision_s() {
        let golden = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
        let text = std::fs::read(golden.join("augment.json")).unwrap();
        let cases: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let [height, width] = [0, 1].map(|at| cases["picture"][at].as_u64().unwrap() as usize);
        let values = (0..3 * height * width).map(|at| (at * 131 % 251 + at / 7 % 5) as u8);
        let picture = Rgb { width, height, data: values.collect() };
        let strip = crate::image::decode::read(&golden.join("augment.png")).unwrap();
        let theirs = strip.data.chunks_exact(picture.data.len());
        let cases = cases["cases"].as_array().unwrap();
        assert_eq!(theirs.len(), cases.len());
        for (case, theirs) in cases.iter().zip(theirs) {
            let mut ours = picture.clone();
            for change in case.as_array().unwrap() {
                let amount = change[1].as_f64().unwrap();
                match change[0].as_str().unwrap() {
                    "brightness" => change_brightness(&mut ours, amount),
                    "contrast" => change_contrast(&mut ours, amount),
                    "saturation" => change_saturation(&mut ours, amount),
                    "hue" => turn_hue(&mut ours, amount as f32),
                    "blur" => convolve(&mut ours, &kernel(amount)),
                    other => panic!("{other}"),
                }
            }
            let off = ours.data.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b));
            let (most, differing) = off
                .fold((0, 0), |(most, count), off| (most.max(off), count + usize::from(off > 0)));
            println!("{case}: {differing} of {} differ, by {most} at most", theirs.len());
            assert!(most <= 1 && differing * 500 <= theirs.len(), "{case}: {differing}, {most}");
        }
    }

    #[test]
    fn hues_turn_around_the_circle() {
        let red = [255, 0, 0];
        assert_eq!(turned(red, 1.0 / 3.0), [0, 255, 0]);
        assert_eq!(turned(red, -1.0 / 3.0), [0, 0, 255]);
        assert_eq!(turned(red, 0.5), [0, 255, 255]);
        assert_eq!(turned(red, 1.0 / 12.0)[0], 255);
        assert_eq!(turned([77; 3], 0.3), [77; 3]);
        for at in 0..1000_u32 {
            let rgb = [at * 7, at * 31 + 5, at * 101].map(|value| (value % 256) as u8);
            let still = turned(rgb, 0.0);
            let off = rgb.iter().zip(&still).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off <= Some(1), "{rgb:?} {still:?}");
        }
    }

    #[test]
    fn jitter_is_off_at_no_strength_and_the_same_for_the_same_stream() {
        let data: Vec<u8> = (0..3 * 64).map(|at| (at * 37) as u8).collect();
        let image = Rgb { width: 8, height: 8, data };
        let jittered = |strength, sample| {
            let mut image = image.clone();
            jitter(&mut image, strength, &mut stream(sample));
            image
        };
        let off = |other: Rgb| image.data.iter().zip(other.data).map(|(a, b)| a.abs_diff(b)).max();
        assert!(off(jittered(0.0, 1)) <= Some(1), "the hue goes through floats");
        assert!(off(jittered(0.4, 1)) > Some(5));
        assert_eq!(jittered(0.4, 1), jittered(0.4, 1));
        assert_ne!(jittered(0.4, 1), jittered(0.4, 2));
    }

    #[test]
    fn blur_keeps_what_is_even_and_spreads_a_point() {
        for (height, width) in [(1, 1), (1, 5), (3, 2), (20, 20)] {
            let mut even = Rgb { width, height, data: vec![99; 3 * height * width] };
            blur(&mut even, &mut stream(0));
            assert!(even.data.iter().all(|value| *value == 99), "{height}x{width}");
        }
        let mut point = Rgb { width: 21, height: 21, data: vec![0; 3 * 21 * 21] };
        let at = |y: usize, x: usize| 3 * (21 * y + x) + 1;
        point.data[at(10, 10)] = 255;
        blur(&mut point, &mut stream(3));
        let value = |y, x| point.data[at(y, x)];
        assert!(value(10, 10) < 255 && value(10, 10) > value(10, 11));
        assert_eq!([value(9, 10), value(11, 10), value(10, 9)], [value(10, 11); 3]);
        assert_eq!(value(10, 17), 0);
        assert!(point.data.iter().step_by(3).all(|red| *red == 0));
    }

    #[test]
    fn borders_are_mirrored() {
        assert_eq!(mirrored(3), [2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0]);
        assert_eq!(mirrored(1), [0; 13]);
        assert_eq!(mirrored(9)[..8], [6, 5, 4, 3, 2, 1, 0, 1]);
    }
}
