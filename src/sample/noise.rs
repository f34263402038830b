//! Random numbers: seeded draws for the contents of a clip, and lattice noise for textures.
//!
//! All draws come from [`Draw`], a `ChaCha` stream keyed by seed, benchmark and clip. The noise
//! functions are pure: the same point and seed give the same value, so a texture can be evaluated
//! anywhere and in any order. Next: [`super::texture`] turns noise into cloth, fur and brick.

use std::f32::consts::SQRT_2;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::geometry::{Point, at, mix};

/// A stream of draws.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream number `stream` of one clip: 0 for what the clip contains, 1 + t for frame t.
    pub(super) fn new(seed: u64, benchmark: u64, clip: u64, attempt: u64, stream: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, benchmark, clip, attempt]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let mut generator = ChaCha8Rng::from_seed(key);
        generator.set_stream(stream);
        Self(generator)
    }

    /// Random bytes.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// 32 random bits.
    pub(super) fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A number in 0..1; the upper 24 bits, so that every value is exact in an f32.
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / (1 << 24) as f32
    }

    /// A number in `low..high`.
    pub(super) fn range(&mut self, low: f32, high: f32) -> f32 {
        mix(low, high, self.unit())
    }

    /// A whole number below `count`, which must not be 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f32) as usize
    }

    /// True with probability `share`.
    pub(super) fn chance(&mut self, share: f32) -> bool {
        self.unit() < share
    }

    /// One of `options`, which must not be empty.
    pub(super) fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }
}

/// 32 well-mixed bits for a lattice point (a multiply-and-shift hash; any good one would do).
pub(super) fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let mut h = (x as u32).wrapping_mul(0x8da6_b343)
        ^ (y as u32).wrapping_mul(0xd816_3841)
        ^ seed.wrapping_mul(0xcb1a_b31f);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    h ^ (h >> 15)
}

/// A number in 0..1 for a lattice point.
pub(super) fn cell_value(x: i32, y: i32, seed: u32) -> f32 {
    (hash(x, y, seed) >> 8) as f32 / (1 << 24) as f32
}

/// The eight gradients of a lattice point, all of one length.
const GRADIENTS: [(f32, f32); 8] = [
    (1.0, 1.0),
    (1.0, -1.0),
    (-1.0, 1.0),
    (-1.0, -1.0),
    (SQRT_2, 0.0),
    (-SQRT_2, 0.0),
    (0.0, SQRT_2),
    (0.0, -SQRT_2),
];

/// The dot product of a lattice point's gradient with an offset. A table instead of branches, which
/// no processor could foresee.
fn slope(x: i32, y: i32, seed: u32, dx: f32, dy: f32) -> f32 {
    let (gx, gy) = GRADIENTS[(hash(x, y, seed) >> 29) as usize];
    gx * dx + gy * dy
}

/// The whole number at or below; without a call into the mathematical library.
pub(super) fn floor(value: f32) -> i32 {
    let whole = value as i32;
    whole - i32::from(value < whole as f32)
}

/// Gradient noise of wavelength 1, roughly within ±0.8.
pub(super) fn gradient(p: Point, seed: u32) -> f32 {
    let (x, y) = (floor(p.x), floor(p.y));
    let (dx, dy) = (p.x - x as f32, p.y - y as f32);
    let fade = |t: f32| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let (u, v) = (fade(dx), fade(dy));
    let above = mix(slope(x, y, seed, dx, dy), slope(x + 1, y, seed, dx - 1.0, dy), u);
    let below =
        mix(slope(x, y + 1, seed, dx, dy - 1.0), slope(x + 1, y + 1, seed, dx - 1.0, dy - 1.0), u);
    mix(above, below, v)
}

/// Octaves of gradient noise summed, each of half the wavelength and 0.55 of the weight of the one
/// before, down to `finest`: roughly within ±1. `finest` is what one texel can still show.
pub(super) fn octaves(p: Point, wavelength: f32, finest: f32, seed: u32) -> f32 {
    let (mut sum, mut weight, mut wavelength) = (0.0, 1.0, wavelength);
    for octave in 0..7 {
        if octave > 0 && wavelength < 2.0 * finest {
            break;
        }
        sum += weight * gradient(p * (1.0 / wavelength), seed.wrapping_add(octave));
        weight *= 0.55;
        wavelength *= 0.5;
    }
    sum
}

/// A pattern of cells around scattered points.
pub(super) struct Cell {
    /// Distance to the nearest point, in cells.
    pub(super) near: f32,
    /// How much farther the second nearest is: 0 on the border between two cells.
    pub(super) border: f32,
    /// A number in 0..1 of this cell's own.
    pub(super) value: f32,
}

/// The cell at `p`: one scattered point per unit square.
pub(super) fn cells(p: Point, seed: u32) -> Cell {
    let (column, row) = (floor(p.x), floor(p.y));
    let (mut first, mut second, mut value) = (f32::MAX, f32::MAX, 0.0);
    for y in row - 1..=row + 1 {
        for x in column - 1..=column + 1 {
            let bits = hash(x, y, seed);
            let jitter = at((bits & 0xffff) as f32 / 65536.0, (bits >> 16) as f32 / 65536.0);
            let distance = (at(x as f32, y as f32) + jitter - p).length();
            if distance < first {
                (first, second, value) = (distance, first, cell_value(x, y, seed ^ 0x5bd1));
            } else if distance < second {
                second = distance;
            }
        }
    }
    Cell { near: first, border: second - first, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |clip, stream| Draw::new(7, 1, clip, 0, stream).bits();
        assert_eq!(draw(3, 0), draw(3, 0));
        assert_ne!(draw(3, 0), draw(4, 0));
        assert_ne!(draw(3, 0), draw(3, 1));
    }

    #[test]
    fn noise_is_continuous_and_bounded() {
        let mut last = octaves(at(0.0, 0.3), 0.5, 0.01, 9);
        for step in 1..4000 {
            let value = octaves(at(step as f32 * 0.001, 0.3), 0.5, 0.01, 9);
            assert!(value.abs() < 1.6, "{value}");
            // The steepest octave has wavelength 0.031 and weight 0.09: slope below 2 * 0.09 /
            // 0.031, and the sum of all slopes below 40 a unit.
            assert!((value - last).abs() < 0.04, "jump at {step}");
            last = value;
        }
    }

    #[test]
    fn floors_go_down() {
        assert_eq!([-1.5, -1.0, -0.2, 0.0, 0.9, 3.0].map(floor), [-2, -1, -1, 0, 0, 3]);
    }

    #[test]
    fn gradient_noise_vanishes_on_the_lattice() {
        assert_eq!(gradient(at(3.0, -2.0), 1), 0.0);
    }
}
