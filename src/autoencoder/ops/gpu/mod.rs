//! The operations on a GPU in f32 and bf16: our own kernels around cuBLAS's products.
//!
//! A block is four products and three fused steps: attention, whose scores never leave the chip in
//! bf16 (`fused_attention`; `attention` serves f32 and heads without such a kernel); a branch's
//! bias, dropout, its addition to the stream and the next norm (`residual`); and the first layer's
//! bias and GELU (`hidden`).
//!
//! Each function is the GPU version of the operation of the same name, and also records its
//! backward step on the tape; its kernels are in the `.cu` file beside it. Nothing here waits for
//! the device: a whole step is queued before its loss is read. The CPU versions, which the tests
//! compare them with, are in the operations' own files. The work after the backward pass, gathering
//! and measuring gradients, is here too (`gather`, `sums`).

mod attention;
mod fused_attention;
mod gather;
mod hidden;
mod linear;
mod norm;
mod pixels;
mod residual;
mod sums;
mod values;

pub(super) use self::attention::{attend, attend_across};
pub(in crate::autoencoder) use self::gather::gather;
pub(super) use self::hidden::linear_gelu;
pub(super) use self::linear::linear;
pub(super) use self::norm::norm;
pub(super) use self::pixels::masked_error;
pub(in crate::autoencoder) use self::pixels::target;
pub(super) use self::residual::add_norm;
pub(super) use self::sums::column_sums;
pub(in crate::autoencoder) use self::sums::measure;
pub(super) use self::values::{dropout, gelu};
pub(in crate::autoencoder) use crate::kernel::takes;
use crate::kernel::{by_type, named, rows_of};
