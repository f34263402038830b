//! Cuts a frame into patches.

use candle_core::Tensor;

use crate::error::{Error, Result};

/// Rows and columns of whole patches in a frame.
///
/// # Errors
/// The frame is smaller than a patch.
pub(super) fn grid(height: usize, width: usize, patch: usize) -> Result<(usize, usize)> {
    let (rows, columns) = (height / patch, width / patch);
    if rows * columns == 0 {
        return Err(Error::setting(
            "size",
            format!("a frame of {height}x{width} is smaller than a patch of {patch}"),
        ));
    }
    Ok((rows, columns))
}

/// Non-overlapping patches as rows: [B, 3, H, W] -> [B, h·w, 3·p·p], each row in the order
/// (channel, row in the patch, column in the patch) of a convolution's kernel.
///
/// # Errors
/// A frame is smaller than a patch.
pub fn patchify(frames: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = frames.dims4()?;
    let (rows, columns) = grid(height, width, patch)?;
    let frames = frames.narrow(2, 0, rows * patch)?.narrow(3, 0, columns * patch)?.contiguous()?;
    let patches = frames
        .reshape(&[batch, channels, rows, patch, columns, patch][..])?
        .permute(vec![0, 2, 4, 1, 3, 5])?
        .contiguous()?;
    Ok(patches.reshape((batch, rows * columns, channels * patch * patch))?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn patches_are_rows_in_kernel_order() {
        // One channel-major 2 × 4 frame of 3 channels, patch 2: two patches side by side.
        let frames = Tensor::arange(0_f32, 24.0, &Device::Cpu).unwrap();
        let frames = frames.reshape((1, 3, 2, 4)).unwrap();
        let patches = patchify(&frames, 2).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(patches[0], [0., 1., 4., 5., 8., 9., 12., 13., 16., 17., 20., 21.]);
        assert_eq!(patches[1], [2., 3., 6., 7., 10., 11., 14., 15., 18., 19., 22., 23.]);
    }
}
