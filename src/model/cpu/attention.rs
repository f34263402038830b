//! Softmax attention, a panel of queries at a time.
//!
//! The scores of a panel with some keys, one column per query, are computed in registers, become
//! exponentials in the innermost cache and are multiplied with the values from there; then the next
//! keys follow. The largest score so far is subtracted, and when it grows the earlier sums are
//! scaled down (Milakov and Gimelshein 2018; Dao et al. 2022). So a core never holds more scores
//! than that, however long the sequence.

use pulp::{Arch, Simd};

use super::workers::{self, Worker};
use crate::elementwise::lanes;
use crate::product::packed::{
    Aligned, Sizes, Tiled, VECTORS, dispatch, tile, tile_onto, vectors, vectors_mut,
};

/// Keys that a panel of queries meets at a time: their scores stay in the innermost cache. A
/// multiple of the rows of any tile.
const KEYS_AT_ONCE: usize = 96;

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
/// head, into `mixed` [B, heads, N, head width]. `memory` is room to rearrange keys and values in.
pub(super) fn attend(
    arch: Arch,
    qkv: &[f32],
    sizes: Sequences,
    memory: &mut Aligned,
    workers: &mut [Worker],
    mixed: &mut [f32],
) {
    let Sequences { batch, tokens, heads, head_width } = sizes;
    let tile = Sizes::of(arch);
    let token = head_width + head_width.next_multiple_of(tile.rows);
    let each = tokens.next_multiple_of(tile.rows) * token;
    memory.resize(batch * heads * each);
    let parts = memory.values_mut().chunks_mut(each).enumerate();
    let parts = parts.flat_map(|(head, memory)| {
        let parts = memory.chunks_mut(KEYS_AT_ONCE * token).enumerate();
        parts.map(move |(part, memory)| (head, part * KEYS_AT_ONCE, memory))
    });
    workers::share(workers, parts, |_, (head, first, memory)| {
        let head = Head { qkv, sizes, head };
        dispatch(arch, Remember { head, first, memory });
    });
    let memory = memory.values();
    let panels = mixed.chunks_mut(tokens * head_width).enumerate().flat_map(|(head, mixed)| {
        let panels = mixed.chunks_mut(tile.columns * head_width).enumerate();
        panels.map(move |(panel, mixed)| (head, panel * tile.columns, mixed))
    });
    workers::share(workers, panels, |worker, (head, first, mixed)| {
        let memory = &memory[head * each..][..each];
        let head = Head { qkv, sizes, head };
        dispatch(arch, Attend { head, memory, first, worker, mixed });
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

/// Lays keys and values of some of a head's tokens, from the `first`-th on, as tiles meet them: the
/// keys as blocks of `ROWS` tokens, [blocks, head width, ROWS], then the values as blocks of `ROWS`
/// channels, [blocks, tokens, ROWS]. What fills up the last blocks is not looked at.
struct Remember<'a> {
    head: Head<'a>,
    first: usize,
    memory: &'a mut [f32],
}

impl Tiled for Remember<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, _: S) {
        let Self { head, first, memory } = self;
        let (width, stride) = (head.sizes.head_width, head.stride());
        let count = memory.len() / (width + width.next_multiple_of(ROWS));
        let (keys, values) = memory.as_chunks_mut::<ROWS>().0.split_at_mut(count * width / ROWS);
        let rows = |which: usize| head.part(which)[first * stride..].chunks(stride).take(count);
        for (token, key) in rows(1).enumerate() {
            let block = keys[token / ROWS * width..][..width].iter_mut();
            block.zip(key).for_each(|(line, value)| line[token % ROWS] = *value);
        }
        for (token, value) in rows(2).enumerate() {
            let (whole, rest) = value[..width].as_chunks::<ROWS>();
            let mut blocks = values[token..].iter_mut().step_by(count);
            for (value, block) in whole.iter().zip(blocks.by_ref()) {
                *block = *value;
            }
            if let Some(block) = blocks.next() {
                block[..rest.len()].copy_from_slice(rest);
            }
        }
    }
}

/// A panel of queries from the `first`-th on, into their rows of `mixed`.
struct Attend<'a> {
    head: Head<'a>,
    /// What [`Remember`] made of all the head's tokens.
    memory: &'a [f32],
    first: usize,
    worker: &'a mut Worker,
    mixed: &'a mut [f32],
}

