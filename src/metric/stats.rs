//! Summarises an object's values over a clip: mean, recall and decay.
//!
//! The definitions are the official DAVIS-2017 evaluator's, with one difference: the evaluator
//! counts frames in 8 bits, which mixes up the bins of the decay beyond 256 frames; here they do
//! not wrap.

use serde::{Deserialize, Serialize};

use super::missing;

/// A frame counts for the recall where its value is *above* this.
pub const RECALL_THRESHOLD: f64 = 0.5;

/// Into how many stretches a clip is cut for the decay.
const DECAY_BINS: usize = 4;

/// Mean, recall and decay of J or F over the frames of a clip. NaN where there is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// The mean value.
    #[serde(with = "missing::number")]
    pub mean: f64,
    /// The share of frames whose value is above one half.
    #[serde(with = "missing::number")]
    pub recall: f64,
    /// The mean of the first quarter of the clip less that of the last; positive where it gets
    /// worse with time.
    #[serde(with = "missing::number")]
    pub decay: f64,
}

impl Statistics {
    /// The statistics of one value per frame, in the order of time. NaN values are left out.
    ///
    /// One, two or three frames have a decay too, as bins overlap in their ends: one frame fills
    /// all of them (decay 0), of two frames the first bin is the first and the last bin the last,
    /// of three the first bin is the first two. No frame at all gives NaN for all three numbers.
    ///
    /// Masks never give NaN. Were there any, the official evaluator's recall would count such a
    /// frame as not above the threshold; here it is left out as it is from the mean.
    pub fn of(values: &[f64]) -> Self {
        let above = |&value: &f64| if value.is_nan() { value } else { share(value) };
        Self {
            mean: mean(values.iter().copied()),
            recall: mean(values.iter().map(above)),
            decay: decay(values),
        }
    }
}

fn share(value: f64) -> f64 {
    f64::from(u8::from(value > RECALL_THRESHOLD))
}

/// The mean of those values that are not NaN; NaN where none is left.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_usize);
    for value in values.into_iter().filter(|value| !value.is_nan()) {
        sum += value;
        count += 1;
    }
    sum / count as f64
}

/// Mean of the first bin less mean of the last; both ends of a bin belong to it.
fn decay(values: &[f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let bin = |bin: usize| {
        let (first, last) = (bin_edge(bin, values.len()), bin_edge(bin + 1, values.len()));
        mean(values.iter().copied().take(last + 1).skip(first))
    };
    bin(0) - bin(DECAY_BINS - 1)
}

/// The frame at which bin `edge` of a clip of `frames` frames begins.
///
/// The evaluator spaces the edges evenly from 1 to `frames`, adds 1e-10 so that halves go up, and
/// rounds to the nearest (to the even one in a tie).
fn bin_edge(edge: usize, frames: usize) -> usize {
    let step = (frames as f64 - 1.0) / DECAY_BINS as f64;
    ((1.0 + edge as f64 * step + 1e-10).round_ties_even() - 1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mean_recall_and_decay_by_hand() {
        // Edges of 6 frames: 1, 2.25, 3.5, 4.75, 6, rounded (halves up) to 1, 2, 4, 5, 6. So the
        // first bin is frames 1 to 2 and the last 5 to 6.
        let statistics = Statistics::of(&[1.0, 0.8, 0.5, 0.6, 0.2, 0.1]);
        // Each sum of a few such values rounds by less than 1e-15.
        assert!((statistics.mean - 3.2 / 6.0).abs() < 1e-15);
        assert_eq!(statistics.recall, 0.5, "0.5 itself is not above 0.5");
        assert!((statistics.decay - (0.9 - 0.15)).abs() < 1e-15);
    }

    #[test]
    fn edges_are_the_evaluators() {
        let edges = |frames| -> Vec<usize> { (0..5).map(|edge| bin_edge(edge, frames)).collect() };
        assert_eq!(edges(1), [0, 0, 0, 0, 0]);
        assert_eq!(edges(2), [0, 0, 1, 1, 1]);
        assert_eq!(edges(3), [0, 1, 1, 2, 2]);
        // 1, 1.75, 2.5, 3.25, 4: without the 1e-10 the half would go to the even 2.
        assert_eq!(edges(4), [0, 1, 2, 2, 3]);
        assert_eq!(edges(67), [0, 17, 33, 50, 66]);
        assert_eq!(edges(1001), [0, 250, 500, 750, 1000], "no wrap at 256");
    }

    #[test]
    fn short_clips() {
        let nothing = Statistics::of(&[]);
        assert!(nothing.mean.is_nan() && nothing.recall.is_nan() && nothing.decay.is_nan());
        assert_eq!(Statistics::of(&[0.7]), Statistics { mean: 0.7, recall: 1.0, decay: 0.0 });
        assert_eq!(Statistics::of(&[1.0, 0.5]), Statistics { mean: 0.75, recall: 0.5, decay: 0.5 });
        // Three frames: the first bin is frames 1 and 2, the last bin frame 3 alone.
        assert_eq!(Statistics::of(&[1.0, 0.5, 0.25]).decay, 0.75 - 0.25);
    }

    #[test]
    fn nan_is_left_out() {
        let statistics = Statistics::of(&[f64::NAN, 1.0, 0.0, f64::NAN]);
        assert_eq!((statistics.mean, statistics.recall), (0.5, 0.5));
        assert!(mean([f64::NAN]).is_nan());
    }

    proptest! {
        #[test]
        fn statistics_stay_in_range(values in prop::collection::vec(0.0..=1.0_f64, 1..400)) {
            let statistics = Statistics::of(&values);
            prop_assert!((0.0..=1.0).contains(&statistics.mean));
            prop_assert!((0.0..=1.0).contains(&statistics.recall));
            prop_assert!((-1.0..=1.0).contains(&statistics.decay));
        }

        #[test]
        fn a_constant_neither_decays_nor_moves(value in 0.0..=1.0_f64, frames in 1_usize..400) {
            let statistics = Statistics::of(&vec![value; frames]);
            // Sums of up to 400 equal values round by less than 400 * 2^-53.
            prop_assert!((statistics.mean - value).abs() < 1e-13);
            prop_assert!(statistics.decay.abs() < 1e-13);
        }
    }
}
