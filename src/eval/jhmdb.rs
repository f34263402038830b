//! JHMDB: 15 joints through every clip, scored by PCK as CropMAE's program does
//! (`downstreams/propagation/src/data/jhmdb.py` and `eval/eval_pck.py`): test split 1, frames at
//! 320x320, the given first frame left out.

use std::path::Path;
use std::time::Instant;

use ndarray::Array3;

use super::input::Encoded;
use super::labelled::{self, each_labelled};
use super::poses::{self, Poses};
use super::share::{WAITING, overlapped};
use super::soft::SoftLabelWriter;
use super::stream::Frames;
use super::{Done, Outcome, Run, RunFolder, Setup, Stages, Staging};
use crate::data::joints::{self, Joints};
use crate::data::{Dataset, PoseClip};
use crate::error::{Error, Result};
use crate::image::decode;
use crate::metric::pck::{JOINTS, JointDistances};
use crate::progress::Observer;
use crate::propagation::LabelMap;
use crate::propagation::joints::{first_frame, read_out};
use crate::protocol::Size;
use crate::wording::counted;

/// Propagates and scores every clip.
///
/// # Errors
/// The folder cannot be written to. What is wrong with a single clip is in the outcome.
pub fn evaluate(
    dataset: &Dataset<PoseClip>,
    setup: &Setup<'_>,
    folder: &RunFolder,
    observer: &dyn Observer,
) -> Result<Outcome<JointDistances>> {
    let run = Run { setup: *setup, folder, observer };
    super::run(dataset, &run, evaluate_clip, headline)
}

/// Propagates and scores every clip in each of `runs` before the next clip, so that a cache encodes it
/// once; one outcome for each run, in their order.
///
/// # Errors
/// See [`evaluate`].
pub fn sweep(
    dataset: &Dataset<PoseClip>,
    runs: &[Run<'_>],
) -> Result<Vec<Outcome<JointDistances>>> {
    super::sweep(dataset, runs, evaluate_clip, headline)
}

/// PCK@0.1 over all clips so far.
fn headline(outcome: &Outcome<JointDistances>, _: &Setup<'_>) -> f64 {
    pooled(outcome.scores()).at(0.1).mean
}

/// The distances of all clips together.
pub fn pooled<'a>(scores: impl IntoIterator<Item = &'a JointDistances>) -> JointDistances {
    let mut sum = JointDistances::new();
    scores.into_iter().for_each(|scores| sum.merge(scores));
    sum
}

fn evaluate_clip(
    clip: &PoseClip,
    run: &Run<'_>,
    staging: &Staging,
) -> Result<Done<JointDistances>> {
    let setup = &run.setup;
    let truth = joints::read(&clip.joints)?;
    let mut stages = Stages::default();
    let poses = propagate(clip, &truth, run, staging, &mut stages)?;
    let start = Instant::now();
    poses::write(&staging.predictions().join("joints.json"), &poses)?;
    stages.write += start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut notes = length_note(clip.frames.len(), truth.frames);
    let scores = match setup.predict_only {
        true => None,
        false => counted_ones(distances(&poses, &truth, &clip.joints)?, &mut notes),
    };
    stages.score += start.elapsed().as_secs_f64();
    Ok(Done { frames: clip.frames.len(), scores, notes, stages })
}

/// The joints of every frame, and the soft labels into the staging where they are asked for.
fn propagate(
    clip: &PoseClip,
    truth: &Joints,
    run: &Run<'_>,
    staging: &Staging,
    stages: &mut Stages,
) -> Result<Poses> {
    let Run { setup, observer, .. } = run;
    let frames = Frames::all(&clip.name, &clip.frames, *observer);
    let patch = setup.encoder.patch();
    let first = |encoded: &Encoded| (first_labels(truth, encoded.frame, encoded.input, patch), ());
    let make = |hand: &mut dyn FnMut(Propagated) -> Result<()>| {
        each_labelled(frames, setup, stages, first, |_, encoded, soft, ()| {
            hand(Propagated { soft, frame: encoded.frame })
        })
    };
    let begun = (None, None, Stages::default());
    let (poses, soft, read_out) = overlapped(WAITING, begun, make, |state, frame| {
        let (poses, soft, stages): &mut (Option<Poses>, _, Stages) = state;
        let start = Instant::now();
        let Propagated { soft: labels, frame } = &frame;
        let poses = poses.get_or_insert_with(|| Poses::new(&clip.name, *frame, labels.grid));
        poses.push(read_out(labels));
        stages.read_out += start.elapsed().as_secs_f64();
        if setup.save_soft_labels {
            labelled::save(soft, labels, (staging, clip.frames.len()), channel_names)?;
        }
        observer.frame_done();
        Ok(())
    })?;
    *stages += read_out;
    soft.map(SoftLabelWriter::finish).transpose()?;
    poses.ok_or_else(|| {
        Error::data(Path::new(&clip.name), "this clip has no frames", "extract it again")
    })
}

