//! A linear layer on a GPU: cuBLAS's products, and the bias by `values.cu`.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result};

use super::sums::column_sums;
use super::{named, rows_of};
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, InPlace, Number, PACK, by_pack, by_type, launch};

/// See [`super::linear()`].
pub(in crate::autoencoder) fn linear(
    tape: &Tape,
    xs: &Value,
    weight: &Value,
    bias: &Value,
) -> Result<Value> {
    let input_gradient = xs.tracked();
    let (_, inputs) = rows_of(&xs.tensor)?;
    let dims = xs.tensor.dims().to_vec();
    let flat = kernel::packed(&xs.tensor)?.reshape(((), inputs))?;
    let shape = weight.tensor.dims().to_vec();
    let weights = kernel::packed(&weight.tensor)?.flatten_from(1)?;
    let outputs = weights.dim(0)?;
    let mut out = flat.matmul(&weights.t()?)?;
    match outputs.is_multiple_of(PACK) {
        true => out.inplace_op2(&kernel::packed(&bias.tensor)?, &ADD_BIAS)?,
        false => out = out.broadcast_add(&bias.tensor)?,
    }
    let mut out_dims = dims.clone();
    if let Some(last) = out_dims.last_mut() {
        *last = outputs;
    }
    Ok(tape.push(out.reshape(out_dims)?, &[xs, weight, bias], move |gradient| {
        let gradient = kernel::packed(gradient)?.reshape(((), outputs))?;
        let of_input = match input_gradient {
            true => Some(gradient.matmul(&weights)?.reshape(dims)?),
            false => None,
        };
        let of_weight = gradient.t()?.matmul(&flat)?.reshape(shape)?;
        Ok(vec![of_input, Some(of_weight), Some(column_sums(&gradient)?)])
    }))
}

/// Adds a bias to every row of a product.
const ADD_BIAS: InPlace = InPlace {
    name: "add_bias",
    run: |values, count, bias, layout| by_type!(values, add_bias(values, count, bias, layout)),
};

fn add_bias<T: Number>(
    values: &mut CudaStorage,
    count: usize,
    bias: &CudaStorage,
    bias_layout: &Layout,
) -> Result<()> {
    let device = bias.device().clone();
    let columns = bias_layout.shape().elem_count() as u32;
    let bias = kernel::values::<T>(bias, bias_layout)?;
    let values = T::as_cuda_slice_mut(values)?;
    launch!(
        device,
        VALUES,
        &named::<T>("add_bias"),
        by_pack(count),
        values,
        &bias,
        &(count as u32),
        &columns,
    );
    Ok(())
}
