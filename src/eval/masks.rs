//! Masks through a clip: what DAVIS and VIP share.

use std::sync::Arc;
use std::time::Instant;

use super::share::{WAITING, overlapped};
use super::soft::SoftLabelWriter;
use super::stream::{self, Frames};
use super::{Run, Setup, Stages, Staging};
use crate::data::LabelClip;
use crate::error::{Error, Result};
use crate::image::resize::{nearest_centered, nearest_floor};
use crate::image::{LabelImage, indexed};
use crate::metric::VOID;
use crate::propagation::labels::{FirstFrame, FirstLabels, first_frame, hard_labels};
use crate::propagation::{LabelMap, Propagation};
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
/// own: while masks are made, written and scored, the next frames are encoded; protocols §1.
///
/// # Errors
/// See [`stream::each_frame`]; a result cannot be written, or `score` fails.
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
    let frames = Frames { clip: &clip.name, files: &super::images(clip), observer: *observer };
    let mut stages = Stages::default();
    let make = |hand: &mut dyn FnMut(Propagated) -> Result<()>| {
        propagate_soft(frames, &annotation, setup, &mut stages, hand)
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
            save_soft(soft, &frame, clip, staging)?;
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
    let mask = hard_labels(&frame.soft, &frame.ids, frame.input, protocol.readout);
    to_scored_size(&mask, target, protocol.output_nearest)
}

/// Appends a frame's soft labels, beginning the file with the first.
fn save_soft(
    writer: &mut Option<SoftLabelWriter>,
    frame: &Propagated,
    clip: &LabelClip,
    staging: &Staging,
) -> Result<()> {
    let writer = match writer {
        Some(writer) => writer,
        None => {
            let ids: Vec<String> = frame.ids.iter().map(ToString::to_string).collect();
            let path = staging.soft_labels();
            writer.insert(SoftLabelWriter::create(&path, clip.frames.len(), &frame.soft, &ids)?)
        }
    };
    writer.append(&frame.soft)
}

/// The soft labels of every frame, in order.
fn propagate_soft(
    frames: Frames<'_>,
    annotation: &LabelImage,
    setup: &Setup<'_>,
    stages: &mut Stages,
    hand: &mut dyn FnMut(Propagated) -> Result<()>,
) -> Result<()> {
    let patch = setup.encoder.patch();
    let mut state: Option<(Arc<[u8]>, Propagation)> = None;
    stream::each_frame(frames, setup, stages, |index, encoded, stages| {
        let start = Instant::now();
        let input = (encoded.input.height, encoded.input.width);
        let (ids, soft) = match &mut state {
            Some((ids, propagation)) => (ids.clone(), propagation.step(&encoded.features)?),
            None => {
                let grid = (input.0 / patch, input.1 / patch);
                let rule = setup.protocol.first_labels;
                let FirstFrame { ids, labels } = first_frame(annotation, input, grid, rule);
                let (settings, features) = (&setup.protocol.propagation, &encoded.features);
                let propagation = Propagation::start(settings, setup.engine, features, &labels)?;
                let (ids, _) = state.insert((ids.into(), propagation));
                (ids.clone(), labels)
            }
        };
        stages.propagate += start.elapsed().as_secs_f64();
        hand(Propagated { index, soft, ids, input })
    })
}

/// The soft labels of frame 0 on the grid, from its annotation as released.
pub(super) fn given_labels(
    annotation: &LabelImage,
    input: Size,
    patch: usize,
    protocol: &Protocol,
) -> FirstFrame {
    let annotation = as_copied(without_void(annotation.clone()), protocol);
    let grid = (input.height / patch, input.width / patch);
    first_frame(&annotation, (input.height, input.width), grid, protocol.first_labels)
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
    let size = scored_size(&as_copied(annotation.clone(), protocol), protocol);
    to_scored_size(mask, size, protocol.output_nearest)
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
pub(super) fn require_objects(annotation: &LabelImage, path: &std::path::Path) -> Result<()> {
    if annotation.data.iter().any(|&id| id != 0 && id != VOID) {
        return Ok(());
    }
    Err(Error::data(
        path,
        "the first annotation holds no object, only background",
        "annotate the first frame, or leave the clip out of the list",
    ))
}
