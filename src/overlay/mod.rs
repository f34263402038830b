//! Frames with what was predicted drawn over them.
//!
//! [`Overlay`] takes a clip and the folder that holds its predictions and gives its frames, one after
//! the other, each read, drawn and handed on: masks in the palette's colours (DAVIS, VIP), skeletons
//! (JHMDB), and on request the truth and what is wrong. Everything comes from files, so a run that is
//! long over can be drawn as well as one that has just ended. Next: [`sheet`] puts frames together, [`film`] makes
//! them move. [`correspondence`] draws where a patch takes its labels from.

pub mod canvas;
pub mod correspondence;
pub mod film;
pub mod masks;
pub mod sheet;
pub mod skeleton;
pub mod text;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::davis::{MaskKind, first_mask, read_mask};
use crate::data::joints;
use crate::data::{LabelClip, PoseClip};
use crate::error::{Error, Result};
use crate::eval::poses;
use crate::image::resize::bicubic;
use crate::image::{Rgb, decode, indexed};
use crate::metric::miou::VIP_CLASSES;
use crate::protocol::Size;
use canvas::{Colour, Point};

/// How frames are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Style {
    /// Whether errors are marked: pixels missed and falsely claimed in two colours, a line from each
    /// joint to where it should be.
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
    pub colour: Colour,
}

impl Key {
    fn new(name: impl Into<String>, colour: Colour) -> Self {
        Self { name: name.into(), colour }
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

/// DAVIS and VIP.
#[derive(Debug)]
struct Masks<'a> {
    clip: &'a LabelClip,
    folder: PathBuf,
    kind: MaskKind,
    /// The ids of the first annotation with their names.
    ids: Vec<(u8, String)>,
}

/// JHMDB, with all joints in pixels of the frame as released, the middle of the first being
/// (0.5, 0.5).
#[derive(Debug)]
struct Poses<'a> {
    clip: &'a PoseClip,
    frame: Size,
    predicted: Vec<skeleton::Joints>,
    truth: Vec<skeleton::Joints>,
}

impl<'a> Overlay<'a> {
    /// The objects of a DAVIS sequence; `predictions` holds `<clip>/<frame>.png` of every clip, as
    /// [`crate::eval::RunFolder::predictions`] does, with masks of any size.
    ///
    /// # Errors
    /// The first annotation cannot be read.
    pub fn objects(clip: &'a LabelClip, predictions: &Path, style: Style) -> Result<Self> {
        let (first, kind) = first_mask(clip)?;
        let name = |id: u8| (id, format!("object {id}"));
        let ids = objects_in(&first.data).map(name).collect();
        let masks = Masks { clip, folder: predictions.join(&clip.name), kind, ids };
        Ok(Self { style, labels: Labels::Masks(masks) })
    }

    /// The parts of a VIP video; `predictions` as for [`Self::objects`].
    ///
    /// # Errors
    /// The first annotation cannot be read.
    pub fn parts(clip: &'a LabelClip, predictions: &Path, style: Style) -> Result<Self> {
        let (first, _) = first_mask(clip)?;
        let named = |id: u8| VIP_CLASSES.get(usize::from(id)).map(|name| (id, (*name).to_owned()));
        let ids = objects_in(&first.data).filter_map(named).collect();
        let folder = predictions.join(&clip.name);
        let masks = Masks { clip, folder, kind: MaskKind::Ids, ids };
        Ok(Self { style, labels: Labels::Masks(masks) })
    }

    /// The joints of a JHMDB clip; `predictions` holds `<clip>/joints.json` of every clip.
    ///
    /// # Errors
    /// The predicted or the true joints cannot be read.
    pub fn joints(clip: &'a PoseClip, predictions: &Path, style: Style) -> Result<Self> {
        let size = || Err(Error::data(predictions, "no joints.json", "predict the clip again"));
        let poses = poses::find(predictions, &clip.name, usize::MAX, (0, 0), size)?;
        let truth = joints::read(&clip.joints)?;
        let labels = Poses {
            clip,
            frame: poses.frame,
            predicted: found(&poses),
            truth: truth.positions.iter().map(|joints| joints.map(from_matlab)).collect(),
        };
        Ok(Self { style, labels: Labels::Joints(labels) })
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
                ids.map(|(id, name)| Key::new(name, masks::colour(*id))).collect()
            }
            Labels::Joints(_) => {
                skeleton::SIDES.map(|(name, colour)| Key::new(name, colour)).to_vec()
            }
        };
        let (of_errors, truth) = match &self.labels {
            Labels::Masks(_) => {
                (vec![("missed", masks::MISSED), ("false", masks::FALSE)], masks::TRUTH)
            }
            Labels::Joints(_) => (vec![("error", skeleton::OFF)], skeleton::TRUTH),
        };
        if self.style.errors {
            keys.extend(of_errors.into_iter().map(|(name, colour)| Key::new(name, colour)));
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

/// `count` frames of `of`, evenly spaced, the first and the last among them.
pub fn evenly(count: usize, of: usize) -> Vec<usize> {
    let (count, last) = (count.min(of), of.saturating_sub(1));
    let steps = count.saturating_sub(1).max(1);
    (0..count).map(|step| (step * last + steps / 2) / steps).collect()
}

impl Masks<'_> {
    fn draw_given(&self, width: usize) -> Result<Rgb> {
        let image = self.clip.frames.first().and_then(|frame| frame.image.as_deref());
        let image = image.ok_or_else(|| no_frame(&self.clip.name, 0))?;
        let (given, _) = first_mask(self.clip)?;
        let mut picture = scaled(decode::read(image)?, width);
        let layers = masks::Layers { predicted: &given, truth: None, marked: None };
        masks::draw(&mut picture, layers);
        Ok(picture)
    }

    fn draw(&self, index: usize, style: Style) -> Result<Rgb> {
        let frame = self.clip.frames.get(index);
        let frame = frame.ok_or_else(|| no_frame(&self.clip.name, index))?;
        let image = frame.image.as_deref().ok_or_else(|| no_frame(&self.clip.name, index))?;
        let path = self.folder.join(format!("{}.png", frame.name));
        let predicted = indexed::read(&path)?;
        let truth = match (&frame.annotation, style.truth || style.errors) {
            (Some(path), true) => Some(read_mask(path, self.kind)?),
            _ => None,
        };
        let mut picture = scaled(decode::read(image)?, style.width);
        let layers = masks::Layers {
            predicted: &predicted,
            truth: truth.as_ref().filter(|_| style.truth),
            marked: truth.as_ref().filter(|_| style.errors),
        };
        masks::draw(&mut picture, layers);
        Ok(picture)
    }
}

