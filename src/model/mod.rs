//! The encoder: a vision transformer from a checkpoint, and the patch features it computes from
//! frames.
//!
//! [`source`] turns what is named as weights into an [`Encoder`]: [`weights`] reads a checkpoint of
//! any family under one set of names ([`init`] draws one from a seed, `shipped` contains one),
//! [`vit`] computes (with `cpu` on packed weights, with `gpu` by our own kernels, or with `tensors`
//! on any device), and [`pos_embed`] resizes the position table to a frame's grid. Features that
//! another program has made are read by `given`. Next stop of the features:
//! [`crate::propagation`].

mod attention;
pub mod config;
mod cpu;
pub mod encoder;
mod given;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub mod init;
mod parameters;
mod patches;
pub mod pos_embed;
pub(crate) mod shipped;
pub mod source;
mod tensors;
#[cfg(feature = "cuda")]
mod trial;
pub mod vit;
pub mod weights;

pub use config::VitConfig;
pub use encoder::Encoder;
pub use given::Given;
pub use weights::Checkpoint;
