//! Video label propagation for self-supervised image encoders.
//!
//! The labels of a clip's first frame are carried through the clip by the k-nearest-neighbour
//! affinity of patch features: the standard test of how well an encoder matches things across
//! frames. This library is what the program `propagate` runs; it never prints, exits or reads the
//! environment.
//!
//! ```text
//! data ──> image ──> model ──> propagation ──> metric ──> report
//! clips    frames    features  soft labels     scores     tables
//!          └───────────── eval: all of it, clip by clip ─────────┘
//! ```
//!
//! * [`data`]: the clips of DAVIS, VIP and JHMDB as released, and [`data::check`].
//! * [`image`]: decoding, palette PNGs, resampling rules by name.
//! * [`model`]: checkpoints of every common family, the vision transformer, patch features.
//! * [`propagation`]: the context, the affinity, soft labels in and out.
//! * [`metric`]: J, F, mIoU, PCK.
//! * [`protocol`]: every choice that moves a number, under a name, a version and a hash.
//! * [`eval`]: the three evaluations, one page each. Begin reading at [`eval::davis`].
//! * [`report`]: tables, CSV files, `results.json`.
//! * [`overlay`]: frames with what was predicted drawn over them.
//! * [`sample`]: rendered clips with exact ground truth, for trying and testing.
//! * [`device`], [`files`], [`progress`], [`error`]: leaves that all may use.
//!
//! # With features of your own
//!
//! [`propagation`] knows neither encoder nor dataset. Here a frame of two by three patches, whose
//! features are their own positions, hands its labels on to a frame that has moved by a patch:
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use cropmae::propagation::{Engine, LabelMap, Propagation};
//! use cropmae::protocol::{Benchmark, Preset};
//!
//! # fn main() -> cropmae::Result<()> {
//! let identity = Tensor::eye(6, candle_core::DType::F32, &Device::Cpu)?; // 6 patches, 6 wide
//! let labels = LabelMap { grid: (2, 3), channels: 2, values: vec![
//!     1., 0.,  0., 1.,  1., 0., // background, object, background
//!     1., 0.,  1., 0.,  1., 0.,
//! ]};
//! let mut settings = Preset::Cropmae.protocol(Benchmark::Davis)?.propagation;
//! settings.topk = 1;
//! let mut clip = Propagation::start(&settings, Engine::Tiled, &identity, &labels)?;
//! let order = Tensor::new(&[2_u32, 0, 1, 5, 3, 4], &Device::Cpu)?; // one patch to the right
//! let moved = clip.step(&identity.index_select(&order, 0)?)?;
//! assert_eq!(moved.values[4..6], [0.0, 1.0]); // the object is in the third patch now
//! # Ok(())
//! # }
//! ```

pub mod autoencoder;
pub mod data;
pub mod device;
mod elementwise;
pub mod error;
pub mod eval;
pub mod files;
pub mod image;
#[cfg(feature = "cuda")]
mod kernel;
pub mod metric;
pub mod model;
pub mod overlay;
pub mod pretrain;
mod product;
pub mod progress;
pub mod propagation;
pub mod protocol;
pub mod report;
pub mod sample;

pub use error::{Error, Result};
