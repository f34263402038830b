//! Attention on a GPU in f32, and in bfloat16 where [`super::fused_attention`] has no kernel:
//! cuBLAS's batched products over the heads, and a softmax kernel between them.
//!
//! Each head is copied into a matrix of its own, with tokens padded to groups of eight, since
//! tensor cores need that alignment. Probabilities are stored for the backward pass: computing them
//! again would cost the product that wrote them.

use candle_core::{Result, Tensor};

use super::{by_type, fused_attention, named};
use crate::autoencoder::ops::dropout::{Dropout, Numbers};
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, Number, Operand, by_row, by_value, launch, wrapped};

/// Tokens come in groups of so many, which is also what the kernels for scores move at a time.
const TOGETHER: usize = kernel::PACK;
/// Values that the kernels for heads move at a time.
const GROUP: usize = 4;
/// The most keys that a warp keeps.
const MOST_KEYS: usize = 1024;

/// `Heads` of `attention.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Heads {
    parts: u32,
    tokens: u32,
    padded: u32,
    heads: u32,
    width: u32,
}

/// `Scores` of `attention.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Scores {
    tasks: u32,
    queries: u32,
    keys: u32,
    wanted_queries: u32,
    wanted_keys: u32,
}

// SAFETY: plain numbers in the order and the layout of C, as the kernels declare them.
#[allow(unsafe_code)]
unsafe impl candle_core::cuda_backend::cudarc::driver::DeviceRepr for Heads {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl candle_core::cuda_backend::cudarc::driver::DeviceRepr for Scores {}

const _: () = assert!(size_of::<Heads>() == 20 && align_of::<Heads>() == 4);
const _: () = assert!(size_of::<Scores>() == 20 && align_of::<Scores>() == 4);

impl Scores {
    /// Scores of all heads.
    fn count(self) -> usize {
        self.tasks as usize * self.queries as usize * self.keys as usize
    }
}

/// Whether these sizes have a kernel.
fn fits(width: usize, heads: usize, keys: usize) -> bool {
    width.is_multiple_of(heads) && (width / heads).is_multiple_of(GROUP) && keys <= MOST_KEYS
}

/// Images, heads and the width of a head.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    width: usize,
}

impl Sizes {
    fn of(batch: usize, width: usize, heads: usize) -> Self {
        Self { batch, heads, width: width / heads }
    }

    fn layout(self, tokens: usize, parts: usize) -> Heads {
        Heads {
            parts: parts as u32,
            tokens: tokens as u32,
            padded: tokens.next_multiple_of(TOGETHER) as u32,
            heads: self.heads as u32,
            width: (self.width / GROUP) as u32,
        }
    }

    /// [B, N, parts·D] -> that many times [B·heads, padded N, head width].
    fn split<const PARTS: usize>(self, xs: &Tensor) -> Result<[Tensor; PARTS]> {
        let xs = kernel::packed(xs)?;
        let all = by_type!(xs, split(&xs, self, PARTS))?;
        let mut parts = Vec::with_capacity(PARTS);
        for part in 0..PARTS {
            parts.push(all.get(part)?);
        }
        <[Tensor; PARTS]>::try_from(parts).map_err(|_| candle_core::Error::Msg("parts".into()))
    }

    /// The inverse, of up to three parts -> [B, `tokens`, parts·D].
    fn merge(self, parts: &[&Tensor], tokens: usize) -> Result<Tensor> {
        let [first, ..] = parts else { candle_core::bail!("heads of nothing") };
        by_type!(first, merge(parts, self, tokens))
    }

    fn scores(self, tokens: usize, others: usize) -> Scores {
        Scores {
            tasks: (self.batch * self.heads) as u32,
            queries: tokens.next_multiple_of(TOGETHER) as u32,
            keys: others.next_multiple_of(TOGETHER) as u32,
            wanted_queries: tokens as u32,
            wanted_keys: others as u32,
        }
    }

    fn scale(self) -> f32 {
        (self.width as f32).powf(-0.5)
    }
}

fn split<T: Number>(x: &Tensor, sizes: Sizes, parts: usize) -> Result<Tensor> {
    let tokens = x.dim(1)?;
    let layout = sizes.layout(tokens, parts);
    let given = parts * sizes.batch * tokens * sizes.heads * sizes.width;
    let (tasks, padded) = (sizes.batch * sizes.heads, layout.padded as usize);
    let xs = Operand::open(x);
    let device = xs.device()?;
    let values = parts * tasks * padded * sizes.width;
    let mut out = kernel::room::<T>(device, values)?;
    let groups = values / GROUP;
    // SAFETY: the kernel writes `groups` groups, for which there is room, and reads the tokens that
    // `layout` counts, `given` values; those that fill up are not read.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            ATTENTION,
            &named::<T>("split_heads"),
            by_value(groups),
            &xs.values::<T>(given)?,
            &mut out,
            &(groups as u32),
            &layout,
        );
    }
    Ok(wrapped(out, (parts, tasks, padded, sizes.width), device))
}