impl Poses<'_> {
    /// Joints in pixels of a picture of the frame.
    fn placed(&self, joints: &skeleton::Joints, picture: &Rgb) -> skeleton::Joints {
        let scale = |size: usize, of: usize| size as f32 / of.max(1) as f32;
        let along = scale(picture.width, self.frame.width);
        let down = scale(picture.height, self.frame.height);
        joints.map(|joint| joint.map(|(x, y)| (x * along, y * down)))
    }

    fn draw_given(&self, width: usize) -> Result<Rgb> {
        let given = self.clip.frames.first().zip(self.truth.first());
        let (image, given) = given.ok_or_else(|| no_frame(&self.clip.name, 0))?;
        let mut picture = scaled(decode::read(image)?, width);
        let predicted = &self.placed(given, &picture);
        skeleton::draw(&mut picture, skeleton::Layers { predicted, truth: None, marked: None });
        Ok(picture)
    }

    fn draw(&self, index: usize, style: Style) -> Result<Rgb> {
        let image = self.clip.frames.get(index).zip(self.predicted.get(index));
        let (image, predicted) = image.ok_or_else(|| no_frame(&self.clip.name, index))?;
        let mut picture = scaled(decode::read(image)?, style.width);
        let truth = self.truth.get(index).map(|truth| self.placed(truth, &picture));
        let layers = skeleton::Layers {
            predicted: &self.placed(predicted, &picture),
            truth: truth.as_ref().filter(|_| style.truth),
            marked: truth.as_ref().filter(|_| style.errors),
        };
        skeleton::draw(&mut picture, layers);
        Ok(picture)
    }
}

fn no_frame(clip: &str, index: usize) -> Error {
    let problem = format!("has no frame {index}");
    Error::data(Path::new(clip), problem, "frames are counted from 0")
}

/// The ids of objects or parts, ascending.
fn objects_in(ids: &[u8]) -> impl Iterator<Item = u8> + use<> {
    let mut seen = [false; 256];
    ids.iter().for_each(|&id| seen[usize::from(id)] = true);
    (1..=254).filter(move |&id| seen[usize::from(id)])
}

/// A picture brought to this width, its shape kept, with antialiasing.
pub fn scaled(picture: Rgb, width: usize) -> Rgb {
    if width == 0 || width == picture.width || picture.width == 0 {
        return picture;
    }
    let height = (picture.height * width + picture.width / 2) / picture.width;
    bicubic(&picture, height.max(1), width)
}

/// Joints of our files, cells of the grid, as places in pixels.
fn found(poses: &poses::Poses) -> Vec<skeleton::Joints> {
    let cells = poses.coordinates();
    let cell = (
        poses.frame.width as f64 / poses.grid.1.max(1) as f64,
        poses.frame.height as f64 / poses.grid.0.max(1) as f64,
    );
    let place = |x: f64, y: f64| -> Option<Point> {
        // pixels counted from 0, whose middles are half a pixel on
        (x >= 0.0).then_some(((x * cell.0 + 0.5) as f32, (y * cell.1 + 0.5) as f32))
    };
    (0..poses.len())
        .map(|t| std::array::from_fn(|joint| place(cells[[0, joint, t]], cells[[1, joint, t]])))
        .collect()
}

/// A true joint: MATLAB counts from 1, so that 1 is the middle of the first pixel.
fn from_matlab([x, y]: [f64; 2]) -> Option<Point> {
    Some(((x - 0.5) as f32, (y - 0.5) as f32))
}
