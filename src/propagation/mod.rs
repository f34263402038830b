//! Label propagation: from patch features and the first frame's labels to every frame's labels.
//!
//! [`Propagation`] holds the context (frame 0 and a queue of recent frames) and labels one frame at
//! a time, so memory does not grow with a clip's length. Each query cell takes the softmax-weighted
//! labels of its k nearest keys (`tiled` on the CPU, `fused` on a GPU, `tensor_ops` for what that
//! cannot do). [`labels`] (masks) and [`joints`] (poses) make the input and convert the output
//! back. This module knows neither encoder nor dataset: you can use your own features.

pub(crate) mod context;
mod fused;
mod grid;
pub mod joints;
pub mod labels;
mod nearest;
mod neighbors;
mod tensor_ops;
mod tiled;
mod trial;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

use crate::error::{Error, Result};
use context::Context;

/// Soft labels on the grid of patches.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelMap {
    /// Rows and columns of the grid.
    pub grid: (usize, usize),
    /// One channel per id, ascending; see [`labels::FirstFrame::ids`]. Of poses: background, then one
    /// for each joint.
    pub channels: usize,
    /// `h * w * C` values, cell by cell.
    pub values: Vec<f32>,
}

/// A key among the k nearest of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbor {
    /// The frame it is of, counted from 0.
    pub frame: usize,
    /// Its row and column in that frame's grid.
    pub cell: (usize, usize),
    /// Its cosine with the query.
    pub cosine: f32,
    /// Its share of the query's labels; those of all neighbours sum to 1.
    pub weight: f32,
    /// How often it stands in the context: more than once only in frame 0.
    pub copies: usize,
    /// Its own soft labels, one of each channel; the query's are the weighted sum of these.
    pub labels: Vec<f32>,
}

/// Which cells around a query may be its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Shape {
    /// Cells at a Euclidean distance below the radius (CropMAE, videowalk).
    Circle,
    /// Cells at a Euclidean distance up to the radius, itself included (DINOv3).
    CircleInclusive,
    /// Cells at most the radius away along each axis (DINO, iBOT, RSP).
    Square,
}

/// No grid has so many cells along an axis.
const FARTHEST: usize = 1 << 20;

/// The keys' spatial limit, in grid cells.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Neighborhood {
    /// Its outline.
    pub shape: Shape,
    /// Its extent in cells.
    pub radius: f64,
}

impl Neighborhood {
    /// How far a key may lie along one axis when it lies `offset` cells away along the other:
    /// `None` where it may not lie there at all.
    pub fn half_width(&self, offset: usize) -> Option<usize> {
        let inside = |other: usize| {
            let distance = ((offset * offset + other * other) as f64).sqrt();
            match self.shape {
                Shape::Circle => distance < self.radius,
                Shape::CircleInclusive => distance <= self.radius,
                Shape::Square => offset.max(other) as f64 <= self.radius,
            }
        };
        // The nearest cell that is not inside, by halving: no radius is too large to be asked
        // about.
        let (mut nearest, mut beyond) = (0, FARTHEST.min(self.radius.max(0.0).ceil() as usize) + 1);
        while nearest < beyond {
            let middle = nearest.midpoint(beyond);
            match inside(middle) {
                true => nearest = middle + 1,
                false => beyond = middle,
            }
        }
        nearest.checked_sub(1)
    }
}

/// How often a frame may be in a context: as many f32 tells apart.
const MOST_COPIES: usize = 1 << 24;

/// Everything the affinity needs to know. The sources: CropMAE's `utils/test_utils.py`
/// (`context_index_bank`, `mem_efficient_batched_affinity`) and DINO's
/// `eval_video_segmentation.py` (`label_propagation`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Neighbours kept per query (k).
    pub topk: usize,
    /// Whether all keys as close as the k-th are kept (DINO), or just k.
    pub keep_ties: bool,
    /// Divisor of the cosines before the softmax.
    pub temperature: f64,
    /// Which keys a query may see.
    pub neighborhood: Neighborhood,
    /// Whether the neighbourhood binds the keys of frame 0 too (DINO); CropMAE searches all of it.
    pub restrict_first: bool,
    /// Recent frames in the context, beside frame 0 (L).
    pub queue: usize,
    /// Whether copies of frame 0 fill the queue until L frames have passed (CropMAE), copies which
    /// take places among the k.
    pub padded: bool,
}

