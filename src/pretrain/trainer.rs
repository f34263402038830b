//! The trainer: a network with its optimiser, from where it begins or goes on, step by step, to the
//! checkpoint.
//!
//! A step is queued on the device before anybody waits for it ([`Trainer::queue`],
//! [`Trainer::finish`]): while the device is at work, the next batch is made ready.
//! [`super::train()`] runs the steps in order.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};

use super::average::{self, Average};
use super::batches::{Batch, Behind, Sample};
use super::checkpoint::{self, Place, State};
use super::config::Config;
use super::loader;
use super::optimizer::AdamW;
use super::random::{Purpose, Stream};
use super::record::{Entry, Log, Measure, StepRecord};
use super::run::Run;
use super::start::Start;
use super::trial;
use super::views::Pair;
use super::watcher::{Models, Watcher};
use crate::autoencoder::{
    Autoencoder, Figures, Gradients, Mask, Measured, Parameters, PlacedMask, Views,
};
use crate::device::Uploads;
use crate::error::{Error, Result};
use crate::files::{self, Occupied};
use crate::wording::counted;

/// The network, its optimiser, and how far they have come.
pub(super) struct Trainer<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) model: Autoencoder,
    optimizer: AdamW,
    average: Option<Average>,
    uploads: Uploads,
    /// Behind the newest step that was queued.
    pub(super) place: Place,
    /// What the newest checkpoint holds; the beginning where there is none.
    saved: Place,
    pub(super) steps_per_epoch: u64,
    _occupied: Occupied,
}

/// What a run begins with, or goes on from.
struct Begun {
    model: Autoencoder,
    optimizer: AdamW,
    average: Option<Average>,
    place: Place,
}

impl Begun {
    /// As the folder's checkpoint has it, or else what the run was told to begin with, or else the
    /// seed.
    fn new(run: &Run<'_>, stored: Option<&Start>) -> Result<Self> {
        let config = run.config.autoencoder();
        let start = stored.or(run.start.as_ref());
        let parameters = match start {
            Some(start) => Parameters::from_tensors(&config, &start.tensors, run.device)?,
            None => Parameters::seeded(&config, run.config.seed, run.device)?,
        };
        let mut optimizer = AdamW::new(&parameters, run.config.optimization.adamw)?;
        let mut average = Average::new(&parameters, run.config.optimization.average_decay)?;
        let mut place = Place::default();
        // weights alone come without an optimiser and begin at the beginning
        if let Some(start) = start.filter(|start| start.place != place) {
            optimizer.restore(&parameters, &start.tensors, start.place.steps)?;
            place = start.place;
        }
        if let (Some(average), Some(stored)) = (&mut average, stored) {
            average.restore(&parameters, &stored.tensors)?;
        }
        let model = Autoencoder { config, parameters, dtype: run.dtype.dtype() };
        Ok(Self { model, optimizer, average, place })
    }
}

/// A batch whose first part is on its way to the device.
pub(super) struct Ready {
    pub(super) samples: Vec<Sample>,
    behind: Behind,
    first: Part,
}

/// A part of a batch, or all of it, on the device: what a pass needs.
struct Part {
    first: Tensor,
    second: Tensor,
    mask: PlacedMask,
    dropout: u64,
    /// Its share of the batch.
    share: f64,
}

/// A step that the device has been asked for.
pub(super) struct Queued {
    measured: Measured,
    /// The parts' shares of the batch.
    shares: Vec<f64>,
    epoch: u64,
    learning_rate: f64,
}

impl<'a> Trainer<'a> {
    /// From the newest checkpoint of the folder, or from the seed.
    pub(super) fn open(run: &'a Run<'a>) -> Result<Self> {
        let steps_per_epoch = steps_per_epoch(run)?;
        std::fs::create_dir_all(run.folder).map_err(Error::creating(run.folder))?;
        let occupied = Occupied::take(run.folder)?;
        checkpoint::sweep(run.folder)?;
        let stored = stored(run)?;
        let (config, ratio) = (run.config.autoencoder(), run.config.masking_ratio);
        trial::pass(&config, ratio, (run.device, run.dtype))?;
        // also where the run goes on: the file may have been changed or lost meanwhile
        let text = run.config.toml()?;
        files::write(&run.folder.join("config.toml"), text.as_bytes())?;
        let Begun { model, optimizer, average, place } = Begun::new(run, stored.as_ref())?;
        Ok(Self {
            run,
            model,
            optimizer,
            average,
            uploads: Uploads::new(run.device),
            place,
            saved: stored.map_or_else(Place::default, |stored| stored.place),
            steps_per_epoch,
            _occupied: occupied,
        })
    }

