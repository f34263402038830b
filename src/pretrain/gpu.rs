//! What a training step does on a GPU outside the network: pixels in, AdamW out (`step.cu`).

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::DeviceRepr;
use candle_core::{CpuStorage, CudaStorage, InplaceOp2, Layout, Result, Tensor};
use rayon::prelude::*;

use crate::image::Rgb;
use crate::kernel::{self, by_value, launch, wrapped};

/// Pictures of one size as normalised planes [B, 3, height, width] in f32. They travel as bytes, a
/// quarter of what planes would be; `table` says what each byte of each channel becomes, so that
/// planes are those of the CPU to the last bit.
pub(super) fn planes(
    images: &[&Rgb],
    (height, width): (usize, usize),
    table: &[[f32; 256]; 3],
    device: &CudaDevice,
) -> Result<Tensor> {
    let area = height * width;
    if images.iter().any(|image| image.data.len() != 3 * area) {
        candle_core::bail!("pictures that are not of {height}x{width} pixels")
    }
    let mut bytes = vec![0_u8; images.len() * 3 * area];
    let places = bytes.par_chunks_mut((3 * area).max(1));
    places.zip(images).for_each(|(place, image)| place.copy_from_slice(&image.data));
    let pictures = device.clone_htod(&bytes)?;
    let table = device.clone_htod(table.as_flattened())?;
    let mut out = kernel::room::<f32>(device, bytes.len())?;
    launch!(
        device,
        STEP,
        "planes",
        by_value(bytes.len()),
        &pictures,
        &table,
        &mut out,
        &bytes.len(),
        &(area as u32),
    );
    Ok(wrapped(out, (images.len(), 3, height, width), device))
}

/// The numbers of a step of AdamW; `Step` of `step.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// What is left of a value by weight decay.
    pub(super) keep: f32,
    /// The learning rate over the mean's correction.
    pub(super) size: f32,
    /// What a gradient counts in the mean.
    pub(super) new1: f32,
    /// What is kept of the mean of squares.
    pub(super) beta2: f32,
    /// What a squared gradient counts in it.
    pub(super) new2: f32,
    /// The root of its correction.
    pub(super) root2: f32,
    /// Added to its root.
    pub(super) epsilon: f32,
}

// SAFETY: plain numbers in the order and the layout of C, as the kernels declare them.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Numbers {}

/// Moves a parameter against its gradient; `moments` [2, ..] are the means of gradients and of their
/// squares.
pub(super) fn step(
    values: &Tensor,
    gradient: &Tensor,
    moments: &Tensor,
    numbers: Numbers,
) -> Result<()> {
    moments.inplace_op2(&gradient.contiguous()?, &Move { kernel: "adamw_moments", numbers })?;
    values.inplace_op2(moments, &Move { kernel: "adamw_values", numbers })
}

/// One of the two kernels of a step: what it changes first, then what it reads.
struct Move {
    kernel: &'static str,
    numbers: Numbers,
}

impl InplaceOp2 for Move {
    fn name(&self) -> &'static str {
        self.kernel
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("the CPU steps on slices")
    }

    fn cuda_fwd(
        &self,
        changed: &mut CudaStorage,
        layout: &Layout,
        read: &CudaStorage,
        read_layout: &Layout,
    ) -> Result<()> {
        let device = read.device().clone();
        let (changes, reads) = (layout.shape().elem_count(), read_layout.shape().elem_count());
        // the kernel begins at the storage's first value
        if layout.contiguous_offsets() != Some((0, changes)) {
            candle_core::bail!("{} of a tensor that is a part of another", self.kernel)
        }
        // one of the two operands holds both moments
        let count = changes.min(reads);
        if changes.max(reads) != 2 * count {
            candle_core::bail!("{} of tensors that do not fit", self.kernel)
        }
        let changed = changed.as_cuda_slice_mut::<f32>()?;
        let read = kernel::values::<f32>(read, read_layout)?;
        launch!(device, STEP, self.kernel, by_value(count), changed, &read, &count, &self.numbers,);
        Ok(())
    }
}

/// The two moments of a tensor that come one behind the other, each of the tensor's shape.
pub(super) fn moments_of(moments: &Tensor) -> Result<(Tensor, Tensor)> {
    let moments = moments.to_device(&candle_core::Device::Cpu)?;
    Ok((moments.get(0)?.copy()?, moments.get(1)?.copy()?))
}
