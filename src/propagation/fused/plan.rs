//! What a GPU multiplies: the grid cut into tiles of queries, and the keys that each tile can
//! reach.
//!
//! It is made once per clip. A tile is 32 or 64 neighbouring cells, whose queries see mostly the
//! same keys; the tile's list is the union of these. `affinity.cu` says how the lists are
//! processed; the words here have the layout that it reads, cells as `y << 16 | x`.

use crate::propagation::Settings;
use crate::propagation::grid::{lines, order, reach, seen};

/// In place of a cell: none.
const NOWHERE: u32 = u32::MAX;

/// A cell in a word.
pub(super) fn packed((y, x): (usize, usize)) -> u32 {
    (y << 16 | x) as u32
}

/// Tiles, their lists, and how far the neighbourhood reaches.
#[derive(Debug)]
pub(super) struct Plan {
    /// Tiles of queries.
    pub(super) tiles: usize,
    /// Queries in a tile.
    pub(super) queries: usize,
    /// The parts after one another: start of each tile's list [tiles + 1], reach by distance in
    /// rows [h], queries [tiles · queries], all cells [h · w], lists.
    pub(super) words: Vec<u32>,
    grid: (usize, usize),
}

impl Plan {
    /// The plan of a grid (rows and columns), in tiles of so many queries.
    pub(super) fn new(grid: (usize, usize), settings: &Settings, queries: usize) -> Self {
        let reach = reach(settings.neighborhood, grid);
        let order = order(grid);
        let tiles = order.len().div_ceil(queries);
        let all = lines(grid);
        let (mut start, mut near) = (vec![0], Vec::new());
        for tile in order.chunks(queries) {
            let seen = seen(tile, grid, &reach);
            near.extend(all.iter().filter(|&&(y, x)| seen[y * grid.1 + x]).map(|&at| packed(at)));
            start.push(near.len() as u32);
        }
        let mut order: Vec<u32> = order.iter().map(|&cell| packed(cell)).collect();
        order.resize(tiles * queries, NOWHERE);
        let all: Vec<u32> = all.into_iter().map(packed).collect();
        let reach = reach.into_iter().map(|columns| columns as u32).collect();
        Self { tiles, queries, words: [start, reach, order, all, near].concat(), grid }
    }

    /// Keys that the queries of all tiles are multiplied with, once each tile.
    #[cfg(feature = "cuda")]
    pub(super) fn keys(&self, sources: usize, everywhere: bool) -> usize {
        let near = self.words[self.tiles] as usize;
        let first = if everywhere { self.tiles * self.grid.0 * self.grid.1 } else { near };
        first + (sources - 1) * near
    }

    /// `count` words from where the part begins that has `before` words before it.
    fn part(&self, before: usize, count: usize) -> &[u32] {
        &self.words[before..before + count]
    }

    /// A tile's queries.
    pub(super) fn of_tile(&self, tile: usize) -> impl Iterator<Item = u32> + '_ {
        let before = self.tiles + 1 + self.grid.0 + tile * self.queries;
        self.part(before, self.queries).iter().copied().filter(|&cell| cell != NOWHERE)
    }

    /// The keys of a frame that a tile is multiplied with.
    pub(super) fn list(&self, tile: usize, everywhere: bool) -> &[u32] {
        let (cells, before) =
            (self.grid.0 * self.grid.1, self.tiles + 1 + self.grid.0 + self.tiles * self.queries);
        if everywhere {
            return self.part(before, cells);
        }
        let [from, to] = [self.words[tile], self.words[tile + 1]].map(|word| word as usize);
        self.part(before + cells + from, to - from)
    }

    /// Whether a query can see a key.
    pub(super) fn inside(&self, query: u32, key: u32) -> bool {
        let offset = (query >> 16).abs_diff(key >> 16) as usize;
        (query & 0xffff).abs_diff(key & 0xffff) < self.words[self.tiles + 1 + offset]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::propagation::{Neighborhood, Shape};

    fn settings(shape: Shape, radius: f64) -> Settings {
        Settings {
            topk: 7,
            keep_ties: false,
            temperature: 0.7,
            neighborhood: Neighborhood { shape, radius },
            restrict_first: false,
            queue: 20,
            padded: true,
        }
    }

    proptest! {
        #[test]
        fn lists_hold_what_a_tile_sees_and_nothing_else(
            height in 1_usize..20,
            width in 1_usize..20,
            radius in 0.5_f64..25.0,
            shape in
                prop_oneof![Just(Shape::Circle), Just(Shape::CircleInclusive), Just(Shape::Square)],
            tile in prop_oneof![Just(32_usize), Just(64)],
        ) {
            let settings = settings(shape, radius);
            let plan = Plan::new((height, width), &settings, tile);
            let mut queries = Vec::new();
            for tile in 0..plan.tiles {
                let of_tile: Vec<u32> = plan.of_tile(tile).collect();
                let sees = |query: u32, key: u32| {
                    let [dy, dx] = [16, 0].map(|shift| {
                        ((query >> shift) & 0xffff).abs_diff((key >> shift) & 0xffff) as usize
                    });
                    settings.neighborhood.half_width(dy).is_some_and(|half| dx <= half)
                };
                let all = plan.list(tile, true);
                prop_assert_eq!(all.len(), height * width);
                let want: Vec<u32> = all
                    .iter()
                    .copied()
                    .filter(|&key| of_tile.iter().any(|&query| sees(query, key)))
                    .collect();
                prop_assert_eq!(plan.list(tile, false), want);
                for &query in &of_tile {
                    prop_assert!(all.iter().all(|&k| plan.inside(query, k) == sees(query, k)));
                }
                queries.extend(of_tile);
            }
            queries.sort_unstable();
            let mut cells: Vec<u32> =
                (0..height * width).map(|cell| packed((cell / width, cell % width))).collect();
            cells.sort_unstable();
            prop_assert_eq!(queries, cells);
        }
    }

    #[test]
    fn skips_what_the_radius_excludes() {
        // 30×55 cells and a radius of 20: 46 % of all pairs are visible, and no more than a third
        // beyond that is multiplied, a fifth in the smaller tiles.
        for (queries, most) in [(64, 1.34), (32, 1.21)] {
            let plan = Plan::new((30, 55), &settings(Shape::Circle, 20.0), queries);
            let seen =
                |query: u32| plan.list(0, true).iter().filter(|&&k| plan.inside(query, k)).count();
            let visible: usize =
                (0..plan.tiles).flat_map(|tile| plan.of_tile(tile)).map(seen).sum();
            let share = visible as f64 / (1650.0 * 1650.0);
            let excess = (plan.words[plan.tiles] as usize * queries) as f64 / visible as f64;
            assert!((share - 0.455).abs() < 0.01 && excess < most, "{share} {excess}");
        }
    }
}
