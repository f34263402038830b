//! PCK of JHMDB: the share of joints found within a fraction of the person's size.
//!
//! The rules are the reference program's (CropMAE's `eval_pck.py`): the first frame is
//! given and not scored; a joint that the method declared missing is left out rather than counted
//! as wrong, also when the person is measured. How many were left out is therefore part of the
//! result. PCK@α is the mean over joints of their shares, not one share over all.

use ndarray::ArrayView3;
use serde::{Deserialize, Serialize};

use super::{ScoreError, check_count, missing, stats};

/// How many joints JHMDB annotates.
pub const JOINT_COUNT: usize = 15;

/// The joints in the order of `pos_img`; right and left are the person's.
pub const JOINTS: [&str; JOINT_COUNT] = [
    "neck",
    "belly",
    "head",
    "right shoulder",
    "left shoulder",
    "right hip",
    "left hip",
    "right elbow",
    "left elbow",
    "right knee",
    "left knee",
    "right wrist",
    "left wrist",
    "right ankle",
    "left ankle",
];

/// The fractions of the person's size at which PCK is reported.
pub const THRESHOLDS: [f64; 5] = [0.1, 0.2, 0.3, 0.4, 0.5];

/// The person's size is this times the diagonal of the box around the joints.
const BOX_SCALE: f64 = 0.6;

/// The distances of all predicted joints, in units of the person's size; feed it clip by clip.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JointDistances {
    joints: [Distances; JOINT_COUNT],
}

/// The distances of one joint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Distances {
    /// One per frame with a prediction. Stored as `null` where the person's size is 0; never near.
    #[serde(with = "missing::numbers")]
    found: Vec<f64>,
    /// Frames without a prediction.
    missing: u64,
    /// Which of all frames those are, counted from 0. Records of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    lost: Vec<u32>,
}

impl Distances {
    /// Frames with or without a prediction.
    fn frames(&self) -> usize {
        self.found.len() + self.missing as usize
    }

    /// The distance of every frame, `None` where there was no prediction; `None` of all where the
    /// record does not say in which frames there was none.
    fn by_frame(&self) -> Option<Vec<Option<f64>>> {
        if self.lost.len() as u64 != self.missing {
            return None;
        }
        let mut lost = vec![false; self.frames()];
        for &frame in &self.lost {
            *lost.get_mut(frame as usize)? = true;
        }
        let mut found = self.found.iter();
        lost.iter()
            .map(|&lost| if lost { Some(None) } else { found.next().map(|d| Some(*d)) })
            .collect()
    }
}

/// PCK at every threshold, as fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PckScores {
    /// One entry for each of [`THRESHOLDS`].
    pub at: Vec<PckAt>,
    /// The share of joints (in all scored frames) left out because they were predicted missing.
    #[serde(with = "missing::number")]
    pub left_out: f64,
}

/// PCK at one threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PckAt {
    /// The largest distance that counts as found, in units of the person's size.
    pub threshold: f64,
    /// The mean over the joints that have a value: the number that is reported.
    #[serde(with = "missing::number")]
    pub mean: f64,
    /// The share of found joints, in the order of [`JOINTS`]; `None` where all were left out.
    pub per_joint: Vec<Option<f64>>,
}

/// How many predictions of a joint there are, and how many of them are near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JointCount {
    /// Frames with a prediction.
    pub found: usize,
    /// Those within each of [`THRESHOLDS`].
    pub near: [usize; THRESHOLDS.len()],
}

impl JointDistances {
    /// No clip yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a clip.
    ///
    /// * `predicted`: x and y, joint, frame (2 × 15 × T) in cells of the feature grid; a joint with
    ///   x < 0 is missing.
    /// * `truth`: the same in pixels as `pos_img` has them, counted from 1.
    /// * `frame`, `grid`: width and height of the clip's pictures in pixels and of the grid in
    ///   cells.
    ///
    /// Cells become pixels without a half-cell offset: x · width / grid width. Where one of the two
    /// has more frames than the other (JHMDB's annotations need not end with its pictures), the
    /// rest is ignored.
    ///
    /// # Errors
    /// An array is not 2 × 15 × T.
    pub fn feed(
        &mut self,
        predicted: ArrayView3<'_, f64>,
        truth: ArrayView3<'_, f64>,
        frame: (usize, usize),
        grid: (usize, usize),
    ) -> Result<(), ScoreError> {
        let (predicted_shape, truth_shape) = (predicted.dim(), truth.dim());
        for (coordinates, joints, _) in [predicted_shape, truth_shape] {
            check_count("coordinates", 2, coordinates)?;
            check_count("joints", JOINT_COUNT, joints)?;
        }
        for t in 1..predicted_shape.2.min(truth_shape.2) {
            let found = |joint: usize| Point {
                x: predicted[[0, joint, t]] / grid.0 as f64 * frame.0 as f64,
                y: predicted[[1, joint, t]] / grid.1 as f64 * frame.1 as f64,
            };
            let wanted = |joint: usize| Point {
                x: truth[[0, joint, t]] - 1.0,
                y: truth[[1, joint, t]] - 1.0,
            };
            self.feed_frame(&std::array::from_fn(found), &std::array::from_fn(wanted));
        }
        Ok(())
    }

