//! Where one patch takes its labels from: the patch's neighbours in a frame of a propagated clip.
//! Useful when a mask drifts.
//!
//! The clip is propagated as in an evaluation, frame by frame from the first, because the labels
//! that neighbours contribute were themselves propagated.

use std::path::PathBuf;

use super::input::Encoded;
use super::stream::{self, Frames};
use super::{Setup, Stages, images, jhmdb, masks};
use crate::data::davis::first_mask;
use crate::data::{Benchmark, LabelClip, PoseClip, joints};
use crate::error::{Error, Result};
use crate::image::decode;
use crate::metric::miou::VIP_CLASSES;
use crate::progress::Observer;
use crate::propagation::{Engine, LabelMap, Neighbor, Propagation};
use crate::protocol::Size;

/// Which patch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Query {
    /// The frame, counted from 0; frame 0 has no neighbours, its labels are given.
    pub frame: usize,
    /// A pixel of the frame as released, (x, y) counted from 0: the patch is the one that holds it.
    pub point: (usize, usize),
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// The frames' size as released.
    pub size: Size,
    /// Rows and columns of the grid of patches.
    pub grid: (usize, usize),
    /// The query's row and column in it.
    pub cell: (usize, usize),
    /// The keys that it takes its labels from, nearest first.
    pub neighbors: Vec<Neighbor>,
    /// The labels that the propagation gave it, one of each channel.
    pub labels: Vec<f32>,
    /// What the channels stand for.
    pub names: Vec<String>,
}

/// Traces a patch of a DAVIS or VIP clip.
///
/// # Errors
/// The query is not in the clip, or the clip cannot be propagated up to it.
pub fn masks(
    clip: &LabelClip,
    query: Query,
    setup: &Setup<'_>,
    observer: &dyn Observer,
) -> Result<Traced> {
    let (annotation, _) = first_mask(clip)?;
    let protocol = setup.protocol;
    let name = |id: u8| match (id, protocol.benchmark) {
        (0, _) => "background".to_owned(),
        (id, Benchmark::Vip) => {
            VIP_CLASSES.get(usize::from(id)).map_or_else(|| id.to_string(), |name| (*name).into())
        }
        (id, _) => format!("object {id}"),
    };
    let given = |encoded: &Encoded| {
        let first =
            masks::given_labels(&annotation, encoded.input, setup.encoder.patch(), protocol);
        (first.labels, first.ids.iter().map(|id| name(*id)).collect())
    };
    let files = images(clip);
    trace((&clip.name, &files), query, setup, observer, given)
}

/// Traces a patch of a JHMDB clip.
///
/// # Errors
/// See [`masks()`].
pub fn poses(
    clip: &PoseClip,
    query: Query,
    setup: &Setup<'_>,
    observer: &dyn Observer,
) -> Result<Traced> {
    let truth = joints::read(&clip.joints)?;
    let given = |encoded: &Encoded| {
        let patch = setup.encoder.patch();
        let labels = jhmdb::first_labels(&truth, encoded.frame, encoded.input, patch);
        (labels, jhmdb::channel_names())
    };
    trace((&clip.name, &clip.frames), query, setup, observer, given)
}

fn trace(
    (clip, files): (&str, &[PathBuf]),
    query: Query,
    setup: &Setup<'_>,
    observer: &dyn Observer,
    given: impl Fn(&Encoded) -> (LabelMap, Vec<String>),
) -> Result<Traced> {
    require(clip, files, query)?;
    let frames = Frames { clip, files, wanted: query.frame + 1, observer };
    let settings = &setup.protocol.propagation;
    let (mut started, mut traced) = (None, None);
    stream::each_frame(frames, setup, &mut Stages::default(), |index, encoded, _| {
        match &mut started {
            None => {
                let (labels, names) = given(&encoded);
                let clip = Propagation::start(settings, Engine::Tiled, &encoded.features, &labels)?;
                started = Some((clip, names));
            }
            Some((clip, names)) if index == query.frame => {
                let (grid, cell) = cell(query.point, &encoded, setup.encoder.patch());
                let neighbors = clip.neighbors(&encoded.features, cell)?;
                let soft = clip.step(&encoded.features)?;
                let at = (cell.0 * grid.1 + cell.1) * soft.channels;
                let labels = soft.values[at..at + soft.channels].to_vec();
                let (size, names) = (encoded.frame, names.clone());
                traced = Some(Traced { size, grid, cell, neighbors, labels, names });
            }
            Some((clip, _)) => drop(clip.step(&encoded.features)?),
        }
        observer.frame_done();
        Ok(())
    })?;
    traced.ok_or_else(|| no_frame(frames.clip, files.len(), query.frame))
}

