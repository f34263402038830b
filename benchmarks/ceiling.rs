//! What benchmarks on a CPU are held against: one large f32 product by the `gemm` crate, on all
//! cores.

use std::time::Instant;

/// Side of the product that stands for the ceiling.
pub(crate) const SIDE: usize = 2048;

/// GFLOP/s of one large product on all cores.
pub(crate) fn product_rate() -> f64 {
    let (a, b) = (vec![0.5_f32; SIDE * SIDE], vec![0.25_f32; SIDE * SIDE]);
    let mut out = vec![0_f32; SIDE * SIDE];
    let side = SIDE as isize;
    let start = Instant::now();
    // SAFETY: three square matrices of SIDE * SIDE values each, row by row, `out` borrowed mutably.
    unsafe {
        gemm::gemm(
            SIDE,
            SIDE,
            SIDE,
            out.as_mut_ptr(),
            1,
            side,
            false,
            a.as_ptr(),
            1,
            side,
            b.as_ptr(),
            1,
            side,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(rayon::current_num_threads()),
        );
    }
    let time = start.elapsed().as_secs_f64();
    assert_eq!(out[SIDE * SIDE - 1], 0.125 * SIDE as f32);
    2.0 * (SIDE as f64).powi(3) / time / 1e9
}

/// The middle one of some values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
