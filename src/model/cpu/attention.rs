//! Softmax attention, a panel of queries at a time.
//!
//! The scores of a panel with all keys are one column a query: they come out of registers, become
//! exponentials in the cache and are multiplied with the values from there, so that no more than
//! (keys × panel) of them exist on a core. Queries and keys are read where the projection left them.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::workers::{self, Worker};
use crate::elementwise::lanes;
use crate::product::packed::{
    Aligned, Sizes, VECTORS, rows_of, tile, tile_rows, vectors, vectors_mut,
};

/// Keys whose exponentials are summed up before they join the total: long sums lose digits.
const KEYS_AT_ONCE: usize = 64;

/// The sizes of a batch of sequences.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequences {
    /// Images.
    pub(super) batch: usize,
    /// Tokens of an image (N).
    pub(super) tokens: usize,
    /// Heads.
    pub(super) heads: usize,
    /// Channels of a head.
    pub(super) head_width: usize,
}

impl Sequences {
    /// Channels of a token (D).
    fn width(self) -> usize {
        self.heads * self.head_width
    }

    /// Tokens of the whole batch.
    pub(super) fn rows(self) -> usize {
        self.batch * self.tokens
    }
}

/// Attention over `qkv` [B, N, 3·D], whose channels are queries, keys and values, each head by
/// head, into `mixed` [B, heads, N, head width]. `values` is room to rearrange the values in.
pub(super) fn attend(
    arch: Arch,
    qkv: &[f32],
    sizes: Sequences,
    values: &mut Aligned,
    workers: &mut [Worker],
    mixed: &mut [f32],
) {
    let Sequences { tokens, heads, head_width, .. } = sizes;
    let tile = Sizes::of(arch);
    // blocks of as many channels as a tile has rows, the last one filled up with zeros
    let packed = head_width.div_ceil(tile.rows) * tile.rows * tokens;
    values.resize(sizes.batch * heads * packed);
    values.values_mut().par_chunks_mut(packed).enumerate().for_each(|(head, blocks)| {
        pack_values(Head { qkv, sizes, head }, tile.rows, blocks);
    });
    let values = values.values();
    let panels = mixed.chunks_mut(tokens * head_width).enumerate().flat_map(|(head, mixed)| {
        let panels = mixed.chunks_mut(tile.columns * head_width).enumerate();
        panels.map(move |(panel, mixed)| (head, panel * tile.columns, mixed))
    });
    workers::share(workers, panels, |worker, (head, first, mixed)| {
        let values = &values[head * packed..][..packed];
        let head = Head { qkv, sizes, head };
        arch.dispatch(Attend { head, values, first, worker, mixed });
    });
}

/// The queries, keys and values of one head of one image.
#[derive(Clone, Copy)]
struct Head<'a> {
    qkv: &'a [f32],
    sizes: Sequences,
    /// Counted through the batch.
    head: usize,
}

impl<'a> Head<'a> {
    /// Values between one token's and the next one's.
    fn stride(self) -> usize {
        3 * self.sizes.width()
    }

    /// From the first token's queries (0), keys (1) or values (2) of this head to the last token's.
    fn part(self, which: usize) -> &'a [f32] {
        let Sequences { tokens, heads, head_width, .. } = self.sizes;
        let (image, head) = (self.head / heads, self.head % heads);
        let start = image * tokens * self.stride() + which * self.sizes.width() + head * head_width;
        &self.qkv[start..][..(tokens - 1) * self.stride() + head_width]
    }
}

/// The values of a head as blocks of `channels` channels: [blocks, tokens, channels].
fn pack_values(head: Head<'_>, channels: usize, blocks: &mut [f32]) {
    let tokens = head.sizes.tokens;
    for (token, values) in head.part(2).chunks(head.stride()).enumerate() {
        let values = &values[..head.sizes.head_width];
        for (block, values) in values.chunks(channels).enumerate() {
            let row = &mut blocks[(block * tokens + token) * channels..][..channels];
            row[..values.len()].copy_from_slice(values);
            row[values.len()..].fill(0.0);
        }
    }
}

