//! Fused attention on a GPU in bfloat16: its scores never leave the chip (`fused_attention.cu`).
//!
//! The forward pass stores one number for each query of each head, the logarithm of its sum of
//! exponentials; the backward pass computes all probabilities again from that. Heads are read and
//! written in the network's own layout: `qkv` [B, N, 3, heads, d], or queries [B, N, heads, d] and
//! memory [B, M, 2, heads, d]. Dropout drops the same values as in [`super::attention`], which
//! handles the shapes that do not fit here.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, LaunchConfig};
use candle_core::{DType, Result, Tensor};
use half::bf16;

use crate::autoencoder::ops::dropout::{Dropout, Numbers};
use crate::autoencoder::tape::{Tape, Value};
use crate::kernel::{self, FUSED_ATTENTION, Operand, launch, wrapped};

/// Threads of a warp, and the most warps of a block.
const WARP: u32 = 32;
const MOST_WARPS: usize = 4;
/// Rows that a warp has in the backward pass.
const BACKWARD_ROWS: usize = 16;

/// `Sizes` of `fused_attention.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Sizes {
    queries: u32,
    keys: u32,
    heads: u32,
    width: u32,
    query_row: u32,
    key_row: u32,
    scale: f32,
}

// SAFETY: plain numbers in the order and the layout of C, as the kernels declare them.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Sizes {}

const _: () = assert!(size_of::<Sizes>() == 28 && align_of::<Sizes>() == 4);

/// One call, but for its operands.
#[derive(Debug, Clone, Copy)]
struct Call {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    /// Of a head.
    width: usize,
    /// Values from one token to the next: of queries, of keys.
    rows: (usize, usize),
    /// Where the first token's keys begin; its values lie behind all of them.
    keys_at: usize,
    drop: Numbers,
}

/// What of a forward pass the backward pass needs: mixed values [B, N, D], and for each query the
/// logarithm of its sum [B, heads, N].
struct Kept {
    mixed: Tensor,
    logarithms: CudaSlice<f32>,
}

impl Call {
    /// The width that kernels for such heads are compiled for.
    fn compiled(&self) -> usize {
        match self.width {
            0..=32 => 32,
            33..=64 => 64,
            _ => 128,
        }
    }

    /// Whether these sizes have kernels, on this device.
    fn fits(&self, xs: &Tensor) -> Result<bool> {
        if xs.dtype() != DType::BF16 || !self.width.is_multiple_of(8) || self.width > 128 {
            return Ok(false);
        }
        let device = xs.device().as_cuda_device()?;
        let module = ("FUSED_ATTENTION", FUSED_ATTENTION);
        let function = kernel::function(device, &self.name(""), module)?;
        Ok(kernel::has_tensor_cores(&function))
    }

    fn name(&self, of: &str) -> String {
        format!("fused_attention_{of}{}", self.compiled())
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            queries: self.queries as u32,
            keys: self.keys as u32,
            heads: self.heads as u32,
            width: self.width as u32,
            query_row: self.rows.0 as u32,
            key_row: self.rows.1 as u32,
            scale: (self.width as f32).powf(-0.5),
        }
    }

    /// A launch for warps of `of_warp` of `own` rows each, which walk over `others` and keep so
    /// many words of each besides its two parts.
    fn config(&self, (own, of_warp): (usize, usize), others: usize, words: usize) -> LaunchConfig {
        let warps = own.div_ceil(of_warp).min(MOST_WARPS);
        let blocks = self.batch * self.heads * own.div_ceil(warps * of_warp);
        let tile = if self.compiled() <= 64 { 64 } else { 32 };
        let stages = if others <= tile { 1 } else { 2 };
        let bytes = 4 * stages * tile * (2 * (self.compiled() / 2 + 4) + words);
        let grid = kernel::grid((blocks, 1), WARP * warps as u32);
        LaunchConfig { shared_mem_bytes: bytes as u32, ..grid }
    }

    fn forward(&self, queries: &Tensor, keys: &Tensor) -> Result<Kept> {
        let [q, k] = [queries, keys].map(Operand::open);
        let device = q.device()?;
        let shape = (self.batch, self.queries, self.heads * self.width);
        let mut out = kernel::room::<bf16>(device, self.mixed())?;
        let mut logarithms = self.numbers(device)?;
        let of_warp = if self.compiled() <= 64 { 32 } else { 16 };
        // SAFETY: queries and keys are read as rows of the lengths that `Sizes` says, of which
        // their tensors hold as many as the call has tokens; `out` and `logarithms` have room for
        // what is written for each query.
        #[allow(unsafe_code)]
        unsafe {
            launch!(
                device,
                FUSED_ATTENTION,
                &self.name(""),
                self.config((self.queries, of_warp), self.keys, 0),
                &q.values::<bf16>(self.query_values())?,
                &k.values::<bf16>(self.key_values())?.slice(self.keys_at..),
                &mut out,
                &mut logarithms,
                &self.sizes(),
                &self.drop,
            );
        }
        Ok(Kept { mixed: wrapped(out, shape, device), logarithms })
    }

    /// Values of the tensor that holds the queries.
    fn query_values(&self) -> usize {
        self.batch * self.queries * self.rows.0
    }

    /// Values of the tensor that holds keys and values.
    fn key_values(&self) -> usize {
        self.batch * self.keys * self.rows.1
    }

    /// Values of what is mixed, and of its gradient.
    fn mixed(&self) -> usize {
        self.batch * self.queries * self.heads * self.width
    }

    /// Room for a number for each query of each head.
    fn numbers(&self, device: &CudaDevice) -> Result<CudaSlice<f32>> {
        kernel::room::<f32>(device, self.batch * self.heads * self.queries)
    }

    /// Writes the gradient of queries into `out`, which is laid out as they are; returns the
    /// product of mixed values and their gradient for each query, which that of keys needs.
    fn of_queries(
        &self,
        [queries, keys]: [&Tensor; 2],
        kept: &Kept,
        gradient: &Tensor,
        out: &mut CudaSlice<bf16>,
    ) -> Result<CudaSlice<f32>> {
        let [q, k, mixed, gradient] = [queries, keys, &kept.mixed, gradient].map(Operand::open);
        let device = q.device()?;
        let mut means = self.numbers(device)?;
        // SAFETY: queries and keys are read as rows of the lengths that `Sizes` says, of which
        // their tensors hold as many as the call has tokens; mixed values, gradient, logarithms and
        // means have an entry for each query of each head, and `out` is laid out as the queries
        // are.
        #[allow(unsafe_code)]
        unsafe {
            launch!(
                device,
                FUSED_ATTENTION,
                &self.name("of_queries_"),
                self.config((self.queries, BACKWARD_ROWS), self.keys, 0),
                &q.values::<bf16>(self.query_values())?,
                &k.values::<bf16>(self.key_values())?.slice(self.keys_at..),
                &mixed.values::<bf16>(self.mixed())?,
                &gradient.values::<bf16>(self.mixed())?,
                &kept.logarithms,
                &mut means,
                out,
                &self.sizes(),
                &self.drop,
            );
        }
        Ok(means)
    }

    /// Writes the gradients of keys and values into `out`, which is laid out as they are.
    fn of_keys(
        &self,
        [queries, keys]: [&Tensor; 2],
        (kept, means): (&Kept, &CudaSlice<f32>),
        gradient: &Tensor,
        out: &mut CudaSlice<bf16>,
    ) -> Result<()> {
        let [q, k, gradient] = [queries, keys, gradient].map(Operand::open);
        let device = q.device()?;
        // SAFETY: queries and keys are read as rows of the lengths that `Sizes` says, of which
        // their tensors hold as many as the call has tokens; gradient, logarithms and means have an
        // entry for each query of each head, and `out` is laid out as the keys are.
        #[allow(unsafe_code)]
        unsafe {
            launch!(
                device,
                FUSED_ATTENTION,
                &self.name("of_keys_"),
                self.config((self.keys, BACKWARD_ROWS), self.queries, 2),
                &q.values::<bf16>(self.query_values())?,
                &k.values::<bf16>(self.key_values())?.slice(self.keys_at..),
                &gradient.values::<bf16>(self.mixed())?,
                &kept.logarithms,
                means,
                &mut out.slice_mut(self.keys_at..),
                &self.sizes(),
                &self.drop,
            );
        }
        Ok(())
    }
}

