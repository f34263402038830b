//! Masks: from the first annotation to soft labels on the grid, and from soft labels to ids.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::LabelMap;
use crate::image::LabelImage;
use crate::image::resize::{Taps, nearest_centered, nearest_floor};

/// How the first annotation becomes soft labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstLabels {
    /// One-hot at the frame's size, then bilinear without antialiasing (CropMAE, videowalk):
    /// each cell mixes the four pixels around its centre.
    Bilinear,
    /// Nearest straight to the grid, then one-hot (DINO, RSP, DINOv3).
    Nearest,
}

/// How soft labels become ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// The largest label of each pixel after bilinear upsampling.
    Argmax,
    /// The largest label of each pixel after bilinear upsampling and after each label's map has been
    /// stretched to [0, 1] over the frame (DINO).
    MinMaxArgmax,
    /// The largest label of each cell after each label's map has been stretched to [0, 1]; a pixel
    /// takes that of its cell, with no size between the grid and the one that is asked for
    /// (DINOv3's tracking notebook).
    CellMinMaxArgmax,
}

/// First-frame labels and the ids that their channels stand for, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct FirstFrame {
    /// Soft labels on the grid.
    pub labels: LabelMap,
    /// The id of each channel.
    pub ids: Vec<u8>,
}

/// Soft labels of the first frame: `annotation` at its own size, brought to `frame` (height,
/// width) by OpenCV's nearest rule and from there to `grid`; CropMAE's program does so in
/// `VOSDataset.__getitem__` (`data/vos.py`). DINO's goes from the annotation to `grid` at once
/// (`read_seg` in `eval_video_segmentation.py`).
///
/// Only ids that are left at that size exist from here on.
pub fn first_frame(
    annotation: &LabelImage,
    frame: (usize, usize),
    grid: (usize, usize),
    rule: FirstLabels,
) -> FirstFrame {
    let resized = match rule {
        FirstLabels::Bilinear => nearest_floor(annotation, frame.0, frame.1),
        FirstLabels::Nearest => nearest_centered(annotation, grid.0, grid.1),
    };
    let ids = resized.ids();
    let mut channel_of = [0_usize; 256];
    for (channel, &id) in ids.iter().enumerate() {
        channel_of[usize::from(id)] = channel;
    }
    let channels = ids.len();
    // At the grid's own size every cell has a single tap of weight one: a one-hot map.
    let (rows, columns) = (Taps::new(resized.height, grid.0), Taps::new(resized.width, grid.1));
    let mut values = vec![0.0; grid.0 * grid.1 * channels];
    for (cell, out) in values.chunks_exact_mut(channels).enumerate() {
        let (top, bottom, of_top, of_bottom) = rows.at(cell / grid.1);
        let (left, right, of_left, of_right) = columns.at(cell % grid.1);
        let mut add = |y: usize, x: usize, weight: f32| {
            out[channel_of[usize::from(resized.data[y * resized.width + x])]] += weight;
        };
        add(top, left, of_top * of_left);
        add(top, right, of_top * of_right);
        add(bottom, left, of_bottom * of_left);
        add(bottom, right, of_bottom * of_right);
    }
    FirstFrame { labels: LabelMap { grid, channels, values }, ids }
}

/// Ids at `height` × `width` pixels from soft labels, by [`Readout`]. Where labels are equal the
/// first wins.
pub fn hard_labels(
    soft: &LabelMap,
    ids: &[u8],
    (height, width): (usize, usize),
    readout: Readout,
) -> LabelImage {
    if readout == Readout::CellMinMaxArgmax {
        return nearest_floor(&by_cell(soft, ids), height, width);
    }
    let up = Upsampled::new(soft, height, width);
    let range = (readout == Readout::MinMaxArgmax).then(|| up.ranges());
    let mut data = vec![0; height * width];
    data.par_chunks_mut(width).enumerate().for_each_init(Vec::new, |row, (y, out)| {
        up.row(y, row);
        if let Some(ranges) = &range {
            stretch(row, ranges);
        }
        for (out, labels) in out.iter_mut().zip(row.chunks_exact(soft.channels)) {
            *out = ids.get(first_maximum(labels)).copied().unwrap_or(0);
        }
    });
    LabelImage { width, height, data }
}

/// The id of each cell. A label that is the same everywhere tells nothing, and counts as 0.
fn by_cell(soft: &LabelMap, ids: &[u8]) -> LabelImage {
    let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); soft.channels];
    widen(&mut ranges, &soft.values);
    let id = |labels: &[f32]| {
        let stretched = |(value, (low, high)): (&f32, &(f32, f32))| {
            if high > low { (value - low) / (high - low) } else { 0.0 }
        };
        let labels: Vec<f32> = labels.iter().zip(&ranges).map(stretched).collect();
        ids.get(first_maximum(&labels)).copied().unwrap_or(0)
    };
    let data = soft.values.chunks_exact(soft.channels).map(id).collect();
    LabelImage { width: soft.grid.1, height: soft.grid.0, data }
}

/// Takes values, the channels of one place after another, into the range of each channel.
fn widen(ranges: &mut [(f32, f32)], values: &[f32]) {
    for labels in values.chunks_exact(ranges.len()) {
        for ((low, high), value) in ranges.iter_mut().zip(labels) {
            *low = low.min(*value);
            *high = high.max(*value);
        }
    }
}

