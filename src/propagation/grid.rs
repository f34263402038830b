//! The cells of a grid: the order of queries and keys, and which keys a query sees.
//!
//! Both engines that multiply tiles use this: the queries of a tile are neighbours, so that they
//! see mostly the same keys, and keys that none of them sees are left out.

use super::Neighborhood;

/// A row and a column.
pub(super) type Cell = (usize, usize);

/// Rows of a band.
const BAND: usize = 8;

/// The cells in bands of [`BAND`] rows, each read column by column, there and back again: any few
/// dozen in a row lie close together.
pub(super) fn order((height, width): (usize, usize)) -> Vec<Cell> {
    let mut cells = Vec::with_capacity(height * width);
    for (band, top) in (0..height).step_by(BAND).enumerate() {
        for step in 0..width {
            let x = if band % 2 == 0 { step } else { width - 1 - step };
            cells.extend((top..(top + BAND).min(height)).map(|y| (y, x)));
        }
    }
    cells
}

/// The cells line by line along the longer axis: the order in which keys are offered, so that ties
/// fall alike.
pub(super) fn lines((height, width): (usize, usize)) -> Vec<Cell> {
    match width > height {
        true => (0..width).flat_map(|x| (0..height).map(move |y| (y, x))).collect(),
        false => (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).collect(),
    }
}

/// By distance in rows [h]: the columns to one side that a cell sees there, its own counted; 0
/// where it sees none.
pub(super) fn reach(neighborhood: Neighborhood, (height, width): (usize, usize)) -> Vec<usize> {
    let half = |offset| neighborhood.half_width(offset);
    (0..height).map(|offset| half(offset).map_or(0, |half| (half + 1).min(width))).collect()
}

/// Which cells any of the queries sees, row by row.
pub(super) fn seen(
    queries: &[Cell],
    (height, width): (usize, usize),
    reach: &[usize],
) -> Vec<bool> {
    // Where a run of seen cells begins and ends, added up below.
    let mut changes = vec![0_i32; height * (width + 1)];
    for &(y, x) in queries {
        for key_y in 0..height {
            let reach = reach[y.abs_diff(key_y)];
            if reach > 0 {
                changes[key_y * (width + 1) + (x + 1).saturating_sub(reach)] += 1;
                changes[key_y * (width + 1) + (x + reach).min(width)] -= 1;
            }
        }
    }
    let rows = changes.chunks_exact(width + 1);
    rows.flat_map(|row| {
        let sums = row[..width].iter().scan(0, |sum, change| {
            *sum += change;
            Some(*sum > 0)
        });
        sums.collect::<Vec<_>>()
    })
    .collect()
}
