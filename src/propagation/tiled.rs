//! The affinity on the CPU: tiles of products and a running top-k; the affinity matrix is never
//! stored.
//!
//! A panel of neighbouring queries is multiplied with the keys that any of them sees, a list of
//! cells that is processed context frame by context frame. A tile of scores leaves the registers
//! only if one of them is better than its query's k-th nearest so far. Each core takes a few panels
//! at a time and multiplies them with a frame's keys one after the other, while these keys are
//! still in a cache that the cores share.

use candle_core::Tensor;
use pulp::{Arch, Simd};
use rayon::prelude::*;

use super::Neighbor;
use super::context::Source;
use super::grid::{Cell, lines, order, reach, seen};
use super::nearest::{Candidate, Nearest};
use super::{LabelMap, Settings};
use crate::error::Result;
use crate::product::packed::{
    Aligned, Packed, Sizes, Tiled, VECTORS, dispatch, tiles, vectors, vectors_mut,
};

/// Panels that a core takes at most: more of them fetch keys from far away less often.
const PANELS_AT_ONCE: usize = 4;
/// Keys that a panel of queries meets at a time: their sums, while they are not complete, stay in
/// the innermost cache.
const KEYS_AT_ONCE: usize = 48;

/// A context frame, cell by cell.
#[derive(Debug)]
pub(super) struct Frame {
    features: Vec<f32>,
    labels: Vec<f32>,
}

impl Frame {
    pub(super) fn new(features: &Tensor, labels: &LabelMap) -> Result<Self> {
        Ok(Self::from_query(query(features)?, labels))
    }

    pub(super) fn from_query(features: Vec<f32>, labels: &LabelMap) -> Self {
        Self { features, labels: labels.values.clone() }
    }
}

/// The features [h·w, D] of a frame as values.
pub(super) fn query(features: &Tensor) -> Result<Vec<f32>> {
    Ok(features.flatten_all()?.to_vec1()?)
}

/// Soft labels of a frame: `query` as [`query`] made it; returns `h * w * C` values row by row.
pub(super) fn propagate(
    query: &[f32],
    sources: &[Source<'_, Frame>],
    grid: (usize, usize),
    channels: usize,
    settings: &Settings,
) -> Vec<f32> {
    let search = Search::new(query, sources, grid, settings);
    let order = order(grid);
    let mut mixed = vec![0.0; order.len() * channels];
    let tasks = share_out(&order, &mut mixed, search.columns(), channels);
    tasks.into_iter().par_bridge().for_each(|(cells, mixed)| {
        let found = search.nearest(cells);
        for (nearest, out) in found.iter().zip(mixed.chunks_exact_mut(channels)) {
            for (neighbor, weight) in nearest.weights(settings.temperature as f32) {
                let frame = sources[neighbor.source as usize].frame;
                let label = &frame.labels[neighbor.cell as usize * channels..][..channels];
                out.iter_mut().zip(label).for_each(|(out, label)| *out += weight * label);
            }
        }
    });
    let mut labels = vec![0.0; mixed.len()];
    for (cell, mixed) in order.iter().zip(mixed.chunks_exact(channels)) {
        labels[search.index(*cell) * channels..][..channels].copy_from_slice(mixed);
    }
    labels
}

/// Queries, and where their labels go.
type Task<'a> = (&'a [Cell], &'a mut [f32]);

/// What the cores take one after the other. Panels are `columns` queries wide; towards the end they
/// are handed out one by one, lest one core be the last by far.
fn share_out<'a>(
    mut order: &'a [Cell],
    mut mixed: &'a mut [f32],
    columns: usize,
    channels: usize,
) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    while !order.is_empty() {
        let left = order.len().div_ceil(columns);
        let panels = (left / (2 * rayon::current_num_threads())).clamp(1, PANELS_AT_ONCE);
        let (cells, others) = order.split_at(order.len().min(panels * columns));
        let (out, rest) = mixed.split_at_mut(cells.len() * channels);
        tasks.push((cells, out));
        (order, mixed) = (others, rest);
    }
    tasks
}

