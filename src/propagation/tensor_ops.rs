//! The affinity in candle's tensor operations: for what `fused` cannot do, and as a check of it.
//!
//! One context frame at a time is multiplied with a block of queries; its k best keys are found by
//! k rounds of argmax and merged with those of the frames before, so that only one block of scores
//! exists at a time. candle's own sort cannot be used: it needs a row in shared memory.

use candle_core::{D, DType, Tensor};

use super::context::Source;
use super::{LabelMap, Settings};
use crate::error::Result;

/// Queries multiplied at once: with 6,600 keys (patch 8) a block of scores is 54 MB.
const QUERIES_AT_ONCE: usize = 2048;
/// What a key outside the neighbourhood scores. Finite, so that differences stay numbers.
const OUTSIDE: f32 = -1e10;

/// A context frame on its device.
#[derive(Debug)]
pub(super) struct Frame {
    /// [h·w, D]
    pub(super) features: Tensor,
    /// [h·w, C]
    pub(super) labels: Tensor,
}

impl Frame {
    pub(super) fn new(features: &Tensor, labels: &LabelMap) -> Result<Self> {
        let shape = (labels.grid.0 * labels.grid.1, labels.channels);
        let labels = Tensor::from_slice(&labels.values, shape, features.device())?;
        Ok(Self { features: features.clone(), labels })
    }
}

/// A context frame in one of its roles.
struct Role<'a> {
    frame: &'a Frame,
    copies: usize,
    restricted: bool,
}

