//! Softmax attention with a gradient: self-attention, and attention of queries over other tokens.
//!
//! The backward pass computes the probabilities of a head again, so that nothing of the size tokens
//! × tokens is stored.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::dropout::{Dropout, drawn};
#[cfg(feature = "cuda")]
use super::gpu;
use super::plain::plain;
use crate::autoencoder::tape::{Tape, Value};
use crate::elementwise::{dot, exponentials};
use crate::host::{ours, read, values};
use crate::product::{View, product};

/// Attention of tokens among themselves: `qkv` [B, N, 3·D], whose channels are queries, keys and
/// values, each head by head -> [B, N, D]. `drop` falls on the probabilities.
pub(in crate::autoencoder) fn attend(
    tape: &Tape,
    qkv: &Value,
    heads: usize,
    drop: Dropout,
) -> Result<Value> {
    #[cfg(feature = "cuda")]
    if gpu::takes(&qkv.tensor)
        && let Some(out) = gpu::attend(tape, qkv, heads, drop)?
    {
        return Ok(out);
    }
    if !ours(&qkv.tensor) {
        let (batch, tokens, width) = qkv.tensor.dims3()?;
        let factors = factors(&qkv.tensor, (batch, heads, tokens, tokens), drop)?;
        return plain(tape, [qkv], move |[qkv]| {
            let queries = qkv.narrow(D::Minus1, 0, width / 3)?;
            let memory = qkv.narrow(D::Minus1, width / 3, 2 * width / 3)?;
            by_tensors(&queries, &memory, heads, factors.as_ref())
        });
    }
    let op = Among { heads, drop };
    let tensor = qkv.tensor.contiguous()?;
    let out = tensor.apply_op1_no_bwd(&op)?;
    Ok(tape.push(out, &[qkv], move |gradient| Ok(vec![op.bwd(&tensor, &tensor, gradient)?])))
}

/// Attention of `queries` [B, N, D] over `memory` [B, M, 2·D], whose channels are keys and values
/// -> [B, N, D].
pub(in crate::autoencoder) fn attend_across(
    tape: &Tape,
    (queries, memory): (&Value, &Value),
    heads: usize,
    drop: Dropout,
) -> Result<Value> {
    #[cfg(feature = "cuda")]
    if gpu::takes(&queries.tensor)
        && let Some(out) = gpu::attend_across(tape, (queries, memory), heads, drop)?
    {
        return Ok(out);
    }
    if !ours(&queries.tensor) {
        let (batch, tokens, _) = queries.tensor.dims3()?;
        let shape = (batch, heads, tokens, memory.tensor.dim(1)?);
        let factors = factors(&queries.tensor, shape, drop)?;
        return plain(tape, [queries, memory], move |[queries, memory]| {
            by_tensors(queries, memory, heads, factors.as_ref())
        });
    }
    let op = Across { heads, drop };
    let (q, m) = (queries.tensor.contiguous()?, memory.tensor.contiguous()?);
    let out = q.apply_op2_no_bwd(&m, &op)?;
    Ok(tape.push(out, &[queries, memory], move |gradient| {
        let (of_queries, of_memory) = op.bwd(&q, &m, &q, gradient)?;
        Ok(vec![of_queries, of_memory])
    }))
}

/// What dropout multiplies probabilities of this shape by, where it is not our own kernels that
/// drop.
fn factors(
    like: &Tensor,
    shape: (usize, usize, usize, usize),
    drop: Dropout,
) -> Result<Option<Tensor>> {
    if !drop.drops() {
        return Ok(None);
    }
    drawn(&Tensor::zeros(shape, like.dtype(), like.device())?, drop).map(Some)
}

fn by_tensors(
    queries: &Tensor,
    memory: &Tensor,
    heads: usize,
    factors: Option<&Tensor>,
) -> Result<Tensor> {
    let (batch, tokens, width) = queries.dims3()?;
    let head_width = width / heads;
    let split = |xs: Tensor| {
        let shape = (batch, xs.dim(1)?, heads, head_width);
        xs.contiguous()?.reshape(shape)?.transpose(1, 2)?.contiguous()
    };
    let queries = (split(queries.clone())? * (head_width as f64).powf(-0.5))?;
    let keys = split(memory.narrow(D::Minus1, 0, width)?)?;
    let scores = queries.matmul(&keys.transpose(2, 3)?)?;
    let mut probabilities = candle_nn::ops::softmax(&scores, D::Minus1)?;
    if let Some(factors) = factors {
        probabilities = (probabilities * factors)?;
    }
    let mixed = probabilities.matmul(&split(memory.narrow(D::Minus1, width, width)?)?)?;
    mixed.transpose(1, 2)?.reshape((batch, tokens, width))
}

