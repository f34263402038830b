//! AdamW as PyTorch computes it, with the recipe's two groups.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{CpuStorage, Device, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

#[cfg(feature = "cuda")]
use super::gpu;
use crate::autoencoder::{Gradients, Parameters};
use crate::error::{Error, Result};

/// Values that a thread takes at a time.
const CHUNK: usize = 1 << 15;

/// The settings of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamWSettings {
    /// How much of the mean gradient a step keeps.
    pub beta1: f64,
    /// How much of the mean squared gradient a step keeps.
    pub beta2: f64,
    /// Added to the root of the mean squared gradient.
    pub epsilon: f64,
    /// What weights shrink by at each step, times the learning rate; biases and other tensors of
    /// one dimension do not, the CLS and mask tokens do (timm's rule, which the reference follows).
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.05 }
    }
}

/// Whether weight decay applies to a parameter.
pub fn decays(name: &str, dimensions: usize) -> bool {
    dimensions > 1 && !name.ends_with(".bias")
}

/// Means of gradients and of their squares of one parameter.
#[derive(Debug, Clone)]
enum Moments {
    /// On the CPU.
    Host { mean: Vec<f32>, square: Vec<f32> },
    /// On a GPU: [2, ..], the means first.
    #[cfg(feature = "cuda")]
    Device(Tensor),
}

/// The optimiser: Adam with decoupled weight decay (Loshchilov and Hutter).
#[derive(Debug, Clone)]
pub struct AdamW {
    settings: AdamWSettings,
    steps: u64,
    moments: Vec<Moments>,
}

/// The numbers of one step of one parameter.
#[derive(Clone, Copy)]
struct Step {
    rate: f64,
    decay: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    correction1: f64,
    correction2: f64,
}

impl AdamW {
    /// An optimiser that has made no step.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn new(parameters: &Parameters, settings: AdamWSettings) -> Result<Self> {
        let zeros = |(_, variable): (&str, &Var)| {
            #[cfg(feature = "cuda")]
            if variable.device().is_cuda() {
                let zeros = variable.as_tensor().zeros_like()?.detach();
                return Ok(Moments::Device(Tensor::stack(&[&zeros, &zeros], 0)?));
            }
            let zeros = vec![0.0; variable.elem_count()];
            Ok(Moments::Host { mean: zeros.clone(), square: zeros })
        };
        let moments = parameters.iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self { settings, steps: 0, moments })
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every parameter against its gradient.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        rate: f64,
    ) -> Result<()> {
        self.steps += 1;
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = self.settings;
        let exponent = i32::try_from(self.steps).unwrap_or(i32::MAX);
        for (((name, variable), gradient), moments) in
            parameters.iter().zip(gradients.iter()).zip(&mut self.moments)
        {
            let decay = if decays(name, variable.rank()) { weight_decay } else { 0.0 };
            let step = Step {
                rate,
                decay,
                beta1,
                beta2,
                epsilon,
                correction1: 1.0 - beta1.powi(exponent),
                correction2: 1.0 - beta2.powi(exponent),
            };
            match moments {
                Moments::Host { mean, square } => {
                    let op = HostStep { step, moments: RefCell::new((mean, square)) };
                    variable.as_tensor().inplace_op2(gradient, &op)?;
                }
                #[cfg(feature = "cuda")]
                Moments::Device(moments) => {
                    gpu::step(variable.as_tensor(), gradient, moments, step.numbers())?;
                }
            }
        }
        Ok(())
    }

    /// The moments as `optimizer.PARAMETER.mean` and `.square`, on the CPU.
    ///
    /// # Errors
    /// The device fails.
    pub fn state(&self, parameters: &Parameters) -> Result<HashMap<String, Tensor>> {
        let mut state = HashMap::new();
        for ((name, variable), moments) in parameters.iter().zip(&self.moments) {
            let (mean, square) = match moments {
                Moments::Host { mean, square } => {
                    let tensor = |values: &Vec<f32>| {
                        Tensor::from_slice(values, variable.shape(), &Device::Cpu)
                    };
                    (tensor(mean)?, tensor(square)?)
                }
                #[cfg(feature = "cuda")]
                Moments::Device(moments) => gpu::moments_of(moments)?,
            };
            state.insert(format!("optimizer.{name}.mean"), mean);
            state.insert(format!("optimizer.{name}.square"), square);
        }
        Ok(state)
    }

    /// Goes on from a [`AdamW::state`] after `steps` steps.
    ///
    /// # Errors
    /// A moment is missing or of another shape.
    pub fn restore(
        &mut self,
        parameters: &Parameters,
        state: &HashMap<String, Tensor>,
        steps: u64,
    ) -> Result<()> {
        for ((name, variable), moments) in parameters.iter().zip(&mut self.moments) {
            let stored = |which: &str| {
                let key = format!("optimizer.{name}.{which}");
                let tensor = state.get(&key).filter(|t| t.dims() == variable.dims());
                tensor.ok_or_else(|| Error::setting(key.clone(), "is missing or misshapen"))
            };
            let (mean_stored, square_stored) = (stored("mean")?, stored("square")?);
            match moments {
                Moments::Host { mean, square } => {
                    *mean = mean_stored.flatten_all()?.to_vec1()?;
                    *square = square_stored.flatten_all()?.to_vec1()?;
                }
                #[cfg(feature = "cuda")]
                Moments::Device(moments) => {
                    let both = Tensor::stack(&[mean_stored, square_stored], 0)?;
                    *moments = both.to_device(variable.device())?;
                }
            }
        }
        self.steps = steps;
        Ok(())
    }
}

