//! Masks through a clip: what DAVIS and VIP share.

use std::sync::Arc;
use std::time::Instant;

use super::share::overlapped;
use super::stream::{self, Frames};
use super::{Setup, Stages};
use crate::error::{Error, Result};
use crate::image::LabelImage;
use crate::image::resize::{nearest_centered, nearest_floor};
use crate::metric::VOID;
use crate::propagation::labels::{FirstFrame, FirstLabels, first_frame, hard_labels};
use crate::propagation::{LabelMap, Propagation};
use crate::protocol::{NearestRule, Protocol, ScoreSize, Size};

/// One labelled frame.
pub(super) struct Labelled<'a> {
    /// Which frame, from 0.
    pub(super) index: usize,
    /// Soft labels on the grid.
    pub(super) soft: &'a LabelMap,
    /// The id of each channel.
    pub(super) ids: &'a [u8],
    /// Ids at the size that is scored.
    pub(super) mask: LabelImage,
}

/// Labels a frame's way from the propagation to the mask.
struct Propagated {
    index: usize,
    soft: LabelMap,
    ids: Arc<[u8]>,
    /// Height and width of the encoder's input.
    input: (usize, usize),
}

/// Propagates `annotation`, the first frame's, through all frames and calls `each` with every
/// result, frame 0 included, in a thread of its own: while masks are made, written and scored, the
/// next frames are encoded. `state` is handed to every call, and back in the end; protocols §1.
///
/// # Errors
/// See [`stream::each_frame`].
pub(super) fn propagate<S: Send>(
    frames: Frames<'_>,
    annotation: &LabelImage,
    setup: &Setup<'_>,
    stages: &mut Stages,
    state: S,
    each: impl Fn(&mut S, Labelled<'_>, &mut Stages) -> Result<()> + Sync,
) -> Result<S> {
    let protocol = setup.protocol;
    let annotation = as_copied(without_void(annotation.clone()), protocol);
    let target = scored_size(&annotation, protocol);
    let make = |hand: &mut dyn FnMut(Propagated) -> Result<()>| {
        propagate_soft(frames, &annotation, setup, stages, hand)
    };
    let begun = (state, Stages::default());
    let (state, read_out) = overlapped(WAITING, begun, make, |(state, stages), frame| {
        let start = Instant::now();
        let Propagated { index, soft, ids, input } = &frame;
        // DINO's program stores the annotation itself as the first frame's result.
        let given = *index == 0 && protocol.first_labels == FirstLabels::Nearest;
        let mask = match given {
            true => nearest_centered(&annotation, target.height, target.width),
            false => {
                let mask = hard_labels(soft, ids, *input, protocol.readout);
                to_scored_size(&mask, target, protocol.output_nearest)
            }
        };
        stages.read_out += start.elapsed().as_secs_f64();
        each(state, Labelled { index: *index, soft, ids, mask }, stages)
    })?;
    *stages += read_out;
    Ok(state)
}

/// Labelled frames that wait to be read out.
const WAITING: usize = 4;

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
