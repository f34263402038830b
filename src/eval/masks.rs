//! Masks through a clip: what DAVIS and VIP share.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::input::Encoded;
use super::labelled::{self, each_labelled};
use super::share::{WAITING, overlapped};
use super::soft::SoftLabelWriter;
use super::stream::Frames;
use super::{Run, Stages, Staging};
use crate::data::LabelClip;
use crate::error::{Error, Result};
use crate::image::resize::{nearest_centered, nearest_floor};
use crate::image::{LabelImage, indexed};
use crate::metric::VOID;
use crate::propagation::LabelMap;
use crate::propagation::labels::{FirstFrame, FirstLabels, Readout, first_frame, hard_labels};
use crate::protocol::{NearestRule, Protocol, ScoreSize, Size};

/// A frame's labels on their way from the propagation to the mask.
struct Propagated {
    index: usize,
    soft: LabelMap,
    ids: Arc<[u8]>,
    /// Height and width of the encoder's input.
    input: (usize, usize),
}

/// Labels a clip from `annotation`, its first frame's: stores the mask of every frame, frame 0 too,
/// and has `score` count it into `scores`, where that is asked for. This happens in a thread of its
/// own: while masks are made, written and scored, the next frames are encoded. The steps are those of
/// CropMAE's program (`downstreams/propagation/src/test.py`, `test`).
///
/// # Errors
/// See [`super::stream::each_frame`]; a result cannot be written, or `score` fails.
pub(super) fn label<S: Send>(
    clip: &LabelClip,
    annotation: &LabelImage,
    run: &Run<'_>,
    staging: &Staging,
    scores: S,
    score: impl Fn(&mut S, usize, &LabelImage) -> Result<()> + Sync,
) -> Result<(S, Stages)> {
    let Run { setup, observer, .. } = run;
    let protocol = setup.protocol;
    let annotation = as_copied(without_void(annotation.clone()), protocol);
    let target = scored_size(&annotation, protocol);
    let files = super::images(clip);
    let frames = Frames::all(&clip.name, &files, *observer);
    let mut stages = Stages::default();
    let patch = setup.encoder.patch();
    let first = |encoded: &Encoded| {
        let FirstFrame { ids, labels } = given(&annotation, encoded.input, patch, protocol);
        (labels, Arc::<[u8]>::from(ids))
    };
    let make = |hand: &mut dyn FnMut(Propagated) -> Result<()>| {
        each_labelled(frames, setup, &mut stages, first, |index, encoded, soft, ids| {
            let input = (encoded.input.height, encoded.input.width);
            hand(Propagated { index, soft, ids: ids.clone(), input })
        })
    };
    let begun = (scores, None, Stages::default());
    let (scores, soft, behind) = overlapped(WAITING, begun, make, |state, frame| {
        let (scores, soft, stages): &mut (S, _, Stages) = state;
        let start = Instant::now();
        let mask = read_out(&frame, &annotation, target, protocol);
        stages.read_out += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let name = format!("{}.png", clip.frames[frame.index].name);
        indexed::write(&staging.predictions().join(name), &mask)?;
        if setup.save_soft_labels {
            let names = || frame.ids.iter().map(ToString::to_string).collect();
            labelled::save(soft, &frame.soft, (staging, clip.frames.len()), names)?;
        }
        stages.write += start.elapsed().as_secs_f64();
        let start = Instant::now();
        if !setup.predict_only {
            score(scores, frame.index, &mask)?;
        }
        stages.score += start.elapsed().as_secs_f64();
        observer.frame_done();
        Ok(())
    })?;
    soft.map(SoftLabelWriter::finish).transpose()?;
    stages += behind;
    Ok((scores, stages))
}

/// The mask of a frame, at the size that is scored.
fn read_out(
    frame: &Propagated,
    annotation: &LabelImage,
    target: Size,
    protocol: &Protocol,
) -> LabelImage {
    // DINO's program stores the annotation itself as the first frame's result.
    if frame.index == 0 && protocol.first_labels == FirstLabels::Nearest {
        return nearest_centered(annotation, target.height, target.width);
    }
    let size = match protocol.readout {
        Readout::Argmax | Readout::MinMaxArgmax => frame.input,
        Readout::CellMinMaxArgmax => (target.height, target.width),
    };
    let mask = hard_labels(&frame.soft, &frame.ids, size, protocol.readout);
    to_scored_size(&mask, target, protocol.output_nearest)
}

