//! mIoU of VIP: one confusion matrix over all frames of all clips, and the scores computed from it.
//!
//! The formulas are those of the reference program (CropMAE's `eval_vip.py`). A class that occurs
//! neither in the truth nor in any prediction has no IoU and is left out of the mean; one that is
//! only predicted has IoU 0 and counts.

use serde::{Deserialize, Serialize};

use super::mask::run_length;
use super::{ScoreError, check_count, check_sizes, missing, stats};
use crate::image::LabelImage;

/// The 20 classes of VIP by id.
pub const VIP_CLASSES: [&str; 20] = [
    "background",
    "hat",
    "hair",
    "sun-glasses",
    "upper-clothes",
    "dress",
    "coat",
    "socks",
    "pants",
    "gloves",
    "scarf",
    "skirt",
    "torso-skin",
    "face",
    "right-arm",
    "left-arm",
    "right-leg",
    "left-leg",
    "right-shoe",
    "left-shoe",
];

/// How often each class was predicted where each class is true. Stored as rows of counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<u64>>", into = "Vec<Vec<u64>>")]
pub struct Confusion {
    classes: usize,
    /// `classes * classes` pixel counts; rows are true classes, columns predicted ones.
    counts: Vec<u64>,
}

/// What a confusion matrix comes to, as fractions; `None` (or NaN, for the means) where there is
/// nothing to divide by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SemanticScores {
    /// Intersection over union per class.
    pub iou: Vec<Option<f64>>,
    /// Share of each class's pixels that are predicted as it.
    pub accuracy: Vec<Option<f64>>,
    /// Mean of the classes' IoU: mIoU.
    #[serde(with = "missing::number")]
    pub mean_iou: f64,
    /// Share of pixels predicted correctly.
    #[serde(with = "missing::number")]
    pub overall_accuracy: f64,
    /// Mean of the classes' accuracy.
    #[serde(with = "missing::number")]
    pub mean_accuracy: f64,
    /// Mean of the classes' IoU, weighted by their share of the true pixels.
    #[serde(with = "missing::number")]
    pub frequency_weighted_iou: f64,
}

impl Confusion {
    /// Nothing counted yet, for classes 0 to `classes - 1`.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Counts a frame. Pixels whose true id is no class (void, for example) are left out.
    ///
    /// # Errors
    /// The pictures differ in size, or the prediction holds an id that is no class, wherever it
    /// is. Nothing is counted then.
    pub fn feed(&mut self, truth: &LabelImage, prediction: &LabelImage) -> Result<(), ScoreError> {
        check_sizes(truth, prediction)?;
        let highest = prediction.data.iter().copied().max().unwrap_or(0);
        if usize::from(highest) >= self.classes {
            return Err(ScoreError::Class { id: highest, classes: self.classes });
        }
        let pixels = truth.data.len().min(prediction.data.len());
        let (truth, prediction) = (&truth.data[..pixels], &prediction.data[..pixels]);
        let (mut start, mut truth_end, mut prediction_end) = (0, 0, 0);
        // Both are mostly long runs of one id, so pixels are counted by stretches in which neither
        // changes.
        while start < pixels {
            if truth_end == start {
                truth_end += run_length(&truth[start..]);
            }
            if prediction_end == start {
                prediction_end += run_length(&prediction[start..]);
            }
            let end = truth_end.min(prediction_end);
            self.count(truth[start], prediction[start], end - start);
            start = end;
        }
        Ok(())
    }

    fn count(&mut self, truth: u8, prediction: u8, pixels: usize) {
        if usize::from(truth) < self.classes {
            self.counts[usize::from(truth) * self.classes + usize::from(prediction)] +=
                pixels as u64;
        }
    }

    /// Adds what another matrix has counted.
    ///
    /// # Errors
    /// The two have different numbers of classes.
    pub fn merge(&mut self, other: &Self) -> Result<(), ScoreError> {
        check_count("classes", self.classes, other.classes)?;
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, count)| *sum += count);
        Ok(())
    }

    /// The counts of true class `class` by predicted class; none for a class beyond the last.
    pub fn row(&self, class: usize) -> &[u64] {
        self.counts.chunks(self.classes.max(1)).nth(class).unwrap_or(&[])
    }

    /// Per-class and mean scores of everything counted so far.
    pub fn finish(&self) -> SemanticScores {
        let classes = 0..self.classes;
        let correct = |class: usize| self.row(class)[class];
        let true_pixels = |class: usize| self.row(class).iter().sum::<u64>();
        let predicted = |class: usize| classes.clone().map(|row| self.row(row)[class]).sum::<u64>();
        let union = |class: usize| true_pixels(class) + predicted(class) - correct(class);
        let all: u64 = self.counts.iter().sum();
        let iou: Vec<_> = classes.clone().map(|c| ratio(correct(c), union(c))).collect();
        let accuracy: Vec<_> = classes.clone().map(|c| ratio(correct(c), true_pixels(c))).collect();
        let weighted = |class: usize| Some(ratio(true_pixels(class), all)? * iou[class]?);
        SemanticScores {
            mean_iou: stats::mean(iou.iter().copied().flatten()),
            mean_accuracy: stats::mean(accuracy.iter().copied().flatten()),
            overall_accuracy: ratio(classes.clone().map(correct).sum(), all).unwrap_or(f64::NAN),
            frequency_weighted_iou: if all == 0 {
                f64::NAN
            } else {
                classes.clone().filter_map(weighted).sum()
            },
            iou,
            accuracy,
        }
    }
}

