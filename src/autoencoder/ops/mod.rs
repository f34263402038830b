//! The operations of the network that is trained, with their gradients.
//!
//! candle's fused LayerNorm and softmax record no gradient, and its plain operations are slow on the
//! CPU. So on the CPU in f32 each of these is one operation with a backward pass of its own; on other
//! devices and in other number types it is a composition of candle's differentiable ones. Both forms
//! are held against each other and against finite differences in `tests`. The network that is put
//! together from them: [`super::encoder`] and [`super::decoder`].

mod attention;
mod dropout;
mod error;
mod gelu;
mod linear;
mod norm;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor};

pub(super) use attention::{attend, attend_across};
pub(super) use dropout::{Dropout, dropout};
pub(super) use error::masked_error;
pub(super) use gelu::gelu;
pub(super) use linear::linear;
pub(super) use norm::norm;

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