    /// Adds one frame, in pixels counted from 0.
    fn feed_frame(&mut self, predicted: &[Point; JOINT_COUNT], truth: &[Point; JOINT_COUNT]) {
        let pairs = || predicted.iter().zip(truth);
        let measured = pairs().filter(|(predicted, _)| !predicted.is_missing());
        let size = person_size(measured.map(|(_, &truth)| truth));
        for (joint, (predicted, truth)) in self.joints.iter_mut().zip(pairs()) {
            if predicted.is_missing() {
                joint.lost.push(joint.frames() as u32);
                joint.missing += 1;
            } else {
                joint.found.push(predicted.distance(truth) / size);
            }
        }
    }

    /// Adds the clips that another one was fed.
    pub fn merge(&mut self, other: &Self) {
        for (joint, other) in self.joints.iter_mut().zip(&other.joints) {
            let before = joint.frames() as u32;
            joint.lost.extend(other.lost.iter().map(|frame| before + frame));
            joint.found.extend_from_slice(&other.found);
            joint.missing += other.missing;
        }
    }

    /// What PCK is computed from, in the order of [`JOINTS`]: counts of clips add up.
    pub fn counts(&self) -> [JointCount; JOINT_COUNT] {
        std::array::from_fn(|joint| {
            let found = &self.joints[joint].found;
            let near = THRESHOLDS.map(|threshold| near(found, threshold));
            JointCount { found: found.len(), near }
        })
    }

    /// The distance of every joint in every frame fed so far, in units of the person's size, by
    /// joint (in the order of [`JOINTS`]) and frame; a joint's distance is `None` where it was
    /// predicted missing. A clip's first entry is its second frame: the given one is not scored.
    ///
    /// `None` where a stored record does not say which frames lack a prediction.
    pub fn by_joint_and_frame(&self) -> Option<Vec<Vec<Option<f64>>>> {
        self.joints.iter().map(Distances::by_frame).collect()
    }

    /// PCK of all clips fed so far.
    pub fn finish(&self) -> PckScores {
        let missing: u64 = self.joints.iter().map(|joint| joint.missing).sum();
        let found: usize = self.joints.iter().map(|joint| joint.found.len()).sum();
        PckScores {
            at: THRESHOLDS.iter().map(|&threshold| self.at(threshold)).collect(),
            left_out: missing as f64 / (missing as f64 + found as f64),
        }
    }

    /// PCK at any threshold.
    pub fn at(&self, threshold: f64) -> PckAt {
        let share = |joint: &Distances| {
            let near = near(&joint.found, threshold);
            (!joint.found.is_empty()).then(|| near as f64 / joint.found.len() as f64)
        };
        let per_joint: Vec<_> = self.joints.iter().map(share).collect();
        PckAt { threshold, mean: stats::mean(per_joint.iter().copied().flatten()), per_joint }
    }
}

fn near(distances: &[f64], threshold: f64) -> usize {
    distances.iter().filter(|&&distance| distance <= threshold).count()
}

#[derive(Debug, Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

impl Point {
    /// Whether the method declared the joint missing, which it does by (-1, -1).
    fn is_missing(self) -> bool {
        // A NaN is not below 0: a broken prediction counts as wrong, it is not left out.
        self.x < 0.0
    }

    fn distance(self, other: &Self) -> f64 {
        ((self.x - other.x).powi(2) + (self.y - other.y).powi(2)).sqrt()
    }
}

