//! Video label propagation for self-supervised image encoders.
//!
//! The labels of a clip's first frame are carried through the clip by the k-nearest-neighbour
//! affinity of patch features: the standard test of how well an encoder matches things across
//! frames. Masked autoencoding trains such encoders. This library is what the programs `propagate`
//! and `pretrain` run; it never prints, exits or reads the environment.
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
//! * [`report`]: tables, CSV files, `results.json`, pages for a browser.
//! * [`overlay`]: frames with what was predicted drawn over them.
//! * [`sample`]: rendered clips with exact ground truth, for trying and testing.
//! * [`autoencoder`], [`pretrain`]: the network that is trained, and the loop that trains it. Begin
//!   reading at [`pretrain::train()`].
//! * [`device`], [`files`], [`nearest`], [`progress`], [`error`], [`wording`]: leaves that all may
//!   use.
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
//!
//! # With an encoder and clips of your own
//!
//! From frames to J&F in the published protocol, with nothing of the above but its parts. Frames
//! are [`image::Rgb`], here drawn in memory, from a disk by [`image::decode::read`]; masks are
//! [`image::LabelImage`], from a disk by [`image::indexed::read`]. The encoder takes the mean
//! colour of each patch: put yours in its place, in whatever it is written.
//!
//! ```
//! use candle_core::{D, DType, Device, Tensor};
//! use cropmae::image::{LabelImage, Rgb};
//! use cropmae::metric::davis::{ClipScores, global, object_count, scored_frames};
//! use cropmae::propagation::labels::{first_frame, hard_labels};
//! use cropmae::propagation::{Engine, Propagation};
//! use cropmae::protocol::{Benchmark, Preset};
//!
//! const PATCH: usize = 8;
//!
//! /// Your encoder: one feature for each patch, row by row, [h·w, D], each of length 1.
//! fn features(frame: &Rgb) -> candle_core::Result<Tensor> {
//!     let (rows, columns) = (frame.height / PATCH, frame.width / PATCH);
//!     let pixels = Tensor::new(frame.data.as_slice(), &Device::Cpu)?.to_dtype(DType::F32)?;
//!     let patches = pixels.reshape((rows, PATCH, columns, PATCH, 3))?;
//!     let colors = patches.mean((1, 3))?.reshape((rows * columns, 3))?;
//!     colors.broadcast_div(&colors.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)
//! }
//!
//! /// Your clip: a red square on its way over blue ground, and the mask of where it is.
//! fn frame(time: usize) -> (Rgb, LabelImage) {
//!     let (width, height) = (96, 64);
//!     let (rows, columns) = (16..48, 8 * time..8 * time + 32);
//!     let inside = |i: usize| rows.contains(&(i / width)) && columns.contains(&(i % width));
//!     let data: Vec<u8> = (0..width * height).map(|i| u8::from(inside(i))).collect();
//!     let color = |&id: &u8| if id == 1 { [200, 40, 40] } else { [40, 40, 200] };
//!     let picture = Rgb { width, height, data: data.iter().flat_map(color).collect() };
//!     (picture, LabelImage { width, height, data })
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let protocol = Preset::Cropmae.protocol(Benchmark::Davis)?;
//! let (first, given) = frame(0);
//! let size = (first.height, first.width);
//! let grid = (size.0 / PATCH, size.1 / PATCH);
//! let start = first_frame(&given, size, grid, protocol.first_labels);
//! let (settings, engine) = (&protocol.propagation, Engine::of(&Device::Cpu));
//! let mut clip = Propagation::start(settings, engine, &features(&first)?, &start.labels)?;
//! let mut scores = ClipScores::new(object_count(&given));
//! for time in 1..8 {
//!     let (picture, truth) = frame(time);
//!     let soft = clip.step(&features(&picture)?)?;
//!     let mask = hard_labels(&soft, &start.ids, size, protocol.readout);
//!     if scored_frames(8).contains(&time) {
//!         scores.feed(&truth, &mask)?;
//!     }
//! }
//! let j_and_f = global([&scores]).j_and_f_mean; // over all clips, were there more
//! assert!(j_and_f > 0.95, "{j_and_f}");
//! # Ok(())
//! # }
//! ```
//!
//! Clips in DAVIS's layout need no loop of yours: [`data::davis::open`] finds them, and
//! [`eval::davis::evaluate`] does the above with a [`model::Encoder`], clip by clip, into a folder.

pub mod autoencoder;
pub mod data;
pub mod device;
mod digest;
mod elementwise;
pub mod error;
pub mod eval;
pub mod files;
#[cfg(test)]
#[path = "../tests/common/shared.rs"]
mod fixtures;
mod host;
pub mod image;
#[cfg(feature = "cuda")]
mod kernel;
pub mod metric;
pub mod model;
pub mod nearest;
pub mod overlay;
pub mod pretrain;
mod product;
pub mod progress;
pub mod propagation;
pub mod protocol;
pub mod report;
pub mod sample;
mod trial;
pub mod wording;

pub use error::{Error, Result};
