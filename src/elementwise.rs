//! Functions of many values at once, on the CPU, in f32.
//!
//! Plain loops over slices, written so that the compiler turns them into the widest vector
//! instructions that the machine has; `pulp` chooses these at run time. Attention, feed-forwards
//! and the optimiser of pre-training use them. [`lanes`] has the same functions for values that are
//! already in a register. A leaf.

pub(crate) mod lanes;

/// Replaces scores by `exp(score - largest)` and returns their sum.
pub(crate) fn exponentials(scores: &mut [f32]) -> f32 {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || exponentials_of(scores),
    )
}

/// Values that one vector instruction may take.
const LANES: usize = 16;

/// Written so that the compiler turns it into vector instructions: one accumulator per lane.
#[inline(always)]
fn exponentials_of(scores: &mut [f32]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    for group in scores.chunks(LANES) {
        for (largest, score) in largest.iter_mut().zip(group) {
            *largest = if *score > *largest { *score } else { *largest };
        }
    }
    let largest = largest.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; LANES];
    let (groups, rest) = scores.as_chunks_mut::<LANES>();
    for group in groups {
        for (sum, score) in sums.iter_mut().zip(group) {
            *score = exp(*score - largest);
            *sum += *score;
        }
    }
    for (sum, score) in sums.iter_mut().zip(rest) {
        *score = exp(*score - largest);
        *sum += *score;
    }
    sums.iter().sum()
}

/// e^x for x ≤ 0 to two units in the last place, 0 below -87: 2^n times the series of the
/// remainder, which lies within ±ln 2 / 2.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 · 2^23 rounds to a whole number, and its last bits are that
    // number.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 355.0 / 512.0; // ln 2 but for its last bits, exact in products with n
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = clamped - whole * LN2_HIGH - whole * LN2_LOW;
    let mut series = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * rest + coefficient;
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if x < -87.0 { 0.0 } else { series * f32::from_bits(exponent) }
}

/// Above the fraction bar of the error function, the highest power first: an odd rational function
/// on ±4, beyond which it is ±1 in f32. The coefficients are the minimax ones that Eigen uses.
const ERF_ABOVE: [f32; 7] = [
    -2.726_142_3e-10,
    2.770_681_4e-8,
    -2.101_024e-6,
    -5.692_506_4e-5,
    -7.349_906_3e-4,
    -2.954_6e-3,
    -1.609_603_4e-2,
];
/// Below it.
const ERF_BELOW: [f32; 5] =
    [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];

/// The error function to five parts in ten million.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let polynomial = |coefficients: &[f32]| {
        coefficients.iter().fold(0.0, |sum, coefficient| sum * square + coefficient)
    };
    x * polynomial(&ERF_ABOVE) / polynomial(&ERF_BELOW)
}

/// The share of the normal distribution below `x`.
#[inline(always)]
fn normal_below(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `out = x Φ(x)`: the exact GELU.
pub(crate) fn gelu(xs: &[f32], out: &mut [f32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (out, &x) in out.iter_mut().zip(xs) {
                *out = x * normal_below(x);
            }
        },
    );
}

/// A gate's SiLU times its value: of every `2 * width` values of `pairs` the first half are gates,
/// and `width` go to `out`.
pub(crate) fn swiglu(pairs: &[f32], width: usize, out: &mut [f32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (row, out) in pairs.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
                let (gates, values) = row.split_at(width);
                for ((out, &gate), value) in out.iter_mut().zip(gates).zip(values) {
                    *out = gate * logistic(gate) * value;
                }
            }
        },
    );
}

/// 1 / (1 + e^-x)
#[inline(always)]
fn logistic(x: f32) -> f32 {
    let small = exp(-x.abs());
    let share = if x < 0.0 { small } else { 1.0 };
    share / (1.0 + small)
}

/// `out = gradient · d/dx x Φ(x)`, which is Φ(x) + x φ(x).
pub(crate) fn gelu_backward(xs: &[f32], gradient: &[f32], out: &mut [f32]) {
    const DENSITY_AT_ZERO: f32 = 0.398_942_3; // 1/√(2π)
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for ((out, &x), gradient) in out.iter_mut().zip(xs).zip(gradient) {
                let density = DENSITY_AT_ZERO * exp(-0.5 * x * x);
                *out = gradient * (normal_below(x) + x * density);
            }
        },
    );
}

/// Σ a·b, one accumulator per lane.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    sums.iter().sum()
}

