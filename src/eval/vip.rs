//! VIP: body parts through every video, scored by mIoU as CropMAE's program does
//! (`downstreams/propagation/src/eval/eval_vip.py`): one confusion matrix over all frames of all
//! videos, the given first ones among them.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::davis::{annotation_path, predicted_folder, predicted_ids};
use super::masks;
use super::{Done, Outcome, Run, RunFolder, Setup, Stages, Staging};
use crate::data::davis::require_upright;
use crate::data::{Dataset, Frame, LabelClip};
use crate::error::{Error, Result};
use crate::image::resize::nearest_centered;
use crate::image::{LabelImage, indexed};
use crate::metric::ScoreError;
use crate::metric::miou::{Confusion, VIP_CLASSES};
use crate::progress::Observer;
use crate::protocol::{Protocol, ScoreSize};
use crate::wording::counted;

/// A video's confusion matrices: the given first frame apart, so that mIoU can be had with it (as
/// published) and without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VipScores {
    /// Frame 0.
    pub first: Confusion,
    /// All other frames.
    pub others: Confusion,
    /// Every annotated frame by itself; none in records of earlier versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<FrameIou>,
}

/// What a single frame comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameIou {
    /// The frame's place in its clip, from 0.
    pub frame: usize,
    /// Intersection over union per class, in the order of [`VIP_CLASSES`]; `None` where the class
    /// is in neither picture.
    pub iou: Vec<Option<f32>>,
}

impl VipScores {
    fn new() -> Self {
        let empty = Confusion::new(VIP_CLASSES.len());
        Self { first: empty.clone(), others: empty, frames: Vec::new() }
    }
}

/// The matrix over all videos, with or without their first frames.
pub fn pooled<'a>(
    scores: impl IntoIterator<Item = &'a VipScores>,
    exclude_first_frame: bool,
) -> Result<Confusion, ScoreError> {
    let mut sum = Confusion::new(VIP_CLASSES.len());
    for scores in scores {
        sum.merge(&scores.others)?;
        if !exclude_first_frame {
            sum.merge(&scores.first)?;
        }
    }
    Ok(sum)
}

/// Propagates and scores every video.
///
/// # Errors
/// The folder cannot be written to. What is wrong with a single video is in the outcome.
pub fn evaluate(
    dataset: &Dataset<LabelClip>,
    setup: &Setup<'_>,
    folder: &RunFolder,
    observer: &dyn Observer,
) -> Result<Outcome<VipScores>> {
    let run = Run { setup: *setup, folder, observer };
    super::run(dataset, &run, evaluate_clip, headline)
}

/// Propagates and scores every video in each of `runs` before the next video, so that a cache encodes it
/// once; one outcome for each run, in their order.
///
/// # Errors
/// See [`evaluate`].
pub fn sweep(dataset: &Dataset<LabelClip>, runs: &[Run<'_>]) -> Result<Vec<Outcome<VipScores>>> {
    super::sweep(dataset, runs, evaluate_clip, headline)
}

/// mIoU over all videos so far.
fn headline(outcome: &Outcome<VipScores>, setup: &Setup<'_>) -> f64 {
    let sum = pooled(outcome.scores(), setup.protocol.exclude_first_frame);
    sum.map_or(f64::NAN, |sum| sum.finish().mean_iou)
}

fn evaluate_clip(clip: &LabelClip, run: &Run<'_>, staging: &Staging) -> Result<Done<VipScores>> {
    let setup = &run.setup;
    let path = annotation_path(clip);
    let first = indexed::read(path)?;
    masks::require_objects(&first, path)?;
    require_upright(clip, &first)?;
    let count = |scores: &mut VipScores, index: usize, mask: &LabelImage| {
        feed(scores, index, &clip.frames[index], (mask, None), setup.protocol)
    };
    let (scores, stages) = masks::label(clip, &first, run, staging, VipScores::new(), count)?;
    let scores = (!setup.predict_only).then_some(scores);
    Ok(Done { frames: clip.frames.len(), scores, notes: missing_truth(clip), stages })
}

fn missing_truth(clip: &LabelClip) -> Vec<String> {
    let missing = clip.frames.iter().filter(|frame| frame.annotation.is_none()).count();
    let frames = counted(clip.frames.len(), "frame");
    let note = format!("{missing} of {frames} without an annotation: not scored");
    if missing > 0 { vec![note] } else { Vec::new() }
}

/// Counts one frame, where it has a truth; a prediction comes with its file, where it is one of the
/// user's.
fn feed(
    scores: &mut VipScores,
    index: usize,
    frame: &Frame,
    (prediction, from): (&LabelImage, Option<&Path>),
    protocol: &Protocol,
) -> Result<()> {
    let Some(path) = &frame.annotation else { return Ok(()) };
    let truth = masks::truth(indexed::read(path)?, protocol);
    let wrong = |error: ScoreError| {
        Error::data(
            from.unwrap_or(path),
            error.to_string(),
            "VIP's classes are 0 to 19, in pictures of the annotation's size",
        )
    };
    let mut alone = Confusion::new(VIP_CLASSES.len());
    alone.feed(&truth, prediction).map_err(wrong)?;
    let iou = alone.finish().iou.into_iter().map(|iou| iou.map(|iou| iou as f32)).collect();
    scores.frames.push(FrameIou { frame: index, iou });
    let matrix = if index == 0 { &mut scores.first } else { &mut scores.others };
    matrix.merge(&alone).map_err(wrong)
}

/// Scores part maps that any program wrote: `predictions/<video>/<frame>.png`, of any size: they
/// are brought to the annotation's by Pillow's nearest rule.
pub fn score(
    dataset: &Dataset<LabelClip>,
    predictions: &Path,
    protocol: &Protocol,
) -> Outcome<VipScores> {
    super::score_all(dataset, |_, clip| score_clip(clip, predictions, protocol))
}

fn score_clip(
    clip: &LabelClip,
    predictions: &Path,
    protocol: &Protocol,
) -> Result<Done<VipScores>> {
    let folder = predicted_folder(predictions, &clip.name)?;
    let mut scores = VipScores::new();
    for (index, frame) in clip.frames.iter().enumerate() {
        let Some(annotation) = &frame.annotation else { continue };
        let path = folder.join(format!("{}.png", frame.name));
        let prediction = predicted_ids(&path)?;
        let (width, height) = match protocol.score_size {
            ScoreSize::Native => indexed::size(annotation)?,
            ScoreSize::Fixed(size) => (size.width, size.height),
        };
        let prediction = nearest_centered(&prediction, height, width);
        feed(&mut scores, index, frame, (&prediction, Some(&path)), protocol)?;
    }
    let (frames, stages) = (clip.frames.len(), Stages::default());
    Ok(Done { frames, scores: Some(scores), notes: missing_truth(clip), stages })
}