fn merge<T: Number>(parts: &[&Tensor], sizes: Sizes, tokens: usize) -> Result<Tensor> {
    let layout = sizes.layout(tokens, parts.len());
    let operands: Vec<Operand<'_>> = parts.iter().map(|part| Operand::open(part)).collect();
    let each = sizes.batch * sizes.heads * layout.padded as usize * sizes.width;
    let part = |index: usize| operands[index.min(operands.len() - 1)].values::<T>(each);
    let device = operands[0].device()?;
    let columns = parts.len() * sizes.heads * sizes.width;
    let groups = sizes.batch * tokens * columns / GROUP;
    let mut out = kernel::room::<T>(device, groups * GROUP)?;
    // SAFETY: the kernel writes `groups` groups, for which there is room, and reads of each part
    // the heads that `layout` counts, `each` values; there are as many parts as it says, and the
    // others are not read.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            ATTENTION,
            &named::<T>("merge_heads"),
            by_value(groups),
            &part(0)?,
            &part(1)?,
            &part(2)?,
            &mut out,
            &(groups as u32),
            &layout,
        );
    }
    Ok(wrapped(out, (sizes.batch, tokens, columns), device))
}

/// `name_KEYS_type`: the kernel for rows of so many keys.
fn sized<T: Number>(name: &str, keys: u32) -> String {
    let most = if keys <= 256 { 256 } else { MOST_KEYS };
    named::<T>(&format!("{name}_{most}"))
}

/// Probabilities, and those that dropout leaves where anything drops.
fn softmax<T: Number>(
    scores: &Tensor,
    sizes: Scores,
    scale: f32,
    drop: Dropout,
) -> Result<(Tensor, Option<Tensor>)> {
    let xs = Operand::open(scores);
    let (device, count) = (xs.device()?, sizes.count());
    let (config, name) = (by_row(count / sizes.keys as usize), sized::<T>("softmax", sizes.keys));
    let mut out = kernel::room::<T>(device, count)?;
    if !drop.drops() {
        let none = 0_u64; // a null pointer
        // SAFETY: tasks · queries rows of `keys` values, whole packs, are what it reads and writes:
        // `count` of `Scores`, which every buffer has; what would be dropped is not written where
        // that is null.
        #[allow(unsafe_code)]
        unsafe {
            launch!(
                device,
                ATTENTION,
                &name,
                config,
                &xs.values::<T>(count)?,
                &mut out,
                &none,
                &sizes,
                &scale,
                &drop.numbers(),
            );
        }
        return Ok((wrapped(out, scores.shape(), device), None));
    }
    let mut dropped = kernel::room::<T>(device, count)?;
    // SAFETY: tasks · queries rows of `keys` values, whole packs, are what it reads and writes:
    // `count` of `Scores`, which every buffer has.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            ATTENTION,
            &name,
            config,
            &xs.values::<T>(count)?,
            &mut out,
            &mut dropped,
            &sizes,
            &scale,
            &drop.numbers(),
        );
    }
    let dropped = wrapped(dropped, scores.shape(), device);
    Ok((wrapped(out, scores.shape(), device), Some(dropped)))
}

fn softmax_backward<T: Number>(
    p: &Tensor,
    g: &Tensor,
    sizes: Scores,
    (scale, drop): (f32, Numbers),
) -> Result<Tensor> {
    let [probabilities, gradient] = [p, g].map(Operand::open);
    let device = probabilities.device()?;
    let mut out = kernel::room::<T>(device, sizes.count())?;
    // SAFETY: tasks · queries rows of `keys` values, whole packs, are what it reads and writes:
    // `count` of `Scores`, which every buffer has.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            ATTENTION,
            &sized::<T>("softmax_backward", sizes.keys),
            by_row(sizes.count() / sizes.keys as usize),
            &probabilities.values::<T>(sizes.count())?,
            &gradient.values::<T>(sizes.count())?,
            &mut out,
            &sizes,
            &scale,
            &drop,
        );
    }
    Ok(wrapped(out, p.shape(), device))
}