/// A frame's labels on their way from the propagation to the joints.
struct Propagated {
    soft: LabelMap,
    /// The frame's size as released.
    frame: Size,
}

/// What the channels of the soft labels stand for.
pub(super) fn channel_names() -> Vec<String> {
    std::iter::once("background").chain(JOINTS).map(String::from).collect()
}

/// The first frame's joints in cells, then as soft labels: (pos − 1) · input / frame / patch.
pub(super) fn first_labels(truth: &Joints, frame: Size, input: Size, patch: usize) -> LabelMap {
    let cells = |position: f64, input: usize, frame: usize| {
        (position - 1.0) * input as f64 / frame as f64 / patch as f64
    };
    let joints = truth.positions[0]
        .map(|[x, y]| [cells(x, input.width, frame.width), cells(y, input.height, frame.height)]);
    first_frame(&joints, input.grid(patch))
}

fn length_note(frames: usize, annotated: usize) -> Vec<String> {
    if frames == annotated {
        return Vec::new();
    }
    let scored = frames.min(annotated);
    vec![format!(
        "{}, joints for {annotated}: the first {scored} are scored",
        counted(frames, "frame")
    )]
}

/// The scores of a clip, and none where no joint of it counts.
fn counted_ones(scores: JointDistances, notes: &mut Vec<String>) -> Option<JointDistances> {
    let any = !scores.at(0.1).mean.is_nan();
    if !any {
        notes.push("no joint lies inside a frame that is scored: nothing to score".into());
    }
    any.then_some(scores)
}

/// Scores poses against the truth of their clip.
fn distances(poses: &Poses, truth: &Joints, path: &Path) -> Result<JointDistances> {
    let wanted = Array3::from_shape_fn((2, JOINTS.len(), truth.frames), |(axis, joint, t)| {
        truth.positions[t][joint][axis]
    });
    let frame = (poses.frame.width, poses.frame.height);
    let grid = (poses.grid.1, poses.grid.0);
    let mut scores = JointDistances::new();
    scores.feed(poses.coordinates().view(), wanted.view(), frame, grid).map_err(|error| {
        Error::data(path, error.to_string(), "run `propagate check jhmdb` on the dataset")
    })?;
    Ok(scores)
}

/// Scores joints that any program wrote: our `predictions/<action>/<clip>/joints.json`, or
/// `<action>/<clip>.npy`, `<action>__<clip>.npy` or `<index of the clip>.npy`, 2 × 15 × T in cells.
///
/// `grid` (height, width) is what the arrays' cells count (20 × 20 in the published protocol).
/// Where the clips have no frames, arrays are taken to be of frames of the official 240 × 320.
pub fn score(
    dataset: &Dataset<PoseClip>,
    predictions: &Path,
    grid: (usize, usize),
) -> Outcome<JointDistances> {
    super::score_all(dataset, |index, clip| score_clip(clip, index, predictions, grid))
}

fn score_clip(
    clip: &PoseClip,
    index: usize,
    predictions: &Path,
    grid: (usize, usize),
) -> Result<Done<JointDistances>> {
    let truth = joints::read(&clip.joints)?;
    let mut notes = Vec::new();
    let size = || match clip.frames.first() {
        Some(first) => decode::size(first).map(|(width, height)| Size { height, width }),
        None => {
            notes.push(format!("without its frames, they are taken to be {OFFICIAL}"));
            Ok(OFFICIAL)
        }
    };
    let poses = poses::find(predictions, &clip.name, index, grid, size)?;
    let frames = poses.len();
    notes.extend(length_note(frames, truth.frames));
    if frames < clip.frames.len() {
        notes.push(format!("predictions for {frames} of {}", counted(clip.frames.len(), "frame")));
    }
    let scores = counted_ones(distances(&poses, &truth, &clip.joints)?, &mut notes);
    Ok(Done { frames, scores, notes, stages: Stages::default() })
}

/// The size of JHMDB's frames as released.
const OFFICIAL: Size = Size { height: 240, width: 320 };
