//! The encoder on the CPU in f32: packed weights, and intermediates that stay in cache instead of
//! going to main memory.
//!
//! A block is two rounds over all cores. In the first, bands of rows go through norm and projection
//! to queries, keys and values ([`rotary`] turns them where the encoder has such positions), and
//! then [`attention`] processes panels of queries. In the second,
//! bands go through everything else; the hidden layer of the feed-forward stays in the core's
//! cache. [`linear`] is the matrix product behind all of it, [`workers`] distributes bands and
//! panels. Buffers are reused for every block and every frame. Every value is computed in the same
//! order on whichever core, so results do not depend on the number of cores.

mod attention;
mod linear;
mod rotary;
mod workers;

use std::ops::{Range, RangeInclusive};
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
use pulp::Arch;
use rayon::prelude::*;

use self::attention::{Sequences, attend};
use self::linear::{Linear, Then};
use self::rotary::Turns;
use self::workers::{Worker, share};
use super::config::VitConfig;
use super::parameters::Parameters;
use super::pos_embed::Positions;
use crate::elementwise::{layer_norm, swiglu};
use crate::error::Result;
use crate::host::read;
use crate::product::packed::{Aligned, Sizes};

/// Values of the hidden layer of a band, about: 400 KiB, beside which a core's cache has room for a
/// panel of weights.
const HIDDEN_AT_ONCE: usize = 100 << 10;
/// Rows that the last norm takes at a time.
const NORMED_AT_ONCE: usize = 64;

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl Norm {
    fn new(parameters: &Parameters<'_>, name: &str, epsilon: f64) -> Result<Self> {
        let weight = parameters.values(&format!("{name}.weight"))?;
        let bias = parameters.values(&format!("{name}.bias"))?;
        Ok(Self { weight, bias, epsilon: epsilon as f32 })
    }

    /// `rows` [n, D] -> `out` [n, D], on the calling thread.
    fn apply(&self, rows: &[f32], out: &mut [f32]) {
        layer_norm(rows, (&self.weight, &self.bias), self.epsilon, out);
    }
}

struct Block {
    norm1: Norm,
    qkv: Linear,
    proj: Linear,
    norm2: Norm,
    fc1: Linear,
    gated: bool,
    fc2: Linear,
}

impl Block {
    fn new(
        parameters: &Parameters<'_>,
        index: usize,
        config: &VitConfig,
        arch: Arch,
    ) -> Result<Self> {
        let name = |part: &str| format!("blocks.{index}.{part}");
        let linear = |part: &str, scale: Option<&str>| {
            Linear::new(parameters, &name(part), scale.map(name).as_deref(), arch)
        };
        Ok(Self {
            norm1: Norm::new(parameters, &name("norm1"), config.norm_eps)?,
            qkv: linear("attn.qkv", None)?,
            proj: linear("attn.proj", Some("ls1.gamma"))?,
            norm2: Norm::new(parameters, &name("norm2"), config.norm_eps)?,
            fc1: linear("mlp.fc1", None)?,
            gated: config.gated,
            fc2: linear("mlp.fc2", Some("ls2.gamma"))?,
        })
    }

    /// Queries, keys and values of a band: `xs` [n, D] -> `qkv` [n, 3·D].
    fn project(&self, worker: &mut Worker, xs: &[f32], qkv: &mut [f32]) {
        let rows = room(&mut worker.rows, xs.len());
        self.norm1.apply(xs, rows);
        self.qkv.apply(rows, Then::Nothing, &mut worker.sums, qkv);
    }

