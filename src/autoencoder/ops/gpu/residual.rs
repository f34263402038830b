//! Adds a branch to the stream of tokens and normalises the sum, on a GPU (`residual.cu`): bias,
//! dropout, sum and LayerNorm in one pass, and likewise one pass backwards.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{Result, Tensor};

use super::linear::Product;
use super::sums::sum_parts;
use super::{by_type, named, rows_of};
use crate::autoencoder::ops::branch::{Layer, Norm};
use crate::autoencoder::ops::dropout::Dropout;
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, Number, Operand, PACK, THREADS, by_row, launch, wrapped};

/// The widest row that a warp keeps.
const MOST_WIDTH: usize = 1024;
/// Rows that a block takes in step, a warp each.
const AT_ONCE: usize = 8;
/// About how many blocks share the rows of a backward pass.
const BLOCKS: usize = 512;

/// The sums [B, N, D] of a pass, and what else its backward pass needs.
struct Call {
    sum: Tensor,
    weight: Tensor,
    epsilon: f32,
    drop: Dropout,
    product: Product,
}

/// See [`super::super::add_norm`]; `None` where rows of this width have no kernel.
pub(in crate::autoencoder) fn add_norm(
    tape: &Tape,
    xs: &Value,
    layer: Layer<'_>,
    by: Norm<'_>,
) -> Result<Option<[Value; 2]>> {
    let (_, width) = rows_of(&xs.tensor)?;
    if !width.is_multiple_of(PACK) || width > MOST_WIDTH {
        return Ok(None);
    }
    let product = Product::new(layer.inputs, layer.weight)?;
    let [x, bias, weight, shift] =
        [xs, layer.bias, by.weight, by.bias].map(|value| kernel::packed(&value.tensor));
    let (added, weight) = (product.forward()?, weight?);
    let (epsilon, drop) = (by.epsilon as f32, layer.drop);
    let operands = [&x?, &added, &bias?, &weight, &shift?];
    let [sum, normed] = by_type!(added, forward(operands, epsilon, drop))?;
    let call = Call { sum: sum.clone(), weight, epsilon, drop, product };
    let inputs = [xs, layer.inputs, layer.weight, layer.bias, by.weight, by.bias];
    Ok(Some(tape.push_two([sum, normed], &inputs, move |gradients| call.backward(&gradients))))
}

/// Sums and norms of `[xs, product, its bias, the norm's weight, the norm's bias]`.
fn forward<T: Number>(operands: [&Tensor; 5], epsilon: f32, drop: Dropout) -> Result<[Tensor; 2]> {
    let (rows, width) = rows_of(operands[0])?;
    let shape = operands[0].shape();
    let [xs, product, bias, weight, shift] = operands.map(Operand::open);
    let device = xs.device()?;
    let mut sum = kernel::room::<T>(device, rows * width)?;
    let mut normed = kernel::room::<T>(device, rows * width)?;
    // SAFETY: the kernel reads and writes `rows` rows of `width` values, whole packs, and reads one
    // row of each of the others; they are so long.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            RESIDUAL,
            &named::<T>("residual"),
            by_row(rows),
            &xs.values::<T>(rows * width)?,
            &product.values::<T>(rows * width)?,
            &bias.values::<T>(width)?,
            &weight.values::<T>(width)?,
            &shift.values::<T>(width)?,
            &mut sum,
            &mut normed,
            &(rows as u32),
            &(width as u32),
            &epsilon,
            &drop.numbers(),
        );
    }
    Ok([wrapped(sum, shape, device), wrapped(normed, shape, device)])
}

/// The gradients of sums and, where something drops, of the branch; and what is added up over rows.
struct Found {
    of_sum: Tensor,
    of_branch: Option<Tensor>,
    /// Of the norm's weight, its bias, the layer's bias: [3·D].
    over_rows: Tensor,
}

impl Call {
    fn backward(&self, gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        let part = |place: usize| gradients.get(place).and_then(Option::as_ref);
        let of_normed = match part(1) {
            Some(gradient) => kernel::packed(gradient)?,
            None => self.sum.zeros_like()?,
        };
        let own = part(0).map(kernel::packed).transpose()?;
        let found = by_type!(self.sum, backward(self, &of_normed, own.as_ref()))?;
        let (_, width) = rows_of(&self.sum)?;
        let of_branch = found.of_branch.as_ref().unwrap_or(&found.of_sum);
        let [of_inputs, of_weight] = self.product.backward(&of_branch.reshape(((), width))?)?;
        let of = |place: usize| found.over_rows.narrow(0, place * width, width).map(Some);
        Ok(vec![Some(found.of_sum.clone()), of_inputs, of_weight, of(2)?, of(0)?, of(1)?])
    }
}

fn backward<T: Number>(call: &Call, of_normed: &Tensor, own: Option<&Tensor>) -> Result<Found> {
    let (rows, width) = rows_of(&call.sum)?;
    let [sum, weight, gradient] = [&call.sum, &call.weight, of_normed].map(Operand::open);
    let own = own.map(Operand::open);
    let device = sum.device()?;
    let band = rows.div_ceil(BLOCKS).next_multiple_of(AT_ONCE);
    let blocks = rows.div_ceil(band);
    let drops = call.drop.drops();
    let mut out = kernel::room::<T>(device, rows * width)?;
    let mut branch = kernel::room::<T>(device, if drops { rows * width } else { PACK })?;
    let mut parts: CudaSlice<f32> = kernel::room(device, blocks * 3 * width)?;
    let most = [256, 512, MOST_WIDTH].into_iter().find(|most| width <= *most);
    let name = named::<T>(&format!("residual_backward_{}", most.unwrap_or(MOST_WIDTH)));
    macro_rules! with {
        ($own:expr) => {{
            // SAFETY: the kernel reads and writes `rows` rows of `width` values, whole packs, and
            // of `parts` three rows a block; `branch` is written only where something drops, and
            // `$own` is read only where it is not null.
            #[allow(unsafe_code)]
            unsafe {
                launch!(
                    device,
                    RESIDUAL,
                    &name,
                    kernel::grid((blocks, 1), THREADS),
                    &sum.values::<T>(rows * width)?,
                    &weight.values::<T>(width)?,
                    &gradient.values::<T>(rows * width)?,
                    $own,
                    &mut out,
                    &mut branch,
                    &mut parts,
                    &(rows as u32),
                    &(width as u32),
                    &(band as u32),
                    &call.epsilon,
                    &call.drop.numbers(),
                );
            }
        }};
    }
    match &own {
        Some(own) => with!(&own.values::<T>(rows * width)?),
        None => with!(&0_u64), // a null pointer
    }
    Ok(Found {
        of_sum: wrapped(out, call.sum.shape(), device),
        of_branch: drops.then(|| wrapped(branch, call.sum.shape(), device)),
        over_rows: sum_parts::<T>(&parts, (blocks, 3 * width), device)?,
    })
}
