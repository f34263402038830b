//! GELU and dropout on a GPU (`values.cu`).

use candle_core::{Result, Tensor};

use super::{by_type, named};
use crate::autoencoder::ops::dropout::Dropout;
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, Number, Operand, by_pack, launch, wrapped};

/// See [`super::gelu()`].
pub(in crate::autoencoder) fn gelu(tape: &Tape, xs: &Value) -> Result<Value> {
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
    // SAFETY: the kernel goes over `count` values, which both buffers have.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            VALUES,
            &named::<T>("gelu"),
            by_pack(count),
            &xs.values::<T>(count)?,
            &mut out,
            &(count as u32),
        );
    }
    Ok(wrapped(out, x.shape(), device))
}

fn gelu_backward<T: Number>(x: &Tensor, g: &Tensor) -> Result<Tensor> {
    let [xs, gradient] = [x, g].map(Operand::open);
    let (device, count) = (xs.device()?, x.elem_count());
    let mut out = kernel::room::<T>(device, count)?;
    // SAFETY: the kernel goes over `count` values, which all three buffers have.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            VALUES,
            &named::<T>("gelu_backward"),
            by_pack(count),
            &xs.values::<T>(count)?,
            &gradient.values::<T>(count)?,
            &mut out,
            &(count as u32),
        );
    }
    Ok(wrapped(out, x.shape(), device))
}

/// See [`super::dropout()`].
pub(in crate::autoencoder) fn dropout(tape: &Tape, xs: &Value, how: Dropout) -> Result<Value> {
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
    // SAFETY: the kernel goes over `count` values, which both buffers have.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            VALUES,
            &named::<T>("dropout"),
            by_pack(count),
            &xs.values::<T>(count)?,
            &mut out,
            &(count as u32),
            &how.numbers(),
        );
    }
    Ok(wrapped(out, x.shape(), device))
}