impl Tiled for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, simd: S) {
        let Self { head, memory, first, worker, mixed } = self;
        let head_width = head.sizes.head_width;
        let (columns, channels) = (VECTORS * S::F32_LANES, head_width.next_multiple_of(ROWS));
        let Worker { queries, scores, mixture, .. } = worker;
        queries.resize(head_width * columns);
        arrange_queries(head, first, queries.values_mut(), columns);
        let queries = vectors::<S>(queries.values());
        scores.resize(KEYS_AT_ONCE * columns);
        mixture.resize(channels * columns);
        mixture.values_mut().fill(0.0);
        let mut softmax = Softmax::<S>::new(simd);
        let mut left = head.sizes.tokens;
        for memory in memory.chunks(KEYS_AT_ONCE * (head_width + channels)) {
            let count = memory.len() / (head_width + channels);
            let (keys, values) = memory.as_chunks::<ROWS>().0.split_at(count * head_width / ROWS);
            let scores = &mut vectors_mut::<S>(scores.values_mut())[..count];
            score(simd, keys, queries, scores.as_chunks_mut::<ROWS>().0);
            let scores = &mut scores[..count.min(left)];
            left -= scores.len();
            let factors = softmax.take(simd, scores);
            let blocks = values.chunks_exact(count);
            let sums = vectors_mut::<S>(mixture.values_mut()).chunks_exact_mut(ROWS);
            for (values, sums) in blocks.zip(sums) {
                mix::<S, ROWS>(simd, scores, values, factors, sums);
            }
        }
        for sums in vectors_mut::<S>(mixture.values_mut()) {
            for (sum, total) in sums.iter_mut().zip(softmax.totals) {
                *sum = simd.div_f32s(*sum, total);
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
    let Sequences { tokens, head_width, .. } = head.sizes;
    let scale = (head_width as f32).powf(-0.5) * std::f32::consts::LOG2_E;
    let queries = &head.part(0)[first * head.stride()..];
    let count = columns.min(tokens - first);
    // channel by channel: the first one fetches all queries at once
    for (channel, line) in panel.chunks_exact_mut(columns).enumerate() {
        let (line, rest) = line.split_at_mut(count);
        let values = queries[channel..].iter().step_by(head.stride());
        line.iter_mut().zip(values).for_each(|(out, value)| *out = value * scale);
        rest.fill(0.0);
    }
}

/// A panel's scores with some keys, one row a key.
#[inline(always)]
fn score<S: Simd, const ROWS: usize>(
    simd: S,
    keys: &[[f32; ROWS]],
    queries: &[[S::f32s; VECTORS]],
    scores: &mut [[[S::f32s; VECTORS]; ROWS]],
) {
    for (keys, scores) in keys.chunks_exact(queries.len()).zip(scores) {
        *scores = tile(
            simd,
            queries,
            #[inline(always)]
            |channel, row| keys[channel][row],
        );
    }
}

/// The softmax of a panel's queries over the keys met so far.
struct Softmax<S: Simd> {
    /// Their largest scores.
    largest: [S::f32s; VECTORS],
    /// The sums of two to the scores less the largest.
    totals: [S::f32s; VECTORS],
}

impl<S: Simd> Softmax<S> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let largest = [simd.splat_f32s(f32::NEG_INFINITY); VECTORS];
        Self { largest, totals: [simd.splat_f32s(0.0); VECTORS] }
    }

    /// Makes powers of two of the scores of the next keys and adds them up. Returns what all that
    /// was summed up before must be multiplied by.
    #[inline(always)]
    fn take(&mut self, simd: S, scores: &mut [[S::f32s; VECTORS]]) -> [S::f32s; VECTORS] {
        let before = self.largest;
        // a pass of its own: carried through the products, the largest would cost them registers
        for row in scores.iter() {
            for (largest, score) in self.largest.iter_mut().zip(row) {
                *largest = simd.max_f32s(*largest, *score);
            }
        }
        let mut factors = self.totals;
        for ((factor, before), largest) in factors.iter_mut().zip(before).zip(self.largest) {
            *factor = lanes::exp2(simd, simd.sub_f32s(before, largest));
        }
        let mut sums = [simd.splat_f32s(0.0); VECTORS];
        for row in scores {
            for ((score, largest), sum) in row.iter_mut().zip(&self.largest).zip(&mut sums) {
                *score = lanes::exp2(simd, simd.sub_f32s(*score, *largest));
                *sum = simd.add_f32s(*sum, *score);
            }
        }
        for ((total, factor), sum) in self.totals.iter_mut().zip(factors).zip(sums) {
            *total = simd.mul_add_e_f32s(*total, factor, sum);
        }
        factors
    }
}

/// Adds the mixture of some keys' values to that of the keys before, channel by channel.
#[inline(always)]
fn mix<S: Simd, const ROWS: usize>(
    simd: S,
    weights: &[[S::f32s; VECTORS]],
    values: &[[f32; ROWS]],
    factors: [S::f32s; VECTORS],
    mixture: &mut [[S::f32s; VECTORS]],
) {
    let mut before = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (before, sums) in before.iter_mut().zip(mixture.iter()) {
        for ((before, sum), factor) in before.iter_mut().zip(sums).zip(factors) {
            *before = simd.mul_f32s(*sum, factor);
        }
    }
    let values = &values[..weights.len()];
    let sums = tile_onto::<S, ROWS>(
        simd,
        before,
        weights,
        #[inline(always)]
        |key, row| values[key][row],
    );
    mixture.copy_from_slice(&sums);
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
            let mut memory = Aligned::default();
            attend(arch, &qkv, sizes, &mut memory, &mut workers, &mut mixed);
            attend(arch, &qkv, sizes, &mut memory, &mut workers, &mut mixed);
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
