//! `explain --ablate`: repeats the run with one setting changed at a time.
//!
//! Every change gets a result folder of its own in RUN/ablation. Changes that do not affect the
//! features share them: as in a sweep, a clip is encoded once for all of these. [`trials`] lists what
//! is changed, [`encoder`] finds the run's encoder again.

mod encoder;
mod trials;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use cropmae::data::Need;
use cropmae::device::Precision;
use cropmae::eval::{Cache, Kept, Run, RunFolder, Setup};
use cropmae::image::decode;
use cropmae::protocol::Preset;
use cropmae::report::compare::runs::ScoredRun;
use cropmae::report::compare::statistics::Resampling;
use cropmae::report::explain::{self, Ablation, Change};
use cropmae::report::record::{self, ProtocolRecord};
use cropmae::wording::counted;
use serde_json::{Value, json};

use self::encoder::RunEncoder;
use self::trials::{DECODER, Trial, dtype_of};
use crate::args::{ExplainArgs, RunArgs};
use crate::common::usage::usage;
use crate::evaluate;
use crate::progress::{Bars, OfSetting};
use crate::ready::{Ready, Shared};
use crate::show::Notes;
use crate::sweep::evaluate_runs;
use crate::{clips, interrupt, show};

/// All changes measured, and whether some clips failed; none where Ctrl-C came before all were.
pub(crate) fn ablation(
    run: &ScoredRun,
    args: &ExplainArgs,
    say: &Notes,
) -> Result<Option<(Ablation, bool)>> {
    let mut trials = trials::trials(run)?;
    let wanted =
        |setting: &str| args.only.is_empty() || args.only.iter().any(|only| setting == only);
    trials::narrow(&mut trials, &args.only)?;
    let encoder = RunEncoder::of(run, &args.model)?;
    let (top, shared) = (args.folder.join("ablation"), open(run, args, say)?);
    let all = All { run, args, encoder, shared: &shared, top: &top };
    let (partial, impossible) = all.measure(&trials, say)?;
    if interrupt::asked() {
        say.line("interrupted: what is done is kept, and the same command continues");
        return Ok(None);
    }
    let recorded = narrowed(run.clone(), &shared);
    let base = all.read(&trials[0]).map_err(anyhow::Error::msg)?;
    let resampling = Resampling::default();
    let mut changes: Vec<Change> =
        trials[1..].iter().map(|trial| all.change(trial, &base, resampling)).collect();
    // what this device cannot do says so, whatever an earlier run on another one has left
    for (change, trial) in changes.iter_mut().zip(&trials[1..]) {
        if let Some((_, why)) = impossible.iter().find(|(of, _)| *of == trial.features()) {
            change.measured = Err(why.clone());
        }
    }
    if wanted(DECODER) {
        changes.push(decoder(run, &recorded, &base, resampling));
    }
    Ok(Some((Ablation::new(&recorded, &base, resampling, changes)?, partial)))
}

/// The data and the device.
fn open(run: &ScoredRun, args: &ExplainArgs, say: &Notes) -> Result<Shared> {
    let dtype = dtype_of(run)?;
    let typed = (args.run.dtype != Precision::F32).then_some(args.run.dtype);
    ensure!(
        typed.is_none_or(|typed| typed == dtype),
        usage!("--dtype: the run was encoded in {}; leave it out", dtype.name())
    );
    let start = Instant::now();
    let clips = clips::open(run.benchmark, &args.data, Need::Frames, say)?;
    let device = RunArgs { dtype, ..args.run.clone() };
    Shared::of(start, (clips, &args.data), &device, &args.work, say)
}

/// Only the clips that are taken.
fn narrowed(mut run: ScoredRun, shared: &Shared) -> ScoredRun {
    let taken = shared.clips.overview().clips;
    run.keep(|clip| taken.iter().any(|taken| taken.name() == clip));
    run
}

/// What all trials share.
struct All<'a> {
    run: &'a ScoredRun,
    args: &'a ExplainArgs,
    encoder: RunEncoder<'a>,
    shared: &'a Shared,
    top: &'a Path,
}

