//! Frames on their way to a network on a GPU (`frames.cu`): bytes went over, a quarter of what
//! floats would be, and are resampled and normalised there.

use candle_core::Tensor;

use super::resize::Taps;
use crate::error::{Error, Result};
use crate::kernel::{self, Operand, by_value, launch, wrapped};

/// `Normalization` of `frames.cu`: what is subtracted from R, G, B in [0, 1], and what they are
/// divided by then.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Normalization {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
}

// SAFETY: plain numbers in the order and the layout of C, as the kernel declares them.
#[allow(unsafe_code)]
unsafe impl candle_core::cuda_backend::cudarc::driver::DeviceRepr for Normalization {}

const _: () = assert!(size_of::<Normalization>() == 24 && align_of::<Normalization>() == 4);

/// Frames that lie on a GPU, u8 [B, height, width, 3], as normalised planes [B, 3, rows, columns]
/// in f32; where that is another size they are resampled by
/// [`super::resize::FrameFilter::Bilinear`]'s rule, to the last bit as
/// [`super::resize::frame_to_planes`] does it.
///
/// # Errors
/// They are of another shape or type, or the device has no room.
pub fn planes(
    frames: &Tensor,
    (rows, columns): (usize, usize),
    normalization: Normalization,
) -> Result<Tensor> {
    let (count, height, width, colors) = frames.dims4()?;
    if colors != 3 || height * width == 0 {
        return Err(Error::setting("size", "frames are of three colours, and have pixels"));
    }
    let operand = Operand::open(frames);
    let (device, bytes) = (operand.device()?, operand.values::<u8>(count * height * width * 3)?);
    let pixels = count * rows * columns;
    let mut out = kernel::room::<f32>(device, 3 * pixels)?;
    macro_rules! of {
        ($($taps:expr),+) => {{
            // SAFETY: the kernel reads frames of height · width · 3 bytes and writes three planes
            // for `pixels` pixels; taps, where they are not null, are one for each row or column,
            // and `Taps` names rows and columns of the frame alone.
            #[allow(unsafe_code)]
            unsafe {
                launch!(
                    device,
                    FRAMES,
                    "frame_planes",
                    by_value(pixels),
                    &bytes,
                    &mut out,
                    &(pixels as u32),
                    &(height as u32),
                    &(width as u32),
                    &(rows as u32),
                    &(columns as u32),
                    $($taps),+,
                    &normalization,
                );
            }
        }};
    }
    if (height, width) == (rows, columns) {
        let none = 0_u64; // a null pointer
        of!(&none, &none, &none, &none, &none, &none);
    } else {
        let places =
            |places: &[usize]| -> Vec<u32> { places.iter().map(|&place| place as u32).collect() };
        let [y, x] = [Taps::new(height, rows), Taps::new(width, columns)];
        let [y_near, y_far] = [&y.near, &y.far].map(|taps| device.clone_htod(&places(taps)));
        let [x_near, x_far] = [&x.near, &x.far].map(|taps| device.clone_htod(&places(taps)));
        let [y_weight, x_weight] = [&y, &x].map(|taps| device.clone_htod(&taps.weight));
        of!(&y_near?, &y_far?, &y_weight?, &x_near?, &x_far?, &x_weight?);
    }
    Ok(wrapped(out, (count, 3, rows, columns), device))
}
