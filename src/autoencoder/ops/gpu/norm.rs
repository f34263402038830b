//! LayerNorm on a GPU (`norm.cu`); `sums.cu` sums the gradients of its weight and bias.

use candle_core::{Result, Tensor};

use super::sums::{BAND, bands, sum_parts};
use super::{by_type, named, rows_of};
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, Number, Operand, by_row, launch, wrapped};

/// See [`super::norm()`].
pub(in crate::autoencoder) fn norm(
    tape: &Tape,
    xs: &Value,
    (weight, bias): (&Value, &Value),
    epsilon: f32,
) -> Result<Value> {
    let [x, w, b] = [xs, weight, bias].map(|value| kernel::packed(&value.tensor));
    let (x, w, b) = (x?, w?, b?);
    let out = by_type!(x, norm_forward(&x, &w, &b, epsilon))?;
    Ok(tape.push(out, &[xs, weight, bias], move |gradient| {
        by_type!(x, norm_backward(&x, &w, &kernel::packed(gradient)?, epsilon))
    }))
}

fn norm_forward<T: Number>(x: &Tensor, w: &Tensor, b: &Tensor, epsilon: f32) -> Result<Tensor> {
    let (rows, columns) = rows_of(x)?;
    let [xs, weight, bias] = [x, w, b].map(Operand::open);
    let device = xs.device()?;
    let mut out = kernel::room::<T>(device, rows * columns)?;
    // SAFETY: the kernel reads and writes `rows` rows of `columns` values, and reads one row of
    // weight and of bias.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            NORM,
            &named::<T>("norm"),
            by_row(rows),
            &xs.values::<T>(rows * columns)?,
            &weight.values::<T>(columns)?,
            &bias.values::<T>(columns)?,
            &mut out,
            &(rows as u32),
            &(columns as u32),
            &epsilon,
        );
    }
    Ok(wrapped(out, x.shape(), device))
}

fn norm_backward<T: Number>(
    x: &Tensor,
    w: &Tensor,
    g: &Tensor,
    epsilon: f32,
) -> Result<Vec<Option<Tensor>>> {
    let (rows, columns) = rows_of(x)?;
    let [xs, weight, gradient] = [x, w, g].map(Operand::open);
    let device = xs.device()?;
    let mut out = kernel::room::<T>(device, rows * columns)?;
    let mut kept = kernel::room::<f32>(device, 2 * rows)?;
    // SAFETY: the kernel reads and writes `rows` rows of `columns` values, reads one row of weight,
    // and keeps two numbers for each row.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            NORM,
            &named::<T>("norm_backward"),
            by_row(rows),
            &xs.values::<T>(rows * columns)?,
            &weight.values::<T>(columns)?,
            &gradient.values::<T>(rows * columns)?,
            &mut out,
            &mut kept,
            &(rows as u32),
            &(columns as u32),
            &epsilon,
        );
    }
    let (bands, config) = bands(rows, columns);
    let mut parts = kernel::room::<f32>(device, bands * 2 * columns)?;
    // SAFETY: the kernel reads `rows` rows of `columns` values and two numbers for each, and writes
    // two rows of `parts` for each of the launch's bands.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            SUMS,
            &named::<T>("norm_sums"),
            config,
            &xs.values::<T>(rows * columns)?,
            &gradient.values::<T>(rows * columns)?,
            &kept,
            &mut parts,
            &(rows as u32),
            &(columns as u32),
            &(BAND as u32),
        );
    }
    let sums = sum_parts::<T>(&parts, (bands, 2 * columns), device)?;
    Ok(vec![
        Some(wrapped(out, x.shape(), device)),
        Some(sums.narrow(0, 0, columns)?),
        Some(sums.narrow(0, columns, columns)?),
    ])
}
