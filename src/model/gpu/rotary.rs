//! Turns queries and keys by their patch's place on a GPU (`tokens.cu`), as DINOv3 has it; on the CPU
//! `model/cpu/rotary.rs` does it.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, DType, InplaceOp3, Layout, Result, Tensor};
use half::bf16;

use crate::kernel::{self, Number, by_value, launch, named};

/// Gives the queries and keys of a product [B, N, 3·D], in its own memory, their `bias` [3·D], and
/// turns those of its last tokens by `turns` [patches, head width]; both f32. Half a head must be
/// whole packs.
pub(super) fn bias_turn(product: Tensor, bias: &Tensor, turns: &Tensor) -> Result<Tensor> {
    product.inplace_op3(bias, turns, &BiasTurn)?;
    Ok(product)
}

struct BiasTurn;

impl BiasTurn {
    fn run<T: Number>(
        values: &mut CudaStorage,
        (batch, tokens, row): (usize, usize, usize),
        (bias, bias_layout): (&CudaStorage, &Layout),
        (turns, turns_layout): (&CudaStorage, &Layout),
    ) -> Result<()> {
        let device = bias.device().clone();
        let (patches, head) = turns_layout.shape().dims2()?;
        let (bias, turns) = (
            kernel::values::<f32>(bias, bias_layout, row)?,
            kernel::values::<f32>(turns, turns_layout, patches * head)?,
        );
        let values = T::as_cuda_slice_mut(values)?;
        let count = batch * tokens * row / 3 / kernel::PACK;
        if patches > tokens {
            candle_core::bail!("turns of {patches} patches for {tokens} tokens")
        }
        // SAFETY: `values` begins with batch · tokens rows of `row` values in one piece, as
        // `cuda_fwd` has seen, of which it changes queries and keys; of `bias` it reads a row, and
        // of `turns` one for each patch.
        #[allow(unsafe_code)]
        unsafe {
            launch!(
                device,
                TOKENS,
                &named::<T>("bias_turn"),
                by_value(count),
                values,
                &bias,
                &turns,
                &(count as u32),
                &(tokens as u32),
                &(patches as u32),
                &(row as u32 / 3),
                &(head as u32 / 2),
            );
        }
        Ok(())
    }
}

impl InplaceOp3 for BiasTurn {
    fn name(&self) -> &'static str {
        "bias_turn"
    }

    fn cpu_fwd(
        &self,
        _: &mut CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        candle_core::bail!("bias_turn: the CPU turns in model/cpu/rotary.rs")
    }

    fn cuda_fwd(
        &self,
        values: &mut CudaStorage,
        layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
        turns: &CudaStorage,
        turns_layout: &Layout,
    ) -> Result<()> {
        // the kernel begins at the storage's first value
        if layout.contiguous_offsets() != Some((0, layout.shape().elem_count())) {
            candle_core::bail!("a product that is not a tensor of its own")
        }
        let (shape, bias, turns) =
            (layout.shape().dims3()?, (bias, bias_layout), (turns, turns_layout));
        match values.dtype() {
            DType::BF16 => Self::run::<bf16>(values, shape, bias, turns),
            _ => Self::run::<f32>(values, shape, bias, turns),
        }
    }
}
