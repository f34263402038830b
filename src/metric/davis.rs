//! J and F of DAVIS-2017 (semi-supervised): frame by frame, object by object, then as seven
//! numbers.
//!
//! The steps, as the official evaluator takes them:
//!
//! 1. The objects of a clip are 1 to the highest id of its *first* annotation ([`object_count`]).
//! 2. The first and the last frame are not scored ([`scored_frames`]).
//! 3. Void pixels (255) are background. An object that is missing from a prediction is an empty
//!    mask. A prediction with a higher id belongs to another task; [`ids_above`] finds it.
//! 4. Each frame gives each object a J and an F ([`score_frame`]), each object gets their mean,
//!    recall and decay ([`ClipScores::statistics`]).
//! 5. The reported numbers are means over all *objects* of all clips ([`global`]).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::boundary::{self, Disk};
use super::mask::{Mask, runs};
use super::stats::{self, Statistics};
use super::{ScoreError, VOID, check_count, check_sizes, jaccard, missing};
use crate::image::LabelImage;

/// J and F of one object in one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameScore {
    /// Region similarity, in 0 to 1.
    pub j: f64,
    /// Contour accuracy, in 0 to 1.
    pub f: f64,
}

/// J and F of one object in every scored frame of its clip, in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectScores {
    /// Region similarity per frame.
    #[serde(with = "missing::numbers")]
    pub j: Vec<f64>,
    /// Contour accuracy per frame.
    #[serde(with = "missing::numbers")]
    pub f: Vec<f64>,
}

/// The scores of a clip; stored and read again when an evaluation is resumed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClipScores {
    /// One entry per object; object 1 comes first.
    pub objects: Vec<ObjectScores>,
}

/// What a clip comes to for one object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ObjectStatistics {
    /// Of J.
    pub j: Statistics,
    /// Of F.
    pub f: Statistics,
}

/// The seven numbers of DAVIS-2017, as fractions; NaN where no object has a scored frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GlobalScores {
    /// The mean of J-Mean and F-Mean: the number that methods are ranked by.
    #[serde(rename = "J&F-Mean", with = "missing::number")]
    pub j_and_f_mean: f64,
    /// Mean J.
    #[serde(rename = "J-Mean", with = "missing::number")]
    pub j_mean: f64,
    /// Share of frames with J above one half.
    #[serde(rename = "J-Recall", with = "missing::number")]
    pub j_recall: f64,
    /// Loss of J from the first to the last quarter of a clip.
    #[serde(rename = "J-Decay", with = "missing::number")]
    pub j_decay: f64,
    /// Mean F.
    #[serde(rename = "F-Mean", with = "missing::number")]
    pub f_mean: f64,
    /// Share of frames with F above one half.
    #[serde(rename = "F-Recall", with = "missing::number")]
    pub f_recall: f64,
    /// Loss of F from the first to the last quarter of a clip.
    #[serde(rename = "F-Decay", with = "missing::number")]
    pub f_decay: f64,
}

/// How many objects a clip has: the highest id of its first annotation, void aside.
pub fn object_count(first: &LabelImage) -> usize {
    runs(&first.data).map(|(id, _)| id).filter(|&id| id != VOID).max().unwrap_or(0).into()
}

/// Which of a clip's frames are scored: all but the first, which is given, and the last.
pub fn scored_frames(frames: usize) -> Range<usize> {
    1..frames.saturating_sub(1).max(1)
}

/// The ids above `objects` that a prediction holds, in order; void is none of them.
pub fn ids_above(prediction: &LabelImage, objects: usize) -> Vec<u8> {
    let mut held = [false; 256];
    runs(&prediction.data).for_each(|(id, _)| held[usize::from(id)] = true);
    (0..VOID).filter(|&id| usize::from(id) > objects && held[usize::from(id)]).collect()
}