/// The neighbours of one cell, each with its place among the sources, which is not yet in its
/// `frame`; nearest first. What is searched and how is as in [`propagate`].
pub(super) fn nearest(
    query: &[f32],
    cell: Cell,
    sources: &[Source<'_, Frame>],
    (grid, channels): ((usize, usize), usize),
    settings: &Settings,
) -> Vec<(Neighbor, usize)> {
    let found = Search::new(query, sources, grid, settings).nearest(&[cell]);
    let weighed = found.iter().flat_map(|one| one.weights(settings.temperature as f32));
    let told = |(key, weight): (Candidate, f32)| {
        let (source, index) = (key.source as usize, key.cell as usize);
        let labels = sources[source].frame.labels[index * channels..][..channels].to_vec();
        let cell = (index / grid.1, index % grid.1);
        let copies = key.copies as usize;
        (Neighbor { frame: 0, cell, cosine: key.score, weight, copies, labels }, source)
    };
    weighed.map(told).collect()
}

/// A frame whose queries look for their nearest keys.
struct Search<'a> {
    arch: Arch,
    /// [h·w, D]
    query: &'a [f32],
    /// D
    width: usize,
    sources: &'a [Source<'a, Frame>],
    grid: (usize, usize),
    /// As [`reach`] has it.
    reach: Vec<usize>,
    /// All cells in the order in which keys are offered.
    lines: Vec<Cell>,
    settings: &'a Settings,
}

impl<'a> Search<'a> {
    fn new(
        query: &'a [f32],
        sources: &'a [Source<'a, Frame>],
        grid: (usize, usize),
        settings: &'a Settings,
    ) -> Self {
        let (reach, lines) = (reach(settings.neighborhood, grid), lines(grid));
        let (arch, width) = (Arch::new(), query.len() / lines.len());
        Self { arch, query, width, sources, grid, reach, lines, settings }
    }

    /// Queries of a panel.
    fn columns(&self) -> usize {
        Sizes::of(self.arch).columns
    }

    /// Where a cell's values begin, in cells.
    #[inline(always)]
    fn index(&self, (y, x): Cell) -> usize {
        y * self.grid.1 + x
    }

    /// The feature of a cell of the query or of a context frame.
    #[inline(always)]
    fn feature<'f>(&self, features: &'f [f32], cell: Cell) -> &'f [f32] {
        &features[self.index(cell) * self.width..][..self.width]
    }

    /// Whether a query's neighbourhood holds a key.
    fn near(&self, query: Cell, key: Cell) -> bool {
        query.1.abs_diff(key.1) < self.reach[query.0.abs_diff(key.0)]
    }

    /// The k nearest of some queries.
    fn nearest(&self, queries: &[Cell]) -> Vec<Nearest> {
        let panels = queries.chunks(self.columns()).map(|queries| Panel::new(self, queries));
        let mut panels: Vec<Panel<'_>> = panels.collect();
        dispatch(self.arch, Walk { panels: &mut panels, sources: self.sources.len() });
        panels.into_iter().flat_map(|panel| panel.found.nearest).collect()
    }
}

/// As many queries as a tile has columns.
struct Panel<'a> {
    /// Their features.
    packed: Packed,
    /// The keys that any of them sees in a frame whose keys are bound by the neighbourhood.
    near: Vec<Cell>,
    found: Found<'a>,
}

impl<'a> Panel<'a> {
    fn new(search: &'a Search<'a>, queries: &'a [Cell]) -> Self {
        let features = queries.iter().map(|&cell| search.feature(search.query, cell));
        let packed = Packed::transposed(search.arch, features, search.width);
        let seen = seen(queries, search.grid, &search.reach);
        let near = search.lines.iter().copied().filter(|&cell| seen[search.index(cell)]).collect();
        let found = Found::new(search, queries, packed.padded_columns());
        Self { packed, near, found }
    }