fn drop_again<T: Number>(p: &Tensor, sizes: Scores, drop: Numbers) -> Result<Tensor> {
    let probabilities = Operand::open(p);
    let device = probabilities.device()?;
    let mut out = kernel::room::<T>(device, sizes.count())?;
    // SAFETY: tasks · queries rows of `keys` values, whole packs, are what it reads and writes:
    // `count` of `Scores`, which every buffer has.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            ATTENTION,
            &named::<T>("drop_again"),
            by_row(sizes.count() / sizes.keys as usize),
            &probabilities.values::<T>(sizes.count())?,
            &mut out,
            &sizes,
            &drop,
        );
    }
    Ok(wrapped(out, p.shape(), device))
}

/// One call: its operands head by head, and what of it the backward pass needs.
struct Call {
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    probabilities: Tensor,
    sizes: Sizes,
    scores: Scores,
    drop: Dropout,
}

impl Call {
    /// Output [B, N, D] of queries, keys and values.
    fn forward(
        [queries, keys, values]: [Tensor; 3],
        sizes: Sizes,
        (tokens, others): (usize, usize),
        drop: Dropout,
    ) -> Result<(Tensor, Self)> {
        let scores = sizes.scores(tokens, others);
        let products = queries.matmul(&keys.t()?)?;
        let (probabilities, dropped) =
            by_type!(products, softmax(&products, scores, sizes.scale(), drop))?;
        let mixed = dropped.as_ref().unwrap_or(&probabilities).matmul(&values)?;
        let out = sizes.merge(&[&mixed], tokens)?;
        Ok((out, Self { queries, keys, values, probabilities, sizes, scores, drop }))
    }

    /// The gradients of queries, keys and values, head by head.
    fn backward(&self, gradient: &Tensor) -> Result<[Tensor; 3]> {
        let [gradient] = self.sizes.split::<1>(gradient)?;
        let p = &self.probabilities;
        let (scores, drop) = (self.scores, self.drop.numbers());
        let dropped = match self.drop.drops() {
            false => p.clone(),
            true => by_type!(p, drop_again(p, scores, drop))?,
        };
        let of_values = dropped.t()?.matmul(&gradient)?;
        let of_probabilities = gradient.matmul(&self.values.t()?)?;
        let how = (self.sizes.scale(), drop);
        let of_scores = by_type!(p, softmax_backward(p, &of_probabilities, scores, how))?;
        let of_queries = of_scores.matmul(&self.keys)?;
        let of_keys = of_scores.t()?.matmul(&self.queries)?;
        Ok([of_queries, of_keys, of_values])
    }
}

/// See [`super::super::attend`]; `None` where the sizes have no kernel.
pub(in crate::autoencoder) fn attend(
    tape: &Tape,
    qkv: &Value,
    heads: usize,
    drop: Dropout,
) -> Result<Option<Value>> {
    if let Some(out) = fused_attention::attend(tape, qkv, heads, drop)? {
        return Ok(Some(out));
    }
    let (batch, tokens, width) = qkv.tensor.dims3()?;
    if !fits(width / 3, heads, tokens) {
        return Ok(None);
    }
    let sizes = Sizes::of(batch, width / 3, heads);
    let parts = sizes.split::<3>(&qkv.tensor)?;
    let (out, call) = Call::forward(parts, sizes, (tokens, tokens), drop)?;
    Ok(Some(tape.push(out, &[qkv], move |gradient| {
        let [of_queries, of_keys, of_values] = call.backward(gradient)?;
        Ok(vec![Some(call.sizes.merge(&[&of_queries, &of_keys, &of_values], tokens)?)])
    })))
}

/// See [`super::super::attend_across`]; `None` where the sizes have no kernel.
pub(in crate::autoencoder) fn attend_across(
    tape: &Tape,
    (queries, memory): (&Value, &Value),
    heads: usize,
    drop: Dropout,
) -> Result<Option<Value>> {
    if let Some(out) = fused_attention::attend_across(tape, (queries, memory), heads, drop)? {
        return Ok(Some(out));
    }
    let (batch, tokens, width) = queries.tensor.dims3()?;
    let others = memory.tensor.dim(1)?;
    if !fits(width, heads, others) {
        return Ok(None);
    }
    let sizes = Sizes::of(batch, width, heads);
    let [of_queries] = sizes.split::<1>(&queries.tensor)?;
    let [keys, values] = sizes.split::<2>(&memory.tensor)?;
    let parts = [of_queries, keys, values];
    let (out, call) = Call::forward(parts, sizes, (tokens, others), drop)?;
    Ok(Some(tape.push(out, &[queries, memory], move |gradient| {
        let [of_queries, of_keys, of_values] = call.backward(gradient)?;
        let of_queries = call.sizes.merge(&[&of_queries], tokens)?;
        let of_memory = call.sizes.merge(&[&of_keys, &of_values], others)?;
        Ok(vec![Some(of_queries), Some(of_memory)])
    })))
}