/// J and F of objects 1 to `objects` in one frame; higher ids count as background.
///
/// # Errors
/// The two pictures differ in size.
pub fn score_frame(
    truth: &LabelImage,
    prediction: &LabelImage,
    objects: usize,
) -> Result<Vec<FrameScore>, ScoreError> {
    check_sizes(truth, prediction)?;
    let disk = Disk::new(boundary::radius(truth.width, truth.height));
    let truth = Mask::of_objects(truth, objects);
    let prediction = Mask::of_objects(prediction, objects);
    let score = |(truth, prediction): (&Mask, &Mask)| FrameScore {
        j: jaccard::of_masks(truth, prediction),
        f: boundary::compare(truth, prediction, &disk).f_measure(),
    };
    Ok(truth.iter().zip(&prediction).map(score).collect())
}

impl ClipScores {
    /// No frame yet of a clip with so many objects.
    pub fn new(objects: usize) -> Self {
        Self { objects: vec![ObjectScores::default(); objects] }
    }

    /// Scores the next frame; see [`score_frame`].
    ///
    /// # Errors
    /// The two pictures differ in size.
    pub fn feed(&mut self, truth: &LabelImage, prediction: &LabelImage) -> Result<(), ScoreError> {
        self.push(&score_frame(truth, prediction, self.objects.len())?)
    }

    /// Appends a frame that was scored elsewhere, for example in parallel.
    ///
    /// # Errors
    /// The frame's objects are not as many as the clip's.
    pub fn push(&mut self, frame: &[FrameScore]) -> Result<(), ScoreError> {
        check_count("objects", self.objects.len(), frame.len())?;
        for (object, score) in self.objects.iter_mut().zip(frame) {
            object.j.push(score.j);
            object.f.push(score.f);
        }
        Ok(())
    }

    /// Mean, recall and decay of each object.
    pub fn statistics(&self) -> Vec<ObjectStatistics> {
        let of = |object: &ObjectScores| ObjectStatistics {
            j: Statistics::of(&object.j),
            f: Statistics::of(&object.f),
        };
        self.objects.iter().map(of).collect()
    }
}

/// The seven numbers over all objects of all clips.
///
/// Objects without a scored frame, whose clip has fewer than three, are left out (the official
/// evaluator's means would be NaN with them).
pub fn global<'a>(clips: impl IntoIterator<Item = &'a ClipScores>) -> GlobalScores {
    let objects: Vec<_> = clips.into_iter().flat_map(ClipScores::statistics).collect();
    let mean = |value: fn(&ObjectStatistics) -> f64| stats::mean(objects.iter().map(value));
    let (j_mean, f_mean) = (mean(|object| object.j.mean), mean(|object| object.f.mean));
    GlobalScores {
        j_and_f_mean: (j_mean + f_mean) / 2.0,
        j_mean,
        j_recall: mean(|object| object.j.recall),
        j_decay: mean(|object| object.j.decay),
        f_mean,
        f_recall: mean(|object| object.f.recall),
        f_decay: mean(|object| object.f.decay),
    }
}

impl GlobalScores {
    /// The numbers under the names that the official evaluator's tables give them, in their order.
    pub fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("J&F-Mean", self.j_and_f_mean),
            ("J-Mean", self.j_mean),
            ("J-Recall", self.j_recall),
            ("J-Decay", self.j_decay),
            ("F-Mean", self.f_mean),
            ("F-Recall", self.f_recall),
            ("F-Decay", self.f_decay),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(width: usize, data: &[u8]) -> LabelImage {
        LabelImage { width, height: data.len() / width, data: data.to_vec() }
    }

    #[test]
    fn a_frame_by_hand() {
        // Object 1 has 4 pixels, 2 of them found, 1 wrong: J = 2/5. Object 2 is missing. Object 3
        // is in neither. The radius of 4x3 is ceil(0.008 * 5) = 1.
        let truth = labels(4, &[1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 2, 255]);
        let prediction = labels(4, &[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 9]);
        let scores = score_frame(&truth, &prediction, 3).unwrap();
        assert_eq!(scores.iter().map(|score| score.j).collect::<Vec<_>>(), [0.4, 0.0, 1.0]);
        // Boundary of object 1 as (x, y): true (1,0) (0,1) (1,1), predicted these and (0,0) (2,0),
        // both of which are one pixel from (1,0): F = 1.
        assert_eq!((scores[0].f, scores[1].f, scores[2].f), (1.0, 0.0, 1.0));
    }

