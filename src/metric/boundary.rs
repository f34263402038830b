//! F, the contour accuracy of DAVIS: how much of each outline lies near the other one.
//!
//! A mask's boundary is the set of pixels that differ from their neighbour to the east, south or
//! south-east. Precision is the share of the predicted boundary within a few pixels (a disk that
//! grows with the picture's diagonal) of the true one, recall the reverse, F their harmonic mean.
//! The definitions are the official DAVIS-2017 evaluator's, whose counts and values these are to
//! the last digit; it dilates whole pictures, which is what takes most of its time. Here a row of
//! one boundary is compared with the dilation of the other only around its own bits, 64 pixels at
//! a time. Next: [`super::stats`] sums up a clip.

use std::ops::Range;

use super::mask::{BITS, Mask, count_common};

/// How near is near, as a share of the picture's diagonal.
pub const BOUNDARY_TOLERANCE: f64 = 0.008;

/// The radius in pixels within which boundaries match: 8 at 854 x 480.
pub fn radius(width: usize, height: usize) -> usize {
    let squares = (width as f64).powi(2) + (height as f64).powi(2);
    (BOUNDARY_TOLERANCE * squares.sqrt()).ceil() as usize
}

/// How many pixels two boundaries have and how many of them are near the other boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundaryCounts {
    /// Boundary pixels of the truth.
    pub truth: usize,
    /// Boundary pixels of the prediction.
    pub prediction: usize,
    /// Boundary pixels of the truth that lie near the prediction's boundary.
    pub truth_matched: usize,
    /// Boundary pixels of the prediction that lie near the truth's boundary.
    pub prediction_matched: usize,
}

impl BoundaryCounts {
    /// F: the harmonic mean of precision and recall.
    ///
    /// Where neither mask has a boundary F is 1, where only one has, 0. (A mask without a boundary
    /// is empty or fills the picture.)
    pub fn f_measure(self) -> f64 {
        let (precision, recall) = match (self.prediction, self.truth) {
            (0, 0) => (1.0, 1.0),
            (0, _) => (1.0, 0.0),
            (_, 0) => (0.0, 1.0),
            (prediction, truth) => (
                self.prediction_matched as f64 / prediction as f64,
                self.truth_matched as f64 / truth as f64,
            ),
        };
        if precision + recall == 0.0 {
            return 0.0;
        }
        2.0 * precision * recall / (precision + recall)
    }
}

/// The counts for two masks of one size, with a disk to say what near means.
pub(super) fn compare(truth: &Mask, prediction: &Mask, disk: &Disk) -> BoundaryCounts {
    let (truth, prediction) = (boundary(truth), boundary(prediction));
    BoundaryCounts {
        truth: truth.area(),
        prediction: prediction.area(),
        truth_matched: matched(&truth, &prediction, disk),
        prediction_matched: matched(&prediction, &truth, disk),
    }
}

/// The pixels that differ from their east, south or south-east neighbour.
///
/// In the last column only the neighbour to the south counts, in the last row only the one to the
/// east, the corner is never boundary. That is the same as if the picture went on with copies of
/// its last row and column, which is how it is computed.
fn boundary(mask: &Mask) -> Mask {
    let mut edges = Mask::empty(mask.width(), mask.height());
    let last_row = mask.height().saturating_sub(1);
    let rows = mask.rows().next().unwrap_or(0).saturating_sub(1)
        ..mask.rows().last().map_or(0, |last| last + 1);
    for y in rows {
        let south = (y + 1).min(last_row);
        // The first pixel of an object differs from the one before it, maybe a word earlier.
        let words = mask.span(y).join(mask.span(south)).widened(1, mask.words());
        for word in words {
            let (here, here_east) = with_east(mask, y, word);
            let (below, below_east) = with_east(mask, south, word);
            edges.put(y, word, (here ^ here_east) | (here ^ below) | (here ^ below_east));
        }
    }
    edges
}

/// A word of row `y`, and the same moved so that each bit is its neighbour to the east.
fn with_east(mask: &Mask, y: usize, word: usize) -> (u64, u64) {
    let row = mask.row(y);
    let here = row[word];
    let east = match row.get(word + 1) {
        Some(next) => here >> 1 | next << (BITS - 1),
        None => here >> 1 | here & 1 << ((mask.width() - 1) % BITS),
    };
    (here, east)
}

/// All offsets (dx, dy) with dx² + dy² ≤ radius², by rows.
#[derive(Debug)]
pub(super) struct Disk {
    /// By how much the half-width at dy is less than at dy - 1, for dy = 0, 1, …, radius.
    shrinks: Vec<usize>,
}

impl Disk {
    /// The disk of `radius` pixels.
    pub(super) fn new(radius: usize) -> Self {
        let half_width = |dy: usize| (radius * radius - dy * dy).isqrt();
        let shrink = |dy: usize| half_width(dy.saturating_sub(1)) - half_width(dy);
        Self { shrinks: (0..=radius).map(shrink).collect() }
    }

    fn radius(&self) -> usize {
        self.shrinks.len() - 1
    }
}

/// How many bits of `points` lie within the disk around a bit of `targets`.
fn matched(points: &Mask, targets: &Mask, disk: &Disk) -> usize {
    let reach = disk.radius().div_ceil(BITS);
    let mut near = Vec::new();
    let mut total = 0;
    for y in points.rows() {
        let window = points.span(y).widened(reach, points.words());
        near.clear();
        near.resize(window.len(), 0);
        dilate_row(&mut near, &window, targets, y, disk);
        total += count_common(&points.row(y)[window], &near);
    }
    total
}

/// The words `window` of row `y` of `targets` dilated by the disk, into `near`, which is all zero.
///
/// Row y ± dy of the targets spreads by the disk's half-width at dy to both sides. The half-widths
/// fall with dy, so rows are taken from the nearest to the farthest: what stands in `near` spreads
/// by the difference to the next half-width before the next two rows join it, and has spread by all
/// of its own when the farthest have joined. (Bits just outside of the window go missing; they are
/// too far from the bits that the window was made for.)
fn dilate_row(near: &mut [u64], window: &Range<usize>, targets: &Mask, y: usize, disk: &Disk) {
    let mut any = false;
    for (dy, &shrink) in disk.shrinks.iter().enumerate() {
        if any {
            (0..shrink).for_each(|_| spread(near));
        }
        let above = y.checked_sub(dy);
        let below = (dy > 0 && y + dy < targets.height()).then_some(y + dy);
        for row in [above, below].into_iter().flatten() {
            let words = targets.span(row).within(window);
            any |= !words.is_empty();
            let start = words.start - window.start;
            for (near, target) in near[start..].iter_mut().zip(&targets.row(row)[words]) {
                *near |= target;
            }
        }
    }
}

/// Sets the neighbours to the left and right of every bit.
fn spread(row: &mut [u64]) {
    let mut before = 0;
    for word in 0..row.len() {
        let here = row[word];
        let after = row.get(word + 1).map_or(0, |after| after << (BITS - 1));
        row[word] = here | here << 1 | here >> 1 | before >> (BITS - 1) | after;
        before = here;
    }
}

#[cfg(test)]
mod tests;
