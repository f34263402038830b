//! The affinity on the CPU: tiles of products, a running top-k, nothing stored that is not needed.
//!
//! Cells are kept in the order of the grid's longer axis, so that the cells within reach of a panel
//! of queries are one contiguous range of keys: what lies outside the radius along that axis is
//! never multiplied. A tile of scores never leaves the registers unless one of them beats its query's
//! k-th nearest so far; the affinity matrix of a frame never exists.

use candle_core::Tensor;
use pulp::{Arch, Simd};
use rayon::prelude::*;

use super::Neighbour;
use super::context::Source;
use super::nearest::{Nearest, Neighbor};
use super::{LabelMap, Settings};
use crate::error::Result;
use crate::product::packed::{
    Aligned, Packed, Sizes, Tiled, VECTORS, dispatch, tiles, vectors, vectors_mut,
};

/// Panels of queries that meet the same keys: more of them fetch keys from far away less often, but
/// take in more keys beyond the reach of some.
const PANELS_AT_ONCE: usize = 3;
/// Keys that a panel of queries meets at a time: their sums, while they are not complete, stay in
/// the innermost cache.
const KEYS_AT_ONCE: usize = 64;

/// A context frame, its cells ordered along the grid's longer axis.
#[derive(Debug)]
pub(super) struct Frame {
    features: Vec<f32>,
    labels: Vec<f32>,
}

impl Frame {
    pub(super) fn new(features: &Tensor, labels: &LabelMap) -> Result<Self> {
        Ok(Self::from_query(query(features, labels.grid)?, labels))
    }

    pub(super) fn from_query(features: Vec<f32>, labels: &LabelMap) -> Self {
        let labels = Order::of(labels.grid).arrange(&labels.values, labels.channels);
        Self { features, labels }
    }
}

/// The features [h·w, D] of a frame, ordered as [`Frame`] keeps them.
pub(super) fn query(features: &Tensor, grid: (usize, usize)) -> Result<Vec<f32>> {
    let width = features.dim(1)?;
    let rows: Vec<f32> = features.flatten_all()?.to_vec1()?;
    Ok(Order::of(grid).arrange(&rows, width))
}

/// The grid as lines across its longer axis.
#[derive(Debug, Clone, Copy)]
struct Order {
    /// Lines: the longer side.
    lines: usize,
    /// Cells in a line: the shorter side.
    cells: usize,
    /// Whether lines are the grid's columns.
    columns: bool,
}

impl Order {
    fn of((height, width): (usize, usize)) -> Self {
        Self { lines: height.max(width), cells: height.min(width), columns: width > height }
    }

    /// Where a row's and column's cell stands, line by line.
    fn place(self, (row, column): (usize, usize)) -> usize {
        if self.columns { column * self.cells + row } else { row * self.cells + column }
    }

    /// The row and column of the cell at a place.
    fn cell(self, place: usize) -> (usize, usize) {
        let (line, cell) = (place / self.cells, place % self.cells);
        if self.columns { (cell, line) } else { (line, cell) }
    }

    /// From row-by-row to line-by-line, `width` values a cell.
    fn arrange(self, rows: &[f32], width: usize) -> Vec<f32> {
        if !self.columns {
            return rows.to_vec();
        }
        let mut out = Vec::with_capacity(rows.len());
        for column in 0..self.lines {
            for row in 0..self.cells {
                out.extend_from_slice(&rows[(row * self.lines + column) * width..][..width]);
            }
        }
        out
    }

    /// The other way round.
    fn restore(self, lines: &[f32], width: usize) -> Vec<f32> {
        // Rearranging an arranged grid with the sides swapped is the inverse.
        let turned = Self { lines: self.cells, cells: self.lines, columns: self.columns };
        turned.arrange(lines, width)
    }
}