/// Where the parts of one kind lie: rows of `stride` values, one a token, the heads side by side
/// from `offset` on.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    tokens: usize,
    stride: usize,
    offset: usize,
}

impl<'a> Rows<'a> {
    fn head(self, image: usize, head: usize, width: usize) -> View<'a> {
        let start = image * self.tokens * self.stride + self.offset + head * width;
        View::rows(&self.values[start..], self.tokens, width, self.stride)
    }
}

/// One call: its operands and sizes.
#[derive(Clone, Copy)]
struct Call<'a> {
    queries: Rows<'a>,
    keys: Rows<'a>,
    values: Rows<'a>,
    batch: usize,
    heads: usize,
    head_width: usize,
    drop: Dropout,
}

impl<'a> Call<'a> {
    fn among(qkv: &'a [f32], (batch, tokens, width): (usize, usize, usize), op: &Among) -> Self {
        let part = |which| Rows { values: qkv, tokens, stride: width, offset: which * width / 3 };
        let head_width = width / 3 / op.heads;
        Self {
            queries: part(0),
            keys: part(1),
            values: part(2),
            batch,
            heads: op.heads,
            head_width,
            drop: op.drop,
        }
    }

    fn across(
        (queries, tokens): (&'a [f32], usize),
        (memory, others): (&'a [f32], usize),
        (batch, width): (usize, usize),
        op: &Across,
    ) -> Self {
        let part = |offset| Rows { values: memory, tokens: others, stride: 2 * width, offset };
        Self {
            queries: Rows { values: queries, tokens, stride: width, offset: 0 },
            keys: part(0),
            values: part(width),
            batch,
            heads: op.heads,
            head_width: width / op.heads,
            drop: op.drop,
        }
    }

    fn scale(&self) -> f32 {
        (self.head_width as f32).powf(-0.5)
    }

    /// Softmax of the scores of one head, before dropout: [queries, keys].
    fn probabilities(&self, task: usize, out: &mut [f32]) {
        let (image, head) = (task / self.heads, task % self.heads);
        let queries = self.queries.head(image, head, self.head_width);
        let keys = self.keys.head(image, head, self.head_width);
        product(out, queries, keys.transposed(), self.scale());
        for row in out.chunks_exact_mut(self.keys.tokens) {
            let share = 1.0 / exponentials(row);
            row.iter_mut().for_each(|value| *value *= share);
        }
    }

    /// [B, N, D].
    fn forward(&self) -> Vec<f32> {
        let (tokens, others, width) = (self.queries.tokens, self.keys.tokens, self.head_width);
        let mut mixed = vec![0.0; self.batch * self.heads * tokens * width];
        mixed.par_chunks_mut(tokens * width).enumerate().for_each_init(
            || vec![0.0; tokens * others],
            |scores, (task, mixed)| {
                self.probabilities(task, scores);
                self.drop.apply(scores, task * tokens * others);
                let values = self.values.head(task / self.heads, task % self.heads, width);
                product(mixed, View::rows(scores, tokens, others, others), values, 1.0);
            },
        );
        let mut out = vec![0.0; mixed.len()];
        let places = Places { tokens, stride: self.heads * width, offset: 0 };
        side_by_side(&mixed, (self.heads, width, tokens * width), 0, &mut out, places);
        out
    }

    /// The gradients of queries, keys and values, one head after the other:
    /// [B, heads, (queries, keys, values), tokens, head width].
    fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        let (tokens, others, width) = (self.queries.tokens, self.keys.tokens, self.head_width);
        let gradient = Rows { values: gradient, tokens, stride: self.heads * width, offset: 0 };
        let mut out = vec![0.0; self.batch * self.heads * (tokens + 2 * others) * width];
        out.par_chunks_mut((tokens + 2 * others) * width).enumerate().for_each_init(
            || [(); 3].map(|()| vec![0.0; tokens * others]),
            |[kept, dropped, of_scores], (task, out)| {
                let (image, head) = (task / self.heads, task % self.heads);
                let gradient = gradient.head(image, head, width);
                self.probabilities(task, kept);
                dropped.copy_from_slice(kept);
                self.drop.apply(dropped, task * tokens * others);
                let values = self.values.head(image, head, width);
                product(of_scores, gradient, values.transposed(), 1.0);
                self.drop.apply(of_scores, task * tokens * others);
                softmax_backward(kept, of_scores, others, self.scale());
                let (of_queries, rest) = out.split_at_mut(tokens * width);
                let (of_keys, of_values) = rest.split_at_mut(others * width);
                let scores = View::rows(of_scores, tokens, others, others);
                product(of_queries, scores, self.keys.head(image, head, width), 1.0);
                let queries = self.queries.head(image, head, width);
                product(of_keys, scores.transposed(), queries, 1.0);
                let dropped = View::rows(dropped, tokens, others, others);
                product(of_values, dropped.transposed(), gradient, 1.0);
            },
        );
        out
    }
}

/// Turns the gradient of probabilities into that of scores: scale · p · (g − Σ p·g).
fn softmax_backward(probabilities: &[f32], gradient: &mut [f32], columns: usize, scale: f32) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (p, g) in
                probabilities.chunks_exact(columns).zip(gradient.chunks_exact_mut(columns))
            {
                let mean = dot(p, g);
                for (g, p) in g.iter_mut().zip(p) {
                    *g = scale * p * (*g - mean);
                }
            }
        },
    );
}

