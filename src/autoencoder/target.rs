//! The decoder's target, and the loss against it.

use candle_core::{D, DType, Tensor};

use crate::error::Result;

/// Added to a patch's variance before its root is taken.
const EPSILON: f64 = 1e-6;

/// A view's pixels patch by patch: [B, 3, S, S] -> [B, N, p·p·3], a patch in the order (row in the
/// patch, column in the patch, channel).
///
/// # Errors
/// The device runs out of memory.
pub fn patches(view: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = view.dims4()?;
    let (rows, columns) = (height / patch, width / patch);
    let split = view.reshape(&[batch, channels, rows, patch, columns, patch][..])?;
    let patches = split.permute(vec![0, 2, 4, 3, 5, 1])?.contiguous()?;
    Ok(patches.reshape((batch, rows * columns, patch * patch * channels))?)
}

/// The inverse of [`patches`]: [B, N, p·p·3] -> [B, 3, S, S].
///
/// # Errors
/// The device runs out of memory.
pub fn view(patches: &Tensor, patch: usize) -> Result<Tensor> {
    let (batch, count, values) = patches.dims3()?;
    let (side, channels) = (count.isqrt(), values / (patch * patch));
    let split = patches.reshape(&[batch, side, side, patch, patch, channels][..])?;
    let view = split.permute(vec![0, 5, 1, 3, 2, 4])?.contiguous()?;
    Ok(view.reshape((batch, channels, side * patch, side * patch))?)
}

/// Mean and deviation of every patch, [B, N, 1] each; the variance is the unbiased one plus 10⁻⁶.
///
/// # Errors
/// The device runs out of memory.
pub fn statistics(patches: &Tensor) -> Result<(Tensor, Tensor)> {
    let count = patches.dim(D::Minus1)? as f64;
    let mean = patches.mean_keepdim(D::Minus1)?;
    let squares = patches.broadcast_sub(&mean)?.sqr()?.sum_keepdim(D::Minus1)?;
    Ok((mean, ((squares / (count - 1.0))? + EPSILON)?.sqrt()?))
}

/// What the decoder must say for a view [B, 3, S, S]: its patches, each brought to mean 0 and
/// variance 1 where `normalize` is set; [B, N, p·p·3] in f32.
///
/// # Errors
/// The device runs out of memory.
pub fn target(view: &Tensor, patch: usize, normalize: bool) -> Result<Tensor> {
    let view = view.to_dtype(DType::F32)?;
    #[cfg(feature = "cuda")]
    if super::ops::gpu::takes(&view) {
        return Ok(super::ops::gpu::target(&view, patch, normalize, EPSILON)?);
    }
    let rows = patches(&view, patch)?;
    if !normalize {
        return Ok(rows);
    }
    let (mean, deviation) = statistics(&rows)?;
    Ok(rows.broadcast_sub(&mean)?.broadcast_div(&deviation)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_view_is_put_together_again() {
        let pixels = Tensor::arange(0_f32, 2.0 * 3.0 * 36.0, &Device::Cpu).unwrap();
        let pixels = pixels.reshape((2, 3, 6, 6)).unwrap();
        let rows = patches(&pixels, 2).unwrap();
        assert_eq!(rows.dims(), [2, 9, 12]);
        // the second patch of the first image: rows 0 and 1, columns 2 and 3, colours innermost
        let second = rows.to_vec3::<f32>().unwrap()[0][1].clone();
        assert_eq!(second, [2., 38., 74., 3., 39., 75., 8., 44., 80., 9., 45., 81.]);
        let again = view(&rows, 2).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&again), flat(&pixels));
    }

    #[test]
    fn normalised_patches_use_the_unbiased_variance() {
        let patch = Tensor::new(&[[[1_f32, 2.0, 3.0, 6.0]]], &Device::Cpu).unwrap();
        let (mean, deviation) = statistics(&patch).unwrap();
        let scalar = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
        assert_eq!(scalar(mean), 3.0);
        assert!((scalar(deviation) - (14.0_f32 / 3.0 + 1e-6).sqrt()).abs() < 1e-6);
    }
}