impl Step {
    #[cfg(feature = "cuda")]
    fn numbers(self) -> gpu::Numbers {
        gpu::Numbers {
            keep: (1.0 - self.rate * self.decay) as f32,
            size: (self.rate / self.correction1) as f32,
            new1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            new2: (1.0 - self.beta2) as f32,
            root2: self.correction2.sqrt() as f32,
            epsilon: self.epsilon as f32,
        }
    }

    fn on_slices(self, values: &mut [f32], gradient: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let keep = (1.0 - self.rate * self.decay) as f32;
        let (new1, new2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let beta2 = self.beta2 as f32;
        let size = (self.rate / self.correction1) as f32;
        let root2 = self.correction2.sqrt() as f32;
        let epsilon = self.epsilon as f32;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (((value, gradient), mean), square) in
                    values.iter_mut().zip(gradient).zip(mean.iter_mut()).zip(square.iter_mut())
                {
                    *mean += (gradient - *mean) * new1;
                    *square = *square * beta2 + gradient * gradient * new2;
                    *value = *value * keep - size * *mean / (square.sqrt() / root2 + epsilon);
                }
            },
        );
    }
}

struct HostStep<'a> {
    step: Step,
    moments: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp2 for HostStep<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        values_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (Some((from, to)), Some((start, end))) =
            (values_layout.contiguous_offsets(), gradient_layout.contiguous_offsets())
        else {
            candle_core::bail!("an operand that is not contiguous")
        };
        let CpuStorage::F32(values) = values else { candle_core::bail!("parameters are f32") };
        let gradient = &gradient.as_slice::<f32>()?[start..end];
        let (mean, square) = &mut *self.moments.borrow_mut();
        let step = self.step;
        values[from..to]
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(mean.par_chunks_mut(CHUNK))
            .zip(square.par_chunks_mut(CHUNK))
            .for_each(|(((values, gradient), mean), square)| {
                step.on_slices(values, gradient, mean, square);
            });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Step = Step {
        rate: 0.1,
        decay: 0.5,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        correction1: 1.0 - 0.9,
        correction2: 1.0 - 0.95,
    };

    #[test]
    fn the_first_step_by_hand() {
        // mean = 0.1·g, square = 0.05·g²; corrected they are g and g², so the step is 0.1·sign
        let (mut values, mut mean, mut square) = ([2.0, -1.0], [0.0; 2], [0.0; 2]);
        STEP.on_slices(&mut values, &[3.0, -0.5], &mut mean, &mut square);
        for (value, wanted) in values.iter().zip([2.0 * 0.95 - 0.1, -0.95 + 0.1]) {
            assert!((value - wanted).abs() < 1e-6, "{value} {wanted}");
        }
        assert!((mean[0] - 0.3).abs() < 1e-7 && (square[1] - 0.0125).abs() < 1e-7);
    }

    #[test]
    fn biases_norms_and_no_tokens_are_spared_from_decay() {
        assert!(decays("cls_token", 3) && decays("blocks.0.attn.qkv.weight", 2));
        assert!(!decays("blocks.0.norm1.weight", 1) && !decays("patch_embed.proj.bias", 1));
        assert!(!decays("decoder_blocks.0.self_attn.in_proj_bias", 1));
    }
}