/// 0.6 times the diagonal of the box around the points.
fn person_size(points: impl Iterator<Item = Point>) -> f64 {
    // The reference's bounds before the first point. -1 stays where all joints are farther than a
    // pixel outside of the picture.
    let (low, high) = (Point { x: 1e6, y: 1e6 }, Point { x: -1.0, y: -1.0 });
    let (low, high) = points.fold((low, high), |(low, high), point| {
        (
            Point { x: low.x.min(point.x), y: low.y.min(point.y) },
            Point { x: high.x.max(point.x), y: high.y.max(point.y) },
        )
    });
    BOX_SCALE * high.distance(&low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    /// A truth of two frames: all joints at pixel (1, 1), but the last at (101, 1) counted from 1.
    /// The box is 100 wide and the person's size 60.
    fn truth() -> Array3<f64> {
        let mut truth = Array3::ones((2, JOINT_COUNT, 2));
        truth[[0, 14, 0]] = 101.0;
        truth[[0, 14, 1]] = 101.0;
        truth
    }

    /// The truth in cells of a 20 x 20 grid over a 320 x 240 picture.
    fn exact() -> Array3<f64> {
        let mut cells = (truth() - 1.0) / 16.0;
        cells.index_axis_mut(ndarray::Axis(0), 1).mapv_inplace(|y| y * 16.0 / 12.0);
        cells
    }

    fn fed(predicted: &Array3<f64>, truth: &Array3<f64>) -> JointDistances {
        let mut distances = JointDistances::new();
        distances.feed(predicted.view(), truth.view(), (320, 240), (20, 20)).unwrap();
        distances
    }

    #[test]
    fn distances_by_hand() {
        let mut predicted = exact();
        // The neck 0.5 cells = 8 pixels to the right: 8/60 = 0.133. The belly 0.5 cells = 6 pixels
        // below: exactly 0.1, which counts. (3.75 cells = 60 pixels, exactly 1, is too far.)
        predicted[[0, 0, 1]] = 0.5;
        predicted[[1, 1, 1]] = 0.5;
        predicted[[0, 2, 1]] = 3.75;
        let scores = fed(&predicted, &truth()).finish();
        assert_eq!(scores.at[0].per_joint[..4], [Some(0.0), Some(1.0), Some(0.0), Some(1.0)]);
        assert_eq!(scores.at[1].per_joint[..4], [Some(1.0), Some(1.0), Some(0.0), Some(1.0)]);
        assert_eq!(scores.at[4].mean, 14.0 / 15.0);
        assert_eq!(scores.left_out, 0.0);
    }

    #[test]
    fn missing_joints_are_left_out_of_scores_and_box() {
        let mut predicted = exact();
        predicted[[0, 14, 1]] = -1.0;
        // Without the last joint the box has no extent: a joint in place is 0/0, others x/0.
        predicted[[0, 0, 1]] = 0.1;
        let distances = fed(&predicted, &truth());
        let scores = distances.finish();
        assert_eq!((scores.at[0].mean, scores.at[0].per_joint[14]), (0.0, None));
        assert_eq!(scores.left_out, 1.0 / 15.0);
        let text = serde_json::to_string(&distances).unwrap();
        let back: JointDistances = serde_json::from_str(&text).unwrap();
        assert_eq!(back.finish(), scores);
    }

    #[test]
    fn distances_by_frame_know_which_frames_lack_a_joint() {
        let mut predicted = exact();
        predicted[[0, 0, 1]] = -1.0; // the neck, but the box is of the others
        predicted[[0, 1, 1]] = 0.5; // the belly 8 pixels to the right, of a person of 60
        let mut clip = fed(&predicted, &truth());
        let frames = clip.by_joint_and_frame().unwrap();
        assert_eq!(frames[..3], [vec![None], vec![Some(8.0 / 60.0)], vec![Some(0.0)]]);
        clip.merge(&fed(&exact(), &truth()));
        clip.merge(&fed(&predicted, &truth()));
        let frames = clip.by_joint_and_frame().unwrap();
        assert_eq!(frames[0], [None, Some(0.0), None]);
        assert_eq!(frames[1][1], Some(0.0));
        // Records that were stored before frames were told apart.
        let text = serde_json::to_string(&clip).unwrap().replace(",\"lost\":[0,2]", "");
        let old: JointDistances = serde_json::from_str(&text).unwrap();
        assert_eq!(old.by_joint_and_frame(), None);
        assert_eq!(old.finish(), clip.finish());
        assert_eq!(JointDistances::new().by_joint_and_frame(), Some(vec![Vec::new(); JOINT_COUNT]));
    }

    #[test]
    fn the_first_frame_and_frames_without_partner_do_not_count() {
        let one = |array: &Array3<f64>| array.slice(ndarray::s![.., .., ..1]).to_owned();
        assert_eq!(fed(&one(&exact()), &truth()), JointDistances::new());
        let nothing = JointDistances::new().finish();
        assert!(nothing.left_out.is_nan() && nothing.at[0].mean.is_nan());
        assert_eq!(nothing.at[0].per_joint, [None; JOINT_COUNT]);
    }

    #[test]
    fn merging_is_feeding_both() {
        let mut predicted = exact();
        predicted[[0, 3, 1]] = -1.0;
        let (first, second) = (fed(&exact(), &truth()), fed(&predicted, &truth()));
        let mut both = first.clone();
        both.feed(predicted.view(), truth().view(), (320, 240), (20, 20)).unwrap();
        let mut merged = first;
        merged.merge(&second);
        assert_eq!(merged, both);
    }

    #[test]
    fn shapes_are_checked() {
        let short = Array3::zeros((2, 13, 2));
        let refused = JointDistances::new().feed(short.view(), truth().view(), (1, 1), (1, 1));
        assert_eq!(refused, Err(ScoreError::Count { what: "joints", expected: 15, found: 13 }));
    }
}