fn first_maximum(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Soft labels stretched along the rows; columns are mixed one output row at a time.
struct Upsampled {
    rows: Taps,
    /// h rows of `width * channels` values.
    wide: Vec<f32>,
    stride: usize,
    channels: usize,
}

impl Upsampled {
    fn new(soft: &LabelMap, height: usize, width: usize) -> Self {
        let columns = Taps::new(soft.grid.1, width);
        let channels = soft.channels;
        let mut wide = Vec::with_capacity(soft.grid.0 * width * channels);
        for row in soft.values.chunks_exact(soft.grid.1 * channels) {
            for x in 0..width {
                let (left, right, of_left, of_right) = columns.at(x);
                let (left, right) = (&row[left * channels..], &row[right * channels..]);
                wide.extend((0..channels).map(|c| left[c] * of_left + right[c] * of_right));
            }
        }
        let rows = Taps::new(soft.grid.0, height);
        Self { rows, wide, stride: width * channels, channels }
    }

    /// Output row `y`, `width * channels` values, into `out`.
    fn row(&self, y: usize, out: &mut Vec<f32>) {
        let (top, bottom, of_top, of_bottom) = self.rows.at(y);
        let top = &self.wide[top * self.stride..][..self.stride];
        let bottom = &self.wide[bottom * self.stride..][..self.stride];
        out.clear();
        out.extend(top.iter().zip(bottom).map(|(t, b)| t * of_top + b * of_bottom));
    }

    /// The smallest and the largest value of each channel over all pixels.
    fn ranges(&self) -> Vec<(f32, f32)> {
        let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); self.channels];
        let mut row = Vec::new();
        for y in 0..self.rows.len() {
            self.row(y, &mut row);
            widen(&mut ranges, &row);
        }
        ranges
    }
}

/// Brings each channel to [0, 1]; a channel that is nowhere positive is left as it is.
fn stretch(row: &mut [f32], ranges: &[(f32, f32)]) {
    for labels in row.chunks_exact_mut(ranges.len()) {
        for (value, (low, high)) in labels.iter_mut().zip(ranges) {
            if *high > 0.0 {
                *value = (*value - low) / (high - low);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: usize, data: &[u8]) -> LabelImage {
        LabelImage { width, height: data.len() / width, data: data.to_vec() }
    }

    #[test]
    fn a_cell_mixes_the_four_pixels_around_its_centre() {
        // 4 × 4 pixels onto one cell: the centre lies between pixels 1 and 2 on both axes.
        let annotation = image(4, &[9, 9, 9, 9, 9, 0, 5, 9, 9, 5, 5, 9, 9, 9, 9, 9]);
        let first = first_frame(&annotation, (4, 4), (1, 1), FirstLabels::Bilinear);
        assert_eq!(first.ids, [0, 5, 9]);
        assert_eq!(first.labels.values, [0.25, 0.75, 0.0]);
        let nearest = first_frame(&annotation, (4, 4), (1, 1), FirstLabels::Nearest);
        assert_eq!((nearest.ids, nearest.labels.values), (vec![5], vec![1.0]));
    }

    #[test]
    fn one_hot_maps_read_out_as_they_went_in() {
        let annotation = image(3, &[0, 1, 2, 2, 1, 0]);
        let first = first_frame(&annotation, (2, 3), (2, 3), FirstLabels::Nearest);
        for readout in [Readout::Argmax, Readout::MinMaxArgmax, Readout::CellMinMaxArgmax] {
            assert_eq!(hard_labels(&first.labels, &first.ids, (2, 3), readout), annotation);
        }
    }

    #[test]
    fn the_first_label_wins_ties_and_stretching_lifts_the_weak() {
        let soft = LabelMap { grid: (1, 2), channels: 2, values: vec![0.5, 0.5, 0.9, 0.1] };
        assert_eq!(hard_labels(&soft, &[0, 7], (1, 2), Readout::Argmax).data, [0, 0]);
        // Stretched: background (0, 1), object (1, 0).
        assert_eq!(hard_labels(&soft, &[0, 7], (1, 2), Readout::MinMaxArgmax).data, [7, 0]);
    }

    /// DINOv3's notebook: `interpolate(…, mode="nearest")`, each map to [0, 1], argmax.
    #[test]
    fn cells_are_stretched_and_then_enlarged() {
        // background 0.9, 0.8, 0.7; object 0.1, 0.2, 0.3; a third label 0 everywhere
        let values = vec![0.9, 0.1, 0.0, 0.8, 0.2, 0.0, 0.7, 0.3, 0.0];
        let soft = LabelMap { grid: (1, 3), channels: 3, values };
        let read = |width| hard_labels(&soft, &[0, 4, 9], (1, width), Readout::CellMinMaxArgmax);
        // in the middle both are one half, or off by a rounding
        assert_eq!((read(3).data[0], read(3).data[2]), (0, 4));
        let middle = read(3).data[1];
        // floor(x * 3 / 7) for x = 0 .. 6
        assert_eq!(read(7).data, [0, 0, 0, middle, middle, 4, 4]);
    }

    #[test]
    fn upsampling_puts_the_border_between_the_cells() {
        let soft = LabelMap { grid: (1, 2), channels: 2, values: vec![1.0, 0.0, 0.0, 1.0] };
        assert_eq!(hard_labels(&soft, &[0, 1], (1, 6), Readout::Argmax).data, [0, 0, 0, 1, 1, 1]);
    }
}
