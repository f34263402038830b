//! Dropout whose random values are a function of a seed and the place in the tensor. So the
//! backward pass finds the dropped values again without storing them, and a resumed run drops the
//! same ones.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::autoencoder::tape::{Tape, Value};
use crate::host::{CHUNK, ours, read, values};

/// What one operation drops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::autoencoder) struct Dropout {
    /// The share of values that become zero; the others grow by 1/(1 − p).
    pub(in crate::autoencoder) probability: f32,
    /// Which ones.
    pub(in crate::autoencoder) seed: u64,
}

/// A value is dropped where a word scrambled from its place is below `below`, and grows by `scale`
/// where not; `Drop` of the GPU's kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    below: u32,
    factor: u32,
    offset: u32,
    scale: f32,
}

// SAFETY: plain numbers in the order and the layout of C, as the kernels declare them.
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
unsafe impl candle_core::cuda_backend::cudarc::driver::DeviceRepr for Numbers {}

#[cfg(feature = "cuda")]
const _: () = assert!(size_of::<Numbers>() == 16 && align_of::<Numbers>() == 4);

impl Dropout {
    /// Drops nothing.
    pub(in crate::autoencoder) const NONE: Self = Self { probability: 0.0, seed: 0 };

    /// Whether anything can be dropped at all.
    pub(super) fn drops(self) -> bool {
        self.numbers().below > 0
    }

    /// What the kernels compute with.
    pub(super) fn numbers(self) -> Numbers {
        Numbers {
            below: (f64::from(self.probability) * 2_f64.powi(32)) as u32,
            factor: (self.seed >> 32) as u32 | 1,
            offset: self.seed as u32,
            scale: 1.0 / (1.0 - self.probability),
        }
    }

    /// Zeroes or scales the values that lie from place `first` on in the whole tensor.
    pub(super) fn apply(self, values: &mut [f32], first: usize) {
        if !self.drops() {
            return;
        }
        let Numbers { below, factor, offset, scale } = self.numbers();
        let first = first as u32;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (place, value) in values.iter_mut().enumerate() {
                    let place = first.wrapping_add(place as u32);
                    let dropped = scramble(place.wrapping_mul(factor) ^ offset) < below;
                    *value = if dropped { 0.0 } else { *value * scale };
                }
            },
        );
    }
}

/// A permutation of the 32-bit numbers in which every bit of the input moves every bit of the
/// output: two multiplications between three xor-shifts (the constants are Wellons's `lowbias32`).
#[inline(always)]
fn scramble(mut bits: u32) -> u32 {
    bits ^= bits >> 16;
    bits = bits.wrapping_mul(0x7feb_352d);
    bits ^= bits >> 15;
    bits = bits.wrapping_mul(0x846c_a68b);
    bits ^ (bits >> 16)
}

/// `xs` with some values dropped; what is dropped is the same on a CPU in f32 and on a GPU; in
/// other number types the device's own generator draws.
pub(in crate::autoencoder) fn dropout(tape: &Tape, xs: &Value, how: Dropout) -> Result<Value> {
    if !how.drops() {
        return Ok(xs.clone());
    }
    #[cfg(feature = "cuda")]
    if super::gpu::takes(&xs.tensor) {
        return super::gpu::dropout(tape, xs, how);
    }
    if !ours(&xs.tensor) {
        let factors = drawn(&xs.tensor, how)?;
        let out = (&xs.tensor * &factors)?;
        return Ok(tape.push(out, &[xs], move |gradient| Ok(vec![Some((gradient * &factors)?)])));
    }
    let tensor = xs.tensor.contiguous()?;
    let out = tensor.apply_op1_no_bwd(&how)?;
    Ok(tape.push(out, &[xs], move |gradient| Ok(vec![how.bwd(&tensor, &tensor, gradient)?])))
}

/// What the device's own generator leaves of ones of this shape.
pub(super) fn drawn(like: &Tensor, how: Dropout) -> Result<Tensor> {
    candle_nn::ops::dropout(&like.ones_like()?, how.probability)
}

impl Dropout {
    fn of(self, xs: &[f32]) -> Vec<f32> {
        let mut out = xs.to_vec();
        out.par_chunks_mut(CHUNK)
            .enumerate()
            .for_each(|(index, chunk)| self.apply(chunk, index * CHUNK));
        out
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.of(values(xs, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let out = read(gradient, |gradient| self.of(gradient))?;
        Tensor::from_vec(out, xs.shape(), xs.device()).map(Some)
    }
}
