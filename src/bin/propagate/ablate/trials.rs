//! What is tried: the run itself, and every departure from it.

use anyhow::{Context, Result, bail};
use cropmae::device::Precision;
use cropmae::model::config::PositionRule;
use cropmae::nearest::nearest;
use cropmae::protocol::{Protocol, ablation};
use cropmae::report::compare::runs::ScoredRun;
use cropmae::report::record;
use serde_json::{Value, json};
use strum::VariantArray;

use crate::common::usage::usage;

/// What the JPEG decoder is called in tables; a build has but one, so it is no trial.
pub(super) const DECODER: &str = "jpeg_decoder";

/// One of them.
pub(super) struct Trial {
    pub(super) setting: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) presets: Vec<String>,
    pub(super) protocol: Protocol,
    pub(super) positions: Option<PositionRule>,
    pub(super) dtype: Precision,
}

impl Trial {
    /// In words: `propagation.topk 5`.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.setting, self.to)
    }

    /// Its folder's name.
    pub(super) fn folder(&self) -> String {
        let plain = |c: char| if c.is_alphanumeric() || c == '.' { c } else { '-' };
        let name: String = self.words().chars().map(plain).collect();
        name.replace("--", "-")
    }

    /// What trials must agree in to share features.
    pub(super) fn features(&self) -> Value {
        json!([self.protocol.preprocessing(), self.positions, self.dtype.name()])
    }
}

/// The run itself, then every departure from it, those that share features together.
pub(super) fn trials(run: &ScoredRun) -> Result<Vec<Trial>> {
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
    }
    // pixels have no network; records of earlier versions tell of its positions alone
    if positions.is_some() || !results["weights"]["heads"].is_null() {
        for other in Precision::VARIANTS.iter().filter(|other| **other != dtype) {
            let (from, to) = (dtype.name().into(), other.name().into());
            trials.push(Trial { dtype: *other, ..trial("dtype", from, to, base.clone()) });
        }
    }
    Ok(trials)
}

/// Leaves the run itself and the settings of `--only`.
pub(super) fn narrow(trials: &mut Vec<Trial>, only: &[String]) -> Result<()> {
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
            "--only: {unknown:?} is not a setting that is changed here; {meant}There are {names}"
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

/// How the run's position table was stretched; none where there is no such table.
fn positions_of(run: &ScoredRun) -> Option<PositionRule> {
    run.results["weights"]["positions"].as_str()?.parse().ok()
}

/// The type that the run was encoded in.
pub(super) fn dtype_of(run: &ScoredRun) -> Result<Precision> {
    let name = run.results["provenance"]["dtype"].as_str().unwrap_or_default();
    name.parse().map_err(|_| {
        anyhow::anyhow!("{}: scored without an encoder: there is nothing to change", run.name)
    })
}
