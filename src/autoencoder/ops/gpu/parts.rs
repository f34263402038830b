//! What blocks have added up is added up (`sum_parts` of `sums.cu`).

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{Result, Tensor};

use super::named;
use crate::kernel::{self, Number, launch, wrapped};

/// Columns of a block, a warp each.
const COLUMNS: usize = 32;
const THREADS: u32 = 1024;

/// The sums of [parts, columns] over the parts: \[columns\].
pub(super) fn sum_parts<T: Number>(
    values: &CudaSlice<f32>,
    (parts, columns): (usize, usize),
    device: &CudaDevice,
) -> Result<Tensor> {
    let mut sums = kernel::room::<T>(device, columns)?;
    launch!(
        device,
        SUMS,
        &named::<T>("sum_parts"),
        kernel::grid((columns.div_ceil(COLUMNS), 1), THREADS),
        values,
        &mut sums,
        &(parts as u32),
        &(columns as u32),
    );
    Ok(wrapped(sums, columns, device))
}
