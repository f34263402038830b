//! The operations of the network that is trained, with their gradients.
//!
//! Each takes values on a [`Tape`](super::tape::Tape) and records its backward step there. On the
//! CPU in f32, and on a GPU in f32 and bf16 (`gpu`), it is our own kernel with its own backward
//! pass; in other number types it is a composition of candle's differentiable operations (`plain`).
//! `tests` compares all versions with one another and with finite differences. The networks made of
//! them: [`super::encoder`] and [`super::decoder`].

mod attention;
mod branch;
mod dropout;
mod error;
mod gelu;
#[cfg(feature = "cuda")]
pub(super) mod gpu;
mod linear;
mod norm;
mod plain;
mod shape;
#[cfg(test)]
mod tests;

use dropout::dropout;
use gelu::gelu;
use shape::add;

pub(super) use attention::{attend, attend_across};
pub(super) use branch::{Layer, Norm, add_norm, linear_gelu};
pub(super) use dropout::Dropout;
pub(super) use error::{Removed, masked_error};
pub(super) use linear::linear;
pub(super) use norm::norm;
pub(super) use shape::{RowPlan, add_constant, cast, narrow, prepend, reshape, select_rows};