/// LayerNorm: every `weight.len()` values of `rows` become
/// `weight · (x − mean) / √(variance + epsilon) + bias` in `out`.
pub(crate) fn layer_norm(
    rows: &[f32],
    (weight, bias): (&[f32], &[f32]),
    epsilon: f32,
    out: &mut [f32],
) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let width = weight.len();
            for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                let mean = sum(row) / width as f32;
                // the centred row first: its squares' sum is the variance, to the last bits
                out.iter_mut().zip(row).for_each(|(out, value)| *out = value - mean);
                let scale = 1.0 / (dot(out, out) / width as f32 + epsilon).sqrt();
                for ((out, weight), bias) in out.iter_mut().zip(weight).zip(bias) {
                    *out = *out * scale * weight + bias;
                }
            }
        },
    );
}

/// Σ a, one accumulator per lane.
#[inline(always)]
pub(crate) fn sum(a: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (groups, rest) = a.as_chunks::<LANES>();
    for group in groups {
        for (sum, a) in sums.iter_mut().zip(group) {
            *sum += a;
        }
    }
    for (sum, a) in sums.iter_mut().zip(rest) {
        *sum += a;
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_standard_library() {
        for step in 0..200_000 {
            let x = -88.0 * step as f32 / 200_000.0;
            let (ours, theirs) = (exp(x), x.exp());
            // Two units in the last place; what is below -87 is taken for 0.
            assert!((ours - theirs).abs() <= theirs * 2.4e-7 + 1.7e-38, "{x}: {ours} {theirs}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    /// The series of erf in f64, good to 1e-13 within ±4.
    fn erf_f64(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn the_error_function_is_its_series() {
        for step in -4000..=4000 {
            let x = step as f32 / 1000.0;
            let wanted = erf_f64(f64::from(x));
            let got = f64::from(erf(x));
            assert!((got - wanted).abs() <= 5e-7 * wanted.abs() + 1e-30, "{x}: {got} {wanted}");
        }
        assert!((erf(9.0) - 1.0).abs() < 2e-7 && (erf(-9.0) + 1.0).abs() < 2e-7);
    }

    #[test]
    fn the_slope_of_gelu_is_its_finite_difference() {
        let gelu_f64 = |x: f64| x * 0.5 * (1.0 + erf_f64(x / 2.0_f64.sqrt()));
        for step in -500..=500 {
            let x = f64::from(step) / 100.0;
            let wanted = (gelu_f64(x + 1e-5) - gelu_f64(x - 1e-5)) / 2e-5;
            let (mut value, mut slope) = ([0.0], [0.0]);
            gelu(&[x as f32], &mut value);
            gelu_backward(&[x as f32], &[1.0], &mut slope);
            // a few roundings of numbers up to 5 and 1
            assert!((f64::from(value[0]) - gelu_f64(x)).abs() < 1e-6, "{x}");
            assert!((f64::from(slope[0]) - wanted).abs() < 1e-6, "{x}: {} {wanted}", slope[0]);
        }
    }

    #[test]
    fn gates_are_their_definition() {
        for step in -500..=500 {
            let gate = f64::from(step) / 32.0; // exact in f32
            let mut out = [0.0];
            swiglu(&[gate as f32, 3.0], 1, &mut out);
            let wanted = 3.0 * gate / (1.0 + (-gate).exp());
            // four roundings of a number of that size
            assert!(
                (f64::from(out[0]) - wanted).abs() < 4e-7 * wanted.abs() + 1e-30,
                "{gate}: {out:?}"
            );
        }
        let mut out = [0.0; 4];
        swiglu(&[0.0, 100.0, 5.0, 2.0, -100.0, f32::NAN, 5.0, 2.0], 2, &mut out);
        assert_eq!(out[..2], [0.0, 200.0]);
        assert!(out[2].abs() < 1e-30 && out[3].is_nan());
    }

    #[test]
    fn layer_norm_of_a_row_worked_by_hand() {
        // 1, 2, 3, 6 and the same times ten: mean 3, variance 3.5
        let rows = [1., 2., 3., 6., 10., 20., 30., 60.];
        let mut out = [0.0; 8];
        layer_norm(&rows, (&[1., 1., 2., 1.], &[0., 1., 0., 0.]), 0.5, &mut out);
        for (scale, out) in [(1.0, &out[..4]), (10.0, &out[4..])] {
            let deviation = (3.5 * scale * scale + 0.5_f32).sqrt();
            let wanted = [-2.0, -1.0, 0.0, 3.0].map(|x| x * scale / deviation);
            let wanted = [wanted[0], wanted[1] + 1.0, wanted[2], wanted[3]];
            // a few roundings of numbers up to 2
            out.iter().zip(wanted).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{a} {b}"));
        }
    }

    #[test]
    fn sums_take_in_the_rest() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum(&a), 666.0);
        assert_eq!(dot(&a, &a), 16_206.0);
    }
}
