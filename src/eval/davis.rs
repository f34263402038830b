//! DAVIS-2017, semi-supervised: object masks through every sequence, scored by J and F as the
//! official evaluator does (`davis2017-evaluation`, `davis2017/evaluation.py`): all frames but the
//! first and the last, means over objects.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::masks;
use super::{Done, Outcome, Run, RunFolder, Setup, Stages, Staging};
use crate::data::davis::{MaskKind, Numbering, first_mask, read_mask, require_upright};
use crate::data::{Dataset, LabelClip, listing};
use crate::error::{Error, Result};
use crate::image::{LabelImage, indexed};
use crate::metric::ScoreError;
use crate::metric::davis::{ClipScores, global, ids_above, object_count, scored_frames};
use crate::progress::Observer;
use crate::protocol::{Protocol, ScoreSize, Size};
use crate::wording::counted;

/// Propagates and scores every sequence.
///
/// # Errors
/// The folder cannot be written to. What is wrong with a single sequence is in the outcome.
pub fn evaluate(
    dataset: &Dataset<LabelClip>,
    setup: &Setup<'_>,
    folder: &RunFolder,
    observer: &dyn Observer,
) -> Result<Outcome<ClipScores>> {
    let run = Run { setup: *setup, folder, observer };
    super::run(dataset, &run, evaluate_clip, headline)
}

/// Propagates and scores every sequence in each of `runs` before the next sequence, so that a cache encodes it
/// once; one outcome for each run, in their order.
///
/// # Errors
/// See [`evaluate`].
pub fn sweep(dataset: &Dataset<LabelClip>, runs: &[Run<'_>]) -> Result<Vec<Outcome<ClipScores>>> {
    super::sweep(dataset, runs, evaluate_clip, headline)
}

/// J&F over all sequences so far.
fn headline(outcome: &Outcome<ClipScores>, _: &Setup<'_>) -> f64 {
    global(outcome.scores()).j_and_f_mean
}

fn evaluate_clip(clip: &LabelClip, run: &Run<'_>, staging: &Staging) -> Result<Done<ClipScores>> {
    let (first, kind) = first_mask(clip)?;
    masks::require_objects(&first, annotation_path(clip))?;
    require_upright(clip, &first)?;
    let judge = Judge::new(clip, &first, kind, run.setup.protocol)?;
    let feed =
        |judge: &mut Judge<'_>, index: usize, mask: &LabelImage| judge.feed(index, mask, None);
    let (judge, stages) = masks::label(clip, &first, run, staging, judge, feed)?;
    let (scores, notes) = match run.setup.predict_only {
        true => (None, Vec::new()),
        false => judge.finish(),
    };
    Ok(Done { frames: clip.frames.len(), scores, notes, stages })
}

pub(super) fn annotation_path(clip: &LabelClip) -> &Path {
    let first = clip.frames.first().and_then(|frame| frame.annotation.as_deref());
    first.unwrap_or(Path::new(&clip.name))
}

/// Scores a sequence frame by frame.
struct Judge<'a> {
    clip: &'a LabelClip,
    kind: MaskKind,
    protocol: &'a Protocol,
    objects: usize,
    /// The size of all that is scored, by the first annotation.
    size: Size,
    scores: ClipScores,
    /// Frames that should have been scored and have no annotation.
    without_truth: usize,
    scored: usize,
    /// Said of the first annotation.
    note: Option<String>,
}

impl<'a> Judge<'a> {
    /// # Errors
    /// Most of the objects that would be scored are not there.
    fn new(
        clip: &'a LabelClip,
        first: &LabelImage,
        kind: MaskKind,
        protocol: &'a Protocol,
    ) -> Result<Self> {
        let numbering = Numbering::of(first);
        if numbering.is_senseless() {
            return Err(numbering.refused(annotation_path(clip)));
        }
        let note = numbering.problem().map(|problem| format!("the first annotation {problem}"));
        let objects = object_count(first);
        let (size, scores) = (masks::truth_size(first, protocol), ClipScores::new(objects));
        Ok(Self { clip, kind, protocol, objects, size, scores, without_truth: 0, scored: 0, note })
    }

    /// Scores a frame; `from` is the prediction's file, where it is one of the user's.
    fn feed(&mut self, index: usize, prediction: &LabelImage, from: Option<&Path>) -> Result<()> {
        if !scored_frames(self.clip.frames.len()).contains(&index) {
            return Ok(());
        }
        let Some(path) = &self.clip.frames[index].annotation else {
            self.without_truth += 1;
            return Ok(());
        };
        let truth = masks::truth(read_mask(path, self.kind)?, self.protocol);
        masks::require_size(path, &truth, self.size)?;
        self.scored += 1;
        let remedy = match self.protocol.score_size {
            ScoreSize::Native => {
                "predictions must have the annotation's size; for another one use the setting `score_size`"
            }
            ScoreSize::Fixed(_) => "predictions must have the size of the setting `score_size`",
        };
        let wrong =
            |error: ScoreError| Error::data(from.unwrap_or(path), error.to_string(), remedy);
        self.scores.feed(&truth, prediction).map_err(wrong)
    }

