//! AdamW over all of a network.
//!
//! Parameters, gradients and moments are a buffer each, laid out alike ([`crate::autoencoder`] says
//! how), and a step is one pass over all of them: on a GPU one launch, which is queued before
//! anybody knows whether the gradients are any good and moves nothing where they are not.

use std::cell::RefCell;
use std::collections::HashMap;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, Device, InplaceOp3, Layout, Tensor};
use rayon::prelude::*;

use super::adamw::{AdamWSettings, Numbers, decays};
#[cfg(feature = "cuda")]
use super::gpu;
use crate::autoencoder::{GRAIN, Gradients, Measured, Parameters, Spans};
use crate::error::{Error, Result};

/// Values that a thread takes at a time.
const CHUNK: usize = 1 << 15;

/// Means of gradients and of their squares, [2, values], and one flag a [`GRAIN`] of values:
/// whether they decay.
#[derive(Debug)]
enum State {
    /// On the CPU.
    Host { moments: Vec<f32>, decays: Vec<bool> },
    /// On a GPU.
    #[cfg(feature = "cuda")]
    Device(gpu::State),
}

impl State {
    fn new(spans: &Spans, moments: Vec<f32>, device: &Device) -> Result<Self> {
        let decays = spans.by_grain(|span| decays(&span.name, span.shape.len()));
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => Ok(Self::Device(gpu::State::new(&moments, &decays, device)?)),
            _ => Ok(Self::Host { moments, decays }),
        }
    }

    /// The moments on the CPU.
    fn moments(&self) -> Result<Vec<f32>> {
        match self {
            Self::Host { moments, .. } => Ok(moments.clone()),
            #[cfg(feature = "cuda")]
            Self::Device(state) => Ok(state.moments()?),
        }
    }
}

/// The optimiser: its [settings](AdamWSettings), how many steps it made, and what it keeps of them.
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    steps: u64,
    state: State,
}

impl AdamW {
    /// An optimiser that has made no step.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn new(parameters: &Parameters, settings: AdamWSettings) -> Result<Self> {
        let (spans, device) = (parameters.spans(), parameters.values().device());
        let state = State::new(spans, vec![0.0; 2 * spans.len()], device)?;
        Ok(Self { settings, steps: 0, state })
    }

    /// Steps made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Moves every parameter against its gradient, scaled first by the clipping factor in `measured`;
    /// where that is not a number, nothing moves. Does not wait for a GPU.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &Gradients,
        measured: &Measured,
        rate: f64,
    ) -> Result<()> {
        self.steps += 1;
        let numbers = Numbers::of(self.settings, self.steps, rate);
        let step = Step { numbers, state: RefCell::new(&mut self.state) };
        parameters.values().inplace_op3(gradients.values(), measured.tensor(), &step)?;
        Ok(())
    }

    /// The moments as `optimizer.PARAMETER.mean` and `.square`, on the CPU.
    ///
    /// # Errors
    /// The device fails.
    pub fn state(&self, parameters: &Parameters) -> Result<HashMap<String, Tensor>> {
        let (spans, moments) = (parameters.spans(), self.state.moments()?);
        let (mean, square) = moments.split_at(moments.len() / 2);
        let mut state = HashMap::new();
        for (which, values) in [("mean", mean), ("square", square)] {
            for found in spans.split(values) {
                let (name, tensor) = found?;
                state.insert(format!("optimizer.{name}.{which}"), tensor);
            }
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
        let spans = parameters.spans();
        let stored = |which: &str| {
            spans.join(|span| {
                let key = format!("optimizer.{}.{which}", span.name);
                let tensor = state.get(&key).filter(|tensor| tensor.dims() == span.shape);
                tensor.cloned().ok_or_else(|| Error::failed(key, "is missing or misshapen"))
            })
        };
        let moments = [stored("mean")?, stored("square")?].concat();
        self.state = State::new(spans, moments, parameters.values().device())?;
        self.steps = steps;
        Ok(())
    }
}

