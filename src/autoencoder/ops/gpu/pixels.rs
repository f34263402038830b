//! The decoder's target, and the loss, on a GPU (`pixels.cu`).

use candle_core::{Result, Tensor};

use super::rows_of;
use super::sums::MOST_THREADS;
use crate::autoencoder::ops::error::Removed;
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, Operand, by_row, by_value, launch, wrapped};

/// See [`crate::autoencoder::target::target`].
pub(in crate::autoencoder) fn target(
    views: &Tensor,
    patch: usize,
    normalize: bool,
    epsilon: f64,
) -> Result<Tensor> {
    let (batch, _, side, _) = views.dims4()?;
    let (all, values) = ((side / patch) * (side / patch), 3 * patch * patch);
    let views = views.contiguous()?;
    let given = batch * 3 * side * side;
    let pixels = Operand::open(&views);
    let device = pixels.device()?;
    let mut out = kernel::room::<f32>(device, batch * all * values)?;
    // SAFETY: the kernel reads square views of `side`, `given` values, and writes batch · all rows,
    // a patch each.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            PIXELS,
            "target",
            by_row(batch * all),
            &pixels.values::<f32>(given)?,
            &mut out,
            &((batch * all) as u32),
            &(side as u32),
            &(patch as u32),
            &u32::from(normalize),
            &(epsilon as f32),
        );
    }
    Ok(wrapped(out, (batch, all, values), device))
}

/// See [`super::masked_error()`]; all in f32.
pub(in crate::autoencoder) fn masked_error(
    tape: &Tape,
    predicted: &Value,
    target: &Tensor,
    Removed { patches, count }: Removed<'_>,
) -> Result<Value> {
    let [p, t, r] = [&predicted.tensor, target, patches].map(kernel::packed);
    let (p, t, r) = (p?, t?, r?);
    let out = masked_error_forward([&p, &t, &r], count)?;
    Ok(tape.push(out, &[predicted], move |gradient| {
        let of_predicted = masked_error_backward([&p, &t, &r], gradient, count)?;
        Ok(vec![Some(of_predicted)])
    }))
}

fn masked_error_forward(operands: [&Tensor; 3], count: usize) -> Result<Tensor> {
    let (rows, columns) = rows_of(operands[0])?;
    let [predicted, target, removed] = operands.map(Operand::open);
    let device = predicted.device()?;
    let mut errors = kernel::room::<f32>(device, rows)?;
    // SAFETY: the kernel reads `rows` rows of `columns` values and a number for each row, and
    // writes a number for each row.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            PIXELS,
            "patch_errors",
            by_row(rows),
            &predicted.values::<f32>(rows * columns)?,
            &target.values::<f32>(rows * columns)?,
            &removed.values::<f32>(rows)?,
            &mut errors,
            &(rows as u32),
            &(columns as u32),
        );
    }
    let mut mean = kernel::room::<f32>(device, 1)?;
    // SAFETY: the kernel reads the `rows` errors, and writes one number.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            SUMS,
            "total",
            kernel::grid((1, 1), MOST_THREADS),
            &errors,
            &mut mean,
            &(rows as u32),
            &(1.0 / count as f32),
        );
    }
    Ok(wrapped(mean, (), device))
}

fn masked_error_backward(operands: [&Tensor; 3], g: &Tensor, count: usize) -> Result<Tensor> {
    let (rows, columns) = rows_of(operands[0])?;
    let [predicted, target, removed] = operands.map(Operand::open);
    let gradient = Operand::open(g);
    let device = predicted.device()?;
    let mut out = kernel::room::<f32>(device, rows * columns)?;
    let factor = (2.0 / (count * columns) as f64) as f32;
    // SAFETY: the kernel reads and writes `rows` rows of `columns` values; of `removed` it reads a
    // number for each row, and of `gradient` one.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            PIXELS,
            "patch_errors_backward",
            by_value(rows * columns),
            &predicted.values::<f32>(rows * columns)?,
            &target.values::<f32>(rows * columns)?,
            &removed.values::<f32>(rows)?,
            &gradient.values::<f32>(1)?,
            &mut out,
            &((rows * columns) as u32),
            &(columns as u32),
            &factor,
        );
    }
    Ok(wrapped(out, operands[0].shape(), device))
}
