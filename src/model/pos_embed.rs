//! Position tables: resampling a trained one to the grid of a frame.
//!
//! An encoder trained on 14×14 patches meets frames of 30×55; its position table is stretched by
//! bicubic interpolation. Three conventions are in use ([`PositionRule`]) and they change features
//! in the third digit, so the rule is part of the encoder.

use super::config::PositionRule;

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
fn cubic(x: f32, a: f32) -> f32 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// PyTorch's bicubic (a = -0.75, half-pixel centres, clamped borders) with a given step.
fn cubic_axis(side: usize, target: usize, step: f32) -> Vec<Mix> {
    (0..target)
        .map(|index| {
            let center = step * (index as f32 + 0.5) - 0.5;
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