    /// The network as it is, and averaged.
    fn models(&self) -> Result<Models<'_>> {
        let average = self.average.as_ref().map(|average| average.model(&self.model));
        Ok(Models { current: &self.model, average: average.transpose()? })
    }

    /// Sends the first part of a batch on its way to the device.
    pub(super) fn ready(&mut self, batch: Option<Batch>) -> Result<Option<Ready>> {
        let Some(Batch { samples, behind }) = batch else { return Ok(None) };
        let first = self.part(&samples, 0, self.place.step)?;
        Ok(Some(Ready { samples, behind, first }))
    }

    /// Samples that pass together.
    fn together(&self, batch: &[Sample]) -> usize {
        match self.run.config.optimization.micro_batch {
            0 => batch.len().max(1),
            micro => micro,
        }
    }

    /// Part `index` of the batch of step `step` of this epoch.
    fn part(&mut self, batch: &[Sample], index: usize, step: u64) -> Result<Part> {
        let Config { seed, masking_ratio, .. } = *self.run.config;
        let epoch = self.place.epoch;
        let part = batch.chunks(self.together(batch)).nth(index).unwrap_or_default();
        let numbers = part.iter().map(|sample| sample.number);
        let mask = mask(seed, epoch, numbers, self.model.config.patches(), masking_ratio)?;
        let pairs: Vec<&Pair> = part.iter().map(|sample| &sample.pair).collect();
        let (first, second) = loader::batch(&pairs, &mut self.uploads)?;
        // a step has fewer parts than 2^16
        let mut dropout = Stream::new(seed, Purpose::Dropout, epoch, (step << 16) + index as u64);
        Ok(Part {
            first,
            second,
            mask: mask.on(&mut self.uploads)?,
            dropout: dropout.word(),
            share: part.len() as f64 / batch.len() as f64,
        })
    }

    /// Asks the device for a step: forward, backward, optimiser and average. Does not wait for it.
    pub(super) fn queue(&mut self, Ready { samples, behind, first }: Ready) -> Result<Queued> {
        let Place { epoch, step, .. } = self.place;
        let (mut shares, mut losses, mut sum) = (Vec::new(), Vec::new(), None::<Gradients>);
        let mut next = Some(first);
        for index in 0..samples.len().div_ceil(self.together(&samples)) {
            let Part { first, second, mask, dropout, share } = match next.take() {
                Some(part) => part,
                None => self.part(&samples, index, step)?,
            };
            let views = Views { first: &first, second: &second, mask: &mask };
            let (loss, gradients) = self.model.gradients(views, dropout, share)?;
            shares.push(share);
            losses.push(loss);
            match &mut sum {
                Some(sum) => sum.add(&gradients)?,
                None => sum = Some(gradients),
            }
        }
        let gradients = sum.ok_or_else(|| Error::failed("batch", "is empty"))?;
        let measured = gradients.measure(&losses, self.run.config.optimization.clip_gradient)?;
        let due = epoch * self.steps_per_epoch + step;
        let learning_rate = self.run.config.schedule().at(due, self.steps_per_epoch);
        let parameters = &self.model.parameters;
        self.optimizer.step(parameters, &gradients, &measured, learning_rate)?;
        if let Some(average) = &mut self.average {
            average.update(parameters)?;
        }
        let Behind { position, unreadable } = behind;
        let steps = self.place.steps + 1;
        self.place = Place { epoch, position, step: step + 1, steps, unreadable };
        Ok(Queued { measured, shares, epoch, learning_rate })
    }

    /// Waits for a step: the newest one that was queued.
    pub(super) fn finish(
        &self,
        Queued { measured, shares, epoch, learning_rate }: Queued,
    ) -> Result<StepRecord> {
        let Figures { gradient_norm, losses } = measured.read()?;
        let loss: f64 = losses.iter().zip(shares).map(|(loss, share)| loss * share).sum();
        self.guard(loss, gradient_norm)?;
        let (steps, images_per_second) = (self.place.steps, 0.0);
        Ok(StepRecord { steps, epoch, loss, learning_rate, gradient_norm, images_per_second })
    }

    /// Measures what there is to be measured, and goes on to the next epoch.
    pub(super) fn end_epoch(&mut self, watcher: &dyn Watcher, log: &mut Log) -> Result<()> {
        let epochs = self.place.epoch + 1;
        for (name, value) in watcher.epoch_done(&self.models()?, epochs)? {
            let steps = self.place.steps;
            log.push(&Entry::Measure(Measure { steps, epochs, name, value }))?;
        }
        self.place = Place { epoch: epochs, position: 0, step: 0, unreadable: 0, ..self.place };
        if epochs.is_multiple_of(self.run.save_every.max(1)) || epochs == self.run.config.epochs {
            self.save()?;
            watcher.epoch_saved(epochs)?;
        }
        Ok(())
    }

    /// Stops a run that has gone wrong: the step has moved nothing, and nothing is saved after it.
    fn guard(&self, loss: f64, gradient_norm: f64) -> Result<()> {
        if loss.is_finite() && gradient_norm.is_finite() {
            return Ok(());
        }
        // the folder's own run cannot go on with other settings
        let newest = checkpoint::list(self.run.folder)?.pop();
        let init = newest.map_or_else(String::new, |(_, path)| {
            format!(
                "; the setting `init = {}` begins with the newest checkpoint's weights",
                path.display()
            )
        });
        Err(Error::failed(
            "loss",
            format!(
                "is {loss} and the gradient's length {gradient_norm} at step {}: the run stops; begin a new one, in another folder for the setting `out`, with a lower learning rate or with optimization.clip_gradient{init}",
                self.place.steps
            ),
        ))
    }

    /// Writes a checkpoint and the encoder, unless the newest checkpoint holds this place already.
    pub(super) fn save(&mut self) -> Result<()> {
        if self.saved == self.place {
            return Ok(());
        }
        let (state, tensors) = (self.state(), self.tensors()?);
        self.export(&state, &tensors)?;
        checkpoint::save(&checkpoint::path(self.run.folder, self.place.steps), tensors, &state)?;
        self.saved = self.place;
        checkpoint::prune(self.run.folder, self.run.keep_last, self.run.keep_every)
    }

    /// Writes the encoder of a run that is finished where it is not there any more.
    pub(super) fn mend(&self) -> Result<()> {
        match self.run.encoder().exists() {
            true => Ok(()),
            false => self.export(&self.state(), &self.tensors()?),
        }
    }

    fn state(&self) -> State {
        let data = self.run.samples.fingerprint().to_owned();
        State::new(self.place, self.run.config.clone(), data)
    }

    /// The network, the optimiser's moments, and averaged weights where they are kept.
    fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let mut tensors = self.model.parameters.snapshot()?;
        tensors.extend(self.optimizer.state(&self.model.parameters)?);
        if let Some(average) = &self.average {
            tensors.extend(average.state(&self.model.parameters)?);
        }
        Ok(tensors)
    }

    /// Writes the encoder alone: of averaged weights, where there are any.
    fn export(&self, state: &State, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let averaged = average::averaged(tensors);
        let tensors = averaged.as_ref().unwrap_or(tensors);
        checkpoint::export(&self.run.encoder(), tensors, state, DType::F32)
    }
}

