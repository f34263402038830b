//! Video label propagation for self-supervised image encoders.

pub mod data;
pub mod error;
pub mod image;
pub mod metric;
pub mod model;
pub mod propagation;
pub mod protocol;
pub mod sample;