/// A panel of queries from the `first`-th on, into their rows of `mixed`.
struct Attend<'a> {
    head: Head<'a>,
    values: &'a [f32],
    first: usize,
    worker: &'a mut Worker,
    mixed: &'a mut [f32],
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match tile_rows::<S>() {
            8 => self.run::<S, 8>(simd),
            _ => self.run::<S, 4>(simd),
        }
    }
}

impl Attend<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, simd: S) {
        let Self { head, values, first, worker, mixed } = self;
        let Sequences { tokens, head_width, .. } = head.sizes;
        let columns = VECTORS * S::F32_LANES;
        let Worker { queries, scores, mixture, .. } = worker;
        queries.resize(head_width * columns);
        arrange_queries(head, first, queries.values_mut(), columns);
        scores.resize(tokens * columns);
        let scores = vectors_mut::<S>(scores.values_mut());
        let queries = vectors::<S>(queries.values());
        let largest = score::<S, ROWS>(simd, head, queries, scores);
        let totals = exponentials(simd, scores, largest);

        mixture.resize(values.len() / tokens * columns);
        let blocks = values.chunks_exact(tokens * ROWS);
        let sums = vectors_mut::<S>(mixture.values_mut()).chunks_exact_mut(ROWS);
        for (values, out) in blocks.zip(sums) {
            let values = &values.as_chunks::<ROWS>().0[..scores.len()];
            let sums = tile::<S, ROWS>(
                simd,
                scores,
                #[inline(always)]
                |key, row| values[key][row],
            );
            for (out, sums) in out.iter_mut().zip(sums) {
                for ((out, sum), total) in out.iter_mut().zip(sums).zip(totals) {
                    *out = simd.div_f32s(sum, total);
                }
            }
        }
        for (query, mixed) in mixed.chunks_exact_mut(head_width).enumerate() {
            for (out, line) in mixed.iter_mut().zip(mixture.values().chunks_exact(columns)) {
                *out = line[query];
            }
        }
    }
}

/// A panel's queries as columns, times what makes powers of two of their products with keys
/// probabilities. Columns beyond the last query are zero.
#[inline(always)]
fn arrange_queries(head: Head<'_>, first: usize, panel: &mut [f32], columns: usize) {
    let scale = (head.sizes.head_width as f32).powf(-0.5) * std::f32::consts::LOG2_E;
    panel.fill(0.0);
    let rows = head.part(0).chunks(head.stride()).skip(first).take(columns);
    for (column, row) in rows.enumerate() {
        for (line, value) in panel.chunks_exact_mut(columns).zip(row) {
            line[column] = value * scale;
        }
    }
}

/// A panel's scores with every key, one row a key; returns the largest of each query.
#[inline(always)]
fn score<S: Simd, const ROWS: usize>(
    simd: S,
    head: Head<'_>,
    queries: &[[S::f32s; VECTORS]],
    scores: &mut [[S::f32s; VECTORS]],
) -> [S::f32s; VECTORS] {
    let (keys, depth) = (head.part(1), head.sizes.head_width);
    let mut largest = [simd.splat_f32s(f32::NEG_INFINITY); VECTORS];
    for (block, scores) in scores.chunks_mut(ROWS).enumerate() {
        let rows: [&[f32]; ROWS] = rows_of(keys, block * ROWS, head.stride(), depth);
        let queries = &queries[..depth];
        let sums = tile::<S, ROWS>(
            simd,
            queries,
            #[inline(always)]
            |p, row| rows[row][p],
        );
        for (score, sums) in scores.iter_mut().zip(&sums) {
            *score = *sums;
            for (largest, sum) in largest.iter_mut().zip(sums) {
                *largest = simd.max_f32s(*largest, *sum);
            }
        }
    }
    largest
}

