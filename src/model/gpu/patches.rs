//! Cuts frames into patches on a GPU (`patches.cu`); on the CPU [`crate::model::vit::patchify`]
//! does it.

use candle_core::{DType, Result, Shape, Tensor};
use half::bf16;

use crate::kernel::{self, Number, Operand, by_value, launch, named, wrapped};

/// The patches of frames [B, 3, H, W] in f32, as [`crate::model::vit::patchify`] orders them, in
/// `dtype`: those at `rows` among all of the batch [n, 3·p·p], or all [B, N, 3·p·p].
pub(crate) fn patches(
    frames: &Tensor,
    rows: Option<&Tensor>,
    (patch, dtype): (usize, DType),
) -> Result<Tensor> {
    match dtype {
        DType::BF16 => patches_of::<bf16>(frames, rows, patch),
        _ => patches_of::<f32>(frames, rows, patch),
    }
}

fn patches_of<T: Number>(frames: &Tensor, rows: Option<&Tensor>, patch: usize) -> Result<Tensor> {
    let (batch, _, height, width) = frames.dims4()?;
    let (all, values) = ((height / patch) * (width / patch), 3 * patch * patch);
    let shape = match rows {
        Some(rows) => Shape::from((rows.elem_count(), values)),
        None => Shape::from((batch, all, values)),
    };
    let frames = frames.contiguous()?;
    let pixels = Operand::open(&frames);
    let device = pixels.device()?;
    let count = shape.elem_count();
    let mut out = kernel::room::<T>(device, count)?;
    let (config, name) = (by_value(count), named::<T>("patches"));
    let (height, width, patch) = (height as u32, width as u32, patch as u32);
    let values = pixels.values::<f32>()?;
    match rows {
        Some(rows) => {
            let rows = Operand::open(rows);
            let rows = rows.values::<u32>()?;
            launch!(
                device,
                PATCHES,
                &name,
                config,
                &values,
                &rows,
                &mut out,
                &(count as u32),
                &height,
                &width,
                &patch,
            );
        }
        None => {
            let none = 0_u64; // a null pointer
            launch!(
                device,
                PATCHES,
                &name,
                config,
                &values,
                &none,
                &mut out,
                &(count as u32),
                &height,
                &width,
                &patch,
            );
        }
    }
    Ok(wrapped(out, shape, device))
}
