//! What a training step does on a GPU when its gradients are there: AdamW and the average
//! (`step.cu`).

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{CudaStorage, Result};

use super::adamw::Numbers;
use crate::autoencoder::GRAIN;
use crate::kernel::{PACK, by_pack, launch};

// SAFETY: plain numbers in the order and the layout of C, as the kernel declares them.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Numbers {}

const _: () = assert!(size_of::<Numbers>() == 28 && align_of::<Numbers>() == 4);

/// What AdamW keeps on a GPU.
#[derive(Debug)]
pub(super) struct State {
    /// Means of gradients and of their squares, [2, values].
    moments: CudaSlice<f32>,
    /// Not 0 where a grain of values decays.
    decays: CudaSlice<u8>,
}

impl State {
    pub(super) fn new(moments: &[f32], decays: &[bool], device: &CudaDevice) -> Result<Self> {
        let decays: Vec<u8> = decays.iter().map(|decays| u8::from(*decays)).collect();
        Ok(Self { moments: device.clone_htod(moments)?, decays: device.clone_htod(&decays)? })
    }

    /// The moments, on the host.
    pub(super) fn moments(&self) -> Result<Vec<f32>> {
        self.moments.stream().clone_dtoh(&self.moments).w()
    }
}

/// A step of AdamW, as [`super::adamw`] says; whole tensors.
pub(super) fn step(
    values: &mut CudaStorage,
    State { moments, decays }: &mut State,
    (gradient, measured): (&CudaStorage, &CudaStorage),
    numbers: Numbers,
) -> Result<()> {
    let device = values.device().clone();
    let values = values.as_cuda_slice_mut::<f32>()?;
    let (gradient, measured) = (gradient.as_cuda_slice::<f32>()?, measured.as_cuda_slice::<f64>()?);
    let count = values.len();
    if [gradient.len(), moments.len() / 2, GRAIN * decays.len()] != [count; 3] {
        candle_core::bail!("parameters and gradients of different networks")
    }
    if measured.is_empty() {
        candle_core::bail!("a step without its clipping factor")
    }
    // SAFETY: the kernel goes over `count` values, whole packs, of `values` and `gradient`, and of
    // `moments` over twice as many; of `decays` it reads one for each grain, and of `measured` the
    // first. All of that was checked.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            STEP,
            "adamw",
            by_pack(count),
            values,
            moments,
            gradient,
            &*decays,
            measured,
            &(count as u32),
            &(GRAIN as u32),
            &numbers,
        );
    }
    Ok(())
}

/// kept · average + added · value, of whole tensors.
pub(super) fn average(
    average: &mut CudaStorage,
    values: &CudaStorage,
    (kept, added): (f32, f32),
) -> Result<()> {
    let device = average.device().clone();
    let average = average.as_cuda_slice_mut::<f32>()?;
    let values = values.as_cuda_slice::<f32>()?;
    let count = average.len();
    if values.len() != count {
        candle_core::bail!("averages and weights of different networks")
    }
    // SAFETY: the kernel goes over `count` values, whole packs, which both buffers have.
    #[allow(unsafe_code)]
    unsafe {
        launch!(
            device,
            STEP,
            "average",
            by_pack(count),
            average,
            values,
            &(count as u32),
            &kept,
            &added,
        );
    }
    Ok(())
}

// a grain is whole packs: the kernels go over the values pack by pack
const _: () = assert!(GRAIN.is_multiple_of(PACK));