    fn finish(self) -> (Option<ClipScores>, Vec<String>) {
        let (missing, all) = (self.without_truth, self.without_truth + self.scored);
        let note = match (all, self.scored) {
            (0, _) => Some("no frame lies between the first and the last: nothing to score".into()),
            (_, 0) => Some("no frame but the first has an annotation: nothing to score".into()),
            _ if missing == 0 => None,
            _ => Some(format!(
                "{missing} of {} to score without an annotation: the score is of the others, and not the benchmark's",
                counted(all, "frame")
            )),
        };
        let notes = self.note.into_iter().chain(note).collect();
        ((self.scored > 0).then_some(self.scores), notes)
    }
}

/// Whether a clip has an annotation that it can be scored by.
pub fn has_truth(clip: &LabelClip) -> bool {
    let scored = clip.frames.get(scored_frames(clip.frames.len())).unwrap_or_default();
    scored.iter().any(|frame| frame.annotation.is_some())
}

/// Scores masks that any program wrote: `predictions/<sequence>/<frame>.png`.
///
/// A sequence without a folder, or with a frame missing, is a failure in the outcome.
pub fn score(
    dataset: &Dataset<LabelClip>,
    predictions: &Path,
    protocol: &Protocol,
) -> Outcome<ClipScores> {
    super::score_all(dataset, |_, clip| score_clip(clip, predictions, protocol, false))
}

/// Scores masks of any size as [`score`] does: they are brought to the size that is scored by the
/// protocol's nearest rule.
pub fn rescore(
    dataset: &Dataset<LabelClip>,
    predictions: &Path,
    protocol: &Protocol,
) -> Outcome<ClipScores> {
    super::score_all(dataset, |_, clip| score_clip(clip, predictions, protocol, true))
}

fn score_clip(
    clip: &LabelClip,
    predictions: &Path,
    protocol: &Protocol,
    any_size: bool,
) -> Result<Done<ClipScores>> {
    let (first, kind) = first_mask(clip)?;
    let mut judge = Judge::new(clip, &first, kind, protocol)?;
    let folder = predicted_folder(predictions, &clip.name)?;
    for index in scored_frames(clip.frames.len()) {
        let path = folder.join(format!("{}.png", clip.frames[index].name));
        let prediction = predicted_mask(&path, kind)?;
        let surplus = ids_above(&prediction, judge.objects);
        if !surplus.is_empty() {
            return Err(Error::data(
                &path,
                format!(
                    "holds ids {surplus:?}, but this sequence has objects 1 to {}",
                    judge.objects
                ),
                "predict only the objects of the first annotation; 0 is background",
            ));
        }
        let prediction = match any_size {
            true => masks::fitted(&prediction, &first, protocol),
            false => prediction,
        };
        judge.feed(index, &prediction, Some(&path))?;
    }
    let (scores, mut notes) = judge.finish();
    let more = without_truth(&folder, clip);
    if more > 0 {
        let predictions = counted(more, "prediction");
        notes.push(format!(
            "{predictions} of frames without an annotation: the score is of the others, and not the benchmark's"
        ));
    }
    Ok(Done { frames: clip.frames.len(), scores, notes, stages: Stages::default() })
}

/// How many masks there are of frames that the clip does not know. Where the frames are not at
/// hand, it knows those with an annotation alone, and one that is lost would be missed by nobody.
fn without_truth(folder: &Path, clip: &LabelClip) -> usize {
    let known: HashSet<&str> = clip.frames.iter().map(|frame| &*frame.name).collect();
    let masks = listing::files(folder, &["png"]).unwrap_or_default();
    masks.iter().filter(|mask| !known.contains(&*listing::stem(mask))).count()
}

/// The folder of a clip's predictions.
///
/// # Errors
/// It is not there.
pub(super) fn predicted_folder(predictions: &Path, clip: &str) -> Result<PathBuf> {
    let folder = predictions.join(clip);
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(Error::data(
        &folder,
        "no predictions for this sequence",
        "predict it, or leave it out of the split",
    ))
}

/// The ids that a user's file predicts for a frame.
///
/// # Errors
/// It is not there, or no mask.
pub(super) fn predicted_ids(path: &Path) -> Result<LabelImage> {
    if path.exists() {
        return indexed::read(path);
    }
    let others = path.parent().map(|folder| listing::files(folder, listing::PICTURES));
    let other = others.and_then(|files| files.ok()?.into_iter().next());
    let problem = match &other {
        Some(other) => {
            format!("this frame's prediction is missing; beside it lies {}", listing::name(other))
        }
        None => "this frame's prediction is missing".into(),
    };
    Err(Error::data(path, problem, "predictions are named as the frames, with .png"))
}

/// A predicted mask; white stands for object 1 where the truth is black and white too.
///
/// # Errors
/// It is not there, or no mask, or black and white where the truth holds ids: white is void there,
/// and would be counted as background.
fn predicted_mask(path: &Path, kind: MaskKind) -> Result<LabelImage> {
    let mask = predicted_ids(path)?;
    match (kind, MaskKind::of(&mask)) {
        (MaskKind::Binary, MaskKind::Binary) => read_mask(path, kind),
        (MaskKind::Ids, MaskKind::Binary) => Err(Error::data(
            path,
            "is black and white (0 and 255), but the annotations of this sequence hold ids",
            "write the object's id in place of 255",
        )),
        (_, MaskKind::Ids) => Ok(mask),
    }
}
