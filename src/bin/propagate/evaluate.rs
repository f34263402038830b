//! `propagate davis|vip|jhmdb`: one encoder with one setting. [`crate::sweep`] and
//! [`crate::encoders`] build on it.

use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;
use candle_core::Device;
use cropmae::data::Need;
use cropmae::device::{self, peak_memory};
use cropmae::eval::{self, Batch, Cache, Kept, RunFolder, Setup};
use cropmae::files::check_folder;
use cropmae::model::encoder::Encoder;
use cropmae::model::source::{self, Loaded, Source};
use cropmae::propagation::{Arithmetic, Engine};
use cropmae::protocol::{Benchmark, Protocol};
use cropmae::report::record::{ProtocolRecord, Provenance, WeightsRecord};
use cropmae::report::several::Row;
use cropmae::report::{self, RunRecord, Summary};
use cropmae::wording::counted;
use serde_json::{Value, json};

use crate::args::{DataArgs, EvaluateArgs, ModelArgs, OutputArgs, RunArgs, WorkArgs};
use crate::clips::Clips;
use crate::done::Done;
use crate::overlays::{self, Drawn};
use crate::progress::Bars;
use crate::show::Notes;
use crate::{Outcome, common, export, interrupt, page, plan, room, show, targets};

pub(crate) fn run(benchmark: Benchmark, args: &EvaluateArgs) -> Result<Outcome> {
    let say = Notes::new(args.output.quiet);
    let (used, protocol) = plan::protocol(benchmark, &args.propagation.protocol)?;
    let ready = Ready::new(benchmark, args, &used, &say)?;
    let identity = ready.identity(&protocol);
    let out = plan::out(&args.output, &protocol, &identity);
    check_cache(&args.output)?;
    RunFolder::check_single(&out)?;
    if args.output.dry_run {
        RunFolder::check(&out, &identity)?;
        let mut lines = plan::describe(&ready.clips, &used, &ready.loaded, ready.engine, &out)?;
        lines.extend(ready.cache_line(args, &used)?);
        show::text(&(lines.join("\n") + "\n"))?;
        return Ok(Outcome::Done);
    }
    let folder = RunFolder::open(&out, &identity)?;
    ready.cache_line(args, &used)?.iter().for_each(|line| say.line(line));
    let cache = ready.cache(args, &used)?;
    let setup = ready.setup(&args.output, &used, cache.as_ref());
    interrupt::listen();
    let done = evaluate(&ready, &setup, &folder, args.output.quiet)?;
    let (summary, record) = ready.record(protocol, done);
    let drawn = Drawn { benchmark, clips: &ready.clips, folder: &out };
    finish(&args.output, &drawn, summary, record, &say)
}

/// Refuses a place where no features can be kept, before a folder of results is made.
pub(crate) fn check_cache(args: &OutputArgs) -> Result<()> {
    Ok(args.cache.as_ref().map_or(Ok(()), |cache| check_folder(&cache.folder))?)
}

/// What a run needs whatever its encoder.
pub(crate) struct Shared {
    start: Instant,
    benchmark: Benchmark,
    devices: Vec<Device>,
    work: WorkArgs,
    pub(crate) clips: Rc<Clips>,
    pub(crate) data: Value,
    provenance: Provenance,
}

impl Shared {
    /// Of an evaluation: a folder that is no dataset is told of first, then what must not be
    /// written over, and both before a device is asked for.
    pub(crate) fn open(benchmark: Benchmark, args: &EvaluateArgs, say: &Notes) -> Result<Self> {
        let start = Instant::now();
        let clips = Clips::open(benchmark, &args.data, Need::Frames, say)?;
        targets::spare(benchmark, args)?;
        Self::of(start, benchmark, (clips, &args.data), &args.run, &args.work, say)
    }

