//! Pre-training: siamese (cropped) masked autoencoding, from images to an encoder.
//!
//! ```text
//! samples ──> views ──> loader ──> model ──> loss ──> optimizer ──> checkpoint
//! images,     crops     batches    (crate::model::trainable)
//! frames
//! ```

pub mod loader;
pub mod random;
pub mod samples;
pub mod views;
