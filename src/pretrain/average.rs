//! The running average of a run's weights: smoother than the weights themselves, which jump about
//! what they are drawn to.
//!
//! After every step each averaged value becomes decay · itself + (1 − decay) · the weight; it begins
//! as the weights do. It is stored in checkpoints under `average.` and is what
//! `encoder.safetensors` holds. [`super::train()`] keeps it; nothing of it goes back into training.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::autoencoder::{Autoencoder, Parameters};
use crate::error::{Error, Result};

/// What the names of averaged weights begin with in a checkpoint.
pub const PREFIX: &str = "average.";

/// Averaged weights, in the order of the parameters.
#[derive(Debug, Clone)]
pub struct Average {
    decay: f64,
    tensors: Vec<Tensor>,
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
        let copies = parameters.iter().map(|(_, variable)| variable.as_tensor().detach().copy());
        Ok(Some(Self { decay, tensors: copies.collect::<Result<_, _>>()? }))
    }

    /// Takes in the weights after a step.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn update(&mut self, parameters: &Parameters) -> Result<()> {
        for (average, (_, variable)) in self.tensors.iter_mut().zip(parameters.iter()) {
            let added = (variable.as_tensor().detach() * (1.0 - self.decay))?;
            *average = ((&*average * self.decay)? + added)?;
        }
        Ok(())
    }

    /// The average as `average.PARAMETER`, on the CPU.
    ///
    /// # Errors
    /// The device fails.
    pub fn state(&self, parameters: &Parameters) -> Result<HashMap<String, Tensor>> {
        let named = parameters.iter().zip(&self.tensors);
        named
            .map(|((name, _), average)| {
                Ok((format!("{PREFIX}{name}"), average.to_device(&Device::Cpu)?))
            })
            .collect()
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
        for (average, (name, variable)) in self.tensors.iter_mut().zip(parameters.iter()) {
            let key = format!("{PREFIX}{name}");
            let stored = state.get(&key).filter(|tensor| tensor.dims() == variable.dims());
            let stored = stored.ok_or_else(|| Error::setting(key, "is missing or misshapen"))?;
            *average = stored.to_device(variable.device())?;
        }
        Ok(())
    }

    /// The network with the averaged weights.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn model(&self, current: &Autoencoder) -> Result<Autoencoder> {
        let names = current.parameters.iter().map(|(name, _)| name.to_owned());
        let tensors: HashMap<_, _> = names.zip(self.tensors.iter().cloned()).collect();
        let device = self.tensors.first().map_or(&Device::Cpu, Tensor::device);
        let parameters = Parameters::from_tensors(&current.config, &tensors, device)?;
        Ok(Autoencoder { config: current.config.clone(), parameters, dtype: current.dtype })
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
    use super::super::config::Preset;
    use super::*;

    #[test]
    fn three_steps_by_hand() {
        let config = Preset::Tiny.config().with_setting("encoder.depth=1").unwrap().autoencoder();
        let parameters = Parameters::seeded(&config, 0, &Device::Cpu).unwrap();
        let set = |value: f64| {
            for (_, variable) in parameters.iter() {
                variable.set(&variable.ones_like().unwrap().affine(value, 0.0).unwrap()).unwrap();
            }
        };
        set(8.0);
        let mut average = Average::new(&parameters, 0.5).unwrap().unwrap();
        // 8, then (8 + 4) / 2 = 6, (6 + 2) / 2 = 4, (4 - 16) / 2 = -6
        for weight in [4.0, 2.0, -16.0] {
            set(weight);
            average.update(&parameters).unwrap();
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