/// A share of counts, where there is anything to share.
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl From<Confusion> for Vec<Vec<u64>> {
    fn from(confusion: Confusion) -> Self {
        confusion.counts.chunks(confusion.classes.max(1)).map(<[u64]>::to_vec).collect()
    }
}

impl TryFrom<Vec<Vec<u64>>> for Confusion {
    type Error = ScoreError;

    /// # Errors
    /// The rows are not as long as there are rows.
    fn try_from(rows: Vec<Vec<u64>>) -> Result<Self, ScoreError> {
        let classes = rows.len();
        rows.iter().try_for_each(|row| check_count("counts in a row", classes, row.len()))?;
        Ok(Self { classes, counts: rows.concat() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(data: &[u8]) -> LabelImage {
        LabelImage { width: data.len(), height: 1, data: data.to_vec() }
    }

    fn counted(truth: &[u8], prediction: &[u8]) -> Confusion {
        let mut confusion = Confusion::new(4);
        confusion.feed(&labels(truth), &labels(prediction)).unwrap();
        confusion
    }

    #[test]
    fn scores_by_hand() {
        // The last pixel is void and left out. Class 0: 3 true, 3 predicted, 2 of them correct: IoU
        // 2/4. Class 1: 2 true, 1 predicted, correct: 1/2. Class 2: predicted only, 0. Class 3:
        // nowhere.
        let scores = counted(&[0, 0, 0, 1, 1, 255], &[0, 0, 2, 0, 1, 1]).finish();
        let expected = SemanticScores {
            iou: vec![Some(0.5), Some(0.5), Some(0.0), None],
            accuracy: vec![Some(2.0 / 3.0), Some(0.5), None, None],
            mean_iou: 1.0 / 3.0,
            overall_accuracy: 0.6,
            mean_accuracy: (2.0 / 3.0 + 0.5) / 2.0,
            frequency_weighted_iou: 0.5,
        };
        assert_eq!(scores, expected);
    }

    #[test]
    fn an_id_that_is_no_class_is_an_error_and_counts_nothing() {
        let mut confusion = Confusion::new(4);
        let refused = confusion.feed(&labels(&[0, 255]), &labels(&[0, 4]));
        assert_eq!(refused, Err(ScoreError::Class { id: 4, classes: 4 }));
        assert!(matches!(
            confusion.feed(&labels(&[0, 0]), &labels(&[0])),
            Err(ScoreError::Size { .. })
        ));
        assert_eq!(confusion, Confusion::new(4));
        assert!(confusion.merge(&Confusion::new(3)).is_err());
    }

    #[test]
    fn nothing_counted_gives_no_scores() {
        let scores = Confusion::new(2).finish();
        assert_eq!((&scores.iou, &scores.accuracy), (&vec![None; 2], &vec![None; 2]));
        assert!(scores.mean_iou.is_nan() && scores.frequency_weighted_iou.is_nan());
        let text = serde_json::to_string(&scores).unwrap();
        assert!(serde_json::from_str::<SemanticScores>(&text).unwrap().mean_iou.is_nan());
    }

    #[test]
    fn stored_counts_come_back() {
        let confusion = counted(&[0, 1, 2, 3, 3], &[0, 1, 1, 3, 0]);
        let text = serde_json::to_string(&confusion).unwrap();
        assert_eq!(text, "[[1,0,0,0],[0,1,0,0],[0,1,0,0],[1,0,0,1]]");
        assert_eq!(serde_json::from_str::<Confusion>(&text).unwrap(), confusion);
        assert!(serde_json::from_str::<Confusion>("[[1,0],[0]]").is_err());
    }

    proptest! {
        #[test]
        fn counting_by_runs_is_counting_by_pixels(
            pixels in prop::collection::vec((0..6_u8, 0..4_u8, 1_usize..70), 0..20),
            cut in 0.0..1.0_f64,
        ) {
            let stretch = |pick: fn(&(u8, u8, usize)) -> u8| -> Vec<u8> {
                pixels.iter().flat_map(|part| vec![pick(part); part.2]).collect()
            };
            let (truth, prediction) = (stretch(|part| part.0), stretch(|part| part.1));
            let mut expected = vec![vec![0; 4]; 4];
            for (&truth, &prediction) in truth.iter().zip(&prediction).filter(|pair| *pair.0 < 4) {
                expected[usize::from(truth)][usize::from(prediction)] += 1;
            }
            let expected = Confusion::try_from(expected).unwrap();
            prop_assert_eq!(counted(&truth, &prediction), expected.clone());
            let cut = (cut * truth.len() as f64) as usize;
            let mut parts = counted(&truth[..cut], &prediction[..cut]);
            parts.merge(&counted(&truth[cut..], &prediction[cut..])).unwrap();
            prop_assert_eq!(parts, expected);
        }
    }
}