/// Where [`side_by_side`] writes: rows of `stride` values, the heads from `offset` on.
#[derive(Clone, Copy)]
struct Places {
    tokens: usize,
    stride: usize,
    offset: usize,
}

/// Copies one part of every head's block (`start` values into it) to rows of all heads.
fn side_by_side(
    blocks: &[f32],
    (heads, width, block): (usize, usize, usize),
    start: usize,
    out: &mut [f32],
    places: Places,
) {
    out.par_chunks_mut(places.stride).enumerate().for_each(|(row, out)| {
        let (image, token) = (row / places.tokens, row % places.tokens);
        let out = &mut out[places.offset..places.offset + heads * width];
        for (head, out) in out.chunks_exact_mut(width).enumerate() {
            let from = (image * heads + head) * block + start + token * width;
            out.copy_from_slice(&blocks[from..from + width]);
        }
    });
}

struct Among {
    heads: usize,
    drop: Dropout,
}

impl CustomOp1 for Among {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, tokens, width) = layout.shape().dims3()?;
        let out = Call::among(values(qkv, layout)?, (batch, tokens, width), self).forward();
        Ok((CpuStorage::F32(out), Shape::from((batch, tokens, width / 3))))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let sizes = qkv.dims3()?;
        let (_, tokens, stride) = sizes;
        let out = read(qkv, |qkv| {
            read(gradient, |gradient| {
                let call = Call::among(qkv, sizes, self);
                let blocks = call.backward(gradient);
                let part = tokens * call.head_width;
                let mut out = vec![0.0; qkv.len()];
                for which in 0..3 {
                    let sizes = (self.heads, call.head_width, 3 * part);
                    let places = Places { tokens, stride, offset: which * stride / 3 };
                    side_by_side(&blocks, sizes, which * part, &mut out, places);
                }
                out
            })
        })??;
        Tensor::from_vec(out, qkv.shape(), qkv.device()).map(Some)
    }
}

struct Across {
    heads: usize,
    drop: Dropout,
}

impl CustomOp2 for Across {
    fn name(&self) -> &'static str {
        "attend_across"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        memory: &CpuStorage,
        memory_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, tokens, width) = queries_layout.shape().dims3()?;
        let others = memory_layout.shape().dims3()?.1;
        let queries = (values(queries, queries_layout)?, tokens);
        let memory = (values(memory, memory_layout)?, others);
        let out = Call::across(queries, memory, (batch, width), self).forward();
        Ok((CpuStorage::F32(out), Shape::from((batch, tokens, width))))
    }

    fn bwd(
        &self,
        queries: &Tensor,
        memory: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (batch, tokens, width) = queries.dims3()?;
        let others = memory.dim(1)?;
        let run = |queries: &[f32], memory: &[f32], gradient: &[f32]| {
            let call = Call::across((queries, tokens), (memory, others), (batch, width), self);
            let blocks = call.backward(gradient);
            let head = call.head_width;
            let sizes = (self.heads, head, (tokens + 2 * others) * head);
            let mut of_queries = vec![0.0; queries.len()];
            let places = Places { tokens, stride: width, offset: 0 };
            side_by_side(&blocks, sizes, 0, &mut of_queries, places);
            let mut of_memory = vec![0.0; memory.len()];
            for which in 0..2 {
                let start = (tokens + which * others) * head;
                let places = Places { tokens: others, stride: 2 * width, offset: which * width };
                side_by_side(&blocks, sizes, start, &mut of_memory, places);
            }
            (of_queries, of_memory)
        };
        let (of_queries, of_memory) =
            read(queries, |q| read(memory, |m| read(gradient, |g| run(q, m, g))))???;
        let device = queries.device();
        Ok((
            Some(Tensor::from_vec(of_queries, queries.shape(), device)?),
            Some(Tensor::from_vec(of_memory, memory.shape(), device)?),
        ))
    }
}
