//! `explain --ablate`: repeats the run with one setting changed at a time.
//!
//! Every change gets a result folder of its own in RUN/ablation. Changes that do not affect the
//! features share them: as in a sweep, a clip is encoded once for all of these.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use cropmae::data::Need;
use cropmae::device::Precision;
use cropmae::eval::{Cache, Kept, Run, RunFolder, Setup};
use cropmae::image::decode;
use cropmae::model::config::PositionRule;
use cropmae::model::source::Source;
use cropmae::model::vit::Implementation;
use cropmae::model::weights::sha256;
use cropmae::nearest::nearest;
use cropmae::protocol::{Preset, Protocol, ablation};
use cropmae::report::compare::runs::ScoredRun;
use cropmae::report::compare::statistics::Resampling;
use cropmae::report::explain::{self, Ablation, Change};
use cropmae::report::record::{self, ProtocolRecord};
use cropmae::wording::counted;
use serde_json::{Value, json};
use strum::VariantArray;

use crate::args::{ExplainArgs, ModelArgs, RunArgs};
use crate::clips::Clips;
use crate::common::usage::usage;
use crate::evaluate::{self, Ready, Shared};
use crate::progress::{Bars, OfSetting};
use crate::show::Notes;
use crate::sweep::evaluate_runs;
use crate::{interrupt, plan, show};

/// What is tried.
struct Trial {
    setting: String,
    from: String,
    to: String,
    presets: Vec<String>,
    protocol: Protocol,
    positions: Option<PositionRule>,
    dtype: Precision,
}

impl Trial {
    /// In words: `propagation.topk 5`.
    fn words(&self) -> String {
        format!("{} {}", self.setting, self.to)
    }

    /// Its folder's name.
    fn folder(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() || c == '.' { c } else { '-' };
        let name: String = self.words().chars().map(plain).collect();
        name.replace("--", "-")
    }

    /// What trials must agree in to share features.
    fn features(&self) -> Value {
        json!([self.protocol.preprocessing(), self.positions, self.dtype.name()])
    }
}

