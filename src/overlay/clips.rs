//! The two kinds of clips to be drawn, masks and joints; their files are read frame by frame.

use std::path::{Path, PathBuf};

use super::canvas::Point;
use super::{Style, masks, skeleton};
use crate::data::davis::{MaskKind, first_mask, read_mask};
use crate::data::{LabelClip, PoseClip, joints};
use crate::error::{Error, Result};
use crate::eval::poses;
use crate::image::figure::scaled;
use crate::image::{Rgb, decode, indexed};
use crate::metric::miou::VIP_CLASSES;
use crate::protocol::Size;

/// DAVIS and VIP.
#[derive(Debug)]
pub(super) struct Masks<'a> {
    pub(super) clip: &'a LabelClip,
    folder: PathBuf,
    kind: MaskKind,
    /// The ids of the first annotation with their names.
    pub(super) ids: Vec<(u8, String)>,
}

/// JHMDB, with all joints in pixels of the frame as released, the middle of the first being
/// (0.5, 0.5).
#[derive(Debug)]
pub(super) struct Poses<'a> {
    pub(super) clip: &'a PoseClip,
    frame: Size,
    pub(super) predicted: Vec<skeleton::Joints>,
    truth: Vec<skeleton::Joints>,
}

impl<'a> Masks<'a> {
    pub(super) fn objects(clip: &'a LabelClip, predictions: &Path) -> Result<Self> {
        let (first, kind) = first_mask(clip)?;
        let ids = objects_in(&first.data).map(|id| (id, format!("object {id}"))).collect();
        Ok(Self { clip, folder: predictions.join(&clip.name), kind, ids })
    }

    pub(super) fn parts(clip: &'a LabelClip, predictions: &Path) -> Result<Self> {
        let (first, _) = first_mask(clip)?;
        let named = |id: u8| VIP_CLASSES.get(usize::from(id)).map(|name| (id, (*name).to_owned()));
        let ids = objects_in(&first.data).filter_map(named).collect();
        Ok(Self { clip, folder: predictions.join(&clip.name), kind: MaskKind::Ids, ids })
    }

    pub(super) fn draw_given(&self, width: usize) -> Result<Rgb> {
        let image = self.clip.frames.first().and_then(|frame| frame.image.as_deref());
        let image = image.ok_or_else(|| no_frame(&self.clip.name, 0))?;
        let (given, _) = first_mask(self.clip)?;
        let mut picture = scaled(decode::read(image)?, width);
        let layers = masks::Layers { predicted: &given, truth: None, marked: None };
        masks::draw(&mut picture, layers);
        Ok(picture)
    }

    pub(super) fn draw(&self, index: usize, style: Style) -> Result<Rgb> {
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

impl<'a> Poses<'a> {
    pub(super) fn new(clip: &'a PoseClip, predictions: &Path) -> Result<Self> {
        let size = || Err(Error::data(predictions, "no joints.json", "predict the clip again"));
        let poses = poses::find(predictions, &clip.name, usize::MAX, (0, 0), size)?;
        let truth = joints::read(&clip.joints)?;
        Ok(Self {
            clip,
            frame: poses.frame,
            predicted: found(&poses),
            truth: truth.positions.iter().map(|joints| joints.map(from_matlab)).collect(),
        })
    }

    /// Joints in pixels of a picture of the frame.
    fn placed(&self, joints: &skeleton::Joints, picture: &Rgb) -> skeleton::Joints {
        let scale = |size: usize, of: usize| size as f32 / of.max(1) as f32;
        let along = scale(picture.width, self.frame.width);
        let down = scale(picture.height, self.frame.height);
        joints.map(|joint| joint.map(|(x, y)| (x * along, y * down)))
    }

    pub(super) fn draw_given(&self, width: usize) -> Result<Rgb> {
        let given = self.clip.frames.first().zip(self.truth.first());
        let (image, given) = given.ok_or_else(|| no_frame(&self.clip.name, 0))?;
        let mut picture = scaled(decode::read(image)?, width);
        let predicted = &self.placed(given, &picture);
        skeleton::draw(&mut picture, skeleton::Layers { predicted, truth: None, marked: None });
        Ok(picture)
    }

    pub(super) fn draw(&self, index: usize, style: Style) -> Result<Rgb> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_and_matlabs_pixels_meet() {
        // 20 cells over 320 pixels: cell 2.5 is pixel 40 counted from 0, which MATLAB counts as 41
        let mut poses = poses::Poses::new("a/b", Size { height: 240, width: 320 }, (20, 20));
        let mut joints = [[-1.0; 2]; 15];
        joints[3] = [2.5, 10.0];
        poses.push(joints);
        let places = found(&poses);
        assert_eq!(places[0][3], Some((40.5, 120.5)));
        assert_eq!(places[0][3], from_matlab([41.0, 121.0]));
        assert_eq!(places[0][2], None, "a joint that was lost");
    }

    #[test]
    fn ids_without_background_and_void() {
        let ids: Vec<u8> = objects_in(&[0, 7, 255, 2, 7, 0]).collect();
        assert_eq!(ids, [2, 7]);
    }
}
