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
    let given = batch * 3 * height * width;
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
    let pixels = pixels.values::<f32>(given)?;
    match rows {
        Some(rows) => {
            let rows = Operand::open(rows);
            let rows = rows.values::<u32>(count / values)?;
            // SAFETY: the kernel writes `count` values, for which there is room, from frames of
            // `given`; there is a row for each patch, and each is the place of one: `masking` draws
            // them from 0..N of every image.
            #[allow(unsafe_code)]
            unsafe {
                launch!(
                    device,
                    PATCHES,
                    &name,
                    config,
                    &pixels,
                    &rows,
                    &mut out,
                    &(count as u32),
                    &height,
                    &width,
                    &patch,
                );
            }
        }
        None => {
            let none = 0_u64; // a null pointer
            // SAFETY: the kernel writes `count` values, for which there is room, from frames of
            // `given`; without a list it takes all patches in order.
            #[allow(unsafe_code)]
            unsafe {
                launch!(
                    device,
                    PATCHES,
                    &name,
                    config,
                    &pixels,
                    &none,
                    &mut out,
                    &(count as u32),
                    &height,
                    &width,
                    &patch,
                );
            }
        }
    }
    Ok(wrapped(out, shape, device))
}