/// The mask of samples by their numbers: uniform noise, one number a patch.
///
/// # Errors
/// The ratio leaves no patch visible, or all.
pub fn mask(
    seed: u64,
    epoch: u64,
    numbers: impl Iterator<Item = usize>,
    patches: usize,
    ratio: f64,
) -> Result<Mask> {
    let noise: Vec<f32> = numbers
        .flat_map(|number| {
            let mut stream = Stream::new(seed, Purpose::Mask, epoch, number as u64);
            (0..patches).map(move |_| stream.uniform() as f32)
        })
        .collect();
    Mask::from_noise(&noise, patches, ratio)
}

/// Steps of an epoch: what is left over after the last whole batch is not looked at.
///
/// # Errors
/// There is not one whole batch.
fn steps_per_epoch(run: &Run<'_>) -> Result<u64> {
    let (samples, batch) = (run.samples.len(), run.config.optimization.batch_size);
    match (samples / batch) as u64 {
        0 => {
            let problem = format!(
                "is {batch}, and the data has {}: pass the setting `batch_size = {samples}` or less",
                counted(samples, "sample")
            );
            Err(Error::setting("optimization.batch_size", problem))
        }
        steps => Ok(steps),
    }
}

/// Where a run would begin or go on, and how many steps an epoch has.
///
/// # Errors
/// There is not one whole batch, the newest checkpoint is of another run, or the device fails its
/// trial.
pub(super) fn planned(run: &Run<'_>) -> Result<(Place, u64)> {
    let steps_per_epoch = steps_per_epoch(run)?;
    let stored = stored(run)?;
    trial::pass(&run.config.autoencoder(), run.config.masking_ratio, (run.device, run.dtype))?;
    let start = stored.as_ref().or(run.start.as_ref());
    Ok((start.map_or_else(Place::default, |start| start.place), steps_per_epoch))
}

/// The newest checkpoint of the run's folder, where there is one.
///
/// # Errors
/// It cannot be read, or is of another run.
fn stored(run: &Run<'_>) -> Result<Option<Start>> {
    let Some((_, path)) = checkpoint::list(run.folder)?.pop() else { return Ok(None) };
    let (state, tensors) = checkpoint::load(&path)?;
    same_run(&state, run, &path)?;
    Ok(Some(Start { tensors, place: state.place }))
}

/// Refuses to go on from a checkpoint of another run.
fn same_run(state: &State, run: &Run<'_>, path: &Path) -> Result<()> {
    let remedy = format!(
        "give the same settings and data, or begin a new run: the setting `init = {}` with another folder for the setting `out`",
        path.display()
    );
    if state.data != run.samples.fingerprint() {
        return Err(Error::weights(path, "was trained on other data than this", remedy));
    }
    // whoever has seen how many samples cannot be read may allow them: no result depends on it
    let mut stored = state.config.clone();
    stored.reading.max_unreadable = run.config.reading.max_unreadable;
    let differing = stored.differences(run.config)?;
    match differing.is_empty() {
        true => Ok(()),
        false => {
            let problem = format!("was trained with {}", differing.join("; "));
            Err(Error::weights(path, problem, remedy))
        }
    }
}
