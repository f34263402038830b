//! Turns frames into patch features: a [`Vit`], the raw pixels themselves, or what another program
//! has made of them.
//!
//! The features returned are L2-normalised, so their products are cosines. Next stop:
//! [`crate::propagation`].

use candle_core::{DType, Device, Tensor};

use super::given::Given;
use super::vit::{Vit, patchify};
use crate::error::{Error, Result};

/// Norms below this are taken for it, as PyTorch's `normalize` does.
const SMALLEST_NORM: f64 = 1e-12;

/// Something that makes features of the patches of a frame.
pub enum Encoder {
    /// A vision transformer.
    Vit(Box<Vit>),
    /// The pixels of each patch (`pixels` among weights): the floor that every encoder must beat.
    Pixels {
        /// Side of a patch in pixels.
        patch: usize,
        /// Where the products are computed.
        device: Device,
    },
    /// Features of whole clips in files (`features:DIR` among weights). There are none of single
    /// frames: [`crate::eval`] reads them clip by clip.
    Given(Given),
}

/// What an encoder makes of a batch of frames.
pub struct Tokens {
    /// One per patch, row by row: [B, h·w, D], f32.
    pub patches: Tensor,
    /// The CLS token [B, D]; pixels have none.
    pub cls: Option<Tensor>,
}

impl Encoder {
    /// The number type of its products: what leaves its range makes features NaN.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Vit(vit) => vit.products(),
            Self::Pixels { .. } | Self::Given(_) => DType::F32,
        }
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.config().patch,
            Self::Pixels { patch, .. } => *patch,
            Self::Given(given) => given.patch(),
        }
    }

    /// Whose code computes, `fused` or `tensor` ([`super::vit::Implementation`]); nothing is there
    /// to be chosen for pixels.
    pub fn implementation(&self) -> Option<&'static str> {
        match self {
            Self::Vit(vit) => Some(vit.implementation()),
            Self::Pixels { .. } | Self::Given(_) => None,
        }
    }

    /// Width of a feature (D).
    pub fn width(&self) -> usize {
        match self {
            Self::Vit(vit) => vit.config().width,
            Self::Pixels { patch, .. } => 3 * patch * patch,
            Self::Given(given) => given.width(),
        }
    }

    /// Where the features are computed.
    pub fn device(&self) -> &Device {
        match self {
            Self::Vit(vit) => vit.device(),
            Self::Pixels { device, .. } => device,
            Self::Given(given) => given.device(),
        }
    }

    /// Roughly the most memory that one frame of `height` × `width` pixels takes on the device
    /// while it is encoded, in bytes; weights not counted.
    pub fn bytes_per_frame(&self, height: usize, width: usize) -> u64 {
        match self {
            Self::Vit(vit) => vit.bytes_per_frame(height, width),
            Self::Pixels { .. } => (4 * 3 * height * width * 2) as u64,
            Self::Given(_) => 0,
        }
    }

    /// Tokens as the encoder makes them, patches of length 1 where `normalize` is set.
    ///
    /// # Errors
    /// See [`Encoder::features`]; given features are not of frames.
    pub fn tokens(&self, frames: &Tensor, normalize: bool) -> Result<Tokens> {
        let (patches, cls) = match self {
            Self::Vit(vit) => {
                let tokens = vit.tokens(frames)?;
                let patches = tokens.narrow(1, 1, tokens.dim(1)? - 1)?;
                (patches, Some(tokens.narrow(1, 0, 1)?.squeeze(1)?))
            }
            Self::Pixels { patch, .. } => (patchify(frames, *patch)?, None),
            Self::Given(_) => {
                let why = "features of clips are no encoder of pictures; pass a checkpoint";
                return Err(Error::setting("weights", why));
            }
        };
        let patches = patches.to_dtype(DType::F32)?;
        let patches = if normalize { normalized(&patches)? } else { patches.contiguous()? };
        Ok(Tokens { patches, cls })
    }

    /// Features of every patch: [B, 3, H, W] normalised frames -> [B, h·w, D] f32, each of
    /// length 1, patches row by row.
    ///
    /// # Errors
    /// A frame is smaller than a patch, or the device runs out of memory.
    pub fn features(&self, frames: &Tensor) -> Result<Tensor> {
        Ok(self.tokens(frames, true)?.patches)
    }
}

/// `x / max(‖x‖, 1e-12)` over the last axis of [B, N, D].
pub(crate) fn normalized(xs: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(rows) = super::gpu::unit_rows(xs, SMALLEST_NORM as f32)? {
        return Ok(rows);
    }
    let norms = xs.sqr()?.sum_keepdim(candle_core::D::Minus1)?.sqrt()?.maximum(SMALLEST_NORM)?;
    Ok(xs.broadcast_div(&norms)?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_unit_rows_and_black_stays_zero() {
        let mut values = vec![0_f32; 3 * 2 * 4];
        values[2] = 3.0; // row 0, column 2 of the first channel: the second patch
        values[3] = 4.0;
        let frames = Tensor::from_vec(values, (1, 3, 2, 4), &Device::Cpu).unwrap();
        let encoder = Encoder::Pixels { patch: 2, device: Device::Cpu };
        let features = encoder.features(&frames).unwrap().squeeze(0).unwrap();
        let rows = features.to_vec2::<f32>().unwrap();
        assert_eq!(encoder.width(), 12);
        assert_eq!(rows[0], [0.0; 12]);
        assert_eq!(rows[1][..2], [0.6, 0.8]);
    }
}