/// A step as an operation on the parameters, their gradients and what was measured of them.
struct Step<'a> {
    numbers: Numbers,
    state: RefCell<&'a mut State>,
}

impl InplaceOp3 for Step<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        _: &Layout,
        gradient: &CpuStorage,
        _: &Layout,
        measured: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        let mut state = self.state.borrow_mut();
        let (CpuStorage::F32(values), State::Host { moments, decays }) = (values, &mut **state)
        else {
            candle_core::bail!("parameters on the CPU, moments elsewhere")
        };
        let gradient = gradient.as_slice::<f32>()?;
        let factor = measured.as_slice::<f64>()?.first().map_or(f32::NAN, |it| *it as f32);
        let half = moments.len() / 2;
        let (mean, square) = moments.split_at_mut(half);
        if [gradient.len(), mean.len(), GRAIN * decays.len()] != [values.len(); 3] {
            candle_core::bail!("parameters and gradients of different networks")
        }
        if factor.is_nan() {
            return Ok(());
        }
        let numbers = self.numbers;
        values
            .par_chunks_mut(CHUNK)
            .zip(mean.par_chunks_mut(CHUNK))
            .zip(square.par_chunks_mut(CHUNK))
            .zip(gradient.par_chunks(CHUNK))
            .zip(decays.par_chunks(CHUNK / GRAIN))
            .for_each(|((((values, mean), square), gradient), decays)| {
                let moved = (values, mean, square);
                numbers.on_slices(moved, (gradient, factor), decays);
            });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        values: &mut CudaStorage,
        _: &Layout,
        gradient: &CudaStorage,
        _: &Layout,
        measured: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<()> {
        match &mut **self.state.borrow_mut() {
            State::Device(state) => gpu::step(values, state, (gradient, measured), self.numbers),
            State::Host { .. } => candle_core::bail!("parameters on a GPU, moments on the CPU"),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::config::Preset;
    use super::*;
    use crate::autoencoder::{Autoencoder, Mask, Views};
    use crate::device::Uploads;

    /// A network of one block and its gradients by a view of 16 patches.
    fn small() -> (Autoencoder, Gradients) {
        let mut config = Preset::Tiny.config();
        (config.encoder.depth, config.decoder.depth, config.views.size) = (1, 1, 32);
        config.encoder.patch = 8;
        let config = config.autoencoder();
        let parameters = Parameters::seeded(&config, 0, &Device::Cpu).unwrap();
        let model = Autoencoder { config, parameters, dtype: DType::F32 };
        let view = Tensor::arange(0_f32, 3.0 * 32.0 * 32.0, &Device::Cpu).unwrap();
        let view = view.sin().unwrap().reshape((1, 3, 32, 32)).unwrap();
        let mask = Mask::from_noise(&[0.5; 16], 16, 0.75).unwrap();
        let mask = mask.on(&mut Uploads::new(&Device::Cpu)).unwrap();
        let views = Views { first: &view, second: &view, mask: &mask };
        let (_, gradients) = model.gradients(views, 0, 1.0).unwrap();
        (model, gradients)
    }

    #[test]
    fn gradients_that_are_no_numbers_move_nothing() {
        let (model, gradients) = small();
        let parameters = &model.parameters;
        let mut optimizer = AdamW::new(parameters, AdamWSettings::default()).unwrap();
        let values = || parameters.values().to_vec1::<f32>().unwrap();
        let before = values();
        for (loss, moves) in [(f32::INFINITY, false), (1.0, true)] {
            let loss = Tensor::new(loss, &Device::Cpu).unwrap();
            let measured = gradients.measure(&[loss], 0.0).unwrap();
            optimizer.step(parameters, &gradients, &measured, 0.1).unwrap();
            assert_eq!(values() != before, moves);
            let state = optimizer.state(parameters).unwrap();
            let mean = state["optimizer.cls_token.mean"].flatten_all().unwrap();
            assert_eq!(mean.to_vec1::<f32>().unwrap().iter().any(|mean| *mean != 0.0), moves);
        }
    }
}
