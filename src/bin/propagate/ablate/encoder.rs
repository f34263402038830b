//! The encoder of the run that is taken apart: found again, and refused where it is another.

use anyhow::{Result, bail, ensure};
use cropmae::device::Precision;
use cropmae::model::source::Source;
use cropmae::model::vit::Implementation;
use cropmae::model::weights::sha256;
use cropmae::report::compare::runs::ScoredRun;
use cropmae::report::{origin, record};
use serde_json::json;

use super::trials::{Trial, dtype_of};
use crate::args::ModelArgs;
use crate::common::usage::{Usage, usage};
use crate::plan;
use crate::ready::{Ready, Shared};
use crate::show::Notes;

/// A run's encoder, to be loaded again.
pub(super) struct RunEncoder<'a> {
    run: &'a ScoredRun,
    typed: &'a ModelArgs,
    source: Source,
    /// Whether it was looked for, since nobody typed it.
    found: bool,
    dtype: Precision,
}

impl<'a> RunEncoder<'a> {
    /// What was typed, or what the run recorded. Whether a file is still what it was shows when it
    /// is loaded.
    pub(super) fn of(run: &'a ScoredRun, typed: &'a ModelArgs) -> Result<Self> {
        // refuses what was scored without an encoder
        let dtype = dtype_of(run)?;
        let found = typed.weights.is_empty();
        let source = if found { recorded(run)? } else { plan::source(typed, false)? };
        ensure!(
            !matches!(source, Source::Features(_)),
            usage!(
                "--ablate: {} was made from given features, which are of one input only; change settings with --sweep",
                run.name
            )
        );
        Ok(Self { run, typed, source, found, dtype })
    }

    /// The encoder as a trial wants it.
    pub(super) fn ready(&self, shared: &Shared, trial: &Trial) -> Result<Ready> {
        shared.compute_in(trial.dtype)?;
        let (model, quiet) = (self.model(trial), Notes::new(true));
        let ready = Ready::with(shared, &self.source, &model, trial.dtype, &trial.protocol, &quiet);
        // a file that holds something else by now need be no checkpoint
        let ready = ready.map_err(|error| self.changed().map_or(error, Into::into))?;
        self.check(&ready, trial.dtype)?;
        Ok(ready)
    }

    /// What there is to say of a file that was found and could not be loaded, where it is not what
    /// it was.
    fn changed(&self) -> Option<Usage> {
        let Source::File(path) = &self.source else { return None };
        let recorded = &self.run.results["weights"]["sha256"];
        let changed = self.found && sha256(path).is_ok_and(|sha256| *recorded != *sha256);
        changed.then(|| self.another())
    }

    /// That these are not the run's weights.
    fn another(&self) -> Usage {
        let name = &self.run.name;
        let file = record::words(&self.run.results["weights"]["file"]);
        match &self.source {
            Source::File(path) if self.found => usage!(
                "--weights: {name} was made with {file}, and {} holds other weights by now; pass the file as it was",
                path.display()
            ),
            _ => usage!("--weights: these are not the weights of {name} ({file}): pass those"),
        }
    }

    /// Refuses another encoder than the run's, which may be one of the same file.
    fn check(&self, ready: &Ready, dtype: Precision) -> Result<()> {
        let Self { run, .. } = self;
        let (theirs, ours) = (&run.results["weights"], &ready.weights);
        ensure!(theirs["sha256"] == *ours.sha256, self.another());
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
            theirs.is_null() || *theirs == json!(ours) || dtype != self.dtype,
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
    pub(super) fn model(&self, trial: &Trial) -> ModelArgs {
        let (of, typed) = (&self.run.results["weights"], self.typed);
        let layer = of["layer"].as_str().unwrap_or_default().parse().unwrap_or(typed.layer);
        let (mut heads, mut checkpoint_key) = (typed.heads, typed.checkpoint_key.clone());
        let mut patch_size = typed.patch_size;
        match &self.source {
            Source::File(_) => {
                heads = heads.or(of["heads"].as_u64().and_then(|heads| heads.try_into().ok()));
                checkpoint_key = checkpoint_key.or(of["checkpoint_key"].as_str().map(Into::into));
            }
            Source::Pixels => {
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
        let weights = vec![self.source.clone()];
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
}

/// The encoder that a run recorded: a file where it lay, or else one of its name in the current
/// folder.
fn recorded(run: &ScoredRun) -> Result<Source> {
    let place = origin::weights(&run.folder);
    if let Some(place) = place.as_ref().filter(|place| place.is_file()) {
        return Ok(Source::File(place.clone()));
    }
    let file = run.results["weights"]["file"].as_str().unwrap_or_default();
    let source = file.parse().map_err(|why| usage!("--weights: {why}"))?;
    if let Source::File(path) = &source
        && !path.is_file()
    {
        let looked = place.map_or(String::new(), |place| format!(", nor is {}", place.display()));
        bail!(usage!(
            "--weights: {} was made with {file}, which is not there{looked}; pass the file where it is now",
            run.name
        ));
    }
    Ok(source)
}
