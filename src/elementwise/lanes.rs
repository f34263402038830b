//! The same functions for a vector register of values, for loops that already have their values
//! there.
//!
//! They take the instruction set as an argument, as `pulp` passes it to an operation, and should be
//! called only from inside one.

use pulp::Simd;

use super::{ERF_ABOVE, ERF_BELOW};

/// 2^x for x ≤ 0 to two units in the last place, 2^-126 below that. NaN stays NaN.
///
/// 2 to the nearest whole number times 2 to the rest, which lies within ±1/2: there a polynomial of
/// degree six, fitted for the least relative error (Remez's exchange), is off by 1.9e-9.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const SERIES: [f32; 7] = [
        0.000_153_458_12,
        0.001_339_993_1,
        0.009_618_489,
        0.055_503_286,
        0.240_226_47,
        std::f32::consts::LN_2,
        1.0,
    ];
    // Adding and taking away 1.5 · 2^23 rounds to a whole number, and its last bits are that
    // number.
    let round = simd.splat_f32s(12_582_912.0);
    let one = simd.splat_u32s(1.0_f32.to_bits());
    let least = simd.splat_f32s(-126.0);
    let x = simd.select_f32s(simd.less_than_f32s(x, least), least, x); // unlike a maximum, keeps NaN
    let shifted = simd.add_f32s(x, round);
    let rest = simd.sub_f32s(x, simd.sub_f32s(shifted, round));
    let bits = simd.transmute_u32s_f32s(shifted);
    let exponent = simd.add_u32s(simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23)), one);
    let series = polynomial(simd, &SERIES, rest);
    simd.mul_f32s(series, simd.transmute_f32s_u32s(exponent))
}

/// The exact GELU, x Φ(x).
#[inline(always)]
pub(crate) fn gelu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let half = simd.splat_f32s(0.5);
    let scaled = simd.mul_f32s(x, simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2));
    let bounded = simd.max_f32s(simd.splat_f32s(-4.0), scaled);
    let bounded = simd.min_f32s(simd.splat_f32s(4.0), bounded);
    let square = simd.mul_f32s(bounded, bounded);
    let above = simd.mul_f32s(bounded, polynomial(simd, &ERF_ABOVE, square));
    let erf = simd.div_f32s(above, polynomial(simd, &ERF_BELOW, square));
    simd.mul_f32s(x, simd.mul_add_e_f32s(half, erf, half))
}

/// The polynomial with these coefficients, the highest power first.
#[inline(always)]
fn polynomial<S: Simd>(simd: S, coefficients: &[f32], x: S::f32s) -> S::f32s {
    let (highest, others) = coefficients.split_first().unwrap_or((&0.0, &[]));
    let mut sum = simd.splat_f32s(*highest);
    for coefficient in others {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(*coefficient));
    }
    sum
}

/// Every instruction set of this machine that the kernels are written for.
#[cfg(test)]
pub(crate) fn every_arch() -> Vec<pulp::Arch> {
    use pulp::Arch;
    #[cfg(target_arch = "x86_64")]
    let narrower = {
        let avx2 = pulp::x86::V3::try_new().map(Arch::V3);
        [Some(Arch::Scalar), avx2.filter(|_| !matches!(Arch::new(), Arch::V3(_)))]
    };
    #[cfg(not(target_arch = "x86_64"))]
    let narrower = [Some(Arch::Scalar)];
    narrower.into_iter().flatten().chain([Arch::new()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Function {
        Exp2,
        Gelu,
    }

    struct Map<'a>(Function, &'a mut [f32]);

    impl pulp::WithSimd for Map<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (vectors, rest) = S::as_mut_simd_f32s(self.1);
            assert!(rest.is_empty());
            for vector in vectors {
                *vector = match self.0 {
                    Function::Exp2 => exp2(simd, *vector),
                    Function::Gelu => gelu(simd, *vector),
                };
            }
        }
    }

    #[test]
    fn powers_of_two_are_those_of_the_standard_library() {
        let xs: Vec<f32> = (0..160_000).map(|step| -126.0 * step as f32 / 160_000.0).collect();
        for arch in every_arch() {
            let mut powers = xs.clone();
            arch.dispatch(Map(Function::Exp2, &mut powers));
            for (x, power) in xs.iter().zip(&powers) {
                let wanted = f64::from(*x).exp2();
                // Two units in the last place.
                assert!((f64::from(*power) - wanted).abs() <= wanted * 2.4e-7, "{x}: {power}");
            }
            let mut special = [0.0; 16];
            special[..3].copy_from_slice(&[f32::NAN, f32::NEG_INFINITY, -1.0]);
            arch.dispatch(Map(Function::Exp2, &mut special));
            assert!(special[0].is_nan());
            assert_eq!(special[1..4], [f32::MIN_POSITIVE, 0.5, 1.0]);
        }
    }

    #[test]
    fn gelu_is_that_of_slices() {
        let xs: Vec<f32> = (0..1600).map(|step| (step - 800) as f32 / 100.0).collect();
        let mut wanted = vec![0.0; xs.len()];
        super::super::gelu(&xs, &mut wanted);
        for arch in every_arch() {
            let mut values = xs.clone();
            arch.dispatch(Map(Function::Gelu, &mut values));
            for (value, wanted) in values.iter().zip(&wanted) {
                // The same formula; a product and a sum may be rounded once instead of twice.
                assert!((value - wanted).abs() <= 1e-6, "{value} {wanted}");
            }
        }
    }
}
