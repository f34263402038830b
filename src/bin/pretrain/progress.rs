//! Progress on stderr: a bar on a terminal that can draw one, one line per epoch elsewhere.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cropmae::pretrain::checkpoint::Place;
use cropmae::pretrain::held_out::HeldOut;
use cropmae::pretrain::record::{HELD_OUT, HELD_OUT_AVERAGE, MEAN_PATCH, StepRecord};
use cropmae::pretrain::samples::Kind;
use cropmae::pretrain::train::{Models, Watcher};
use cropmae::pretrain::{Config, page};
use cropmae::wording::counted;
use cropmae::{Error, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::beginning;
use crate::common::{interrupt, streams::note};
use crate::due::Due;
use crate::evaluations::Evaluations;
use crate::pictures::Pictures;

/// A measurement for people: a loss with four decimals, a score in percent with one.
fn told(name: &str, value: f64) -> String {
    match [HELD_OUT, HELD_OUT_AVERAGE, MEAN_PATCH].contains(&name) {
        true => format!("{name} {value:.4}"),
        false => format!("{name} {value:.1}"),
    }
}

/// What is trained on what, and where to.
#[derive(Debug)]
pub(crate) struct Opening {
    /// The encoder, and the size of the whole network.
    network: String,
    /// How many samples of which kind.
    samples: String,
    batch: usize,
    epochs: u64,
    folder: PathBuf,
}

impl Opening {
    /// Of a run with this configuration.
    ///
    /// # Errors
    /// The network is too large.
    pub(crate) fn new(config: &Config, samples: usize, folder: &Path) -> Result<Self> {
        let network = config.autoencoder();
        let million = network.parameter_count()? as f64 / 1e6;
        let kind = match config.reading.kind {
            Kind::Images => "image",
            Kind::Video => "video",
        };
        Ok(Self {
            network: format!(
                "{} {}, {million:.1} M parameters with its decoder",
                config.method.name(),
                network.encoder.name()
            ),
            samples: counted(samples, kind),
            batch: config.optimization.batch_size,
            epochs: config.epochs,
            folder: folder.to_path_buf(),
        })
    }

    /// In one line.
    pub(crate) fn line(&self, steps_per_epoch: u64) -> String {
        format!(
            "{}: {}, {} of {} an epoch, {}, into {}",
            self.network,
            self.samples,
            counted(steps_per_epoch, "step"),
            self.batch,
            counted(self.epochs, "epoch"),
            self.folder.display()
        )
    }
}

/// The progress of a run, and its measurements between epochs.
pub(crate) struct Bars {
    bar: ProgressBar,
    lines: bool,
    quiet: bool,
    /// What is trained on what, and where to.
    opening: Opening,
    epochs: u64,
    batch: usize,
    held_out: Option<HeldOut>,
    measures: Due,
    pictures: Pictures,
    evaluations: Evaluations,
    started: Instant,
    /// Time spent on measuring, which is none of the training's.
    measuring: Cell<Duration>,
    first_step: Cell<u64>,
    /// Steps, and sums of losses and gradient lengths, of the current epoch.
    epoch: RefCell<(u64, f64, f64)>,
    last: Cell<Option<StepRecord>>,
}

impl Bars {
    pub(crate) fn new(
        config: &Config,
        opening: Opening,
        held_out: Option<HeldOut>,
        measure_every: u64,
        pictures: Pictures,
        evaluations: Evaluations,
        quiet: bool,
    ) -> Self {
        let target = match quiet {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let lines = !quiet && bar.is_hidden();
        let style = "{bar:24} {pos}/{len} steps, {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self {
            bar,
            lines,
            quiet,
            opening,
            epochs: config.epochs,
            batch: config.optimization.batch_size,
            held_out,
            measures: Due { every: measure_every, first: true, last: config.epochs },
            pictures,
            evaluations,
            started: Instant::now(),
            measuring: Cell::default(),
            first_step: Cell::new(0),
            epoch: RefCell::default(),
            last: Cell::new(None),
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Says where the page of a run lies that was finished now.
    pub(crate) fn finished(&self) {
        self.finish();
        let page = self.opening.folder.join(page::NAME);
        if !self.quiet && self.last.get().is_some() && page.exists() {
            note(&format!("report: {}", page.display()));
        }
    }

    /// Says how far a run came that was asked to stop, and draws what there is so far.
    pub(crate) fn stopped(&self, place: Place, encoder: &Path) -> Result<()> {
        self.finish();
        if place.steps == 0 {
            note(beginning::NO_STEP);
            return Ok(());
        }
        let (steps, all) = (place.steps, self.bar.length().unwrap_or_default());
        note(&format!(
            "interrupted after {steps} of {all} steps ({} of {} epochs are done); the same command continues from there",
            place.epoch, self.epochs
        ));
        note(&format!("until then, {} is the encoder after {steps} steps", encoder.display()));
        self.pictures.curve()
    }

    fn say(&self, line: &str) {
        if self.lines {
            note(line);
        } else {
            self.bar.println(line);
        }
    }

    /// What even `--quiet` does not keep back.
    fn warn(&self, line: &str) {
        self.bar.suspend(|| note(line));
    }

    /// The losses on held-out images, where they are due.
    fn held_out_losses(&self, models: &Models<'_>, epochs: u64) -> Result<Vec<(String, f64)>> {
        let mut measures = Vec::new();
        let Some(held_out) = self.held_out.as_ref().filter(|_| self.measures.after(epochs)) else {
            return Ok(measures);
        };
        measures.push((HELD_OUT.to_owned(), held_out.loss(models.current)?));
        if let Some(average) = &models.average {
            measures.push((HELD_OUT_AVERAGE.to_owned(), held_out.loss(average)?));
        }
        if epochs == 1 {
            measures.push((MEAN_PATCH.to_owned(), held_out.mean_patch_loss(models.current)?));
        }
        Ok(measures)
    }

    /// Counts a step of the current epoch, whichever session made it.
    fn count(&self, step: &StepRecord) {
        let mut epoch = self.epoch.borrow_mut();
        *epoch = (epoch.0 + 1, epoch.1 + step.loss, epoch.2 + step.gradient_norm);
        self.last.set(Some(*step));
    }

    /// Images a second since the start, measurements apart; nothing before the first step.
    fn rate(&self) -> String {
        let steps = self.last.get().map_or(0, |last| last.steps - self.first_step.get());
        let time = self.started.elapsed().saturating_sub(self.measuring.get());
        match steps {
            0 => String::new(),
            _ => format!("  {:.1} images/s", steps as f64 * self.batch as f64 / time.as_secs_f64()),
        }
    }
}

impl Watcher for Bars {
    fn started(&self, place: Place, steps_per_epoch: u64, made: &[StepRecord]) {
        beginning::over();
        made.iter().for_each(|step| self.count(step));
        self.bar.set_length(steps_per_epoch * self.epochs);
        self.bar.set_position(place.steps);
        self.first_step.set(place.steps);
        if place.epoch >= self.epochs {
            self.say(&format!(
                "nothing left to do: {0} of {0} epochs are done; to train longer, begin a new run: --init {1} with another folder for --out",
                self.epochs,
                self.pictures.checkpoint(place).display(),
            ));
            return;
        }
        self.say(&self.opening.line(steps_per_epoch));
        if place.steps > 0 {
            self.say(&format!("continuing after step {} (epoch {})", place.steps, place.epoch + 1));
        }
    }

    fn stepped(&self, step: &StepRecord) {
        self.count(step);
        self.bar.set_position(step.steps);
        let StepRecord { loss, learning_rate, gradient_norm, .. } = *step;
        let rate = self.rate();
        self.bar.set_message(format!(
            "loss {loss:.4}  rate {learning_rate:.2e}  gradient {gradient_norm:.3}{rate}"
        ));
    }

    fn stops(&self) -> bool {
        interrupt::asked()
    }

    fn epoch_done(&self, models: &Models<'_>, epochs: u64) -> Result<Vec<(String, f64)>> {
        let (steps, loss, gradient) = self.epoch.take();
        let begin = Instant::now();
        let mut measures = self.held_out_losses(models, epochs)?;
        if self.stops() {
            return Err(Error::Stopped);
        }
        measures
            .extend(self.evaluations.scores(models.exported(), epochs, &|line| self.warn(line))?);
        self.pictures.reconstructions(models.exported(), self.held_out.as_ref(), epochs)?;
        self.measuring.set(self.measuring.get() + begin.elapsed());
        for (name, value) in measures.iter().filter(|(_, value)| !value.is_finite()) {
            self.warn(&format!("epoch {epochs}: {name} is {value}, which is not logged"));
        }
        if steps > 0 && (self.lines || !measures.is_empty()) {
            let (count, rate) = (steps as f64, self.rate());
            let learning_rate = self.last.get().map_or(0.0, |last| last.learning_rate);
            let measured: String =
                measures.iter().map(|(name, value)| format!("  {}", told(name, *value))).collect();
            self.say(&format!(
                "epoch {epochs}/{}  mean loss {:.4}  rate {learning_rate:.2e}  mean gradient {:.3}{rate}{measured}",
                self.epochs,
                loss / count,
                gradient / count,
            ));
        }
        Ok(measures)
    }

    fn epoch_saved(&self, epochs: u64) -> Result<()> {
        match self.measures.after(epochs) {
            true => self.pictures.curve(),
            false => Ok(()),
        }
    }
}
