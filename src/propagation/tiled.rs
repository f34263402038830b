//! The affinity on the CPU: tiles of products, a running top-k, nothing stored that is not needed.
//!
//! Cells are kept in the order of the grid's longer axis, so that the cells within reach of a band
//! of queries are one contiguous range of keys: what lies outside the radius along that axis is
//! never multiplied. A tile of scores stays in the cache, is scanned for the k nearest and
//! overwritten by the next one; the affinity matrix of a frame never exists.

use candle_core::Tensor;
use rayon::prelude::*;

use super::context::Source;
use super::nearest::Nearest;
use super::{LabelMap, Settings};
use crate::error::Result;
use crate::product::{View, product};

/// Queries in a tile, about: whole lines are taken.
const QUERIES_AT_ONCE: usize = 128;
/// Keys in a tile, about: 128 × 1024 scores are half a megabyte, which stays in the cache.
const KEYS_AT_ONCE: usize = 1024;

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
    let order = Order::of(grid);
    let width = query.len() / (order.lines * order.cells);
    let reach: Vec<usize> =
        (0..order.lines).map_while(|offset| settings.neighborhood.half_width(offset)).collect();
    let lines = (QUERIES_AT_ONCE / order.cells).clamp(1, order.lines);
    let mut labels = vec![0.0; order.lines * order.cells * channels];
    labels.par_chunks_mut(lines * order.cells * channels).enumerate().for_each(|(index, out)| {
        let band = Band { order, first: index * lines, width, reach: &reach };
        let nearest = band.search(query, out.len() / channels, sources, settings);
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

/// A band of consecutive query lines.
struct Band<'a> {
    order: Order,
    /// Its first line.
    first: usize,
    /// Width of a feature.
    width: usize,
    /// Half-widths of the neighbourhood by distance in lines.
    reach: &'a [usize],
}

impl Band<'_> {
    fn search(
        &self,
        query: &[f32],
        queries: usize,
        sources: &[Source<'_, Frame>],
        settings: &Settings,
    ) -> Vec<Nearest> {
        let mut nearest = vec![Nearest::new(settings.topk, settings.keep_ties); queries];
        let cells = self.order.cells;
        let query = &query[self.first * cells * self.width..][..queries * self.width];
        let mut scores = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let (from, to) = self.lines_in_reach(queries / cells, source.free > 0);
            for from in (from..to).step_by((KEYS_AT_ONCE / cells).max(1)) {
                let lines = (KEYS_AT_ONCE / cells).max(1).min(to - from);
                let keys = &source.frame.features[from * cells * self.width..]
                    [..lines * cells * self.width];
                let width = self.width;
                scores.resize(queries * lines * cells, 0.0);
                product(
                    &mut scores,
                    View::rows(query, queries, width, width),
                    View::rows(keys, lines * cells, width, width).transposed(),
                    1.0,
                );
                let tile = scores.chunks_exact(lines * cells);
                for (cell, (nearest, scores)) in nearest.iter_mut().zip(tile).enumerate() {
                    self.scan(nearest, cell, scores, from, index as u32, source);
                }
            }
        }
        nearest
    }

    /// The lines of keys that this band of `count` lines can see.
    fn lines_in_reach(&self, count: usize, everywhere: bool) -> (usize, usize) {
        if everywhere {
            return (0, self.order.lines);
        }
        let reach = self.reach.len().saturating_sub(1);
        let to = (self.first + count + reach).min(self.order.lines);
        (self.first.saturating_sub(reach), to)
    }

    /// Offers one query its scores with the keys of the lines beginning at `from`.
    fn scan(
        &self,
        nearest: &mut Nearest,
        cell: usize,
        scores: &[f32],
        from: usize,
        index: u32,
        source: &Source<'_, Frame>,
    ) {
        let cells = self.order.cells;
        let (line, place) = (self.first + cell / cells, cell % cells);
        for (offset, scores) in scores.chunks_exact(cells).enumerate() {
            let key_line = from + offset;
            let window = match self.reach.get(line.abs_diff(key_line)) {
                Some(half) => (place.saturating_sub(*half), (place + half + 1).min(cells)),
                None => (0, 0),
            };
            let mut part = |from: usize, to: usize, copies: usize| {
                if copies > 0 && from < to {
                    nearest.scan(&scores[from..to], index, key_line * cells + from, copies);
                }
            };
            part(0, window.0, source.free);
            part(window.0, window.1, source.free + source.near);
            part(window.1, cells, source.free);
        }
    }
}