impl Settings {
    /// Refuses settings that cannot be computed with.
    ///
    /// # Errors
    /// Names the setting and what it may be.
    pub fn validate(&self) -> Result<()> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if self.topk == 0 {
            return Err(Error::setting("topk", "at least one neighbour is needed"));
        }
        if !positive(self.temperature) {
            return Err(Error::setting("temperature", "must be a number above 0"));
        }
        if !positive(self.neighborhood.radius) {
            return Err(Error::setting("radius", "must be a number above 0, in grid cells"));
        }
        if self.padded && self.queue >= MOST_COPIES {
            let problem = format!("copies of frame 0 fill it: at most {}", MOST_COPIES - 1);
            return Err(Error::setting("queue", problem));
        }
        Ok(())
    }
}

/// The arithmetic of the fused kernel's products. Sums are f32 in all of them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, EnumMessage, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum Arithmetic {
    /// f32 throughout: for published tables
    #[default]
    F32,
    /// Features rounded to TF32 (11 significant bits), on tensor cores
    Tf32,
    /// Features rounded to bfloat16 (8 significant bits), on tensor cores
    Bf16,
}

impl Arithmetic {
    /// Its name in settings and records.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Bytes of a value.
    fn bytes(self) -> usize {
        if self == Self::Bf16 { 2 } else { 4 }
    }
}

/// How the affinity is computed; in f32 all give the same labels up to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Tiles of products on the CPU's cores with a running top-k.
    Tiled,
    /// One CUDA kernel for products, top-k and labels; on the CPU its slow twin, for tests.
    Fused(Arithmetic),
    /// candle's tensor operations, on whatever device the features live. They have no limits, so
    /// they also do what [`Engine::Fused`] cannot ([`Engine::fitting`]): a k above 32, a grid of
    /// over some 300×300 cells.
    TensorOps,
}

impl Engine {
    /// The faster one for a device, in f32.
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() { Self::Tiled } else { Self::Fused(Arithmetic::F32) }
    }

    /// The one that labels clips of this grid on this device: what the kernel cannot do in f32,
    /// tensor operations do.
    ///
    /// # Errors
    /// It was asked for in another arithmetic than f32, which it alone has.
    pub fn fitting(
        self,
        settings: &Settings,
        grid: (usize, usize),
        device: &Device,
    ) -> Result<Self> {
        match self {
            Self::Fused(arithmetic) if fused::fits(settings, grid, arithmetic, device) => Ok(self),
            Self::Fused(Arithmetic::F32) => Ok(Self::TensorOps),
            Self::Fused(arithmetic) => Err(Error::setting(
                "affinity",
                format!(
                    "{} takes no such topk or grid, or no such GPU; f32 takes all",
                    arithmetic.name()
                ),
            )),
            other => Ok(other),
        }
    }

    /// The faster one for a device in this arithmetic.
    ///
    /// # Errors
    /// The CPU knows f32 alone.
    pub fn in_arithmetic(device: &Device, arithmetic: Arithmetic) -> Result<Self> {
        match (Self::of(device), arithmetic) {
            (Self::Fused(_), arithmetic) => Ok(Self::Fused(arithmetic)),
            (engine, Arithmetic::F32) => Ok(engine),
            (_, other) => Err(Error::setting(
                "affinity",
                format!("{} needs a GPU; on a CPU leave it out", other.name()),
            )),
        }
    }
}

enum Frames {
    Tiled(Context<tiled::Frame>),
    Fused(fused::Fused),
    TensorOps(Context<tensor_ops::Frame>),
}

/// One clip being labelled.
pub struct Propagation {
    settings: Settings,
    grid: (usize, usize),
    channels: usize,
    /// The width of a feature (D).
    width: usize,
    /// Frames labelled so far, beside frame 0.
    labelled: usize,
    frames: Frames,
}

