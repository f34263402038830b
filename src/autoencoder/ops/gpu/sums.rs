//! Sums over rows and over whole tensors on a GPU (`sums.cu`).

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, LaunchConfig};
use candle_core::{DType, Result, Tensor};

use super::{by_type, named, rows_of};
use crate::kernel::{self, Number, Operand, PACK, THREADS, launch, wrapped};

/// Rows whose sums a block adds up before the bands are added to one another.
pub(super) const BAND: usize = 512;
/// Columns that a block adds up over a band.
const COLUMNS: usize = 64;
/// Columns that a block adds up over parts, a warp each.
const COLUMNS_OF_PARTS: usize = 32;
/// Threads of a block that adds up a whole tensor.
pub(super) const MOST_THREADS: u32 = 1024;

/// The most shares that a sum of squares is added up in.
const MOST_SHARES: usize = 1024;

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
    // SAFETY: the kernel reads `rows` rows of `columns` values, and writes a row of `parts` for
    // each of the launch's bands; both are so long.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            SUMS,
            &named::<T>("column_sums"),
            config,
            &xs.values::<T>(rows * columns)?,
            &mut parts,
            &(rows as u32),
            &(columns as u32),
            &(BAND as u32),
        );
    }
    sum_parts::<T>(&parts, (bands, columns), device)
}

/// Adds up what blocks have added up: [parts, columns] -> \[columns\].
pub(super) fn sum_parts<T: Number>(
    values: &CudaSlice<f32>,
    (parts, columns): (usize, usize),
    device: &CudaDevice,
) -> Result<Tensor> {
    if values.len() != parts * columns {
        candle_core::bail!("{} values for {parts} parts of {columns}", values.len())
    }
    let mut sums = kernel::room::<T>(device, columns)?;
    // SAFETY: the kernel reads `parts` rows of `columns` values, which was checked, and writes one
    // row, for which there is room.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            SUMS,
            &named::<T>("sum_parts"),
            kernel::grid((columns.div_ceil(COLUMNS_OF_PARTS), 1), MOST_THREADS),
            values,
            &mut sums,
            &(parts as u32),
            &(columns as u32),
        );
    }
    Ok(wrapped(sums, columns, device))
}

/// See [`crate::autoencoder::Gradients::measure`]: of a buffer of f32 and losses that are scalars
/// of f32.
pub(in crate::autoencoder) fn measure(
    values: &Tensor,
    losses: &[Tensor],
    clip: f64,
) -> Result<Tensor> {
    let buffer = Operand::open(values);
    let (device, count) = (buffer.device()?, values.elem_count());
    if !count.is_multiple_of(PACK) {
        candle_core::bail!("a buffer of {count} values, which are not whole packs")
    }
    let shares = count.div_ceil(PACK * THREADS as usize).clamp(1, MOST_SHARES);
    let mut parts = kernel::room::<f32>(device, shares)?;
    // SAFETY: the kernel reads `count` values, whole packs, and writes a share for each block.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            SUMS,
            "squares",
            kernel::grid((shares, 1), THREADS),
            &buffer.values::<f32>(count)?,
            &mut parts,
            &(count as u32),
        );
    }
    let none = || Tensor::zeros(1, DType::F32, values.device());
    let stacked = if losses.is_empty() { none()? } else { Tensor::stack(losses, 0)? };
    let found = Operand::open(&stacked);
    let mut out = kernel::room::<f64>(device, 2 + losses.len())?;
    // SAFETY: the kernel reads `shares` parts and as many losses as it is told of, and writes two
    // numbers and one for each of these.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            SUMS,
            "measure",
            kernel::grid((1, 1), MOST_THREADS),
            &parts,
            &(shares as u32),
            &found.values::<f32>(losses.len().max(1))?,
            &(losses.len() as u32),
            &clip,
            &mut out,
        );
    }
    Ok(wrapped(out, 2 + losses.len(), device))
}
