//! The exact GELU, x·Φ(x).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::plain::plain;
use crate::autoencoder::tape::{Tape, Value};
use crate::elementwise;
use crate::host::{CHUNK, ours, read, values};

struct Gelu;

/// x·Φ(x) of every value.
pub(in crate::autoencoder) fn gelu(tape: &Tape, xs: &Value) -> Result<Value> {
    #[cfg(feature = "cuda")]
    if super::gpu::takes(&xs.tensor) {
        return super::gpu::gelu(tape, xs);
    }
    if !ours(&xs.tensor) {
        return plain(tape, [xs], |[xs]| xs.gelu_erf());
    }
    let tensor = xs.tensor.contiguous()?;
    let out = tensor.apply_op1_no_bwd(&Gelu)?;
    Ok(tape.push(out, &[xs], move |gradient| Ok(vec![Gelu.bwd(&tensor, &tensor, gradient)?])))
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let xs = values(xs, layout)?;
        let mut out = vec![0.0; xs.len()];
        out.par_chunks_mut(CHUNK)
            .zip(xs.par_chunks(CHUNK))
            .for_each(|(out, xs)| elementwise::gelu(xs, out));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let out = read(xs, |xs| {
            read(gradient, |gradient| {
                let mut out = vec![0.0; xs.len()];
                out.par_chunks_mut(CHUNK)
                    .zip(xs.par_chunks(CHUNK))
                    .zip(gradient.par_chunks(CHUNK))
                    .for_each(|((out, xs), g)| elementwise::gelu_backward(xs, g, out));
                out
            })
        })??;
        Tensor::from_vec(out, xs.shape(), xs.device()).map(Some)
    }
}