impl Propagation {
    /// Begins a clip: `features` [h·w, D] of frame 0, each row of length 1, and its labels.
    ///
    /// # Errors
    /// The settings make no sense, there is no cell, label or channel of a feature, or features and
    /// labels disagree about the grid.
    pub fn start(
        settings: &Settings,
        engine: Engine,
        features: &Tensor,
        labels: &LabelMap,
    ) -> Result<Self> {
        settings.validate()?;
        let width = fitting(features, labels)?;
        let (queue, padded) = (settings.queue, settings.padded);
        let free = !settings.restrict_first;
        let frames = match engine.fitting(settings, labels.grid, features.device())? {
            Engine::Tiled => {
                let first = tiled::Frame::new(features, labels)?;
                Frames::Tiled(Context::new(first, queue, padded, free))
            }
            Engine::Fused(arithmetic) => {
                Frames::Fused(fused::Fused::new(settings, arithmetic, features, labels)?)
            }
            Engine::TensorOps => {
                let first = tensor_ops::Frame::new(features, labels)?;
                Frames::TensorOps(Context::new(first, queue, padded, free))
            }
        };
        Ok(Self {
            settings: settings.clone(),
            grid: labels.grid,
            channels: labels.channels,
            width,
            labelled: 0,
            frames,
        })
    }

    /// Refuses features of another shape than frame 0's.
    fn check(&self, features: &Tensor) -> Result<()> {
        let ((rows, columns), width) = (self.grid, self.width);
        match features.dims() {
            &[cells, wide] if cells == rows * columns && wide == width => Ok(()),
            other => Err(Error::setting(
                "features",
                format!(
                    "{other:?} does not fit the first frame's {rows}x{columns} cells of {width}"
                ),
            )),
        }
    }

    /// Labels the next frame from its `features` [h·w, D] and puts it into the queue.
    ///
    /// # Errors
    /// The features are of another shape than frame 0's, or the device runs out of memory.
    pub fn step(&mut self, features: &Tensor) -> Result<LabelMap> {
        let (grid, channels) = (self.grid, self.channels);
        self.check(features)?;
        self.labelled += 1;
        let map = |values| LabelMap { grid, channels, values };
        match &mut self.frames {
            Frames::Tiled(context) => {
                let query = tiled::query(features)?;
                let values =
                    tiled::propagate(&query, &context.sources(), grid, channels, &self.settings);
                let labels = map(values);
                context.push(tiled::Frame::from_query(query, &labels));
                Ok(labels)
            }
            Frames::Fused(clip) => Ok(map(clip.step(features)?)),
            Frames::TensorOps(context) => {
                let soft =
                    tensor_ops::propagate(features, &context.sources(), grid, &self.settings)?;
                context
                    .push(tensor_ops::Frame { features: features.clone(), labels: soft.clone() });
                Ok(map(soft.flatten_all()?.to_vec1()?))
            }
        }
    }
}

/// The width of features that fit the labels.
///
/// # Errors
/// They do not, or there is nothing to propagate.
fn fitting(features: &Tensor, labels: &LabelMap) -> Result<usize> {
    let (grid, channels) = (labels.grid, labels.channels);
    let cells = grid.0.saturating_mul(grid.1);
    if cells == 0 || channels == 0 {
        let problem = format!("{channels} channels on a grid of {grid:?} are nothing to propagate");
        return Err(Error::setting("labels", problem));
    }
    if Some(labels.values.len()) != cells.checked_mul(channels) {
        let values = labels.values.len();
        let problem = format!("{values} values are not {channels} channels on a grid of {grid:?}");
        return Err(Error::setting("labels", problem));
    }
    match features.dims() {
        &[rows, width] if rows == cells && width > 0 => Ok(width),
        other => Err(Error::setting(
            "features",
            format!("{other:?} does not fit labels on a grid of {grid:?}"),
        )),
    }
}

#[cfg(test)]
mod tests;
