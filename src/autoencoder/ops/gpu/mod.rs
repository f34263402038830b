//! The operations on a GPU in f32 and bf16: kernels of ours around cuBLAS's products.
//!
//! Each function is the GPU's form of the operation of the same name and notes on the tape how to
//! walk back, as that does; its kernels stand in the `.cu` file beside it. Nothing here waits for the
//! device: a whole step is queued before its loss is read. The kernels' CPU twins, which the tests
//! hold them against: the operations' own files.

mod attention;
mod linear;
mod norm;
mod pixels;
mod sums;
mod values;

use candle_core::{D, Result, Tensor};

pub(super) use self::attention::{attend, attend_across};
pub(super) use self::linear::linear;
pub(super) use self::norm::norm;
pub(super) use self::pixels::masked_error;
pub(in crate::autoencoder) use self::pixels::{patches, target};
pub(super) use self::sums::column_sums;
pub(in crate::autoencoder) use self::sums::square_sums;
pub(super) use self::values::{dropout, gelu};
use crate::kernel::Number;
pub(in crate::autoencoder) use crate::kernel::takes;

/// Calls a function of a number type by that of a tensor, one of those that [`takes`] takes.
macro_rules! by_type {
    ($tensor:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $tensor.dtype() {
            candle_core::DType::BF16 => $function::<half::bf16>($($argument),*),
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