/// The soft labels of frame 0 on the grid, from its annotation as released.
pub(super) fn given_labels(
    annotation: &LabelImage,
    input: Size,
    patch: usize,
    protocol: &Protocol,
) -> FirstFrame {
    given(&as_copied(without_void(annotation.clone()), protocol), input, patch, protocol)
}

/// The soft labels of frame 0 on the grid, from its annotation without void pixels at the size of the
/// protocol's copy.
fn given(annotation: &LabelImage, input: Size, patch: usize, protocol: &Protocol) -> FirstFrame {
    let grid = input.grid(patch);
    first_frame(annotation, (input.height, input.width), grid, protocol.first_labels)
}

fn to_scored_size(mask: &LabelImage, target: Size, rule: NearestRule) -> LabelImage {
    match rule {
        NearestRule::Floor => nearest_floor(mask, target.height, target.width),
        NearestRule::Centered => nearest_centered(mask, target.height, target.width),
    }
}

/// An annotation as the protocol's copy of the dataset holds it.
fn as_copied(annotation: LabelImage, protocol: &Protocol) -> LabelImage {
    match protocol.copy_size {
        Some(size) => nearest_centered(&annotation, size.height, size.width),
        None => annotation,
    }
}

fn scored_size(annotation: &LabelImage, protocol: &Protocol) -> Size {
    match protocol.score_size {
        ScoreSize::Native => Size { height: annotation.height, width: annotation.width },
        ScoreSize::Fixed(size) => size,
    }
}

/// An annotation at the size that is scored: its copy's, then the protocol's.
pub(super) fn truth(annotation: LabelImage, protocol: &Protocol) -> LabelImage {
    let copied = as_copied(annotation, protocol);
    let size = scored_size(&copied, protocol);
    nearest_centered(&copied, size.height, size.width)
}

/// A mask at the size that the clip of this annotation is scored at.
pub(super) fn fitted(
    mask: &LabelImage,
    annotation: &LabelImage,
    protocol: &Protocol,
) -> LabelImage {
    to_scored_size(mask, truth_size(annotation, protocol), protocol.output_nearest)
}

/// The size that the clip of this first annotation is scored at.
pub(super) fn truth_size(annotation: &LabelImage, protocol: &Protocol) -> Size {
    match (protocol.score_size, protocol.copy_size) {
        (ScoreSize::Fixed(size), _) | (ScoreSize::Native, Some(size)) => size,
        (ScoreSize::Native, None) => Size { height: annotation.height, width: annotation.width },
    }
}

/// Refuses an annotation, at `path`, of another size than the first one's.
///
/// # Errors
/// The sizes differ.
pub(super) fn require_size(path: &Path, truth: &LabelImage, first: Size) -> Result<()> {
    let size = Size { height: truth.height, width: truth.width };
    if size == first {
        return Ok(());
    }
    Err(Error::data(
        path,
        format!("this annotation is {size}, the clip's first is {first}"),
        "all annotations of a clip must have one size: extract the clip again",
    ))
}

/// Void pixels as background: they belong to no object and are not propagated.
fn without_void(mut labels: LabelImage) -> LabelImage {
    labels.data.iter_mut().filter(|id| **id == VOID).for_each(|id| *id = 0);
    labels
}

/// Refuses a first annotation with nothing to propagate.
///
/// # Errors
/// All pixels are background or void.
pub(super) fn require_objects(annotation: &LabelImage, path: &Path) -> Result<()> {
    if annotation.data.iter().any(|&id| id != 0 && id != VOID) {
        return Ok(());
    }
    Err(Error::data(
        path,
        "the first annotation holds no object, only background",
        "annotate the first frame, or leave the clip out of the list",
    ))
}
