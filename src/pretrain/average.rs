//! The running average of a run's weights. It is smoother than the weights themselves, which jump
//! around with every step.
//!
//! After every step each averaged value becomes decay · itself + (1 − decay) · the weight; it
//! starts equal to the weights. Checkpoints store it under `average.`, and it is what
//! `encoder.safetensors` holds. [`super::train()`] updates it; it has no effect on training.

use std::collections::HashMap;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::gpu;
use crate::autoencoder::{Autoencoder, Parameters};
use crate::error::{Error, Result};

/// What the names of averaged weights begin with in a checkpoint.
pub const PREFIX: &str = "average.";

/// Values that a thread takes at a time.
const CHUNK: usize = 1 << 15;

/// Averaged weights, laid out as [`Parameters::values`].
#[derive(Debug)]
pub struct Average {
    decay: f64,
    values: Tensor,
}

impl Average {
    /// The average of weights that have made no step; `None` where `decay` is 0.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn new(parameters: &Parameters, decay: f64) -> Result<Option<Self>> {
        if decay == 0.0 {
            return Ok(None);
        }
        Ok(Some(Self { decay, values: parameters.values().copy()? }))
    }

    /// Takes in the weights after a step. Does not wait for a GPU.
    ///
    /// # Errors
    /// The device fails.
    pub fn update(&mut self, parameters: &Parameters) -> Result<()> {
        let (kept, added) = (self.decay as f32, (1.0 - self.decay) as f32);
        Ok(self.values.inplace_op2(parameters.values(), &Mix { kept, added })?)
    }

    /// The average as `average.PARAMETER`, on the CPU.
    ///
    /// # Errors
    /// The device fails.
    pub fn state(&self, parameters: &Parameters) -> Result<HashMap<String, Tensor>> {
        let values = self.values.to_vec1::<f32>()?;
        let named = |found: Result<(&str, Tensor)>| {
            found.map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor))
        };
        parameters.spans().split(&values).map(named).collect()
    }

    /// Goes on from an [`Average::state`].
    ///
    /// # Errors
    /// A tensor is missing or of another shape.
    pub fn restore(
        &mut self,
        parameters: &Parameters,
        state: &HashMap<String, Tensor>,
    ) -> Result<()> {
        let values = parameters.spans().join(|span| {
            let key = format!("{PREFIX}{}", span.name);
            let stored = state.get(&key).filter(|tensor| tensor.dims() == span.shape);
            stored.cloned().ok_or_else(|| Error::failed(key, "is missing or misshapen"))
        })?;
        self.values = Tensor::new(values, parameters.values().device())?;
        Ok(())
    }

    /// The network with the averaged weights.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn model(&self, current: &Autoencoder) -> Result<Autoencoder> {
        let parameters = current.parameters.with_values(&self.values)?;
        Ok(Autoencoder { config: current.config.clone(), parameters, dtype: current.dtype })
    }
}

/// kept · itself + added · the weight, of every value.
struct Mix {
    kept: f32,
    added: f32,
}

impl InplaceOp2 for Mix {
    fn name(&self) -> &'static str {
        "average"
    }

    fn cpu_fwd(
        &self,
        average: &mut CpuStorage,
        _: &Layout,
        values: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        let CpuStorage::F32(average) = average else { candle_core::bail!("averages are f32") };
        let values = values.as_slice::<f32>()?;
        average.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(
            |(average, values)| {
                for (average, value) in average.iter_mut().zip(values) {
                    *average = *average * self.kept + value * self.added;
                }
            },
        );
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        average: &mut CudaStorage,
        _: &Layout,
        values: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        gpu::average(average, values, (self.kept, self.added))
    }
}

/// The tensors of a checkpoint with the averaged weights in place of the current ones; `None` where
/// it holds none.
pub fn averaged(tensors: &HashMap<String, Tensor>) -> Option<HashMap<String, Tensor>> {
    let mut all = tensors.clone();
    let mut found = false;
    for (name, tensor) in tensors {
        if let Some(name) = name.strip_prefix(PREFIX) {
            found = true;
            all.insert(name.to_owned(), tensor.clone());
        }
    }
    found.then_some(all)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::config::Preset;
    use super::*;

    #[test]
    fn three_steps_by_hand() {
        let config = Preset::Tiny.config().with_setting("encoder.depth=1").unwrap().autoencoder();
        let parameters = Parameters::seeded(&config, 0, &Device::Cpu).unwrap();
        let set = |value: f64| {
            let ones = parameters.values().ones_like().unwrap();
            parameters.with_values(&ones.affine(value, 0.0).unwrap()).unwrap()
        };
        let mut average = Average::new(&set(8.0), 0.5).unwrap().unwrap();
        // 8, then (8 + 4) / 2 = 6, (6 + 2) / 2 = 4, (4 - 16) / 2 = -6
        for weight in [4.0, 2.0, -16.0] {
            average.update(&set(weight)).unwrap();
        }
        let state = average.state(&parameters).unwrap();
        assert_eq!(state.len(), parameters.iter().len());
        for (name, tensor) in &state {
            let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            assert!(values.iter().all(|value| *value == -6.0), "{name}");
        }
        let mut other = Average::new(&parameters, 0.5).unwrap().unwrap();
        other.restore(&parameters, &state).unwrap();
        let restored = other.state(&parameters).unwrap();
        let bias = "average.norm.bias";
        let values = |state: &HashMap<String, Tensor>| state[bias].to_vec1::<f32>().unwrap();
        assert_eq!(values(&restored), values(&state));
        let error = other.restore(&parameters, &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("average.") && error.contains("missing"), "{error}");
        assert!(Average::new(&parameters, 0.0).unwrap().is_none());
    }
}
