//! The operations on a GPU in f32 and bf16: kernels of ours (`training.cu`) around cuBLAS's products.
//!
//! Each function is the GPU's form of the operation of the same name and notes on the tape how to
//! walk back, as that does. Nothing here waits for the device: a whole step is queued before its
//! loss is read. Sums are in f32 whatever the number type. The kernels' CPU twins, which the tests
//! hold them against: the operations' own files.

mod attention;

use candle_core::cuda_backend::CudaDevice;
use candle_core::{CpuStorage, CudaStorage, D, DType, InplaceOp2, Layout, Result, Shape, Tensor};
use half::bf16;

pub(super) use self::attention::{attend, attend_across};
use super::dropout::Dropout;
use super::error::Removed;
use crate::autoencoder::tape::{Tape, Value};
pub(in crate::autoencoder) use crate::kernel::takes;
use crate::kernel::{
    self, Number, Operand, PACK, THREADS, by_pack, by_row, by_value, launch, wrapped,
};

/// Rows whose sums a block adds up before the bands are added to one another.
const BAND: usize = 512;
/// Columns that a block adds up.
const COLUMNS: usize = 64;
/// Threads of a block that adds up a whole tensor.
const MOST_THREADS: u32 = 1024;

/// Calls a function of a number type by that of a tensor, one of those that [`takes`] takes.
macro_rules! by_type {
    ($tensor:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $tensor.dtype() {
            DType::BF16 => $function::<bf16>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}
use by_type;

/// `name_f32` or `name_bf16`.
fn named<T: Number>(name: &str) -> String {
    format!("{name}_{}", T::SUFFIX)
}

/// Rows and columns of a tensor whose last dimension is a row.
fn rows_of(xs: &Tensor) -> Result<(usize, usize)> {
    let columns = xs.dim(D::Minus1)?;
    Ok((xs.elem_count() / columns.max(1), columns))
}

/// See [`super::norm()`].
pub(super) fn norm(
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
    launch!(
        device,
        TRAINING,
        &named::<T>("norm"),
        by_row(rows),
        &xs.values::<T>()?,
        &weight.values::<T>()?,
        &bias.values::<T>()?,
        &mut out,
        &(rows as u32),
        &(columns as u32),
        &epsilon,
    );
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
    launch!(
        device,
        TRAINING,
        &named::<T>("norm_backward"),
        by_row(rows),
        &xs.values::<T>()?,
        &weight.values::<T>()?,
        &gradient.values::<T>()?,
        &mut out,
        &mut kept,
        &(rows as u32),
        &(columns as u32),
        &epsilon,
    );
    let bands = rows.div_ceil(BAND);
    let mut parts = kernel::room::<f32>(device, bands * 2 * columns)?;
    launch!(
        device,
        TRAINING,
        &named::<T>("norm_sums"),
        kernel::grid((columns.div_ceil(COLUMNS), bands), THREADS),
        &xs.values::<T>()?,
        &gradient.values::<T>()?,
        &kept,
        &mut parts,
        &(rows as u32),
        &(columns as u32),
        &(BAND as u32),
    );
    let mut sums = kernel::room::<T>(device, 2 * columns)?;
    launch!(
        device,
        TRAINING,
        &named::<T>("sum_bands"),
        by_value(2 * columns),
        &parts,
        &mut sums,
        &(bands as u32),
        &(2 * columns as u32),
    );
    let sums = wrapped(sums, 2 * columns, device);
    Ok(vec![
        Some(wrapped(out, x.shape(), device)),
        Some(sums.narrow(0, 0, columns)?),
        Some(sums.narrow(0, columns, columns)?),
    ])
}

/// The sums over all rows: [.., D] -> \[D\].
pub(super) fn column_sums(xs: &Tensor) -> Result<Tensor> {
    let xs = kernel::packed(xs)?;
    by_type!(xs, column_sums_of(&xs))
}

fn column_sums_of<T: Number>(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = rows_of(x)?;
    let xs = Operand::open(x);
    let device = xs.device()?;
    let bands = rows.div_ceil(BAND);
    let mut parts = kernel::room::<f32>(device, bands * columns)?;
    launch!(
        device,
        TRAINING,
        &named::<T>("column_sums"),
        kernel::grid((columns.div_ceil(COLUMNS), bands), THREADS),
        &xs.values::<T>()?,
        &mut parts,
        &(rows as u32),
        &(columns as u32),
        &(BAND as u32),
    );
    let mut sums = kernel::room::<T>(device, columns)?;
    launch!(
        device,
        TRAINING,
        &named::<T>("sum_bands"),
        by_value(columns),
        &parts,
        &mut sums,
        &(bands as u32),
        &(columns as u32),
    );
    Ok(wrapped(sums, columns, device))
}

/// See [`super::linear()`].
pub(super) fn linear(tape: &Tape, xs: &Value, weight: &Value, bias: &Value) -> Result<Value> {
    let input_gradient = xs.tracked();
    let (_, inputs) = rows_of(&xs.tensor)?;
    let dims = xs.tensor.dims().to_vec();
    let flat = kernel::packed(&xs.tensor)?.reshape(((), inputs))?;
    let shape = weight.tensor.dims().to_vec();
    let weights = kernel::packed(&weight.tensor)?.flatten_from(1)?;
    let outputs = weights.dim(0)?;
    let mut out = flat.matmul(&weights.t()?)?;
    match outputs.is_multiple_of(PACK) {
        true => out.inplace_op2(&kernel::packed(&bias.tensor)?, &AddBias)?,
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

/// Adds a bias to every row of a product that nobody else has seen yet.
struct AddBias;

impl AddBias {
    fn run<T: Number>(
        values: &mut CudaStorage,
        bias: &CudaStorage,
        (count, bias_layout): (usize, &Layout),
    ) -> Result<()> {
        use candle_core::backend::BackendStorage;
        let device = bias.device().clone();
        let columns = bias_layout.shape().elem_count() as u32;
        let bias = kernel::values::<T>(bias, bias_layout)?;
        let values = T::as_cuda_slice_mut(values)?;
        launch!(
            device,
            TRAINING,
            &named::<T>("add_bias"),
            by_pack(count),
            values,
            &bias,
            &(count as u32),
            &columns,
        );
        Ok(())
    }
}

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("the CPU's linear layers begin with the bias")
    }

    fn cuda_fwd(
        &self,
        values: &mut CudaStorage,
        layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        use candle_core::backend::BackendStorage;
        let count = layout.shape().elem_count();
        // the kernel begins at the storage's first value
        if layout.contiguous_offsets() != Some((0, count)) {
            candle_core::bail!("a product that is not a tensor of its own")
        }
        match values.dtype() {
            DType::BF16 => Self::run::<bf16>(values, bias, (count, bias_layout)),
            _ => Self::run::<f32>(values, bias, (count, bias_layout)),
        }
    }
}

/// See [`super::gelu()`].
pub(super) fn gelu(tape: &Tape, xs: &Value) -> Result<Value> {
    let tensor = kernel::packed(&xs.tensor)?;
    let out = by_type!(tensor, gelu_forward(&tensor))?;
    Ok(tape.push(out, &[xs], move |gradient| {
        let gradient = kernel::packed(gradient)?;
        Ok(vec![Some(by_type!(tensor, gelu_backward(&tensor, &gradient))?)])
    }))
}

fn gelu_forward<T: Number>(x: &Tensor) -> Result<Tensor> {
    let xs = Operand::open(x);
    let (device, count) = (xs.device()?, x.elem_count());
    let mut out = kernel::room::<T>(device, count)?;
    launch!(
        device,
        TRAINING,
        &named::<T>("gelu"),
        by_pack(count),
        &xs.values::<T>()?,
        &mut out,
        &(count as u32),
    );
    Ok(wrapped(out, x.shape(), device))
}

fn gelu_backward<T: Number>(x: &Tensor, g: &Tensor) -> Result<Tensor> {
    let [xs, gradient] = [x, g].map(Operand::open);
    let (device, count) = (xs.device()?, x.elem_count());
    let mut out = kernel::room::<T>(device, count)?;
    launch!(
        device,
        TRAINING,
        &named::<T>("gelu_backward"),
        by_pack(count),
        &xs.values::<T>()?,
        &gradient.values::<T>()?,
        &mut out,
        &(count as u32),
    );
    Ok(wrapped(out, x.shape(), device))
}

/// See [`super::dropout()`].
pub(super) fn dropout(tape: &Tape, xs: &Value, how: Dropout) -> Result<Value> {
    let out = dropped(&xs.tensor, how)?;
    Ok(tape.push(out, &[xs], move |gradient| Ok(vec![Some(dropped(gradient, how)?)])))
}

fn dropped(xs: &Tensor, how: Dropout) -> Result<Tensor> {
    let xs = kernel::packed(xs)?;
    by_type!(xs, dropped_of(&xs, how))
}

fn dropped_of<T: Number>(x: &Tensor, how: Dropout) -> Result<Tensor> {
    let xs = Operand::open(x);
    let (device, count) = (xs.device()?, x.elem_count());
    let mut out = kernel::room::<T>(device, count)?;
    launch!(
        device,
        TRAINING,
        &named::<T>("dropout"),
        by_pack(count),
        &xs.values::<T>()?,
        &mut out,
        &(count as u32),
        &how.numbers(),
    );
    Ok(wrapped(out, x.shape(), device))
}

/// See [`super::masked_error()`]; all in f32.
pub(super) fn masked_error(
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
    launch!(
        device,
        TRAINING,
        "patch_errors",
        by_row(rows),
        &predicted.values::<f32>()?,
        &target.values::<f32>()?,
        &removed.values::<f32>()?,
        &mut errors,
        &(rows as u32),
        &(columns as u32),
    );
    let mut mean = kernel::room::<f32>(device, 1)?;
    launch!(
        device,
        TRAINING,
        "total",
        kernel::grid((1, 1), MOST_THREADS),
        &errors,
        &mut mean,
        &(rows as u32),
        &(1.0 / count as f32),
    );
    Ok(wrapped(mean, (), device))
}

fn masked_error_backward(operands: [&Tensor; 3], g: &Tensor, count: usize) -> Result<Tensor> {
    let (rows, columns) = rows_of(operands[0])?;
    let [predicted, target, removed] = operands.map(Operand::open);
    let gradient = Operand::open(g);
    let device = predicted.device()?;
    let mut out = kernel::room::<f32>(device, rows * columns)?;
    let factor = (2.0 / (count * columns) as f64) as f32;
    launch!(
        device,
        TRAINING,
        "patch_errors_backward",
        by_value(rows * columns),
        &predicted.values::<f32>()?,
        &target.values::<f32>()?,
        &removed.values::<f32>()?,
        &gradient.values::<f32>()?,
        &mut out,
        &((rows * columns) as u32),
        &(columns as u32),
        &factor,
    );
    Ok(wrapped(out, operands[0].shape(), device))
}

/// The patches of views [B, 3, S, S] in f32, as [`crate::model::vit::patchify`] orders them, in
/// `dtype`: those at `rows` among all of the batch [n, p·p·3], or all [B, N, p·p·3].
pub(in crate::autoencoder) fn patches(
    views: &Tensor,
    rows: Option<&Tensor>,
    (patch, dtype): (usize, DType),
) -> Result<Tensor> {
    match dtype {
        DType::BF16 => patches_of::<bf16>(views, rows, patch),
        _ => patches_of::<f32>(views, rows, patch),
    }
}

fn patches_of<T: Number>(views: &Tensor, rows: Option<&Tensor>, patch: usize) -> Result<Tensor> {
    let (batch, _, side, _) = views.dims4()?;
    let (all, values) = ((side / patch) * (side / patch), 3 * patch * patch);
    let shape = match rows {
        Some(rows) => Shape::from((rows.elem_count(), values)),
        None => Shape::from((batch, all, values)),
    };
    let views = views.contiguous()?;
    let pixels = Operand::open(&views);
    let device = pixels.device()?;
    let count = shape.elem_count();
    let mut out = kernel::room::<T>(device, count)?;
    let (config, name) = (by_value(count), named::<T>("patches"));
    let (side, patch) = (side as u32, patch as u32);
    let values = pixels.values::<f32>()?;
    match rows {
        Some(rows) => {
            let rows = Operand::open(rows);
            let rows = rows.values::<u32>()?;
            launch!(
                device,
                TRAINING,
                &name,
                config,
                &values,
                &rows,
                &mut out,
                &(count as u32),
                &side,
                &patch,
            );
        }
        None => {
            let none = 0_u64; // a null pointer
            launch!(
                device,
                TRAINING,
                &name,
                config,
                &values,
                &none,
                &mut out,
                &(count as u32),
                &side,
                &patch,
            );
        }
    }
    Ok(wrapped(out, shape, device))
}

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
    let pixels = Operand::open(&views);
    let device = pixels.device()?;
    let mut out = kernel::room::<f32>(device, batch * all * values)?;
    launch!(
        device,
        TRAINING,
        "target",
        by_row(batch * all),
        &pixels.values::<f32>()?,
        &mut out,
        &((batch * all) as u32),
        &(side as u32),
        &(patch as u32),
        &u32::from(normalize),
        &(epsilon as f32),
    );
    Ok(wrapped(out, (batch, all, values), device))
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
            TRAINING,
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
