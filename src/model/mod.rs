//! The encoder: a vision transformer from a checkpoint, and the patch features it makes of frames.

pub mod config;
pub mod init;
pub mod pos_embed;
pub mod weights;

pub use config::VitConfig;
