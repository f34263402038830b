//! Launches the fused attention: `attention_f32.cu`, `attention_tf32.cu`, `attention_bf16.cu`.
//!
//! It computes the same as [`super::super::attention`] does with candle's operations, but the
//! scores never leave the chip.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, LaunchConfig};
use candle_core::{Result, Tensor};

use crate::kernel::{
    self, ATTENTION_BF16, ATTENTION_F32, ATTENTION_TF32, Operand, by_type, launch, wrapped,
};

/// How products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// Fused multiply-adds of f32.
    F32,
    /// Tensor cores, 11 bits of f32 operands.
    Tf32,
    /// Tensor cores, bfloat16 operands.
    Bf16,
}

/// `Sizes` of `attention.cuh`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Sizes {
    tokens: u32,
    heads: u32,
    width: u32,
    scale: f32,
}

// SAFETY: plain numbers in the order and the layout of C, as the kernels declare them.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Sizes {}

const _: () = assert!(size_of::<Sizes>() == 16 && align_of::<Sizes>() == 4);

/// The kernel for heads of some width.
pub(super) struct Attention {
    arithmetic: Arithmetic,
    heads: usize,
    /// Of a head.
    width: usize,
    /// Width that the kernel was compiled for: heads are filled up with zeros.
    compiled: usize,
}

impl Attention {
    /// `None` where no kernel takes such heads on this device.
    pub(super) fn new(
        device: &CudaDevice,
        arithmetic: Arithmetic,
        (heads, width): (usize, usize),
    ) -> Option<Self> {
        if width == 0 || !width.is_multiple_of(8) || width > 128 {
            return None;
        }
        let compiled = if width <= 64 { 64 } else { 128 };
        let attention = Self { arithmetic, heads, width, compiled };
        attention.prepare(device).then_some(attention)
    }

    /// Whether the device runs the kernel, which is allowed the shared memory that it needs.
    fn prepare(&self, device: &CudaDevice) -> bool {
        let module = match self.arithmetic {
            Arithmetic::F32 => ("ATTENTION_F32", ATTENTION_F32),
            Arithmetic::Tf32 => ("ATTENTION_TF32", ATTENTION_TF32),
            Arithmetic::Bf16 => ("ATTENTION_BF16", ATTENTION_BF16),
        };
        let Ok(function) = kernel::function(device, &self.name(), module) else {
            return false;
        };
        let new_enough = self.arithmetic == Arithmetic::F32 || kernel::has_tensor_cores(&function);
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        new_enough && function.set_attribute(attribute, self.shared_bytes() as i32).is_ok()
    }

    fn name(&self) -> String {
        let arithmetic = match self.arithmetic {
            Arithmetic::F32 => "f32",
            Arithmetic::Tf32 => "tf32",
            Arithmetic::Bf16 => "bf16",
        };
        format!("attention_{}_{arithmetic}", self.compiled)
    }

    /// Queries of a block, and its threads.
    fn block(&self) -> (usize, u32) {
        match (self.arithmetic, self.compiled) {
            (_, 64) => (128, 128),
            (Arithmetic::F32, _) => (64, 64),
            _ => (64, 128),
        }
    }

    /// Shared memory of a block, as the kernels lay it out.
    fn shared_bytes(&self) -> usize {
        let (width, (queries, _)) = (self.compiled, self.block());
        let words = match self.arithmetic {
            // queries, 32 keys and their values; the queries' shares of the keys
            Arithmetic::F32 => (queries + 2 * 32) * (width + 4) + queries * (32 + 8),
            // two stages of 32 keys and their values
            Arithmetic::Tf32 => 2 * 32 * ((width + 16) + (width + 4)),
            // two stages of 64
            Arithmetic::Bf16 => 2 * 64 * 2 * (width / 2 + 4),
        };
        4 * words
    }

    /// Attention over `qkv` [B, N, 3·D], whose channels are queries, keys and values, each head by
    /// head and all without `bias` [3·D] (f32): [B, N, D].
    pub(super) fn mix(&self, qkv: &Tensor, bias: &Tensor) -> Result<Tensor> {
        by_type!(qkv, launched(self, qkv, bias))
    }
}

fn launched<T: kernel::Number>(how: &Attention, qkv: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (batch, tokens, _) = qkv.dims3()?;
    let shape = (batch, tokens, how.heads * how.width);
    let sizes = Sizes {
        tokens: tokens as u32,
        heads: how.heads as u32,
        width: how.width as u32,
        scale: (std::f64::consts::LOG2_E / (how.width as f64).sqrt()) as f32,
    };
    let (queries, threads) = how.block();
    let grid = kernel::grid((tokens.div_ceil(queries), batch * how.heads), threads);
    let config = LaunchConfig { shared_mem_bytes: how.shared_bytes() as u32, ..grid };
    let [xs, added] = [qkv, bias].map(Operand::open);
    let device = xs.device()?;
    let mut out = kernel::room::<T>(device, shape.0 * shape.1 * shape.2)?;
    let row = 3 * how.heads * how.width;
    let (values, added) = (xs.values::<T>(batch * tokens * row)?, added.values::<f32>(row)?);
    macro_rules! of {
        ($module:ident) => {{
            // SAFETY: the kernel reads `tokens` rows of three times heads · width values of every
            // image, and one row of bias, and writes a row of heads · width for each token; they
            // are so long.
            #[allow(unsafe_code)]
            unsafe {
                launch!(device, $module, &how.name(), config, &values, &added, &mut out, &sizes);
            }
        }};
    }
    match how.arithmetic {
        Arithmetic::F32 => of!(ATTENTION_F32),
        Arithmetic::Tf32 => of!(ATTENTION_TF32),
        Arithmetic::Bf16 => of!(ATTENTION_BF16),
    }
    Ok(wrapped(out, shape, device))
}
