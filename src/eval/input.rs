//! A frame's two forms: the encoder's input (`Pixels`) and its output (`Encoded`). The input is
//! normalised planes on a CPU, and bytes where a GPU makes planes of them itself, to the same bits.

use candle_core::Tensor;

use crate::device::Uploads;
use crate::error::Result;
use crate::image::Rgb;
#[cfg(feature = "cuda")]
use crate::image::gpu;
use crate::image::resize::{frame_to_planes, nearest_frame};
use crate::model::Encoder;
use crate::protocol::{Protocol, Size};

/// A frame, prepared for the device that encodes it.
pub(super) enum Pixels {
    /// Normalised planes R, G, B at the input size.
    Planes(Vec<f32>),
    /// Bytes: at the input size, or before it where the GPU resamples them.
    #[cfg(feature = "cuda")]
    Bytes(Rgb),
}

/// What is known of a frame when its features are.
pub(super) struct Encoded {
    /// Features [h·w, D].
    pub(super) features: Tensor,
    /// The frame's size as released.
    pub(super) frame: Size,
    /// The encoder's input size.
    pub(super) input: Size,
}

impl Pixels {
    /// A decoded frame for an encoder, and its input size.
    ///
    /// # Errors
    /// The frame is too small for one patch.
    pub(super) fn prepare(
        rgb: Rgb,
        protocol: &Protocol,
        encoder: &Encoder,
    ) -> Result<(Self, Size)> {
        #[cfg(feature = "cuda")]
        if encoder.device().is_cuda() {
            let (rgb, input) = sized(rgb, protocol, encoder.patch())?;
            return Ok((Self::Bytes(resized(rgb, input, protocol)?), input));
        }
        let (planes, input) = input_planes(rgb, protocol, encoder.patch())?;
        Ok((Self::Planes(planes), input))
    }
}

/// The frame that is resized, and to what.
fn sized(rgb: Rgb, protocol: &Protocol, patch: usize) -> Result<(Rgb, Size)> {
    let input = protocol.input(Size { height: rgb.height, width: rgb.width }, patch)?;
    let rgb = match protocol.copy_size {
        Some(size) => nearest_frame(&rgb, size.height, size.width),
        None => rgb,
    };
    Ok((rgb, input))
}

/// The frame at the input size, where that is done with bytes.
#[cfg(feature = "cuda")]
fn resized(rgb: Rgb, input: Size, protocol: &Protocol) -> Result<Rgb> {
    use crate::image::resize::resized_bytes;
    use std::borrow::Cow;
    let bytes = resized_bytes(&rgb, input.height, input.width, protocol.frame_filter)?;
    Ok(match bytes {
        Some(Cow::Owned(bytes)) => bytes,
        Some(Cow::Borrowed(_)) | None => rgb,
    })
}

/// A decoded frame as normalised planes (3 × H × W) at the protocol's input size.
///
/// # Errors
/// The frame is too small for one patch.
pub fn input_planes(rgb: Rgb, protocol: &Protocol, patch: usize) -> Result<(Vec<f32>, Size)> {
    let (rgb, input) = sized(rgb, protocol, patch)?;
    let mut planes = frame_to_planes(&rgb, input.height, input.width, protocol.frame_filter)?;
    let plane = input.height * input.width;
    for (channel, values) in planes.chunks_exact_mut(plane).enumerate() {
        let (mean, std) = (protocol.mean[channel], protocol.std[channel]);
        values.iter_mut().for_each(|value| *value = (*value - mean) / std);
    }
    Ok((planes, input))
}

/// Frames of one clip as its encoder takes them: [B, 3, H, W] on the device of `uploads`.
///
/// # Errors
/// The frames differ in size, or the device runs out of memory.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub(super) fn tensor(
    batch: &[&Pixels],
    input: Size,
    protocol: &Protocol,
    uploads: &mut Uploads,
) -> Result<Tensor> {
    let mut planes = Vec::new();
    #[cfg(feature = "cuda")]
    let (mut frames, mut size) = (Vec::new(), (0, 0));
    for pixels in batch {
        match pixels {
            Pixels::Planes(values) => planes.push(&**values),
            #[cfg(feature = "cuda")]
            Pixels::Bytes(frame) => {
                size = (frame.height, frame.width);
                frames.push(&*frame.data);
            }
        }
    }
    #[cfg(feature = "cuda")]
    if !frames.is_empty() {
        let Protocol { mean, std, .. } = *protocol;
        let frames = uploads.pictures(&frames, size)?;
        let how = gpu::Normalization { mean, std };
        return gpu::planes(&frames, (input.height, input.width), how);
    }
    let shape = (batch.len(), 3, input.height, input.width);
    Ok(Tensor::from_vec(planes.concat(), shape, uploads.device())?)
}
