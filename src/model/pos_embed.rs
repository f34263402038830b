//! How an encoder knows where a patch is: the fixed sine-cosine table that MAE and CropMAE train
//! with, the resampling of a trained table to the grid of a frame, and rotary positions.
//!
//! An encoder trained on 14×14 patches is applied to frames of 30×55, so its position table is
//! resized by bicubic interpolation. Three conventions are in use ([`PositionRule`]), and they
//! change features in the third digit, so the rule is part of the encoder. DINOv3 has no table: it
//! turns the queries and keys of every block by angles that follow from a patch's place
//! ([`turns`]).

use candle_core::Tensor;

use super::config::PositionRule;

/// Positions of the patches of a grid [h, w], as the implementations of the encoder take them.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    /// What is added to CLS and patches: [1, 1 + h·w, D]; zeros where positions are rotary.
    pub(super) table: Tensor,
    /// What queries and keys of patches are turned by: [h·w, head width] in f32, see [`turns`];
    /// where positions are rotary.
    pub(super) turns: Option<Tensor>,
}

/// The periods of DINOv3's rotary positions where a checkpoint holds none: 100^(i / count), in
/// units of half a frame.
pub(super) fn usual_periods(count: usize) -> Vec<f32> {
    (0..count).map(|index| 100_f64.powf(index as f64 / count as f64) as f32).collect()
}

/// What queries and keys are turned by at every patch of a grid of `height` × `width`: rows of the
/// cosines of a patch's angles and then their sines, [h·w, 4·periods].
///
/// The centre of a patch lies at (y, x), each between -1 and 1 from border to border; its angles
/// are 2π·y / period for every period, then the same of x. In a head, channel i of the first half
/// and channel i of the second are turned by angle i. Source: `RopePositionEmbedding` and
/// `rope_apply` of DINOv3's program, with coordinates normalised separately, as all its published
/// encoders have it. Computed in f64, rounded once.
pub fn turns((height, width): (usize, usize), periods: &[f32]) -> Vec<f32> {
    let center = |index: usize, count: usize| 2.0 * (index as f64 + 0.5) / count as f64 - 1.0;
    let mut out = Vec::with_capacity(height * width * 4 * periods.len());
    for y in 0..height {
        for x in 0..width {
            let angles: Vec<f64> = [center(y, height), center(x, width)]
                .iter()
                .flat_map(|at| periods.iter().map(move |period| at / f64::from(*period)))
                .map(|turn| std::f64::consts::TAU * turn)
                .collect();
            out.extend(angles.iter().map(|angle| angle.cos() as f32));
            out.extend(angles.iter().map(|angle| angle.sin() as f32));
        }
    }
    out
}

/// Whether a position table [1, 1 + side², width] is the fixed one ([`sincos_table`]) and not a
/// learnt one, as far as its number type tells: bfloat16 is off by up to 2⁻⁹ for values up to 1, f16
/// and angles computed in f32 by less.
///
/// # Errors
/// Its values cannot be read.
pub fn is_fixed(table: &Tensor, width: usize, side: usize) -> candle_core::Result<bool> {
    const ROUNDING: f32 = 3e-3;
    let values = table.flatten_all()?.to_vec1::<f32>()?;
    let fixed = sincos_table(width, side);
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= ROUNDING;
    Ok(values.len() == fixed.len() && values.iter().zip(&fixed).all(near))
}

/// The 2-D sine-cosine table of a `side` × `side` grid, row-major [1 + side², width].
///
/// Row 0 belongs to CLS and is zero; row 1 + y·side + x belongs to the patch in row y, column x.
/// The first half of the channels encodes x, the second y, as MAE's program does; each half holds
/// the sines of a coordinate times 10000^(−i / (width/4)), i = 0, 1, …, then the cosines. Channels
/// beyond a multiple of four stay zero. Computed in f64, rounded once.
pub fn sincos_table(width: usize, side: usize) -> Vec<f32> {
    let quarter = width / 4;
    let frequencies: Vec<f64> =
        (0..quarter).map(|index| 10000_f64.powf(-(index as f64) / quarter as f64)).collect();
    let mut table = vec![0.0; (1 + side * side) * width];
    // a width below 4 has no channels to fill (and chunks of 0 would not be allowed)
    for (patch, row) in table.chunks_exact_mut(width.max(1)).skip(1).enumerate() {
        let (y, x) = (patch / side, patch % side);
        for (half, position) in row.chunks_exact_mut((2 * quarter).max(1)).zip([x, y]) {
            let (sines, cosines) = half.split_at_mut(quarter);
            for ((sine, cosine), frequency) in sines.iter_mut().zip(cosines).zip(&frequencies) {
                let angle = position as f64 * frequency;
                *sine = angle.sin() as f32;
                *cosine = angle.cos() as f32;
            }
        }
    }
    table
}

