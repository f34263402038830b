//! Pre-training: (siamese, cropped) masked autoencoding, from images to an encoder.
//!
//! ```text
//! samples ──> loader ──> views ──> Autoencoder ──> loss ──> optimizer ──> checkpoint
//! images,     threads    crops     crate::autoencoder        AdamW        encoder.safetensors
//! frames                                    └── schedule, log, evaluation ──┘
//! ```
//!
//! [`Config`] says everything that makes a run what it is; [`train()`] runs it: begin reading
//! there. Every draw of a run comes from [`random`], so that the same configuration and data give
//! the same encoder, and a run that was stopped goes on as if it had not been.

pub mod adamw;
pub mod average;
mod batches;
pub mod checkpoint;
pub mod config;
pub mod evaluation;
#[cfg(feature = "cuda")]
mod gpu;
pub mod held_out;
pub mod loader;
pub mod optimizer;
pub mod page;
pub mod pictures;
pub mod random;
pub mod record;
pub mod restore;
mod rule;
pub(crate) mod run;
pub mod samples;
pub(crate) mod schedule;
pub mod start;
pub(crate) mod tensorboard;
pub mod train;
mod trainer;
mod trial;
pub mod views;
mod watcher;

pub use config::Config;
pub use run::Run;
pub use train::train;
