//! The operations on a GPU in f32 and bf16: kernels of ours around cuBLAS's products.
//!
//! A block is four products and what lies between them: attention, whose scores never leave the chip in
//! bf16 (`fused_attention`; `attention` is for f32 and for heads that have no such kernel); the joining of a branch to
//! the stream with the next norm (`residual`); and the first layer's bias and GELU (`hidden`).
//!
//! Each function is the GPU's form of the operation of the same name and notes on the tape how to
//! walk back, as that does; its kernels stand in the `.cu` file beside it. Nothing here waits for the
//! device: a whole step is queued before its loss is read. The kernels' CPU twins, which the tests
//! hold them against: the operations' own files. What follows on a pass, gradients put together and
//! measured (`gather`, `sums`), is here too.

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
