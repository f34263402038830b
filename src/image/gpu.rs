//! Frames on their way to a network on a GPU (`frames.cu`): bytes go over, a quarter of what floats
//! would, and are resampled and normalised there.

use candle_core::cuda_backend::cudarc::driver::CudaView;
use candle_core::{CudaDevice, Device, Tensor};

use super::Rgb;
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

/// Frames of one size as normalised planes [B, 3, height, width] in f32 on a GPU; those of another
/// size than asked for are resampled by [`super::resize::FrameFilter::Bilinear`]'s rule, to the last
/// bit as [`super::resize::frame_to_planes`] does it.
///
/// # Errors
/// The frames differ in size or have no pixels, `device` is no GPU, or it has no room.
pub fn planes(
    frames: &[&Rgb],
    (rows, columns): (usize, usize),
    normalization: Normalization,
    device: &Device,
) -> Result<Tensor> {
    let device = device.as_cuda_device()?;
    let size = frames.first().map_or((0, 0), |frame| (frame.height, frame.width));
    let (height, width) = size;
    let fit = |frame: &&Rgb| {
        (frame.height, frame.width) == size && frame.data.len() == 3 * height * width
    };
    if height * width * rows * columns == 0 || !frames.iter().all(fit) {
        return Err(Error::setting("size", "frames of one batch must have one size, and pixels"));
    }
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.data.iter().copied()).collect();
    let bytes = device.clone_htod(&bytes)?;
    resampled(&bytes.as_view(), (frames.len(), size), (rows, columns), normalization, device)
}

/// Frames that lie on a GPU, u8 [B, height, width, 3], as normalised planes [B, 3, height, width] in
/// f32, to the last bit as the CPU makes them.
///
/// # Errors
/// They are of another shape or type, or the device has no room.
pub fn normalized(frames: &Tensor, normalization: Normalization) -> Result<Tensor> {
    let (count, height, width, _) = frames.dims4()?;
    let (operand, size) = (Operand::open(frames), (height, width));
    resampled(&operand.values::<u8>()?, (count, size), size, normalization, operand.device()?)
}

/// `count` frames of `height` by `width` as planes of `rows` by `columns`.
fn resampled(
    bytes: &CudaView<'_, u8>,
    (count, (height, width)): (usize, (usize, usize)),
    (rows, columns): (usize, usize),
    normalization: Normalization,
    device: &CudaDevice,
) -> Result<Tensor> {
    if bytes.len() != 3 * count * height * width {
        return Err(Error::setting("size", "frames are of three colours"));
    }
    let pixels = count * rows * columns;
    let mut out = kernel::room::<f32>(device, 3 * pixels)?;
    macro_rules! of {
        ($($taps:expr),+) => {
            launch!(
                device,
                FRAMES,
                "frame_planes",
                by_value(pixels),
                bytes,
                &mut out,
                &(pixels as u32),
                &(height as u32),
                &(width as u32),
                &(rows as u32),
                &(columns as u32),
                $($taps),+,
                &normalization,
            )
        };
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