    /// The hidden layer of the feed-forward for `count` rows, in the worker's buffers: [n, hidden].
    fn hidden<'a>(&self, worker: &'a mut Worker, count: usize) -> (&'a [f32], &'a mut Aligned) {
        let Worker { rows, hidden, gated, sums, .. } = worker;
        let rows = &rows[..count * self.fc1.depth()];
        let hidden = room(hidden, count * self.fc1.columns());
        if !self.gated {
            self.fc1.apply(rows, Then::Gelu, sums, hidden);
            return (hidden, sums);
        }
        self.fc1.apply(rows, Then::Nothing, sums, hidden);
        let gated = room(gated, count * self.fc2.depth());
        swiglu(hidden, self.fc2.depth(), gated);
        (gated, sums)
    }

    /// All that follows attention, for the tokens `range` of the batch: `xs` [n, D] in place.
    fn follow(
        &self,
        worker: &mut Worker,
        xs: &mut [f32],
        range: Range<usize>,
        mixed: &[f32],
        sizes: Sequences,
    ) {
        let rows = room(&mut worker.rows, xs.len());
        gather(mixed, sizes, range.clone(), rows);
        self.proj.apply(rows, Then::Add, &mut worker.sums, xs);
        self.norm2.apply(xs, rows);
        let (hidden, sums) = self.hidden(worker, range.len());
        self.fc2.apply(hidden, Then::Add, sums, xs);
    }
}

/// The first `len` values of a buffer, which grows where it is shorter.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// From [B, heads, N, head width] to rows of all heads, for some tokens of the batch.
fn gather(mixed: &[f32], sizes: Sequences, range: Range<usize>, rows: &mut [f32]) {
    let Sequences { tokens, heads, head_width, .. } = sizes;
    for (row, out) in range.zip(rows.chunks_exact_mut(heads * head_width)) {
        let (image, token) = (row / tokens, row % tokens);
        for (head, out) in out.chunks_exact_mut(head_width).enumerate() {
            let start = ((image * heads + head) * tokens + token) * head_width;
            out.copy_from_slice(&mixed[start..][..head_width]);
        }
    }
}

/// Buffers of a forward pass, kept for the next one.
#[derive(Default)]
struct Workspace {
    /// [B, N, D]
    xs: Vec<f32>,
    /// [B, N, 3·D]
    qkv: Vec<f32>,
    /// The keys and values of all heads, rearranged by [`attend`].
    memory: Aligned,
    /// [B, heads, N, head width]
    mixed: Vec<f32>,
    workers: Vec<Worker>,
}

/// Everything that a frame goes through.
pub(super) struct Encoder {
    arch: Arch,
    patch: usize,
    heads: usize,
    patch_embed: Linear,
    cls_token: Vec<f32>,
    /// [R, D]; empty where there are none.
    registers: Vec<f32>,
    blocks: Vec<Block>,
    norm: Norm,
    /// Those that no call is using.
    workspaces: Mutex<Vec<Workspace>>,
}

/// The pixels of a batch of frames [B, 3, H, W].
#[derive(Clone, Copy)]
struct Pixels<'a> {
    values: &'a [f32],
    height: usize,
    width: usize,
}

impl Encoder {
    /// Packs the first `depth` blocks, and all before and after them. The parameters must be f32 on
    /// the CPU.
    ///
    /// # Errors
    /// The checkpoint lacks a tensor.
    pub(super) fn new(
        parameters: &Parameters<'_>,
        config: &VitConfig,
        depth: usize,
    ) -> Result<Self> {
        let arch = Arch::new();
        Ok(Self {
            arch,
            patch: config.patch,
            heads: config.heads,
            patch_embed: Linear::new(parameters, "patch_embed.proj", None, arch)?,
            cls_token: parameters.values("cls_token")?,
            registers: parameters.optional_values("register_tokens")?.unwrap_or_default(),
            blocks: (0..depth)
                .map(|index| Block::new(parameters, index, config, arch))
                .collect::<Result<_>>()?,
            norm: Norm::new(parameters, "norm", config.norm_eps)?,
            workspaces: Mutex::new(Vec::new()),
        })
    }