/// Room for the gradient of a tensor.
fn room_for(xs: &Tensor) -> Result<CudaSlice<bf16>> {
    kernel::room::<bf16>(xs.device().as_cuda_device()?, xs.elem_count())
}

fn gradient_of(xs: &Tensor, values: CudaSlice<bf16>) -> Result<Option<Tensor>> {
    Ok(Some(wrapped(values, xs.shape(), xs.device().as_cuda_device()?)))
}

/// See [`super::super::attend`]; `None` where the sizes have no kernel.
pub(super) fn attend(
    tape: &Tape,
    qkv: &Value,
    heads: usize,
    drop: Dropout,
) -> Result<Option<Value>> {
    let (batch, tokens, row) = qkv.tensor.dims3()?;
    let call = Call {
        batch,
        queries: tokens,
        keys: tokens,
        heads,
        width: row / 3 / heads,
        rows: (row, row),
        keys_at: row / 3,
        drop: drop.numbers(),
    };
    if !call.fits(&qkv.tensor)? {
        return Ok(None);
    }
    let all = kernel::packed(&qkv.tensor)?;
    let kept = call.forward(&all, &all)?;
    Ok(Some(tape.push(kept.mixed.clone(), &[qkv], move |gradient| {
        let gradient = kernel::packed(gradient)?;
        let mut out = room_for(&all)?;
        let means = call.of_queries([&all, &all], &kept, &gradient, &mut out)?;
        call.of_keys([&all, &all], (&kept, &means), &gradient, &mut out)?;
        Ok(vec![gradient_of(&all, out)?])
    })))
}

/// See [`super::super::attend_across`]; `None` where the sizes have no kernel.
pub(super) fn attend_across(
    tape: &Tape,
    (queries, memory): (&Value, &Value),
    heads: usize,
    drop: Dropout,
) -> Result<Option<Value>> {
    let (batch, tokens, width) = queries.tensor.dims3()?;
    let call = Call {
        batch,
        queries: tokens,
        keys: memory.tensor.dim(1)?,
        heads,
        width: width / heads,
        rows: (width, 2 * width),
        keys_at: 0,
        drop: drop.numbers(),
    };
    if !call.fits(&queries.tensor)? {
        return Ok(None);
    }
    let (q, m) = (kernel::packed(&queries.tensor)?, kernel::packed(&memory.tensor)?);
    let kept = call.forward(&q, &m)?;
    Ok(Some(tape.push(kept.mixed.clone(), &[queries, memory], move |gradient| {
        let gradient = kernel::packed(gradient)?;
        let (mut of_queries, mut of_memory) = (room_for(&q)?, room_for(&m)?);
        let means = call.of_queries([&q, &m], &kept, &gradient, &mut of_queries)?;
        call.of_keys([&q, &m], (&kept, &means), &gradient, &mut of_memory)?;
        Ok(vec![gradient_of(&q, of_queries)?, gradient_of(&m, of_memory)?])
    })))
}
