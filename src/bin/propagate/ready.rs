//! All that a run needs before its first clip: the data and the devices ([`Shared`]), and on them an
//! encoder and a way to compute the affinity ([`Ready`]). [`crate::evaluate`] runs it.

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Result, ensure};
use candle_core::Device;
use cropmae::data::{Need, Opened};
use cropmae::device::{self, peak_memory};
use cropmae::eval::{Batch, Cache, Kept, Setup};
use cropmae::model::encoder::Encoder;
use cropmae::model::source::{self, Loaded, Source};
use cropmae::propagation::{Arithmetic, Engine};
use cropmae::protocol::{Benchmark, Protocol};
use cropmae::report::record::{ProtocolRecord, Provenance, WeightsRecord};
use cropmae::report::{RunRecord, Summary};
use serde_json::Value;

use crate::args::{DataArgs, EvaluateArgs, ModelArgs, OutputArgs, RunArgs, WorkArgs};
use crate::common::usage::usage;
use crate::done::Done;
use crate::show::Notes;
use crate::{clips, common, plan, room, targets};

/// What a run needs whatever its encoder.
pub(crate) struct Shared {
    start: Instant,
    devices: Vec<Device>,
    work: WorkArgs,
    pub(crate) clips: Rc<Opened>,
    pub(crate) data: Value,
    provenance: Provenance,
}

impl Shared {
    /// Of an evaluation: a folder that is no dataset is told of first, then what must not be
    /// written over, and both before a device is asked for.
    pub(crate) fn open(benchmark: Benchmark, args: &EvaluateArgs, say: &Notes) -> Result<Self> {
        let start = Instant::now();
        let clips = clips::open(benchmark, &args.data, Need::Frames, say)?;
        targets::spare(benchmark, args)?;
        Self::of(start, (clips, &args.data), &args.run, &args.work, say)
    }

    /// Of these clips, which the arguments beside them chose.
    pub(crate) fn of(
        start: Instant,
        (clips, args): (Opened, &DataArgs),
        run: &RunArgs,
        work: &WorkArgs,
        say: &Notes,
    ) -> Result<Self> {
        let (devices, clips) = (plan::open_devices(run, say)?, Rc::new(clips));
        let affinity = work.affinity;
        let provenance = Provenance {
            affinity: (affinity != Arithmetic::F32).then(|| affinity.name().into()),
            ..plan::provenance(&devices, Some(run.dtype.name()))
        };
        let data = plan::data(&clips, args);
        Ok(Self { start, devices, work: work.clone(), clips, data, provenance })
    }

    /// Has encoders that are loaded from here on compute in this type.
    pub(crate) fn compute_in(&self, dtype: device::Precision) -> Result<()> {
        Ok(self.devices.iter().try_for_each(|device| device::compute_in(device, dtype))?)
    }

    /// The scores, and all that decided them.
    pub(crate) fn record(
        &self,
        protocol: ProtocolRecord,
        weights: Option<WeightsRecord>,
        done: Done,
    ) -> (Option<Summary>, RunRecord) {
        record(&self.clips, &self.provenance, self.start, protocol, weights, done)
    }
}

/// What a run needs whatever its settings, all at hand.
pub(crate) struct Ready {
    start: Instant,
    pub(crate) clips: Rc<Opened>,
    pub(crate) loaded: Loaded,
    pub(crate) engine: Engine,
    /// The encoder on the second device and those after it.
    others: Vec<Encoder>,
    clips_at_once: usize,
    batch: Batch,
    /// Rows and columns of the first frame's patches, which stand for all clips'.
    grid: Option<(usize, usize)>,
    data: Value,
    pub(crate) weights: WeightsRecord,
    pub(crate) provenance: Provenance,
}

impl Ready {
    /// With the encoder that was asked for; `used` says how large its frames are.
    pub(crate) fn new(
        benchmark: Benchmark,
        args: &EvaluateArgs,
        used: &Protocol,
        say: &Notes,
    ) -> Result<Self> {
        let shared = Shared::open(benchmark, args, say)?;
        let sample = args.data.data.as_deref().is_some_and(common::is_sample);
        let source = plan::source(&args.model, sample)?;
        let ready = Self::with(&shared, &source, &args.model, args.run.dtype, used, say)?;
        Ok(Self { start: shared.start, ..ready })
    }

    /// With this encoder in this type; `used` says how large its frames are.
    pub(crate) fn with(
        shared: &Shared,
        source: &Source,
        model: &ModelArgs,
        dtype: device::Precision,
        used: &Protocol,
        say: &Notes,
    ) -> Result<Self> {
        let start = Instant::now();
        let Shared { devices, work, clips, .. } = shared;
        let (loaded, others) = loaded(devices, source, model, dtype)?;
        loaded.notes.iter().for_each(|note| say.line(note));
        let engine = engine(devices, work.affinity, used, say)?;
        let context = used.propagation.queue.saturating_add(1).min(clips.overview().longest());
        room::check_clips(&loaded.encoder, clips, used, context)?;
        let provenance = Provenance {
            dtype: Some(dtype.name().into()),
            encoder: loaded.encoder.implementation().map(Into::into),
            ..shared.provenance.clone()
        };
        let on_cpu = loaded.encoder.device().is_cpu();
        let clips_at_once = work.clips_at_once.unwrap_or(if on_cpu { 1 } else { 2 });
        // a size that leaves no patch is each clip's own failure
        let grid = plan::grid(clips, used, loaded.encoder.patch()).ok().flatten();
        let input = grid.map(|(_, input, _)| input);
        let grid = grid.map(|(_, _, [rows, columns])| (rows, columns));
        let batch = plan::batch(work.batch, devices, &loaded.encoder, input, clips_at_once);
        Ok(Self {
            start,
            clips: Rc::clone(clips),
            engine,
            others,
            clips_at_once,
            batch,
            grid,
            data: shared.data.clone(),
            weights: plan::weights_record(source, &loaded, model),
            provenance,
            loaded,
        })
    }