/// Soft labels [h·w, C] of the frame with these features [h·w, D].
pub(super) fn propagate(
    query: &Tensor,
    sources: &[Source<'_, Frame>],
    grid: (usize, usize),
    settings: &Settings,
) -> Result<Tensor> {
    let roles: Vec<Role<'_>> = sources
        .iter()
        .flat_map(|source| [(source.free, false), (source.near, true)].map(|role| (source, role)))
        .filter(|(_, (copies, _))| *copies > 0)
        .map(|(source, (copies, restricted))| Role { frame: source.frame, copies, restricted })
        .collect();
    let cells = grid.0 * grid.1;
    let mut blocks = Vec::new();
    for start in (0..cells).step_by(QUERIES_AT_ONCE) {
        let count = QUERIES_AT_ONCE.min(cells - start);
        let block = Block {
            query: query.narrow(0, start, count)?.contiguous()?,
            penalty: penalty(start, count, grid, settings, query)?,
        };
        let best = block.nearest(&roles, settings.topk)?;
        blocks.push(match settings.keep_ties {
            true => block.mix_ties(&roles, &best, settings)?,
            false => mix(&roles, &best, settings)?,
        });
    }
    Ok(Tensor::cat(&blocks, 0)?)
}

/// What is added to the scores [count, h·w] of queries from `start` on: 0 inside the
/// neighbourhood, [`OUTSIDE`] elsewhere.
fn penalty(
    start: usize,
    count: usize,
    (height, width): (usize, usize),
    settings: &Settings,
    like: &Tensor,
) -> Result<Tensor> {
    let reach: Vec<Option<usize>> =
        (0..height).map(|offset| settings.neighborhood.half_width(offset)).collect();
    let mut values = vec![OUTSIDE; count * height * width];
    for (row, values) in values.chunks_exact_mut(height * width).enumerate() {
        let (y, x) = ((start + row) / width, (start + row) % width);
        for (key_y, values) in values.chunks_exact_mut(width).enumerate() {
            if let Some(half) = reach[y.abs_diff(key_y)] {
                values[x.saturating_sub(half)..(x + half + 1).min(width)].fill(0.0);
            }
        }
    }
    Ok(Tensor::from_vec(values, (count, height * width), like.device())?)
}

/// A block of queries.
struct Block {
    query: Tensor,
    penalty: Tensor,
}

/// The k best keys of each query, best first: scores [Q, k] and ids role·h·w + cell [Q, k].
struct Best {
    scores: Tensor,
    ids: Tensor,
}

impl Best {
    /// How often each of the keys counts, and how often those before it do together, both [Q, k].
    fn copies(&self, roles: &[Role<'_>]) -> Result<(Tensor, Tensor)> {
        let cells = roles[0].frame.labels.dim(0)?;
        let copies: Vec<f32> =
            roles.iter().flat_map(|role| std::iter::repeat_n(role.copies as f32, cells)).collect();
        let copies = Tensor::from_vec(copies, roles.len() * cells, self.ids.device())?;
        let copies = copies.index_select(&self.ids.flatten_all()?, 0)?.reshape(self.ids.shape())?;
        let before = (copies.cumsum(1)? - &copies)?;
        Ok((copies, before))
    }
}

impl Block {
    fn scores(&self, role: &Role<'_>) -> Result<Tensor> {
        let scores = self.query.matmul(&role.frame.features.t()?)?;
        Ok(if role.restricted { (scores + &self.penalty)? } else { scores })
    }

    fn nearest(&self, roles: &[Role<'_>], topk: usize) -> Result<Best> {
        let mut best: Option<Best> = None;
        for (index, role) in roles.iter().enumerate() {
            let found = top(self.scores(role)?, topk, index)?;
            best = Some(match best {
                None => found,
                Some(best) => merge(&best, &found, topk)?,
            });
        }
        // A context always holds frame 0.
        best.ok_or_else(|| candle_core::Error::Msg("empty context".into()).bt().into())
    }

    /// Labels where all keys as close as the k-th count: a second pass over the scores, weighing
    /// those that reach it.
    fn mix_ties(&self, roles: &[Role<'_>], best: &Best, settings: &Settings) -> Result<Tensor> {
        // copies count: a key of many may be the k-th by itself
        let (_, before) = best.copies(roles)?;
        let needed = before.lt(settings.topk as f64)?;
        let none = Tensor::full(f32::INFINITY, needed.shape(), needed.device())?;
        let last = needed.where_cond(&best.scores, &none)?.min_keepdim(1)?;
        let first = best.scores.narrow(1, 0, 1)?;
        let (mut labels, mut total) = (Vec::new(), Vec::new());
        for role in roles {
            let scores = self.scores(role)?;
            let weights = (scores.broadcast_sub(&first)? / settings.temperature)?.exp()?;
            let reach = scores.broadcast_ge(&last)?.to_dtype(DType::F32)?;
            let weights = (weights.mul(&reach)? * role.copies as f64)?;
            labels.push(weights.matmul(&role.frame.labels)?);
            total.push(weights.sum_keepdim(1)?);
        }
        Ok(sum(&labels)?.broadcast_div(&sum(&total)?)?)
    }
}

fn sum(parts: &[Tensor]) -> Result<Tensor> {
    Ok(Tensor::stack(parts, 0)?.sum(0)?)
}

/// The k largest of each row by k rounds of argmax.
fn top(scores: Tensor, topk: usize, role: usize) -> Result<Best> {
    let (rows, columns) = scores.dims2()?;
    let taken = Tensor::full(f32::NEG_INFINITY, (rows, 1), scores.device())?;
    let (mut values, mut ids) = (Vec::new(), Vec::new());
    for _ in 0..topk.min(columns) {
        let id = scores.argmax_keepdim(D::Minus1)?;
        values.push(scores.gather(&id, 1)?);
        scores.scatter_set(&id, &taken, 1)?;
        ids.push(id);
    }
    let ids = Tensor::cat(&ids, 1)?;
    let offset = Tensor::full((role * columns) as u32, ids.shape(), ids.device())?;
    Ok(Best { scores: Tensor::cat(&values, 1)?, ids: (ids + offset)? })
}

fn merge(one: &Best, other: &Best, topk: usize) -> Result<Best> {
    let scores = Tensor::cat(&[&one.scores, &other.scores], 1)?;
    let ids = Tensor::cat(&[&one.ids, &other.ids], 1)?;
    let order = scores.arg_sort_last_dim(false)?.narrow(1, 0, topk.min(scores.dim(1)?))?;
    let order = order.contiguous()?;
    Ok(Best { scores: scores.gather(&order, 1)?, ids: ids.gather(&order, 1)? })
}

/// Labels by the softmax over the k best, copies counted, no more than k in all.
fn mix(roles: &[Role<'_>], best: &Best, settings: &Settings) -> Result<Tensor> {
    let (queries, kept) = best.ids.dims2()?;
    let ids = best.ids.flatten_all()?;
    let (copies, before) = best.copies(roles)?;
    let room = before.affine(-1.0, settings.topk as f64)?.maximum(0.0)?;
    let first = best.scores.narrow(1, 0, 1)?;
    let weights = (best.scores.broadcast_sub(&first)? / settings.temperature)?.exp()?;
    let weights = weights.mul(&copies.minimum(&room)?)?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(1)?)?;
    let labels: Vec<&Tensor> = roles.iter().map(|role| &role.frame.labels).collect();
    let labels = Tensor::cat(&labels, 0)?.index_select(&ids, 0)?;
    let channels = labels.dim(1)?;
    let labels = labels.reshape((queries, kept, channels))?;
    Ok(weights.unsqueeze(1)?.matmul(&labels)?.squeeze(1)?)
}
