//! Poses: joints as small Gaussians on the grid, and back to coordinates, as CropMAE's program has
//! them (`downstreams/propagation/src`: `draw_labelmap_np` in `data/jhmdb.py`, `process_pose` in
//! `utils/test_utils.py`).

use super::LabelMap;

/// Standard deviation of a joint's Gaussian in cells.
const SIGMA: f64 = 0.5;
/// Side of its stamp, 6σ + 1 cells, and the place of the peak in it.
const STAMP: (i64, i64) = (4, 2);
/// Cells that a joint's coordinate is averaged over.
const READ_CELLS: usize = 5;

/// Soft labels of the first frame from `JOINTS` joints, (x, y) in cells: background, then one channel
/// a joint. Joints wholly outside the grid leave their channel empty.
pub fn first_frame<const JOINTS: usize>(
    joints: &[[f64; 2]; JOINTS],
    grid: (usize, usize),
) -> LabelMap {
    let channels = 1 + JOINTS;
    let mut values = vec![0.0; grid.0 * grid.1 * channels];
    for (joint, &position) in joints.iter().enumerate() {
        stamp(position, grid, |cell, value| values[cell * channels + 1 + joint] = value);
    }
    for cell in values.chunks_exact_mut(channels) {
        if cell[1..].iter().sum::<f32>() == 0.0 {
            cell[0] = 1.0;
        }
    }
    LabelMap { grid, channels, values }
}

/// Writes the Gaussian around a joint. The reference cuts the stamp's corners with `int()`, which
/// rounds toward zero: near the upper and left border the stamp moves by a cell. Kept, since the
/// labels of such joints depend on it.
fn stamp([x, y]: [f64; 2], (height, width): (usize, usize), mut write: impl FnMut(usize, f32)) {
    if !(x.is_finite() && y.is_finite()) {
        return;
    }
    let span = |center: f64, size: usize| {
        let (from, to) =
            ((center - 3.0 * SIGMA).trunc() as i64, (center + 3.0 * SIGMA + 1.0).trunc() as i64);
        (from, from.max(0)..to.min(size as i64))
    };
    let ((left, columns), (top, rows)) = (span(x, width), span(y, height));
    for row in rows {
        for column in columns.clone() {
            let (dx, dy) = (column - left - STAMP.1, row - top - STAMP.1);
            if column - left < STAMP.0 && row - top < STAMP.0 {
                let value = (-((dx * dx + dy * dy) as f64) / (2.0 * SIGMA * SIGMA)).exp();
                write((row * width as i64 + column) as usize, value as f32);
            }
        }
    }
}

/// Coordinates (x, y) in cells of every joint: the mean of its five strongest cells, weighted by
/// their labels; (-1, -1) where a joint's channel is empty.
pub fn read_out<const JOINTS: usize>(labels: &LabelMap) -> [[f32; 2]; JOINTS] {
    std::array::from_fn(|joint| {
        let channel = labels.values.iter().skip(1 + joint).step_by(labels.channels);
        let mut cells: Vec<(usize, f32)> = channel.copied().enumerate().collect();
        if cells.iter().map(|(_, value)| value).sum::<f32>() == 0.0 {
            return [-1.0, -1.0];
        }
        let strongest = select_strongest(&mut cells, READ_CELLS);
        let total: f32 = strongest.iter().map(|(_, value)| value).sum();
        let mean = |coordinate: fn(usize, usize) -> usize| {
            let parts = strongest
                .iter()
                .map(|&(cell, value)| value / total * coordinate(cell, labels.grid.1) as f32);
            parts.sum::<f32>()
        };
        [mean(|cell, width| cell % width), mean(|cell, width| cell / width)]
    })
}

/// Moves the `count` cells with the largest labels to the front, best first.
///
/// Labels are copied from frame to frame, so several cells often tie for the last place, and which
/// one is taken moves the joint. The reference takes what the C++ standard library's partial sort
/// leaves there; its heap is followed step by step, so that the same cells are taken.
fn select_strongest(cells: &mut [(usize, f32)], count: usize) -> &[(usize, f32)] {
    let count = count.min(cells.len());
    let (heap, rest) = cells.split_at_mut(count);
    for hole in (0..count / 2).rev() {
        sift(heap, hole, heap[hole]);
    }
    for cell in rest {
        if heap.first().is_some_and(|weakest| cell.1 > weakest.1) {
            sift(heap, 0, std::mem::replace(cell, heap[0]));
        }
    }
    heap.sort_by(|a, b| b.1.total_cmp(&a.1));
    heap
}