    /// Of these clips, which the arguments beside them chose.
    pub(crate) fn of(
        start: Instant,
        benchmark: Benchmark,
        (clips, args): (Clips, &DataArgs),
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
        Ok(Self { start, benchmark, devices, work: work.clone(), clips, data, provenance })
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
    pub(crate) benchmark: Benchmark,
    pub(crate) clips: Rc<Clips>,
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
        let Shared { benchmark, devices, work, clips, .. } = shared;
        let choices = plan::choices(model);
        let load = |device| source::load(source, &choices, device, dtype.dtype());
        let mut each = devices.iter().map(load).collect::<cropmae::Result<Vec<Loaded>>>()?;
        let loaded = each.remove(0);
        loaded.notes.iter().for_each(|note| say.line(note));
        let others: Vec<Encoder> = each.into_iter().map(|loaded| loaded.encoder).collect();
        let mut engine = Engine::in_arithmetic(loaded.encoder.device(), work.affinity)?;
        for encoder in std::iter::once(&loaded.encoder).chain(&others) {
            let (fitting, note) = engine.tried(&used.propagation, encoder.device())?;
            note.iter().for_each(|note| say.line(note));
            engine = fitting;
        }
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
        if let Some(input) = input {
            let context = used.propagation.queue.saturating_add(1).min(clips.longest());
            room::check(&loaded.encoder, input, context)?;
        }
        let grid = grid.map(|(_, _, [rows, columns])| (rows, columns));
        let batch = plan::batch(work.batch, devices, &loaded.encoder, input, clips_at_once);
        Ok(Self {
            start,
            benchmark: *benchmark,
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
        let frames = self.clips.frames();
        let size = plan::features_size(&self.clips, used, &self.loaded, frames)?;
        Ok(Some(format!("features are kept in {}: {size}", cache.folder.display())))
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

fn record(
    clips: &Clips,
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
    let dataset = clips.record(done.clips, done.frames);
    let (notes, failures) = (done.notes, done.failures);
    (done.summary, RunRecord { protocol, weights, dataset, provenance, notes, failures })
}

/// Propagates and scores all clips.
pub(crate) fn evaluate(
    ready: &Ready,
    setup: &Setup<'_>,
    folder: &RunFolder,
    quiet: bool,
) -> Result<Done> {
    let bars = Bars::new(ready.benchmark, &ready.clips, 1, quiet);
    let done = match (ready.benchmark, &*ready.clips) {
        (Benchmark::Davis, Clips::Masks(dataset)) => {
            Done::davis(&eval::davis::evaluate(dataset, setup, folder, &bars)?)
        }
        (_, Clips::Masks(dataset)) => {
            Done::vip(&eval::vip::evaluate(dataset, setup, folder, &bars)?, setup.protocol)
        }
        (_, Clips::Poses(dataset)) => {
            Done::jhmdb(&eval::jhmdb::evaluate(dataset, setup, folder, &bars)?)
        }
    };
    bars.finish();
    done
}

/// Stores and shows what came out.
fn finish(
    args: &OutputArgs,
    drawn: &Drawn<'_>,
    summary: Option<Summary>,
    mut record: RunRecord,
    say: &Notes,
) -> Result<Outcome> {
    let Drawn { clips, folder: out, .. } = *drawn;
    failures_if_quiet(args, &record);
    let interrupted = interrupted(clips, &record, say);
    if interrupted && record.dataset.done == 0 {
        return Ok(Outcome::Interrupted);
    }
    ensure_some(&record, clips)?;
    let stored = stored(out);
    keep_unchanged(stored.as_ref(), &mut record);
    let whole;
    match summary {
        Some(summary) => {
            let (json, keep) = store(out, clips, &summary, &record, stored.as_ref())?;
            if !export::takes_stdout(&args.export) {
                show::results(&summary, &record, &json, args.json, args.per_item)?;
            }
            let row = record.row(&summary);
            export::write(&args.export, &row.clone().with_arrows().markdown(), &row, &json)?;
            whole = draw(args, drawn, !keep, &record.failures, say);
            say.line(&match keep {
                true => format!("{} keeps the results of all clips", out.display()),
                false => format!("results in {}", out.display()),
            });
        }
        None => {
            if args.json {
                let json = record.json(&Summary::default());
                show::text(&(serde_json::to_string_pretty(&json)? + "\n"))?;
            }
            whole = overlays::after(drawn, &args.overlay, say);
            say.line(unscored(args));
            say.line(&format!("predictions in {}", out.join("predictions").display()));
        }
    }
    Ok(outcome(interrupted, &record, whole))
}

/// What is said where clips were done and none has a score.
pub(crate) fn unscored(args: &OutputArgs) -> &'static str {
    match args.predict_only {
        true => "nothing was scored, as asked for",
        false => "nothing was scored: no frame but the given first ones has a truth",
    }
}

/// Fails where not a single clip could be done: there is no table of the others then.
pub(crate) fn ensure_some(record: &RunRecord, clips: &Clips) -> Result<()> {
    let asked = counted(clips.asked(), "clip");
    anyhow::ensure!(
        record.dataset.done > 0,
        "0 of {asked} could be done: what failed stands above"
    );
    Ok(())
}

/// Whether a signal kept clips from being done; that is said.
pub(crate) fn interrupted(clips: &Clips, record: &RunRecord, say: &Notes) -> bool {
    let (done, asked) = (record.dataset.done, clips.asked());
    let interrupted = interrupt::asked() && done + record.failures.len() < asked;
    if interrupted {
        say.line(&format!(
            "interrupted: {done} of {} done; the same command goes on",
            counted(asked, "clip")
        ));
    }
    interrupted
}

/// What the exit status says of a run; `whole` is whether all pictures and pages could be written.
pub(crate) fn outcome(interrupted: bool, record: &RunRecord, whole: bool) -> Outcome {
    match (interrupted, record.failures.is_empty() && whole) {
        (true, _) => Outcome::Interrupted,
        (false, true) => Outcome::Done,
        (false, false) => Outcome::Partial,
    }
}

/// Failures are errors, which stand on stderr where all else is quiet too.
pub(crate) fn failures_if_quiet(args: &OutputArgs, record: &RunRecord) {
    if args.quiet {
        record
            .failures
            .iter()
            .for_each(|(clip, why)| show::note(&format!("{clip}: failed: {why}")));
    }
}

/// Stores the scores, but where the folder keeps those of more clips: a smoke run into the folder
/// of a whole one does not replace its results. The content of `results.json`, and whether it is
/// kept.
pub(crate) fn store(
    out: &Path,
    clips: &Clips,
    summary: &Summary,
    record: &RunRecord,
    stored: Option<&Value>,
) -> Result<(Value, bool)> {
    let fewer = clips.narrowed() || interrupt::asked();
    let keep = fewer && stored.is_some_and(|json| json["partial"] == false);
    let json = if keep { record.json(summary) } else { report::write(out, summary, record)? };
    Ok((json, keep))
}

/// Draws what was stored: overlays, and the page, where the scores that it `shows` were stored.
/// Whether all of it could be written.
pub(crate) fn draw(
    args: &OutputArgs,
    drawn: &Drawn<'_>,
    shows: bool,
    failures: &[(String, String)],
    say: &Notes,
) -> bool {
    let drawn_all = overlays::after(drawn, &args.overlay, say);
    let page = !shows || page::after(args.report, drawn.folder, drawn.clips, failures, say);
    drawn_all && page
}

/// Stores results as a single run would have, for the table of several; also whether a page is to
/// show them: not where there are no scores, and not where the folder keeps those of more clips.
pub(crate) fn stored_row(
    ready: &Ready,
    protocol: ProtocolRecord,
    values: Vec<String>,
    done: Done,
    folder: &Path,
) -> Result<(Row, bool)> {
    let protocol_hash = protocol.hash.clone();
    let (summary, mut record) = ready.record(protocol, done);
    let stored = stored(folder);
    keep_unchanged(stored.as_ref(), &mut record);
    let shows = match &summary {
        Some(summary) => !store(folder, &ready.clips, summary, &record, stored.as_ref())?.1,
        None => false,
    };
    let (clips, folder) = (record.dataset.done, folder.display().to_string());
    Ok((Row { values, summary, folder, protocol_hash, clips }, shows))
}

/// The results of an earlier run in this folder.
pub(crate) fn stored(out: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(out.join("results.json")).ok()?).ok()
}

/// Takes the stored provenance, where this run has done nothing but find the same again.
pub(crate) fn keep_unchanged(stored: Option<&Value>, record: &mut RunRecord) {
    let Some(stored) = stored else { return };
    let idle = record.provenance.resumed == record.dataset.done && record.failures.is_empty();
    let same = stored["dataset"] == json!(record.dataset);
    if let Ok(provenance) = serde_json::from_value(stored["provenance"].clone())
        && idle
        && same
    {
        record.provenance = provenance;
    }
}