    /// Meets the keys of a source; `kept` is room for sums on their way.
    #[inline(always)]
    fn meet<S: Simd, const ROWS: usize>(&mut self, simd: S, source: usize, kept: &mut Aligned) {
        let Self { packed, near, found } = self;
        let search = found.search;
        let Source { frame, free, .. } = search.sources[source];
        let keys = if free > 0 { &search.lines } else { near };
        for columns in packed.panels::<S>() {
            for keys in keys.chunks(KEYS_AT_ONCE) {
                tiles::<S, ROWS>(
                    simd,
                    columns,
                    keys.len(),
                    #[inline(always)]
                    |key| search.feature(&frame.features, keys[key]),
                    kept,
                    #[inline(always)]
                    |first, sums| found.take(simd, source, &keys[first..], sums),
                );
            }
        }
    }
}

/// Panels that are led past all keys.
struct Walk<'a, 'p> {
    panels: &'a mut [Panel<'p>],
    sources: usize,
}

impl Tiled for Walk<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, simd: S) {
        let mut kept = Aligned::default();
        for source in 0..self.sources {
            for panel in self.panels.iter_mut() {
                panel.meet::<S, ROWS>(simd, source, &mut kept);
            }
        }
    }
}

/// What a panel's queries have found so far.
struct Found<'a> {
    search: &'a Search<'a>,
    queries: &'a [Cell],
    nearest: Vec<Nearest>,
    /// What a key must beat, query by query; nothing beats that of an empty column.
    bars: Aligned,
    /// Room for one key's scores.
    scores: Aligned,
}

impl<'a> Found<'a> {
    /// `columns` are those of the queries and the empty ones after them.
    fn new(search: &'a Search<'a>, queries: &'a [Cell], columns: usize) -> Self {
        let Settings { topk, keep_ties, .. } = *search.settings;
        let nearest = vec![Nearest::new(topk, keep_ties); queries.len()];
        let (mut bars, mut scores) = (Aligned::default(), Aligned::default());
        bars.resize(columns);
        bars.values_mut().fill(f32::INFINITY);
        bars.values_mut()[..queries.len()].fill(f32::NEG_INFINITY);
        scores.resize(columns);
        Self { search, queries, nearest, bars, scores }
    }

