//! The encoder: a vision transformer from a checkpoint, and the patch features it makes of frames.

mod attention;
pub mod config;
pub mod encoder;
pub mod init;
pub mod pos_embed;
pub mod source;
pub mod vit;
pub mod weights;

pub use config::VitConfig;
pub use encoder::Encoder;