/// Makes powers of two of the scores less their query's largest; returns the sums.
#[inline(always)]
fn exponentials<S: Simd>(
    simd: S,
    scores: &mut [[S::f32s; VECTORS]],
    largest: [S::f32s; VECTORS],
) -> [S::f32s; VECTORS] {
    let mut totals = [simd.splat_f32s(0.0); VECTORS];
    for scores in scores.chunks_mut(KEYS_AT_ONCE) {
        let mut sums = [simd.splat_f32s(0.0); VECTORS];
        for row in scores {
            for ((score, largest), sum) in row.iter_mut().zip(&largest).zip(&mut sums) {
                *score = lanes::exp2(simd, simd.sub_f32s(*score, *largest));
                *sum = simd.add_f32s(*sum, *score);
            }
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = simd.add_f32s(*total, sum);
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::lanes::every_arch;

    /// Softmax attention of one query in f64: [head width].
    fn by_hand(head: Head<'_>, query: usize) -> Vec<f64> {
        let width = head.sizes.head_width;
        let row = |which: usize, token: usize| -> Vec<f64> {
            let values = &head.part(which)[token * head.stride()..][..width];
            values.iter().map(|value| f64::from(*value)).collect()
        };
        let tokens = 0..head.sizes.tokens;
        let weights: Vec<f64> = tokens
            .map(|key| {
                let pairs = row(0, query).into_iter().zip(row(1, key));
                (pairs.map(|(a, b)| a * b).sum::<f64>() / (width as f64).sqrt()).exp()
            })
            .collect();
        let total: f64 = weights.iter().sum();
        let mut mixed = vec![0.0; width];
        for (key, weight) in weights.iter().enumerate() {
            let values = row(2, key);
            mixed.iter_mut().zip(values).for_each(|(out, value)| *out += weight / total * value);
        }
        mixed
    }

    #[test]
    fn attention_is_its_definition() {
        // heads of 10 channels: no multiple of a tile's rows; tokens of none of its columns
        let sizes = Sequences { batch: 2, tokens: 131, heads: 3, head_width: 10 };
        let count = sizes.rows() * 3 * sizes.width();
        let qkv: Vec<f32> = (0..count).map(|i| 2.0 * ((i * 7919 % 1009) as f32).sin()).collect();
        for arch in every_arch() {
            let mut workers = workers::hire();
            let mut mixed = vec![0.0; sizes.rows() * sizes.width()];
            // twice: what the first call leaves behind must not matter to the second
            let mut values = Aligned::default();
            attend(arch, &qkv, sizes, &mut values, &mut workers, &mut mixed);
            attend(arch, &qkv, sizes, &mut values, &mut workers, &mut mixed);
            for (index, mixed) in mixed.chunks_exact(sizes.head_width).enumerate() {
                let head = Head { qkv: &qkv, sizes, head: index / sizes.tokens };
                let wanted = by_hand(head, index % sizes.tokens);
                for (out, wanted) in mixed.iter().zip(wanted) {
                    // scores up to 13 are off by 1e-6; means of 131 values up to 2
                    assert!((f64::from(*out) - wanted).abs() < 5e-6, "{out} {wanted}");
                }
            }
        }
    }

    #[test]
    fn nan_is_not_hidden() {
        let sizes = Sequences { batch: 1, tokens: 5, heads: 1, head_width: 8 };
        let mut qkv = vec![0.5; sizes.rows() * 3 * sizes.width()];
        qkv[2 * 24 + 8] = f32::NAN; // a key of the third token
        for arch in every_arch() {
            let mut mixed = vec![0.0; 40];
            let workers = &mut [Worker::default()];
            attend(arch, &qkv, sizes, &mut Aligned::default(), workers, &mut mixed);
            assert!(mixed.iter().all(|value| value.is_nan()));
        }
    }
}