    /// The mean of the outputs of blocks `layers`, counted from 1, each after the final norm:
    /// [B, 3, H, W] frames and positions, all f32 on the CPU -> [B, 1 + h·w, D], register tokens
    /// left out.
    pub(super) fn tokens(
        &self,
        frames: &Tensor,
        positions: &Positions,
        layers: RangeInclusive<usize>,
    ) -> Result<Tensor> {
        let shape = (frames.dim(0)?, positions.table.dim(1)?, self.width());
        let mut out = vec![0.0; shape.0 * shape.1 * shape.2];
        self.with_embedded(frames, positions, |space, sizes, turns| {
            for (index, block) in self.blocks.iter().enumerate() {
                self.pass(block, space, sizes, turns);
                if layers.contains(&(index + 1)) {
                    self.add_normed(&space.xs, sizes, &mut out);
                }
            }
        })?;
        let count = layers.count() as f32;
        if count > 1.0 {
            out.iter_mut().for_each(|value| *value /= count);
        }
        Ok(Tensor::from_vec(out, shape, frames.device())?)
    }

    /// Queries, keys and values of the last block: [B, N, 3·D], frames and positions as for
    /// [`Encoder::tokens`].
    pub(super) fn last_qkv(&self, frames: &Tensor, positions: &Positions) -> Result<Tensor> {
        let registers = self.registers.len() / self.width();
        let shape = (frames.dim(0)?, positions.table.dim(1)? + registers, 3 * self.width());
        let qkv = self.with_embedded(frames, positions, |space, sizes, turns| {
            for (index, block) in self.blocks.iter().enumerate() {
                match index + 1 < self.blocks.len() {
                    true => self.pass(block, space, sizes, turns),
                    false => self.project(block, space, sizes, turns),
                }
            }
            space.qkv.clone()
        })?;
        Ok(Tensor::from_vec(qkv, shape, frames.device())?)
    }

    fn width(&self) -> usize {
        self.cls_token.len()
    }

