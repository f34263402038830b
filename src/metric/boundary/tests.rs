//! F against values by hand and against the definition in plain loops.

use proptest::prelude::*;

use super::*;
use crate::image::LabelImage;

/// The mask of id 1.
fn mask(width: usize, ids: &[u8]) -> Mask {
    let labels = LabelImage { width, height: ids.len() / width, data: ids.to_vec() };
    Mask::of_objects(&labels, 1).remove(0)
}

/// The bits of a mask, one byte each.
fn bytes(mask: &Mask) -> Vec<u8> {
    let bit = |y: usize, x: usize| (mask.row(y)[x / BITS] >> (x % BITS) & 1) as u8;
    (0..mask.height()).flat_map(|y| (0..mask.width()).map(move |x| bit(y, x))).collect()
}

/// The boundary by its definition, pixel by pixel.
fn boundary_by_definition(width: usize, ids: &[u8]) -> Vec<u8> {
    let height = ids.len() / width;
    let at = |y: usize, x: usize| ids[y * width + x];
    let pixel = |y: usize, x: usize| {
        let here = at(y, x);
        let (last_row, last_column) = (y + 1 == height, x + 1 == width);
        match (last_row, last_column) {
            (true, true) => false,
            (true, false) => here != at(y, x + 1),
            (false, true) => here != at(y + 1, x),
            (false, false) => {
                here != at(y, x + 1) || here != at(y + 1, x) || here != at(y + 1, x + 1)
            }
        }
    };
    (0..ids.len()).map(|place| u8::from(pixel(place / width, place % width))).collect()
}

/// How many set pixels of `points` have a set pixel of `targets` within the disk.
fn matched_by_definition(width: usize, points: &[u8], targets: &[u8], radius: usize) -> usize {
    let near = |point: usize| {
        (0..targets.len()).filter(|&target| targets[target] == 1).any(|target| {
            let dx = (point % width).abs_diff(target % width);
            let dy = (point / width).abs_diff(target / width);
            dx * dx + dy * dy <= radius * radius
        })
    };
    (0..points.len()).filter(|&point| points[point] == 1 && near(point)).count()
}

fn compare_by_definition(
    width: usize,
    truth: &[u8],
    prediction: &[u8],
    r: usize,
) -> BoundaryCounts {
    let truth = boundary_by_definition(width, truth);
    let prediction = boundary_by_definition(width, prediction);
    let count = |edges: &[u8]| edges.iter().filter(|&&edge| edge == 1).count();
    BoundaryCounts {
        truth: count(&truth),
        prediction: count(&prediction),
        truth_matched: matched_by_definition(width, &truth, &prediction, r),
        prediction_matched: matched_by_definition(width, &prediction, &truth, r),
    }
}

/// Up to three rectangles, some pixels of noise, or both: the outlines and the specks of real
/// masks.
fn ids(width: usize, height: usize) -> impl Strategy<Value = Vec<u8>> {
    let rectangle = (0..width, 0..height, 1..=width, 1..=height);
    let specks = prop::collection::vec((0..width, 0..height), 0..6);
    (prop::collection::vec(rectangle, 0..3), specks).prop_map(move |(rectangles, specks)| {
        let mut ids = vec![0; width * height];
        for (left, top, wide, high) in rectangles {
            for y in top..(top + high).min(height) {
                ids[y * width + left..y * width + (left + wide).min(width)].fill(1);
            }
        }
        specks.iter().for_each(|&(x, y)| ids[y * width + x] ^= 1);
        ids
    })
}

/// A width, two masks of it and a radius that may exceed a word.
fn pair() -> impl Strategy<Value = (usize, Vec<u8>, Vec<u8>, usize)> {
    let width = prop_oneof![1_usize..20, 60_usize..70, 125_usize..200];
    let radius = prop_oneof![0_usize..10, 60_usize..140];
    (width, 1_usize..24, radius).prop_flat_map(|(width, height, radius)| {
        (Just(width), ids(width, height), ids(width, height), Just(radius))
    })
}

