//! Video label propagation for self-supervised image encoders.

pub mod data;
pub mod device;
pub mod error;
pub mod eval;
pub mod image;
pub mod metric;
pub mod model;
mod product;
pub mod progress;
pub mod propagation;
pub mod protocol;
pub mod report;
pub mod sample;

pub use error::{Error, Result};
