//! Frames with predictions drawn over them.
//!
//! [`Overlay`] takes a clip and the folder that holds its predictions, and reads, draws and returns
//! its frames one after the other: masks in the palette's colours (DAVIS, VIP), skeletons (JHMDB),
//! and on request the truth and the errors. Everything is read from files, so a run can be drawn
//! long after it ended. Next: [`sheet`] puts frames together, [`film`] animates them.
//! [`correspondence`] draws where a patch takes its labels from.

pub(crate) mod canvas;
mod clips;
pub mod correspondence;
pub mod film;
pub(crate) mod masks;
pub mod sheet;
pub(crate) mod skeleton;
pub(crate) mod text;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::data::{LabelClip, Opened, PoseClip};
use crate::error::Result;
use crate::image::Rgb;
use canvas::Color;
use clips::{Masks, Poses};

/// How frames are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style {
    /// Whether errors are marked: pixels missed and falsely claimed in two colours, a line from
    /// each joint to where it should be.
    pub errors: bool,
    /// Whether the truth is drawn too: white contours, a white skeleton.
    pub truth: bool,
    /// The pixels of a row of what is drawn; 0 leaves frames as large as they are.
    pub width: usize,
}

/// One entry of a legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What it says.
    pub name: String,
    /// In which colour that is drawn.
    pub color: Color,
}

impl Key {
    fn new(name: impl Into<String>, color: Color) -> Self {
        Self { name: name.into(), color }
    }
}

/// A clip and its predictions, ready to be drawn. Frames are read when they are asked for.
#[derive(Debug)]
pub struct Overlay<'a> {
    style: Style,
    labels: Labels<'a>,
}

#[derive(Debug)]
enum Labels<'a> {
    Masks(Masks<'a>),
    Joints(Poses<'a>),
}

impl<'a> Overlay<'a> {
    /// A clip of a benchmark, by its place among those that can be used; none where there is no
    /// such clip. `predictions` as for [`Self::objects`], [`Self::parts`] or [`Self::joints`].
    ///
    /// # Errors
    /// See [`Self::objects`] and [`Self::joints`].
    pub fn of(
        clips: &'a Opened,
        index: usize,
        predictions: &Path,
        style: Style,
    ) -> Option<Result<Self>> {
        Some(match clips {
            Opened::Davis(set) => Self::objects(set.clips.get(index)?, predictions, style),
            Opened::Vip(set) => Self::parts(set.clips.get(index)?, predictions, style),
            Opened::Jhmdb(set) => Self::joints(set.clips.get(index)?, predictions, style),
        })
    }

    /// The objects of a DAVIS sequence; `predictions` holds `<clip>/<frame>.png` of every clip, as
    /// [`crate::eval::RunFolder::predictions`] does, with masks of any size.
    ///
    /// # Errors
    /// The first annotation cannot be read.
    pub fn objects(clip: &'a LabelClip, predictions: &Path, style: Style) -> Result<Self> {
        Ok(Self { style, labels: Labels::Masks(Masks::objects(clip, predictions)?) })
    }

    /// The parts of a VIP video; `predictions` as for [`Self::objects`].
    ///
    /// # Errors
    /// The first annotation cannot be read.
    pub fn parts(clip: &'a LabelClip, predictions: &Path, style: Style) -> Result<Self> {
        Ok(Self { style, labels: Labels::Masks(Masks::parts(clip, predictions)?) })
    }

    /// The joints of a JHMDB clip; `predictions` holds `<clip>/joints.json` of every clip.
    ///
    /// # Errors
    /// The predicted or the true joints cannot be read.
    pub fn joints(clip: &'a PoseClip, predictions: &Path, style: Style) -> Result<Self> {
        Ok(Self { style, labels: Labels::Joints(Poses::new(clip, predictions)?) })
    }

    /// The clip's name.
    pub fn name(&self) -> &str {
        match &self.labels {
            Labels::Masks(masks) => &masks.clip.name,
            Labels::Joints(poses) => &poses.clip.name,
        }
    }

    /// Frames that can be drawn.
    pub fn len(&self) -> usize {
        match &self.labels {
            Labels::Masks(masks) => masks.clip.frames.len(),
            Labels::Joints(poses) => poses.clip.frames.len().min(poses.predicted.len()),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the colours mean.
    pub fn legend(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = match &self.labels {
            Labels::Masks(masks) => {
                let ids = masks.ids.iter();
                ids.map(|(id, name)| Key::new(name, masks::color(*id))).collect()
            }
            Labels::Joints(_) => {
                skeleton::SIDES.map(|(name, color)| Key::new(name, color)).to_vec()
            }
        };
        let (of_errors, truth) = match &self.labels {
            Labels::Masks(_) => {
                (vec![("missed", masks::MISSED), ("false", masks::FALSE)], masks::TRUTH)
            }
            Labels::Joints(_) => (vec![("error", skeleton::OFF)], skeleton::TRUTH),
        };
        if self.style.errors {
            keys.extend(of_errors.into_iter().map(|(name, color)| Key::new(name, color)));
        }
        if self.style.truth {
            keys.push(Key::new("truth", truth));
        }
        keys
    }

    /// All frames in order, each read and drawn when it is asked for.
    pub fn frames(&self) -> impl Iterator<Item = Result<Rgb>> + '_ {
        (0..self.len()).map(|index| self.frame(index))
    }

    /// One frame, counted from 0.
    ///
    /// # Errors
    /// There is no such frame, or its picture, its prediction or its truth cannot be read.
    pub fn frame(&self, index: usize) -> Result<Rgb> {
        match &self.labels {
            Labels::Masks(masks) => masks.draw(index, self.style),
            Labels::Joints(poses) => poses.draw(index, self.style),
        }
    }

    /// Frame 0 with the labels that were given for it, as if they had been predicted.
    ///
    /// # Errors
    /// See [`Self::frame`].
    pub fn given(&self) -> Result<Rgb> {
        match &self.labels {
            Labels::Masks(masks) => masks.draw_given(self.style.width),
            Labels::Joints(poses) => poses.draw_given(self.style.width),
        }
    }
}