impl All<'_> {
    fn folder(&self, trial: &Trial) -> PathBuf {
        self.top.join(trial.folder())
    }

    /// Runs all trials, group by group: whether some clips failed, and which features cannot be
    /// made here, with the reason.
    fn measure(&self, trials: &[Trial], say: &Notes) -> Result<(bool, Vec<(Value, String)>)> {
        // without the run itself there is nothing to compare with, and no folder is made
        let mut own = trials.first().map(|own| self.encoder.ready(self.shared, own)).transpose()?;
        let hash = &self.run.results["protocol"]["hash"];
        let sha256 = &self.run.results["weights"]["sha256"];
        let place = RunFolder::open(self.top, &json!({ "of": hash, "weights_sha256": sha256 }))?;
        place.clean()?;
        let (count, clips) = (trials.len(), self.shared.clips.overview().clips.len());
        let (settings, clips) = (counted(count, "setting"), counted(clips, "clip"));
        say.line(&format!("{settings} of {clips}, each in {}", self.top.display()));
        let bars = Bars::new(&self.shared.clips, count, self.args.quiet);
        interrupt::listen();
        let (mut done, mut impossible): (Vec<Value>, Vec<(Value, String)>) = Default::default();
        let mut partial = false;
        for trial in trials {
            let features = trial.features();
            if interrupt::asked() || done.contains(&features) {
                continue;
            }
            done.push(features.clone());
            let group: Vec<&Trial> =
                trials.iter().filter(|other| other.features() == features).collect();
            let ready = own.take().map_or_else(|| self.encoder.ready(self.shared, trial), Ok);
            match ready {
                Ok(ready) => partial |= self.group(&ready, &group, &bars)?,
                Err(error) => impossible.push((features, show::explained(&error))),
            }
        }
        bars.finish();
        place.clean()?;
        Ok((partial, impossible))
    }

    /// Runs trials that share features; whether some clips failed.
    fn group(&self, ready: &Ready, group: &[&Trial], bars: &Bars) -> Result<bool> {
        let Some(first) = group.first() else { return Ok(false) };
        let records = group.iter().map(|trial| self.protocol(trial));
        let records = records.collect::<Result<Vec<ProtocolRecord>>>()?;
        let opened = group
            .iter()
            .zip(&records)
            .map(|(trial, record)| RunFolder::open(&self.folder(trial), &ready.identity(record)));
        let opened: Vec<RunFolder> = opened.collect::<cropmae::Result<_>>()?;
        let key = ready.features_key(&self.encoder.model(first), &first.protocol);
        let cache = Cache::open(&self.top.join(".unfinished"), &key, Kept::WithinClip)?;
        let words: Vec<String> = group.iter().map(|trial| trial.words()).collect();
        let watchers: Vec<OfSetting<'_>> =
            words.iter().map(|setting| OfSetting { bars, setting }).collect();
        let each = group.iter().zip(&opened).zip(&watchers);
        let runs: Vec<Run<'_>> = each
            .map(|((trial, folder), observer)| {
                let plain = ready.plain_setup(&trial.protocol);
                let setup = Setup { cache: Some(&cache), ..plain };
                Run { setup, folder, observer }
            })
            .collect();
        let mut partial = false;
        let done = evaluate_runs(ready, &runs)?;
        for ((trial, record), done) in group.iter().zip(records).zip(done) {
            partial |= !done.failures.is_empty();
            evaluate::stored_row(ready, record, Vec::new(), done, &self.folder(trial))?;
        }
        Ok(partial)
    }

    /// The trial's protocol as its results will say it: departures are those from the run's preset,
    /// but of a preset tried whole there are none.
    fn protocol(&self, trial: &Trial) -> Result<ProtocolRecord> {
        let own = record::words(&self.run.results["protocol"]["preset"]);
        let name = if trial.setting == "preset" { &trial.to } else { &own };
        let preset = name.parse().unwrap_or(Preset::Cropmae);
        Ok(ProtocolRecord::of_run(preset, &trial.protocol)?)
    }

    /// A trial's results, over the clips that are taken.
    fn read(&self, trial: &Trial) -> Result<ScoredRun, String> {
        let read = ScoredRun::read(&self.folder(trial)).map_err(|error| error.explained());
        read.map(|run| narrowed(run, self.shared)).and_then(|run| match run.clips().is_empty() {
            true => Err("none of the clips could be done".into()),
            false => Ok(run),
        })
    }

    fn change(&self, trial: &Trial, base: &ScoredRun, resampling: Resampling) -> Change {
        let Trial { setting, from, to, presets, .. } = trial;
        let measured = self.read(trial).and_then(|run| {
            explain::difference(base, run, resampling).map_err(|error| error.explained())
        });
        let (setting, presets) = (setting.clone(), presets.clone());
        Change { setting, from: from.clone(), to: to.clone(), presets, measured }
    }
}

/// The other JPEG decoder: this build's, where the run was made by the other's.
fn decoder(
    run: &ScoredRun,
    recorded: &ScoredRun,
    base: &ScoredRun,
    resampling: Resampling,
) -> Change {
    let theirs = record::words(&run.results["provenance"]["jpeg_decoder"]);
    let ours = decode::decoder_name();
    let setting = DECODER.to_owned();
    if theirs != ours {
        let measured = explain::difference(recorded, base.clone(), resampling);
        let measured = measured.map_err(|error| error.explained());
        return Change { setting, from: theirs, to: ours.into(), presets: Vec::new(), measured };
    }
    let (other, how) = match cfg!(feature = "turbojpeg") {
        true => ("image (zune-jpeg)", "run this by a build without --features turbojpeg"),
        false => ("turbojpeg (libjpeg-turbo)", "run this by a build with --features turbojpeg"),
    };
    let measured = Err(format!("not in this build: {how}"));
    Change { setting, from: theirs, to: other.into(), presets: Vec::new(), measured }
}