/// All changes measured, and whether some clips failed; none where Ctrl-C came before all were.
pub(crate) fn ablation(
    run: &ScoredRun,
    args: &ExplainArgs,
    say: &Notes,
) -> Result<Option<(Ablation, bool)>> {
    let mut trials = trials(run)?;
    let wanted =
        |setting: &str| args.only.is_empty() || args.only.iter().any(|only| setting == only);
    narrow(&mut trials, &args.only)?;
    let weights = weights(run, &args.model.weights)?;
    let (top, shared) = (args.folder.join("ablation"), open(run, args, say)?);
    let all = All { run, args, weights, shared: &shared, top: &top };
    let (partial, impossible) = all.measure(&trials, say)?;
    if interrupt::asked() {
        say.line("interrupted: what is done is kept, and the same command goes on");
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

/// The encoder: what was typed, or what the run's record says, where that is still what it was.
fn weights(run: &ScoredRun, typed: &[Source]) -> Result<Vec<Source>> {
    if !typed.is_empty() {
        return Ok(typed.to_vec());
    }
    // refuses what was scored without an encoder
    dtype_of(run)?;
    let recorded = &run.results["weights"];
    let source: Source = recorded["file"]
        .as_str()
        .unwrap_or_default()
        .parse()
        .map_err(|why| usage!("--weights: {why}"))?;
    if let Source::File(path) = &source {
        let (name, file) = (&run.name, path.display());
        ensure!(
            path.is_file(),
            usage!(
                "--weights: {name} was made with {file}, which is not there; pass the file where it is now"
            )
        );
        ensure!(
            recorded["sha256"] == *sha256(path)?,
            usage!(
                "--weights: {name} was made with {file}, which holds other weights by now; pass the file as it was"
            )
        );
    }
    Ok(vec![source])
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
    let clips = Clips::open(run.benchmark, &args.data, Need::Frames, say)?;
    let device = RunArgs { dtype, ..args.run.clone() };
    Shared::of(start, run.benchmark, (clips, &args.data), &device, &args.work, say)
}

/// The run itself, then every departure from it, those that share features together.
fn trials(run: &ScoredRun) -> Result<Vec<Trial>> {
    let results = &run.results;
    let base = Protocol::from_values(&results["protocol"]["values"])
        .context("only runs of davis, vip and jhmdb can be taken apart")?;
    let (positions, dtype) = (positions_of(run), dtype_of(run)?);
    let trial = |setting: &str, from: String, to: String, protocol: Protocol| Trial {
        setting: setting.into(),
        from,
        to,
        presets: Vec::new(),
        protocol,
        positions,
        dtype,
    };
    let mut trials = vec![trial("as", String::new(), "run".into(), base.clone())];
    for it in ablation::alternatives(&base) {
        let (from, to) = (record::words(&it.from), record::words(&it.to));
        let presets = it.of.iter().map(|preset| preset.name().to_owned()).collect();
        trials.push(Trial { presets, ..trial(&it.setting, from, to, it.protocol) });
    }
    let used = record::words(&results["protocol"]["preset"]);
    for (preset, protocol) in ablation::presets(&base) {
        trials.push(trial("preset", used.clone(), preset.name().into(), protocol));
    }
    let name = |rule: &PositionRule| record::words(&json!(rule));
    if let Some(own) = positions {
        for rule in PositionRule::VARIANTS.iter().filter(|rule| **rule != own) {
            let changed = trial("positions", name(&own), name(rule), base.clone());
            trials.push(Trial { positions: Some(*rule), ..changed });
        }
        for other in Precision::VARIANTS.iter().filter(|other| **other != dtype) {
            let (from, to) = (dtype.name().into(), other.name().into());
            trials.push(Trial { dtype: *other, ..trial("dtype", from, to, base.clone()) });
        }
    }
    Ok(trials)
}

/// How the run's position table was stretched; none where there is no such table.
fn positions_of(run: &ScoredRun) -> Option<PositionRule> {
    run.results["weights"]["positions"].as_str()?.parse().ok()
}

fn dtype_of(run: &ScoredRun) -> Result<Precision> {
    let name = run.results["provenance"]["dtype"].as_str().unwrap_or_default();
    name.parse().map_err(|_| {
        anyhow::anyhow!("{}: scored without an encoder: there is nothing to change", run.name)
    })
}

/// Only the clips that are taken.
fn narrowed(mut run: ScoredRun, shared: &Shared) -> ScoredRun {
    run.keep(|clip| shared.clips.list().iter().any(|(taken, _)| *taken == clip));
    run
}

/// What all trials share.
struct All<'a> {
    run: &'a ScoredRun,
    args: &'a ExplainArgs,
    weights: Vec<Source>,
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
        let hash = &self.run.results["protocol"]["hash"];
        let sha256 = &self.run.results["weights"]["sha256"];
        let place = RunFolder::open(self.top, &json!({ "of": hash, "weights_sha256": sha256 }))?;
        place.clean()?;
        let (count, clips) = (trials.len(), self.shared.clips.list().len());
        let (settings, clips) = (counted(count, "setting"), counted(clips, "clip"));
        say.line(&format!("{settings} of {clips}, each in {}", self.top.display()));
        let bars = Bars::new(self.run.benchmark, &self.shared.clips, count, self.args.quiet);
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
            match self.ready(trial) {
                Ok(ready) => partial |= self.group(&ready, &group, &bars)?,
                // without the run itself there is nothing to compare with
                Err(error) if done.len() == 1 => return Err(error),
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
        let key = ready.features_key(&self.model(first), &first.protocol);
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

    /// The encoder as a trial wants it.
    fn ready(&self, trial: &Trial) -> Result<Ready> {
        self.shared.compute_in(trial.dtype)?;
        let model = self.model(trial);
        let source = plan::source(&model, false)?;
        let quiet = Notes::new(true);
        let Trial { dtype, protocol, .. } = trial;
        let ready = Ready::with(self.shared, &source, &model, *dtype, protocol, &quiet)?;
        self.check(&ready, *dtype)?;
        Ok(ready)
    }

    /// Refuses another encoder than the run's, which may be one of the same file.
    fn check(&self, ready: &Ready, dtype: Precision) -> Result<()> {
        let Self { run, .. } = self;
        let (theirs, ours) = (&run.results["weights"], &ready.weights);
        ensure!(
            theirs["sha256"] == *ours.sha256,
            usage!(
                "--weights: these are not the weights of {} ({}): pass those",
                run.name,
                record::words(&theirs["file"])
            )
        );
        ensure!(
            theirs["arch"] == *ours.arch,
            usage!(
                "--heads, --arch: {} was made by {}, and this is {}: pass what it was made with",
                run.name,
                record::words(&theirs["arch"]),
                ours.arch
            )
        );
        // earlier versions noted neither heads nor the dict
        ensure!(
            theirs["heads"].is_null() || theirs["dictionary"] == json!(ours.dictionary),
            usage!(
                "--checkpoint-key: {} was made by the dict {}, and this is {}: leave it out",
                run.name,
                record::words(&theirs["dictionary"]),
                ours.dictionary.as_deref().unwrap_or("none")
            )
        );
        let (theirs, ours) = (&run.results["provenance"]["encoder"], &ready.provenance.encoder);
        ensure!(
            // other number types may be computed by others
            theirs.is_null() || *theirs == json!(ours) || dtype != dtype_of(run)?,
            usage!(
                "--encoder: {} was encoded by {}, and this would be by {}: leave it out",
                run.name,
                record::words(theirs),
                ours.as_deref().unwrap_or("none")
            )
        );
        Ok(())
    }

    /// What was typed, with what the run's record says of its encoder and the trial's rule of
    /// positions.
    fn model(&self, trial: &Trial) -> ModelArgs {
        let (of, typed) = (&self.run.results["weights"], &self.args.model);
        let layer = of["layer"].as_str().unwrap_or_default().parse().unwrap_or(typed.layer);
        let (mut heads, mut checkpoint_key) = (typed.heads, typed.checkpoint_key.clone());
        let mut patch_size = typed.patch_size;
        match &*self.weights {
            [Source::File(_)] => {
                heads = heads.or(of["heads"].as_u64().and_then(|heads| heads.try_into().ok()));
                checkpoint_key = checkpoint_key.or(of["checkpoint_key"].as_str().map(Into::into));
            }
            [Source::Pixels] => {
                let arch = of["arch"].as_str().and_then(|arch| arch.strip_prefix("patches of "));
                patch_size = patch_size.or(arch.and_then(|patch| patch.parse().ok()));
            }
            // what else is no file says itself what it is, and takes no such words
            _ => {}
        }
        let by_tensors = self.run.results["provenance"]["encoder"] == "tensor";
        let encoder = match typed.encoder {
            Implementation::Auto if by_tensors => Implementation::Tensor,
            typed => typed,
        };
        let positions = trial.positions;
        let weights = self.weights.clone();
        ModelArgs {
            weights,
            patch_size,
            layer,
            heads,
            checkpoint_key,
            encoder,
            positions,
            ..typed.clone()
        }
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

/// What the JPEG decoder is called in tables.
const DECODER: &str = "jpeg_decoder";

/// Leaves the run itself and the settings of `--only`.
fn narrow(trials: &mut Vec<Trial>, only: &[String]) -> Result<()> {
    if only.is_empty() {
        return Ok(());
    }
    let known = |name: &str| name == DECODER || trials.iter().any(|trial| trial.setting == name);
    if let Some(unknown) = only.iter().find(|name| !known(name)) {
        let mut names: Vec<&str> = Vec::new();
        for trial in &trials[1..] {
            if !names.contains(&&*trial.setting) {
                names.push(&trial.setting);
            }
        }
        let meant = meant(unknown, &names);
        let meant = meant.map_or(String::new(), |name| format!("did you mean {name}? "));
        let names = names.join(", ");
        bail!(usage!(
            "--only: {unknown:?} is no setting that is changed here; {meant}There are {names}"
        ));
    }
    let mut first = true;
    trials.retain(|trial| std::mem::take(&mut first) || only.contains(&trial.setting));
    Ok(())
}

/// The setting that was probably meant; its last part will do, `topk`.
fn meant<'a>(unknown: &str, names: &[&'a str]) -> Option<&'a str> {
    let last = |name: &&'a str| name.rsplit('.').next() == Some(unknown);
    names.iter().copied().find(last).or_else(|| nearest(unknown, names.iter().copied()))
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