    /// All that decides the results.
    pub(crate) fn identity(&self, protocol: &ProtocolRecord) -> Value {
        plan::identity(protocol, &self.weights, &self.provenance, &self.data)
    }

    /// What is said of `--cache` before it is filled.
    pub(crate) fn cache_line(
        &self,
        args: &EvaluateArgs,
        used: &Protocol,
    ) -> Result<Option<String>> {
        let Some(cache) = &args.output.cache else { return Ok(None) };
        ensure!(
            !self.given(),
            usage!("--cache: given features are read from their files; leave it out")
        );
        let frames = self.clips.overview().frames();
        let size = plan::features_size(&self.clips, used, &self.loaded, frames)?;
        Ok(Some(format!("features are kept in {}: {size}", cache.folder.display())))
    }

    /// Whether features come from another program.
    pub(crate) fn given(&self) -> bool {
        matches!(self.loaded.encoder, Encoder::Given(_))
    }

    /// The cache that the user asked for.
    pub(crate) fn cache(&self, args: &EvaluateArgs, used: &Protocol) -> Result<Option<Cache>> {
        let Some(asked) = &args.output.cache else { return Ok(None) };
        let kept = if asked.refresh { Kept::Refreshed } else { Kept::Always };
        Ok(Some(Cache::open(&asked.folder, &self.features_key(&args.model, used), kept)?))
    }

    /// All that decides the features.
    pub(crate) fn features_key(&self, model: &ModelArgs, used: &Protocol) -> Value {
        plan::features_key(used, &self.weights, &self.provenance, model, self.batch.frames())
    }

    pub(crate) fn setup<'a>(
        &'a self,
        args: &OutputArgs,
        protocol: &'a Protocol,
        cache: Option<&'a Cache>,
    ) -> Setup<'a> {
        let (save_soft_labels, predict_only) = (args.save_soft_labels, args.predict_only);
        Setup { cache, save_soft_labels, predict_only, ..self.plain_setup(protocol) }
    }

    /// To predict and score, and nothing else.
    pub(crate) fn plain_setup<'a>(&'a self, protocol: &'a Protocol) -> Setup<'a> {
        Setup {
            others: &self.others,
            clips_at_once: self.clips_at_once,
            ..Setup::new(protocol, &self.loaded.encoder, self.engine, &self.batch)
        }
    }

    /// The scores, and all that decided them.
    pub(crate) fn record(
        &self,
        protocol: ProtocolRecord,
        done: Done,
    ) -> (Option<Summary>, RunRecord) {
        let weights = Some(self.weights.clone());
        let by = (self.engine, self.loaded.encoder.device());
        let affinity = plan::affinity(by, &protocol.values, self.grid);
        let provenance = Provenance { affinity, ..self.provenance.clone() };
        record(&self.clips, &provenance, self.start, protocol, weights, done)
    }
}

/// The encoder on the first device with its origin, and on the others.
fn loaded(
    devices: &[Device],
    source: &Source,
    model: &ModelArgs,
    dtype: device::Precision,
) -> Result<(Loaded, Vec<Encoder>)> {
    let choices = plan::choices(model);
    let load = |device| source::load(source, &choices, device, dtype.dtype());
    let mut each = devices.iter().map(load).collect::<cropmae::Result<Vec<Loaded>>>()?;
    let first = each.remove(0);
    Ok((first, each.into_iter().map(|loaded| loaded.encoder).collect()))
}

/// How the affinity is computed on all of these devices, after a trial on each; why it is not by the
/// GPU's own kernel is said.
fn engine(
    devices: &[Device],
    arithmetic: Arithmetic,
    used: &Protocol,
    say: &Notes,
) -> Result<Engine> {
    let first = devices.first().unwrap_or(&Device::Cpu);
    let mut engine = Engine::in_arithmetic(first, arithmetic)?;
    for device in devices {
        let (fitting, note) = engine.tried(&used.propagation, device)?;
        note.iter().for_each(|note| say.line(note));
        engine = fitting;
    }
    Ok(engine)
}

fn record(
    clips: &Opened,
    provenance: &Provenance,
    start: Instant,
    protocol: ProtocolRecord,
    weights: Option<WeightsRecord>,
    done: Done,
) -> (Option<Summary>, RunRecord) {
    let provenance = Provenance {
        seconds: done.stages,
        wall_seconds: start.elapsed().as_secs_f64(),
        resumed: done.resumed,
        peak_memory_bytes: peak_memory(),
        ..provenance.clone()
    };
    let dataset = clips::record(clips, done.clips, done.frames);
    let (notes, failures) = (done.notes, done.failures);
    (done.summary, RunRecord { protocol, weights, dataset, provenance, notes, failures })
}
