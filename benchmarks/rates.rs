//! What benchmarks on any device are held against: one large product, on the CPU or on the GPU.

use std::time::Instant;

use candle_core::{DType, Device, Tensor};

use crate::ceiling;

/// Side of the product that stands for the ceiling on a GPU.
const SIDE: usize = 8192;

/// GFLOP/s of one large product: on all cores, or on the GPU in `dtype`.
pub(crate) fn product_rate(device: &Device, dtype: DType) -> f64 {
    if device.is_cpu() {
        return ceiling::product_rate();
    }
    let side = SIDE;
    // noise: products of equal numbers run faster than those of real ones
    let operand = || Tensor::randn(0_f32, 1.0, (side, side), device).unwrap().to_dtype(dtype);
    let (a, b) = (operand().unwrap(), operand().unwrap());
    a.matmul(&b).unwrap();
    device.synchronize().unwrap();
    let start = Instant::now();
    for _ in 0..3 {
        a.matmul(&b).unwrap();
    }
    device.synchronize().unwrap();
    3.0 * 2.0 * (side as f64).powi(3) / start.elapsed().as_secs_f64() / 1e9
}
