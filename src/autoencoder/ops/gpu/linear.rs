//! A linear layer on a GPU: cuBLAS's products, and the bias by `values.cu`.

use candle_core::{Result, Tensor};

use super::rows_of;
use super::sums::column_sums;
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, InPlace, PACK};

/// The product of a linear layer, and what its backward pass needs.
pub(super) struct Product {
    /// [rows, inputs]
    flat: Tensor,
    /// [outputs, inputs]
    weights: Tensor,
    input_dims: Vec<usize>,
    weight_dims: Vec<usize>,
    /// Whether anything is trained behind the input.
    input_gradient: bool,
}

impl Product {
    /// Of inputs [.., inputs] by a weight [outputs, ..].
    pub(super) fn new(xs: &Value, weight: &Value) -> Result<Self> {
        let (_, inputs) = rows_of(&xs.tensor)?;
        Ok(Self {
            flat: kernel::packed(&xs.tensor)?.reshape(((), inputs))?,
            weights: kernel::packed(&weight.tensor)?.flatten_from(1)?,
            input_dims: xs.tensor.dims().to_vec(),
            weight_dims: weight.tensor.dims().to_vec(),
            input_gradient: xs.tracked(),
        })
    }

    pub(super) fn outputs(&self) -> Result<usize> {
        self.weights.dim(0)
    }

    /// Without the bias: [rows, outputs].
    pub(super) fn forward(&self) -> Result<Tensor> {
        self.flat.matmul(&self.weights.t()?)
    }

    /// The shape of what comes out: [.., outputs].
    pub(super) fn dims(&self) -> Result<Vec<usize>> {
        let outputs = self.outputs()?;
        let mut dims = self.input_dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = outputs;
        }
        Ok(dims)
    }

    /// The gradients of inputs, where wanted, and weight, from that of the product [rows, outputs].
    pub(super) fn backward(&self, gradient: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let of_input = match self.input_gradient {
            true => Some(gradient.matmul(&self.weights)?.reshape(self.input_dims.as_slice())?),
            false => None,
        };
        let of_weight = gradient.t()?.matmul(&self.flat)?.reshape(self.weight_dims.as_slice())?;
        Ok([of_input, Some(of_weight)])
    }
}

/// See [`super::linear()`].
pub(in crate::autoencoder) fn linear(
    tape: &Tape,
    xs: &Value,
    weight: &Value,
    bias: &Value,
) -> Result<Value> {
    let product = Product::new(xs, weight)?;
    let outputs = product.outputs()?;
    let mut out = product.forward()?;
    match outputs.is_multiple_of(PACK) {
        true => out.inplace_op2(&kernel::packed(&bias.tensor)?, &ADD_BIAS)?,
        false => out = out.broadcast_add(&bias.tensor)?,
    }
    Ok(tape.push(out.reshape(product.dims()?)?, &[xs, weight, bias], move |gradient| {
        let gradient = kernel::packed(gradient)?.reshape(((), outputs))?;
        let [of_input, of_weight] = product.backward(&gradient)?;
        Ok(vec![of_input, of_weight, Some(column_sums(&gradient)?)])
    }))
}

/// Adds a bias to every row of a product.
const ADD_BIAS: InPlace =
    InPlace { name: "add_bias", module: ("VALUES", kernel::VALUES), f32_row: false };
