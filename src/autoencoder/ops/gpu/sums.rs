//! Sums over rows and over whole tensors on a GPU (`sums.cu`).

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, LaunchConfig};
use candle_core::{Result, Tensor};

use super::{by_type, named, rows_of};
use crate::kernel::{self, Number, Operand, THREADS, by_value, launch, wrapped};

/// Rows whose sums a block adds up before the bands are added to one another.
pub(super) const BAND: usize = 512;
/// Columns that a block adds up.
const COLUMNS: usize = 64;
/// Threads of a block that adds up a whole tensor.
pub(super) const MOST_THREADS: u32 = 1024;

/// Number of bands of rows, and the launch that adds each of them up.
pub(in crate::autoencoder) fn bands(rows: usize, columns: usize) -> (usize, LaunchConfig) {
    let bands = rows.div_ceil(BAND);
    (bands, kernel::grid((columns.div_ceil(COLUMNS), bands), THREADS))
}

/// The sums over all rows: [.., D] -> \[D\].
pub(in crate::autoencoder) fn column_sums(xs: &Tensor) -> Result<Tensor> {
    let xs = kernel::packed(xs)?;
    by_type!(xs, column_sums_of(&xs))
}

fn column_sums_of<T: Number>(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = rows_of(x)?;
    let xs = Operand::open(x);
    let device = xs.device()?;
    let (bands, config) = bands(rows, columns);
    let mut parts = kernel::room::<f32>(device, bands * columns)?;
    launch!(
        device,
        SUMS,
        &named::<T>("column_sums"),
        config,
        &xs.values::<T>()?,
        &mut parts,
        &(rows as u32),
        &(columns as u32),
        &(BAND as u32),
    );
    sum_bands::<T>(&parts, (bands, columns), device)
}

/// Adds up the sums of all bands [bands, columns] -> \[columns\].
pub(in crate::autoencoder) fn sum_bands<T: Number>(
    parts: &CudaSlice<f32>,
    (bands, columns): (usize, usize),
    device: &CudaDevice,
) -> Result<Tensor> {
    let mut sums = kernel::room::<T>(device, columns)?;
    launch!(
        device,
        SUMS,
        &named::<T>("sum_bands"),
        by_value(columns),
        parts,
        &mut sums,
        &(bands as u32),
        &(columns as u32),
    );
    Ok(wrapped(sums, columns, device))
}

/// The sums of squares of tensors in f32, on the device: \[tensors\].
pub(in crate::autoencoder) fn square_sums(tensors: &[Tensor]) -> Result<Option<Tensor>> {
    let Some(first) = tensors.first() else { return Ok(None) };
    let first = Operand::open(first);
    let device: &CudaDevice = first.device()?;
    let mut sums = kernel::room::<f32>(device, tensors.len())?;
    for (slot, tensor) in tensors.iter().enumerate() {
        let values = Operand::open(tensor);
        launch!(
            device,
            SUMS,
            "square_sum",
            kernel::grid((1, 1), MOST_THREADS),
            &values.values::<f32>()?,
            &mut sums,
            &(tensor.elem_count() as u32),
            &(slot as u32),
        );
    }
    Ok(Some(wrapped(sums, tensors.len(), device)))
}