/// Soft labels of a frame: `query` as [`query`] made it; returns `h * w * C` values row by row.
pub(super) fn propagate(
    query: &[f32],
    sources: &[Source<'_, Frame>],
    grid: (usize, usize),
    channels: usize,
    settings: &Settings,
) -> Vec<f32> {
    let (order, arch) = (Order::of(grid), Arch::new());
    let cells = order.lines * order.cells;
    let width = query.len() / cells;
    let reach: Vec<usize> =
        (0..order.lines).map_while(|offset| settings.neighborhood.half_width(offset)).collect();
    let columns = PANELS_AT_ONCE * Sizes::of(arch).columns;
    let mut labels = vec![0.0; cells * channels];
    let panels = query.par_chunks(columns * width).zip(labels.par_chunks_mut(columns * channels));
    panels.enumerate().for_each(|(index, (query, out))| {
        let count = query.len() / width;
        let panel = Panel { order, first: index * columns, count, reach: &reach, settings };
        let packed = Packed::transposed(arch, query, width);
        let nearest = dispatch(arch, Search { panel, packed: &packed, sources });
        for (nearest, out) in nearest.iter().zip(out.chunks_exact_mut(channels)) {
            for (neighbor, weight) in nearest.weights(settings.temperature as f32) {
                let frame = sources[neighbor.source as usize].frame;
                let label = &frame.labels[neighbor.cell as usize * channels..][..channels];
                out.iter_mut().zip(label).for_each(|(out, label)| *out += weight * label);
            }
        }
    });
    order.restore(&labels, channels)
}

/// The neighbours of one cell, counted row by row, each with its place among the sources, which is not
/// yet in its `frame`; nearest first. What is searched and how is as in [`propagate`].
pub(super) fn nearest(
    query: &[f32],
    cell: usize,
    sources: &[Source<'_, Frame>],
    (grid, channels): ((usize, usize), usize),
    settings: &Settings,
) -> Vec<(Neighbour, usize)> {
    let (order, arch) = (Order::of(grid), Arch::new());
    let width = query.len() / (order.lines * order.cells);
    let reach: Vec<usize> =
        (0..order.lines).map_while(|offset| settings.neighborhood.half_width(offset)).collect();
    let first = order.place((cell / grid.1, cell % grid.1));
    let panel = Panel { order, first, count: 1, reach: &reach, settings };
    let packed = Packed::transposed(arch, &query[first * width..][..width], width);
    let found = dispatch(arch, Search { panel, packed: &packed, sources });
    let weighed = found.iter().flat_map(|one| one.weights(settings.temperature as f32));
    let told = |(key, weight): (Neighbor, f32)| {
        let (source, place) = (key.source as usize, key.cell as usize);
        let labels = sources[source].frame.labels[place * channels..][..channels].to_vec();
        let (cell, copies) = (order.cell(place), key.copies as usize);
        (Neighbour { frame: 0, cell, cosine: key.score, weight, copies, labels }, source)
    };
    weighed.map(told).collect()
}

/// Consecutive cells, as many as a panel has columns.
#[derive(Clone, Copy)]
struct Panel<'a> {
    order: Order,
    /// The first cell.
    first: usize,
    /// How many there are; columns beyond are empty.
    count: usize,
    /// Half-widths of the neighbourhood by distance in lines.
    reach: &'a [usize],
    settings: &'a Settings,
}

impl Panel<'_> {
    /// The lines of keys that any of these queries can see.
    fn lines_in_reach(self, everywhere: bool) -> std::ops::Range<usize> {
        if everywhere {
            return 0..self.order.lines;
        }
        let (first, last) = (self.first, self.first + self.count - 1);
        let reach = self.reach.len().saturating_sub(1);
        let to = (last / self.order.cells + reach + 1).min(self.order.lines);
        (first / self.order.cells).saturating_sub(reach)..to
    }

    /// Whether the key `cell` lies in the neighbourhood of a query.
    fn near(self, query: usize, cell: usize) -> bool {
        let cells = self.order.cells;
        let query = self.first + query;
        let half = self.reach.get((query / cells).abs_diff(cell / cells));
        half.is_some_and(|half| (query % cells).abs_diff(cell % cells) <= *half)
    }
}

