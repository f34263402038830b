//! The first layer of a feed-forward with its GELU on a GPU (`hidden.cu`): bias, GELU and dropout
//! in one pass over the product; the backward pass also sums the bias's gradient.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{Result, Tensor};

use super::linear::Product;
use super::sums::sum_parts;
use super::{by_type, named, rows_of};
use crate::autoencoder::ops::branch::Layer;
use crate::autoencoder::ops::dropout::Dropout;
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, Number, Operand, PACK, THREADS, by_pack, launch, wrapped};

/// Columns of a block, and rows that it takes in step.
const COLUMNS: usize = 64;
const AT_ONCE: usize = 32;
/// The most bands that few rows are shared out in, and the most rows of a band.
const BANDS: usize = 64;
const MOST_ROWS: usize = 512;

/// See [`super::super::linear_gelu`]; `None` where rows of this width have no kernel.
pub(in crate::autoencoder) fn linear_gelu(tape: &Tape, layer: Layer<'_>) -> Result<Option<Value>> {
    let Layer { inputs, weight, bias: of_layer, drop } = layer;
    let product = Product::new(inputs, weight)?;
    if !product.outputs()?.is_multiple_of(PACK) {
        return Ok(None);
    }
    let bias = kernel::packed(&of_layer.tensor)?;
    let hidden = product.forward()?;
    let out = by_type!(hidden, forward(&hidden, &bias, drop))?.reshape(product.dims()?)?;
    Ok(Some(tape.push(out, &[inputs, weight, of_layer], move |gradient| {
        let gradient = kernel::packed(gradient)?;
        let (moved, of_bias) = by_type!(hidden, backward([&hidden, &bias, &gradient], drop))?;
        let [of_inputs, of_weight] = product.backward(&moved)?;
        Ok(vec![of_inputs, of_weight, Some(of_bias)])
    })))
}

fn forward<T: Number>(product: &Tensor, bias: &Tensor, drop: Dropout) -> Result<Tensor> {
    let (rows, columns) = rows_of(product)?;
    let [xs, added] = [product, bias].map(Operand::open);
    let device = xs.device()?;
    let mut out = kernel::room::<T>(device, rows * columns)?;
    // SAFETY: the kernel goes over rows · columns values, whole packs, which both buffers have, and
    // takes a row's bias from `columns` values.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            HIDDEN,
            &named::<T>("hidden"),
            by_pack(rows * columns),
            &xs.values::<T>(rows * columns)?,
            &added.values::<T>(columns)?,
            &mut out,
            &((rows * columns) as u32),
            &(columns as u32),
            &drop.numbers(),
        );
    }
    Ok(wrapped(out, product.shape(), device))
}

/// The gradients of the product [rows, columns] and of the bias \[columns\], of product, bias and
/// the output's gradient.
fn backward<T: Number>(operands: [&Tensor; 3], drop: Dropout) -> Result<(Tensor, Tensor)> {
    let (rows, columns) = rows_of(operands[0])?;
    let [xs, bias, gradient] = operands.map(Operand::open);
    let device = xs.device()?;
    let band = rows.div_ceil(BANDS).next_multiple_of(AT_ONCE).min(MOST_ROWS);
    let bands = rows.div_ceil(band);
    let mut out = kernel::room::<T>(device, rows * columns)?;
    let mut parts: CudaSlice<f32> = kernel::room(device, bands * columns)?;
    // SAFETY: the kernel reads and writes `rows` rows of `columns` values, whole packs, and writes
    // a row of `parts` for each of the launch's bands.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            HIDDEN,
            &named::<T>("hidden_backward"),
            kernel::grid((columns.div_ceil(COLUMNS), bands), THREADS),
            &xs.values::<T>(rows * columns)?,
            &bias.values::<T>(columns)?,
            &gradient.values::<T>(rows * columns)?,
            &mut out,
            &mut parts,
            &(rows as u32),
            &(columns as u32),
            &(band as u32),
            &drop.numbers(),
        );
    }
    let of_bias = sum_parts::<T>(&parts, (bands, columns), device)?;
    Ok((wrapped(out, operands[0].shape(), device), of_bias))
}
