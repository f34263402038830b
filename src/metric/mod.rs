//! Scores: how far predicted masks and joints are from the truth.
//!
//! A frame's masks come in as [`LabelImage`]s, a clip's joints as arrays; what goes out are the
//! field's numbers. Each accumulator is fed one frame or clip at a time, can be stored (clips done
//! earlier are not scored again) and is finished into named values. Fractions everywhere: 0.6, not
//! 60 %.
//!
//! | benchmark | feed | finish |
//! | --- | --- | --- |
//! | DAVIS | [`davis::ClipScores`] | [`davis::global`]: J&F, J and F as mean, recall and decay |
//! | VIP | [`miou::Confusion`] | [`miou::Confusion::finish`]: mIoU and accuracies |
//! | JHMDB | [`pck::JointDistances`] | [`pck::JointDistances::finish`]: PCK@0.1 … 0.5 |
//!
//! Begin reading with [`davis`], which is where the bit masks, [`jaccard`], [`boundary`] and
//! [`stats`] meet. Nothing here reads a file or knows a dataset's folders: that is the evaluation's
//! part, which names the file when one of these functions returns a [`ScoreError`].

pub mod boundary;
pub mod davis;
pub mod jaccard;
mod mask;
pub mod miou;
mod missing;
pub mod pck;
pub mod stats;

use crate::image::LabelImage;

/// The id of pixels that belong to nothing in DAVIS's annotations.
pub const VOID: u8 = 255;

/// Why a prediction cannot be scored against its truth. Whoever read the files adds their names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// Truth and prediction are not pictures of one size.
    #[error(
        "the annotation is {}x{} (height x width) and the prediction {}x{}",
        truth.0, truth.1, prediction.0, prediction.1
    )]
    Size {
        /// Height and width of the annotation.
        truth: (usize, usize),
        /// Height and width of the prediction.
        prediction: (usize, usize),
    },
    /// A predicted class lies beyond those that there are.
    #[error("the prediction holds class {id}, but classes go from 0 to {}", classes.saturating_sub(1))]
    Class {
        /// The class found.
        id: u8,
        /// How many there are.
        classes: usize,
    },
    /// Two things that count different numbers of objects, classes or joints were put together.
    #[error("there are {found} {what} where {expected} are expected")]
    Count {
        /// What is counted.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
}

/// Fails unless the two are of one size.
fn check_sizes(truth: &LabelImage, prediction: &LabelImage) -> Result<(), ScoreError> {
    let size = |labels: &LabelImage| (labels.height, labels.width);
    if size(truth) == size(prediction) {
        Ok(())
    } else {
        Err(ScoreError::Size { truth: size(truth), prediction: size(prediction) })
    }
}

/// Fails unless there are as many as expected.
fn check_count(what: &'static str, expected: usize, found: usize) -> Result<(), ScoreError> {
    if expected == found { Ok(()) } else { Err(ScoreError::Count { what, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_differs() {
        let size = ScoreError::Size { truth: (480, 854), prediction: (480, 880) };
        let text = "the annotation is 480x854 (height x width) and the prediction 480x880";
        assert_eq!(size.to_string(), text);
        let class = ScoreError::Class { id: 20, classes: 20 };
        assert_eq!(class.to_string(), "the prediction holds class 20, but classes go from 0 to 19");
        let count = check_count("joints", 15, 13).unwrap_err();
        assert_eq!(count.to_string(), "there are 13 joints where 15 are expected");
    }
}