/// Input samples and weights that make one output sample along one axis.
type Mix = Vec<(usize, f32)>;

/// Resamples the patch rows of a position table to another grid.
///
/// `table` is `side * side` rows of `width` values (no CLS row); returns `height * grid_width`
/// rows, row by row. The table is returned as it is where the grid is the trained one.
/// Source: `interpolate_pos_encoding` of MAE, DINO and DINOv2, and PyTorch's bicubic kernels.
pub fn interpolate(
    table: &[f32],
    side: usize,
    width: usize,
    (height, grid_width): (usize, usize),
    rule: PositionRule,
) -> Vec<f32> {
    if (height, grid_width) == (side, side) {
        return table.to_vec();
    }
    let (rows, columns) = (axis(side, height, rule), axis(side, grid_width, rule));
    let mut stretched = Vec::with_capacity(side * grid_width * width);
    for y in 0..side {
        for mix in &columns {
            blend(&mut stretched, mix, width, |x| &table[(y * side + x) * width..]);
        }
    }
    let mut out = Vec::with_capacity(height * grid_width * width);
    for mix in &rows {
        for x in 0..grid_width {
            blend(&mut out, mix, width, |y| &stretched[(y * grid_width + x) * width..]);
        }
    }
    out
}

fn blend<'a>(out: &mut Vec<f32>, mix: &Mix, width: usize, row: impl Fn(usize) -> &'a [f32]) {
    let start = out.len();
    out.resize(start + width, 0.0);
    for &(index, weight) in mix {
        for (out, value) in out[start..].iter_mut().zip(row(index)) {
            *out += weight * value;
        }
    }
}

fn axis(side: usize, target: usize, rule: PositionRule) -> Vec<Mix> {
    match rule {
        // The offset was put there so that floor(side * scale) is never one short of `target`; the
        // sampling step then is side / (target + 0.1), which is what moves the features.
        PositionRule::Offset => {
            let factor = (target as f64 + 0.1) / side as f64;
            cubic_axis(side, target, (1.0 / factor) as f32)
        }
        PositionRule::Size => cubic_axis(side, target, side as f32 / target as f32),
        PositionRule::Antialias => antialiased_axis(side, target),
    }
}

/// The cubic convolution kernel with parameter `a` at distance `x`.
///
/// Products and sums are fused, here and in the sampling points, as PyTorch's kernels are compiled:
/// each rounding saved or not moves a table by some 1e-6, which the first norm of an encoder
/// multiplies.
fn cubic(x: f32, a: f32) -> f32 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0).mul_add(x, -(a + 3.0)) * x).mul_add(x, 1.0)
    } else if x < 2.0 {
        a.mul_add(x, -5.0 * a).mul_add(x, 8.0 * a).mul_add(x, -4.0 * a)
    } else {
        0.0
    }
}

/// PyTorch's bicubic (a = -0.75, half-pixel centres, clamped borders) with a given step.
fn cubic_axis(side: usize, target: usize, step: f32) -> Vec<Mix> {
    (0..target)
        .map(|index| {
            let center = step.mul_add(index as f32 + 0.5, -0.5);
            let floor = center.floor();
            (-1..=2)
                .map(|offset| {
                    let source = (floor as isize + offset).clamp(0, side as isize - 1);
                    (source as usize, cubic(center - floor - offset as f32, -0.75))
                })
                .collect()
        })
        .collect()
}