/// The k nearest of a panel's queries.
struct Search<'a> {
    panel: Panel<'a>,
    packed: &'a Packed,
    sources: &'a [Source<'a, Frame>],
}

impl Tiled for Search<'_> {
    type Output = Vec<Nearest>;

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, simd: S) -> Vec<Nearest> {
        let Self { panel, packed, sources } = self;
        let cells = panel.order.cells;
        let width = VECTORS * S::F32_LANES;
        let mut found = Found::new(panel, packed.padded_columns(), width);
        let mut kept = Aligned::default();
        for (index, source) in sources.iter().enumerate() {
            let lines = panel.lines_in_reach(source.free > 0);
            let keys = &source.frame.features[lines.start * cells * packed.depth..];
            let keys = &keys[..lines.len() * cells * packed.depth];
            for (part, keys) in keys.chunks(KEYS_AT_ONCE * packed.depth).enumerate() {
                let from = lines.start * cells + part * KEYS_AT_ONCE;
                let count = keys.len() / packed.depth;
                for (part, columns) in packed.panels::<S>().enumerate() {
                    tiles::<S, ROWS>(
                        simd,
                        columns,
                        keys,
                        &mut kept,
                        #[inline(always)]
                        |first, sums| {
                            for (cell, scores) in (first..count).zip(sums) {
                                if found.worthy(simd, part, scores) {
                                    vectors_mut::<S>(found.scores.values_mut()).fill(scores);
                                    found.offer(part * width, index, source, from + cell);
                                }
                            }
                        },
                    );
                }
            }
        }
        found.nearest
    }
}

/// What a panel's queries have found so far.
struct Found<'a> {
    panel: Panel<'a>,
    nearest: Vec<Nearest>,
    /// What a key must beat, query by query; nothing beats that of an empty column.
    bars: Aligned,
    /// Room for one key's scores.
    scores: Aligned,
}

impl<'a> Found<'a> {
    fn new(panel: Panel<'a>, columns: usize, width: usize) -> Self {
        let Settings { topk, keep_ties, .. } = *panel.settings;
        let nearest = vec![Nearest::new(topk, keep_ties); panel.count];
        let (mut bars, mut scores) = (Aligned::default(), Aligned::default());
        bars.resize(columns);
        bars.values_mut().fill(f32::INFINITY);
        bars.values_mut()[..panel.count].fill(f32::NEG_INFINITY);
        scores.resize(width);
        Self { panel, nearest, bars, scores }
    }

    /// Whether any query's score with a key beats its bar.
    #[inline(always)]
    fn worthy<S: Simd>(&self, simd: S, part: usize, scores: [S::f32s; VECTORS]) -> bool {
        let mut any = false;
        for (score, bar) in scores.iter().zip(&vectors::<S>(self.bars.values())[part]) {
            let beaten = match self.panel.settings.keep_ties {
                true => simd.greater_than_or_equal_f32s(*score, *bar),
                false => simd.greater_than_f32s(*score, *bar),
            };
            any |= simd.first_true_m32s(beaten) < S::F32_LANES;
        }
        any
    }

    /// Offers a key, whose scores are in their room, to those queries from the `first`-th on whose
    /// bars it beats, as often as they may see it.
    #[cold]
    fn offer(&mut self, first: usize, index: usize, source: &Source<'_, Frame>, cell: usize) {
        let Self { panel, nearest, bars, scores } = self;
        let bars = &mut bars.values_mut()[first..];
        let queries = nearest[first..].iter_mut().zip(bars).zip(scores.values());
        for (query, ((nearest, bar), &score)) in (first..).zip(queries) {
            if score > *bar || panel.settings.keep_ties && score == *bar {
                let near = if panel.near(query, cell) { source.near } else { 0 };
                let copies = (source.free + near) as u32;
                if copies > 0 {
                    let (source, cell) = (index as u32, cell as u32);
                    nearest.offer(Neighbor { score, source, cell, copies });
                    *bar = nearest.bar();
                }
            }
        }
    }
}