    #[test]
    fn void_is_background_on_both_sides() {
        let truth = labels(4, &[1, 1, 255, 255, 1, 1, 0, 0]);
        let prediction = labels(4, &[1, 1, 0, 255, 1, 1, 255, 0]);
        let all = score_frame(&truth, &prediction, 255).unwrap();
        assert!(all.iter().all(|score| *score == FrameScore { j: 1.0, f: 1.0 }));
        assert_eq!(object_count(&truth), 1);
        assert_eq!(ids_above(&prediction, 0), [1]);
        assert_eq!(ids_above(&labels(2, &[9, 3, 255, 4]), 3), [4, 9]);
    }

    #[test]
    fn sizes_and_counts_must_agree() {
        let (wide, high) = (labels(2, &[0, 0]), labels(1, &[0, 0]));
        assert!(matches!(score_frame(&wide, &high, 1), Err(ScoreError::Size { .. })));
        let mut clip = ClipScores::new(2);
        assert!(clip.push(&[FrameScore { j: 1.0, f: 1.0 }]).is_err());
        assert_eq!(clip, ClipScores::new(2), "a refused frame leaves nothing behind");
    }

    #[test]
    fn first_and_last_frame_are_not_scored() {
        assert_eq!(scored_frames(5), 1..4);
        assert!((0..3).all(|frames| scored_frames(frames).is_empty()));
    }

    #[test]
    fn clips_pool_their_objects() {
        let object = |j: f64, f: f64| ObjectScores { j: vec![j; 4], f: vec![f; 4] };
        let two = ClipScores { objects: vec![object(0.25, 0.5), object(0.75, 1.0)] };
        let one = ClipScores { objects: vec![object(1.0, 0.75)] };
        // J: (1/4 + 3/4 + 1) / 3, not the mean of the clips' means (1/2 + 1) / 2.
        let scores = global([&two, &one]);
        let expected = [(2.0 / 3.0 + 0.75) / 2.0, 2.0 / 3.0, 2.0 / 3.0, 0.0, 0.75, 2.0 / 3.0, 0.0];
        assert_eq!(scores.named().map(|(_, value)| value), expected);
    }

    #[test]
    fn clips_too_short_to_score_are_left_out_and_stored_as_null() {
        let short = ClipScores::new(1);
        let scored = ClipScores { objects: vec![ObjectScores { j: vec![0.5], f: vec![1.0] }] };
        assert_eq!(global([&short, &scored]).j_and_f_mean, 0.75);
        let nothing = global([&short]);
        assert!(nothing.named().iter().all(|(_, value)| value.is_nan()));
        let text = serde_json::to_string(&nothing).unwrap();
        assert!(text.starts_with(r#"{"J&F-Mean":null,"J-Mean":null"#), "{text}");
        assert!(serde_json::from_str::<GlobalScores>(&text).unwrap().j_mean.is_nan());
        let text = serde_json::to_string(&scored).unwrap();
        assert_eq!(text, r#"{"objects":[{"j":[0.5],"f":[1.0]}]}"#);
        assert_eq!(serde_json::from_str::<ClipScores>(&text).unwrap(), scored);
    }

    proptest! {
        #[test]
        fn scores_follow_their_object_when_ids_are_swapped(
            truth in prop::collection::vec(0..3_u8, 120),
            prediction in prop::collection::vec(0..3_u8, 120),
        ) {
            let swap = |ids: &[u8]| -> Vec<u8> {
                ids.iter().map(|&id| if id == 0 { 0 } else { 3 - id }).collect()
            };
            let score = |truth: &[u8], prediction: &[u8]| {
                score_frame(&labels(12, truth), &labels(12, prediction), 2).unwrap()
            };
            let (plain, swapped) =
                (score(&truth, &prediction), score(&swap(&truth), &swap(&prediction)));
            prop_assert_eq!(plain[0], swapped[1]);
            prop_assert_eq!(plain[1], swapped[0]);
        }
    }
}