/// PyTorch's antialiased bicubic (a = -0.5, support grows when shrinking, weights normalised).
fn antialiased_axis(side: usize, target: usize) -> Vec<Mix> {
    let step = side as f32 / target as f32;
    let stretch = step.max(1.0);
    (0..target)
        .map(|index| {
            let center = step * (index as f32 + 0.5);
            let first = (center - 2.0 * stretch + 0.5).max(0.0) as usize;
            let last = ((center + 2.0 * stretch + 0.5) as usize).min(side);
            let weight = |s: usize| cubic((s as f32 - center + 0.5) / stretch, -0.5);
            let total: f32 = (first..last).map(weight).sum();
            (first..last).map(|source| (source, weight(source) / total)).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::shared;

    #[test]
    fn a_table_of_two_by_two_worked_by_hand() {
        // width 8: frequencies 1 and 10000^(-1/2) = 0.01; a row is sin x, sin x/100, cos x,
        // cos x/100, then the same of y
        let table = sincos_table(8, 2);
        assert_eq!(table[..8], [0.0; 8]);
        let (s, c) = (1_f32.sin(), 1_f32.cos());
        let (s2, c2) = (0.01_f32.sin(), 0.01_f32.cos());
        let bottom_left = [0.0, 0.0, 1.0, 1.0, s, s2, c, c2];
        let top_right = [s, s2, c, c2, 0.0, 0.0, 1.0, 1.0];
        // one unit in the last place of a number near 1
        for (row, wanted) in [(3, bottom_left), (2, top_right)] {
            for (got, wanted) in table[row * 8..(row + 1) * 8].iter().zip(wanted) {
                assert!((got - wanted).abs() < 1.2e-7, "row {row}: {got} for {wanted}");
            }
        }
    }

    #[test]
    fn a_fixed_table_is_known_in_any_number_type() {
        use candle_core::{DType, Device};
        let table = Tensor::from_vec(sincos_table(96, 14), (1, 197, 96), &Device::Cpu).unwrap();
        let is_fixed = |table: &Tensor, side| is_fixed(table, 96, side).unwrap();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let stored = table.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap();
            assert!(is_fixed(&stored, 14), "{dtype:?}");
        }
        assert!(!is_fixed(&(&table * 0.99).unwrap(), 14));
        assert!(!is_fixed(&table, 7));
    }

    #[test]
    fn odd_sizes_do_not_panic() {
        for width in 0..10 {
            for side in 0..3 {
                assert_eq!(sincos_table(width, side).len(), (1 + side * side) * width);
            }
        }
    }

    /// The reference's tables, as its checkpoint and its interpolation fixture hold them; both are
    /// f32 of the same formula, so half a unit in the last place of 1 and a little.
    #[test]
    fn equals_the_reference_table() {
        for (file, key) in [
            ("fixtures/weights/siammae_tiny.safetensors", "pos_embed"),
            ("fixtures/pretrain/pos_embed_tiny_p16.safetensors", "source"),
        ] {
            let Some(path) = shared(file) else { continue };
            let tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
            let wanted: Vec<f32> = tensors[key].flatten_all().unwrap().to_vec1().unwrap();
            let table = sincos_table(96, 14);
            assert_eq!(table.len(), wanted.len());
            let worst =
                table.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
            assert!(worst < 1e-6, "{file}: off by {worst}");
        }
    }

    #[test]
    fn turns_worked_by_hand() {
        // one row of two patches, whose centres are at y = 0 and x = -1/2 and 1/2; periods 1 and 2:
        // angles 0, 0, then half a turn and a quarter, backwards and forwards
        let turns = turns((1, 2), &[1.0, 2.0]);
        let wanted =
            [[1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0], [1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0]];
        for (got, wanted) in turns.iter().zip(wanted.as_flattened()) {
            // sines and cosines of f64 angles
            assert!((got - wanted).abs() < 1e-7, "{turns:?}");
        }
        assert_eq!(usual_periods(4)[..3], [1.0, 10_f32.sqrt(), 10.0]);
    }

    const RULES: [PositionRule; 3] =
        [PositionRule::Offset, PositionRule::Size, PositionRule::Antialias];

    #[test]
    fn the_trained_grid_is_left_alone() {
        let table: Vec<f32> = (0..18).map(|v| v as f32).collect();
        for rule in RULES {
            assert_eq!(interpolate(&table, 3, 2, (3, 3), rule), table);
        }
    }

    #[test]
    fn a_constant_table_stays_constant() {
        for rule in RULES {
            let out = interpolate(&[0.25; 4 * 4 * 3], 4, 3, (7, 9), rule);
            assert_eq!(out.len(), 7 * 9 * 3);
            // Cubic weights sum to one up to a few f32 roundings.
            assert!(out.iter().all(|v| (v - 0.25).abs() < 1e-6), "{rule:?}");
        }
    }

    #[test]
    fn doubling_by_size_samples_at_quarters() {
        // Side 2 -> 4, step 0.5: centres -0.25, 0.25, 0.75, 1.25. At 0.25 with inputs clamped to
        // (0, 0, 1, 1): weights of a = -0.75 at distances 1.25, 0.25, 0.75, 1.75.
        let far = cubic(0.75, -0.75) + cubic(1.75, -0.75);
        let out = interpolate(&[0.0, 1.0, 0.0, 1.0], 2, 1, (2, 4), PositionRule::Size);
        assert!((out[1] - far).abs() < 1e-6);
        assert!((far - 29.0 / 128.0).abs() < 1e-6, "{far}");
    }

    #[test]
    fn the_offset_matters() {
        let table: Vec<f32> = (0..14 * 14).map(|v| (v as f32 * 0.7).sin()).collect();
        let by = |rule| interpolate(&table, 14, 1, (30, 55), rule);
        let gap = by(PositionRule::Offset)
            .iter()
            .zip(by(PositionRule::Size))
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(gap > 1e-3, "{gap}");
    }
}