/// The grid, and the row and column of the patch that holds a pixel of the frame.
fn cell(
    (x, y): (usize, usize),
    encoded: &Encoded,
    patch: usize,
) -> ((usize, usize), (usize, usize)) {
    let (frame, input) = (encoded.frame, encoded.input);
    let grid = input.grid(patch);
    // the middle of the pixel; the last pixels may be of no whole patch
    let along = |place: usize, input: usize, frame: usize, cells: usize| {
        ((2 * place + 1) * input / (2 * frame * patch)).min(cells - 1)
    };
    let row = along(y, input.height, frame.height, grid.0);
    let column = along(x, input.width, frame.width, grid.1);
    (grid, (row, column))
}

/// Refuses a query that is not in the clip.
fn require(clip: &str, files: &[PathBuf], query: Query) -> Result<()> {
    let Some(file) = files.get(query.frame).filter(|_| query.frame > 0) else {
        return Err(no_frame(clip, files.len(), query.frame));
    };
    let (width, height) = decode::size(file)?;
    let (x, y) = query.point;
    if x >= width || y >= height {
        let (right, bottom) = (width - 1, height - 1);
        let problem = format!("{x},{y} is outside: {clip} has X 0 to {right} and Y 0 to {bottom}");
        return Err(Error::setting("point", problem));
    }
    Ok(())
}

fn no_frame(clip: &str, frames: usize, asked: usize) -> Error {
    let problem = match (asked, frames) {
        (_, 0 | 1) => format!("{clip} has only its given first frame"),
        (0, _) => format!("the labels of frame 0 are given: pass 1 to {}", frames - 1),
        _ => format!("{clip} has no frame {asked}: pass 1 to {}", frames - 1),
    };
    Error::setting("frame", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_outside_of_the_clip_are_refused_with_what_would_do() {
        let message = |frames, asked| no_frame("cows", frames, asked).to_string();
        assert_eq!(message(70, 0), "frame: the labels of frame 0 are given: pass 1 to 69");
        assert_eq!(message(70, 70), "frame: cows has no frame 70: pass 1 to 69");
        assert!(message(1, 0).contains("only its given first frame"));
        let missing = [PathBuf::from("a.jpg"), PathBuf::from("b.jpg")];
        let asked = |frame| require("cows", &missing, Query { frame, point: (0, 0) });
        assert!(matches!(asked(1), Err(Error::Io { .. })));
        assert!(matches!(asked(2), Err(Error::Setting { .. })));
    }

    #[test]
    fn a_pixel_belongs_to_the_patch_that_its_middle_lies_in() {
        let features = candle_core::Tensor::zeros(
            (30 * 55, 1),
            candle_core::DType::F32,
            &candle_core::Device::Cpu,
        );
        let encoded = Encoded {
            features: features.unwrap(),
            frame: Size { height: 480, width: 854 },
            input: Size { height: 480, width: 880 },
        };
        let cell = |x, y| cell((x, y), &encoded, 16);
        assert_eq!(cell(0, 0), ((30, 55), (0, 0)));
        assert_eq!(cell(853, 479).1, (29, 54));
        // a patch is 15.53 pixels of the frame wide: 15.5 lies in the first, 16.5 in the second
        assert_eq!((cell(15, 15).1, cell(16, 16).1), ((0, 0), (1, 1)));
    }
}