proptest! {
    #[test]
    fn counts_are_those_of_the_definition((width, truth, prediction, radius) in pair()) {
        let disk = Disk::new(radius);
        let found = compare(&mask(width, &truth), &mask(width, &prediction), &disk);
        prop_assert_eq!(found, compare_by_definition(width, &truth, &prediction, radius));
    }

    #[test]
    fn boundaries_are_those_of_the_definition((width, ids, _, _) in pair()) {
        let found = bytes(&boundary(&mask(width, &ids)));
        prop_assert_eq!(found, boundary_by_definition(width, &ids));
    }

    #[test]
    fn f_is_symmetric_and_one_on_equality((width, truth, prediction, radius) in pair()) {
        let disk = Disk::new(radius);
        let (truth, prediction) = (mask(width, &truth), mask(width, &prediction));
        let f = compare(&truth, &prediction, &disk).f_measure();
        prop_assert!((0.0..=1.0).contains(&f));
        prop_assert_eq!(f, compare(&prediction, &truth, &disk).f_measure());
        prop_assert_eq!(compare(&truth, &truth, &disk).f_measure(), 1.0);
    }
}

#[test]
fn the_boundary_of_a_square() {
    // A 2x2 square in the middle of 4x4. Its own pixels but the top left one touch the outside to
    // the east or south; north and west of it, pixels touch the square itself.
    #[rustfmt::skip]
    let square = [
        0, 0, 0, 0,
        0, 1, 1, 0,
        0, 1, 1, 0,
        0, 0, 0, 0,
    ];
    #[rustfmt::skip]
    let edges = [
        1, 1, 1, 0,
        1, 0, 1, 0,
        1, 1, 1, 0,
        0, 0, 0, 0,
    ];
    assert_eq!(bytes(&boundary(&mask(4, &square))), edges);
}

#[test]
fn the_last_row_and_column_have_fewer_neighbors() {
    // All set but the corner (2, 2): (1, 1) differs to the south-east, (2, 1) in the last row to
    // the east, (1, 2) in the last column to the south; the corner is never boundary.
    #[rustfmt::skip]
    let edges = [
        0, 0, 0,
        0, 1, 1,
        0, 1, 0,
    ];
    assert_eq!(bytes(&boundary(&mask(3, &[1, 1, 1, 1, 1, 1, 1, 1, 0]))), edges);
}

#[test]
fn f_by_hand() {
    // One row of 12: an object from pixel 3 on has its boundary at 2, one from 5 on at 4. Both are
    // two apart: nothing matches at radius 1, all at radius 2.
    let from = |first: usize| mask(12, &std::array::from_fn::<u8, 12, _>(|x| (x >= first).into()));
    let counts = |r| compare(&from(3), &from(5), &Disk::new(r));
    let expected =
        BoundaryCounts { truth: 1, prediction: 1, truth_matched: 0, prediction_matched: 0 };
    assert_eq!(counts(1), expected);
    assert_eq!((counts(1).f_measure(), counts(2).f_measure()), (0.0, 1.0));
    // Precision 3/4, recall 1/2: F = 2 * 3/8 / (5/4).
    let counts =
        BoundaryCounts { truth: 10, prediction: 8, truth_matched: 5, prediction_matched: 6 };
    assert_eq!(counts.f_measure(), 0.6);
}

#[test]
fn masks_without_a_boundary() {
    let (empty, full, half) = (mask(4, &[0; 8]), mask(4, &[1; 8]), mask(4, &[1, 1, 0, 0]));
    let f = |truth: &Mask, prediction: &Mask| compare(truth, prediction, &Disk::new(1)).f_measure();
    assert_eq!(f(&empty, &empty), 1.0);
    assert_eq!(f(&empty, &full), 1.0, "neither has a boundary");
    let half_of_none = mask(4, &[0; 4]);
    assert_eq!((f(&half, &half_of_none), f(&half_of_none, &half)), (0.0, 0.0));
}

#[test]
fn the_disk_is_the_usual_one() {
    // Half-widths 8, 7, 7, 7, 6, 6, 5, 3, 0 at radius 8.
    assert_eq!(Disk::new(8).shrinks, [0, 1, 0, 0, 1, 0, 1, 2, 3]);
    assert_eq!(Disk::new(0).shrinks, [0]);
}

#[test]
fn the_radius_grows_with_the_diagonal() {
    // 0.008 * sqrt(854² + 480²) = 7.84; 0.008 * sqrt(1152² + 480²) = 9.98.
    assert_eq!((radius(854, 480), radius(1152, 480)), (8, 10));
    // 0.008 * sqrt(300² + 400²) = 4 in whole numbers; in f64 too.
    assert_eq!(radius(300, 400), 4);
}