    /// Takes in a tile's scores with some keys of a source, in the order of these.
    #[inline(always)]
    fn take<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        source: usize,
        keys: &[Cell],
        scores: [[S::f32s; VECTORS]; ROWS],
    ) {
        for (key, scores) in keys.iter().zip(scores) {
            if self.worthy(simd, scores) {
                vectors_mut::<S>(self.scores.values_mut()).fill(scores);
                self.offer(source, *key);
            }
        }
    }

    /// Whether any query's score with a key beats its bar.
    #[inline(always)]
    fn worthy<S: Simd>(&self, simd: S, scores: [S::f32s; VECTORS]) -> bool {
        let mut any = false;
        for (score, bar) in scores.iter().zip(vectors::<S>(self.bars.values()).as_flattened()) {
            let beaten = match self.search.settings.keep_ties {
                true => simd.greater_than_or_equal_f32s(*score, *bar),
                false => simd.greater_than_f32s(*score, *bar),
            };
            any |= simd.first_true_m32s(beaten) < S::F32_LANES;
        }
        any
    }

    /// Offers a key, whose scores are in their room, to those queries whose bars it beats, as often
    /// as they may see it.
    #[cold]
    fn offer(&mut self, source: usize, key: Cell) {
        let Self { search, queries, nearest, bars, scores } = self;
        let Source { free, near, .. } = search.sources[source];
        let cell = search.index(key) as u32;
        let found = nearest.iter_mut().zip(bars.values_mut()).zip(scores.values());
        for (&query, ((nearest, bar), &score)) in queries.iter().zip(found) {
            if score > *bar || search.settings.keep_ties && score == *bar {
                let copies = free + if search.near(query, key) { near } else { 0 };
                if copies > 0 {
                    let (source, copies) = (source as u32, copies as u32);
                    nearest.offer(Candidate { score, source, cell, copies });
                    *bar = nearest.bar();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::lanes::every_arch;
    use crate::propagation::{Neighborhood, Shape};

    const GRID: (usize, usize) = (9, 23);
    const WIDTH: usize = 10;

    /// Features that look drawn by chance, others for every seed.
    fn features(seed: usize) -> Vec<f32> {
        let values = (0..GRID.0 * GRID.1 * WIDTH).map(|i| (i + 1) * (7919 + 2 * seed) % 1_000_003);
        values.map(|value| (value as f32).sin()).collect()
    }

    fn settings() -> Settings {
        Settings {
            topk: 5,
            keep_ties: false,
            temperature: 0.7,
            neighborhood: Neighborhood { shape: Shape::Circle, radius: 4.5 },
            restrict_first: false,
            queue: 2,
            padded: false,
        }
    }

    #[test]
    fn every_instruction_set_finds_the_nearest() {
        let frames = [1, 2, 3].map(|seed| Frame { features: features(seed), labels: Vec::new() });
        let source = |at: usize| {
            let free = usize::from(at == 0);
            Source { frame: &frames[at], free, near: 1 - free }
        };
        let (query, settings) = (features(0), settings());
        let sources = [source(0), source(1), source(2)];
        // more queries than any panel takes, and no multiple of one
        let cells = order(GRID);
        for arch in every_arch() {
            let search = Search { arch, ..Search::new(&query, &sources, GRID, &settings) };
            for (found, &cell) in search.nearest(&cells).iter().zip(&cells) {
                let mut wanted = Vec::new();
                for source in &sources {
                    for &key in &search.lines {
                        let pairs = search.feature(&query, cell).iter();
                        let pairs = pairs.zip(search.feature(&source.frame.features, key));
                        if source.free > 0 || search.near(cell, key) {
                            wanted.push(pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum());
                        }
                    }
                }
                wanted.sort_by(|a: &f64, b| b.total_cmp(a));
                let found: Vec<f64> =
                    found.weights(1.0).map(|(key, _)| f64::from(key.score)).collect();
                assert_eq!(found.len(), settings.topk);
                for (found, wanted) in found.iter().zip(&wanted) {
                    // ten roundings of sums up to 10
                    assert!((found - wanted).abs() < 1e-5, "{arch:?} {cell:?}: {found} {wanted}");
                }
            }
        }
    }

    #[test]
    fn tasks_are_the_whole_grid_and_small_at_the_end() {
        let order = order((30, 55));
        let mut mixed = vec![0.0; 3 * order.len()];
        let tasks = share_out(&order, &mut mixed, 32, 3);
        assert!(tasks.iter().all(|(cells, mixed)| mixed.len() == 3 * cells.len()));
        let sizes: Vec<usize> = tasks.iter().map(|(cells, _)| cells.len().div_ceil(32)).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b) && sizes.ends_with(&[1, 1]), "{sizes:?}");
        assert_eq!(tasks.iter().flat_map(|(cells, _)| *cells).copied().collect::<Vec<_>>(), order);
    }

    #[test]
    fn labels_do_not_depend_on_the_number_of_threads() {
        let values = (0..GRID.0 * GRID.1 * 2).map(|i| (i * 7 % 11) as f32).collect();
        let labels = LabelMap { grid: GRID, channels: 2, values };
        let frame = Frame::from_query(features(1), &labels);
        let sources = [Source { frame: &frame, free: 1, near: 2 }];
        let soft = [1, 2, 5].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| propagate(&features(0), &sources, GRID, 2, &settings()))
        });
        assert!(soft[0] == soft[1] && soft[0] == soft[2]);
    }
}