    /// Calls `run` with the embedded frames in a workspace of the right size, and with what queries
    /// and keys are turned by.
    fn with_embedded<R>(
        &self,
        frames: &Tensor,
        Positions { table, turns }: &Positions,
        run: impl FnOnce(&mut Workspace, Sequences, Option<Turns<'_>>) -> R,
    ) -> Result<R> {
        let (batch, _, height, width) = frames.dims4()?;
        let registers = self.registers.len() / self.width();
        let tokens = table.dim(1)? + registers;
        let head_width = self.width() / self.heads;
        let sizes = Sequences { batch, tokens, heads: self.heads, head_width };
        let mut space = self.idle_workspaces().pop().unwrap_or_default();
        let values = sizes.rows() * self.width();
        space.xs.resize(values, 0.0);
        space.mixed.resize(values, 0.0);
        space.qkv.resize(3 * values, 0.0);
        if space.workers.len() != rayon::current_num_threads() {
            space.workers = workers::hire();
        }
        read(table, |table| {
            read(frames, |values| {
                self.embed(Pixels { values, height, width }, table, &mut space, sizes);
            })
        })??;
        let result = match turns {
            None => run(&mut space, sizes, None),
            Some(turns) => {
                read(turns, |values| run(&mut space, sizes, Some(Turns { values, sizes })))?
            }
        };
        self.idle_workspaces().push(space);
        Ok(result)
    }

    fn idle_workspaces(&self) -> std::sync::MutexGuard<'_, Vec<Workspace>> {
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows of a band, of which `wide` values each must fit the cache; all their tiles are full.
    fn band(&self, rows: usize, wide: usize, workers: usize) -> usize {
        // at least four a core, and as many for one core as for another
        let most = (HIDDEN_AT_ONCE / wide).min(rows.div_ceil(4 * workers)).max(1);
        let bands = rows.div_ceil(most).next_multiple_of(workers);
        rows.div_ceil(bands).next_multiple_of(Sizes::of(self.arch).rows)
    }

    /// What the first block gets: CLS, registers and patches with their rows of the position table.
    fn embed(
        &self,
        frames: Pixels<'_>,
        positions: &[f32],
        space: &mut Workspace,
        sizes: Sequences,
    ) {
        let Workspace { xs, workers, .. } = space;
        let (width, patch) = (self.width(), self.patch);
        let columns = frames.width / patch;
        let depth = self.patch_embed.depth();
        let band = self.band(positions.len() / width, depth, workers.len());
        let (cls_position, positions) = positions.split_at(width);
        let tasks =
            xs.chunks_exact_mut(sizes.tokens * width).enumerate().flat_map(|(image, xs)| {
                let (cls, rest) = xs.split_at_mut(width);
                let (registers, patches) = rest.split_at_mut(self.registers.len());
                for ((out, token), position) in
                    cls.iter_mut().zip(&self.cls_token).zip(cls_position)
                {
                    *out = token + position;
                }
                registers.copy_from_slice(&self.registers);
                let bands = patches.chunks_mut(band * width).zip(positions.chunks(band * width));
                bands.enumerate().map(move |(index, (xs, positions))| (image, index, xs, positions))
            });
        share(workers, tasks, |worker, (image, index, xs, positions)| {
            let rows = room(&mut worker.rows, xs.len() / width * depth);
            for (row, out) in rows.chunks_exact_mut(depth).enumerate() {
                let place = index * band + row;
                copy_patch(frames, image, (place / columns, place % columns), patch, out);
            }
            xs.copy_from_slice(positions);
            self.patch_embed.apply(rows, Then::Add, &mut worker.sums, xs);
        });
    }

    /// One block: `space.xs` in place.
    fn pass(
        &self,
        block: &Block,
        space: &mut Workspace,
        sizes: Sequences,
        turns: Option<Turns<'_>>,
    ) {
        self.project(block, space, sizes, turns);
        let Workspace { xs, qkv, memory, mixed, workers } = space;
        attend(self.arch, qkv, sizes, memory, workers, mixed);
        let width = self.width();
        let band = self.band(sizes.rows(), block.fc1.columns(), workers.len());
        share(workers, xs.chunks_mut(band * width).enumerate(), |worker, (index, xs)| {
            let first = index * band;
            block.follow(worker, xs, first..first + xs.len() / width, mixed, sizes);
        });
    }

    /// Queries, keys and values of a block, into `space.qkv`.
    fn project(
        &self,
        block: &Block,
        space: &mut Workspace,
        sizes: Sequences,
        turns: Option<Turns<'_>>,
    ) {
        let Workspace { xs, qkv, workers, .. } = space;
        let width = self.width();
        let band = self.band(sizes.rows(), block.fc1.columns(), workers.len());
        let bands = xs.chunks(band * width).zip(qkv.chunks_mut(band * 3 * width));
        share(workers, bands.enumerate(), |worker, (index, (xs, qkv))| {
            block.project(worker, xs, qkv);
            if let Some(turns) = turns {
                turns.apply(index * band, qkv);
            }
        });
    }

    /// Adds the final norm of `xs` to `out`, register tokens left out.
    fn add_normed(&self, xs: &[f32], sizes: Sequences, out: &mut [f32]) {
        let width = self.width();
        let kept = sizes.tokens - self.registers.len() / width;
        let bands = out.par_chunks_mut(NORMED_AT_ONCE * width).enumerate();
        bands.for_each_init(Vec::new, |normed, (index, out)| {
            let normed = room(normed, width);
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                let (image, token) = {
                    let row = index * NORMED_AT_ONCE + row;
                    (row / kept, row % kept)
                };
                let token = if token == 0 { 0 } else { token + sizes.tokens - kept };
                self.norm.apply(&xs[(image * sizes.tokens + token) * width..][..width], normed);
                out.iter_mut().zip(normed.iter()).for_each(|(out, normed)| *out += normed);
            }
        });
    }
}

/// Copies a patch in the order of a convolution's kernel: channel, row in the patch, column in the
/// patch.
fn copy_patch(
    frames: Pixels<'_>,
    image: usize,
    (row, column): (usize, usize),
    patch: usize,
    out: &mut [f32],
) {
    for (line, out) in out.chunks_exact_mut(patch).enumerate() {
        let (channel, y) = (line / patch, row * patch + line % patch);
        let start = ((image * 3 + channel) * frames.height + y) * frames.width + column * patch;
        out.copy_from_slice(&frames.values[start..][..patch]);
    }
}

#[cfg(test)]
mod tests;