/// Fills the `hole` of a heap with the weakest cell on top: the weaker children move up all the
/// way, then `cell` climbs from the bottom to its place.
fn sift(heap: &mut [(usize, f32)], mut hole: usize, cell: (usize, f32)) {
    let top = hole;
    while 2 * hole + 1 < heap.len() {
        let (left, right) = (2 * hole + 1, 2 * hole + 2);
        let child = if right >= heap.len() || heap[right].1 > heap[left].1 { left } else { right };
        heap[hole] = heap[child];
        hole = child;
    }
    while hole > top && heap[(hole - 1) / 2].1 > cell.1 {
        heap[hole] = heap[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap[hole] = cell;
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOINT_COUNT: usize = 15;

    const OUTSIDE: [f64; 2] = [-50.0, -50.0];

    fn channel(labels: &LabelMap, joint: usize) -> Vec<f32> {
        labels.values.iter().skip(1 + joint).step_by(labels.channels).copied().collect()
    }

    #[test]
    fn a_joint_inside_is_a_gaussian_around_its_cell() {
        let mut joints = [OUTSIDE; JOINT_COUNT];
        joints[3] = [5.2, 4.9];
        let labels = first_frame(&joints, (10, 12));
        let stamp = channel(&labels, 3);
        // int(5.2 - 1.5) = 3, int(4.9 - 1.5) = 3: the peak stands two cells on, at (5, 5).
        assert_eq!(stamp[5 * 12 + 5], 1.0);
        assert!((stamp[5 * 12 + 6] - (-2.0_f32).exp()).abs() < 1e-7);
        assert_eq!(stamp[3 * 12 + 3], (-16.0_f64).exp() as f32);
        assert_eq!(stamp.iter().filter(|v| **v > 0.0).count(), 16);
        let background = labels.values.iter().step_by(16).sum::<f32>();
        assert_eq!(background, (120 - 16) as f32);
        let [x, y] = read_out::<JOINT_COUNT>(&labels)[3];
        assert!((x - 5.0).abs() < 1e-6 && (y - 5.0).abs() < 1e-6, "symmetric around its peak");
        assert_eq!(read_out::<JOINT_COUNT>(&labels)[0], [-1.0, -1.0]);
    }

    #[test]
    fn at_the_upper_left_the_stamp_is_cut_toward_zero() {
        let mut joints = [OUTSIDE; JOINT_COUNT];
        joints[0] = [1.0, 1.0];
        // int(1 - 1.5) = 0 and int(1 + 2.5) = 3: cells 0 to 2, peak at 2.
        let stamp = channel(&first_frame(&joints, (8, 8)), 0);
        assert_eq!(stamp[2 * 8 + 2], 1.0);
        assert_eq!(stamp.iter().filter(|v| **v > 0.0).count(), 9);
    }

    #[test]
    fn the_strongest_are_found_whatever_the_order() {
        for shift in 0..40 {
            let mut cells: Vec<(usize, f32)> =
                (0..40).map(|cell| (cell, ((cell + shift) * 17 % 40) as f32)).collect();
            let values: Vec<f32> = select_strongest(&mut cells, 5).iter().map(|c| c.1).collect();
            assert_eq!(values, [39.0, 38.0, 37.0, 36.0, 35.0]);
        }
        assert_eq!(select_strongest(&mut [(0, 1.0), (1, 2.0)], 5), [(1, 2.0), (0, 1.0)]);
    }

    #[test]
    fn joints_that_are_not_numbers_are_left_out() {
        let labels = first_frame(&[[f64::NAN, 3.0]; JOINT_COUNT], (4, 4));
        assert!(labels.values.iter().step_by(16).all(|v| *v == 1.0));
    }
}
