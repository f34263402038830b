//! The operations of the network that is trained, with their gradients.
//!
//! Each takes values on a [`Tape`](super::tape::Tape) and notes how to walk back. On the CPU in f32 it
//! is a kernel of ours with a backward pass of its own; on other devices and in other number types it
//! is a composition of candle's differentiable operations ([`plain`]). Both forms are held against
//! each other and against finite differences in `tests`. The network that is put together from them:
//! [`super::encoder`] and [`super::decoder`].

mod attention;
mod dropout;
mod error;
mod gelu;
mod linear;
mod norm;
mod shape;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, Var};

use super::tape::{Tape, Value};

pub(super) use attention::{attend, attend_across};
pub(super) use dropout::{Dropout, dropout};
pub(super) use error::masked_error;
pub(super) use gelu::gelu;
pub(super) use linear::linear;
pub(super) use norm::norm;
pub(super) use shape::{
    add, add_constant, add_tensors, cast, narrow, prepend, reshape, select_rows,
};

/// Values that a thread takes at a time in passes over memory.
const CHUNK: usize = 1 << 14;

/// Whether our own operations can take this tensor.
fn ours(xs: &Tensor) -> bool {
    xs.device().is_cpu() && xs.dtype() == DType::F32
}

/// The values of a contiguous operand.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("an operand that is not contiguous"),
    }
}

/// Hands the values of a tensor to `f`.
fn read<R>(xs: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let xs = xs.contiguous()?;
    let (storage, layout) = xs.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(f(values(storage, layout)?)),
        _ => candle_core::bail!("an operand that is not on the CPU"),
    }
}

/// An operation of candle's differentiable ones: its gradients come from candle's backward pass over
/// this operation alone, computed anew then so that nothing is kept meanwhile.
fn plain<const N: usize>(
    tape: &Tape,
    inputs: [&Value; N],
    operation: impl Fn([&Tensor; N]) -> Result<Tensor> + 'static,
) -> Result<Value> {
    let out = operation(inputs.map(|input| &input.tensor))?.detach();
    let tensors = inputs.map(|input| input.tensor.clone());
    Ok(tape.push(out, &inputs, move |gradient| {
        let mut variables = Vec::with_capacity(N);
        for tensor in &tensors {
            variables.push(Var::from_tensor(tensor)?);
        }
        let again = std::array::from_fn(|index| variables[index].as_tensor());
        let store = (operation(again)? * gradient)?.sum_all()?.backward()?;
        Ok(variables.iter().map(|variable| store.get(variable.as_tensor()).cloned()).collect())
    }))
}
