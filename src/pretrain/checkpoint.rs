//! The state of a run on disk: everything needed to continue, and the encoder alone.
//!
//! A checkpoint is one safetensors file: the network under MAE's names (so `propagate --weights`
//! takes it as it is), the optimiser's moments under `optimizer.`, averaged weights under
//! `average.`, and [`State`] as JSON in the metadata. A crash at any moment leaves the previous
//! file intact ([`crate::files`]); the bytes depend on nothing but the contents.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::error::{Error, Result};
use crate::files::{Pending, safetensors};
use crate::model::init;

/// The version of the format; files of other versions are refused.
const VERSION: u32 = 1;
/// The metadata entry that holds [`State`].
const STATE: &str = "pretrain";
const EXTENSION: &str = "safetensors";
const PREFIX: &str = "checkpoint-";

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The place in the epoch's order of the next sample.
    pub position: usize,
    /// Steps made in this epoch.
    pub step: u64,
    /// Steps made in all.
    pub steps: u64,
    /// Samples of this epoch that could not be read.
    pub unreadable: usize,
}

/// What a checkpoint says of its run, beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// How far the run has come.
    pub place: Place,
    /// The run's configuration.
    pub config: Config,
    /// What the data was; see [`crate::pretrain::samples::Samples::fingerprint`].
    pub data: String,
}

impl State {
    /// The state at `place`.
    pub fn new(place: Place, config: Config, data: String) -> Self {
        Self { version: VERSION, place, config, data }
    }
}

/// The file of a checkpoint after `steps` steps.
pub fn path(folder: &Path, steps: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{steps:08}.{EXTENSION}"))
}

/// The checkpoints of a folder, by steps, oldest first; none where there is no folder.
///
/// # Errors
/// The folder cannot be read.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::reading(folder))? {
        let path = entry.map_err(Error::reading(folder))?.path();
        let steps = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(EXTENSION)?.strip_suffix('.'))
            .and_then(|digits| digits.parse().ok());
        if let Some(steps) = steps {
            found.push((steps, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes all checkpoints but the `keep_last` newest and, where `keep_every` is not 0, those after
/// a multiple of so many steps.
///
/// # Errors
/// A file cannot be removed.
pub fn prune(folder: &Path, keep_last: usize, keep_every: u64) -> Result<()> {
    let found = list(folder)?;
    let old = found.len().saturating_sub(keep_last.max(1));
    for (steps, path) in &found[..old] {
        if keep_every == 0 || !steps.is_multiple_of(keep_every) {
            std::fs::remove_file(path).map_err(Error::removing(path))?;
        }
    }
    Ok(())
}

/// Removes checkpoints that were never whole: what programs leave that are killed while they write
/// one.
///
/// # Errors
/// The folder cannot be read, or a file in it not be removed.
pub fn sweep(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::reading(folder))? {
        let path = entry.map_err(Error::reading(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(Pending::SUFFIX) {
            std::fs::remove_file(&path).map_err(Error::removing(&path))?;
        }
    }
    Ok(())
}

/// Writes a checkpoint.
///
/// # Errors
/// It cannot be written; what was there stays.
pub fn save(path: &Path, tensors: HashMap<String, Tensor>, state: &State) -> Result<()> {
    let heads = state.config.encoder.heads;
    let text = serde_json::to_string(state)
        .map_err(|error| Error::failed("checkpoint", error.to_string()))?;
    let heads = heads.to_string();
    let metadata = [(STATE.to_owned(), text), ("num_heads".to_owned(), heads)].into();
    safetensors::write(path, &tensors.into_iter().collect(), &metadata)
}

/// Writes the encoder alone, under MAE's names, in `dtype` (f32 or f16), with what made it in the
/// metadata.
///
/// # Errors
/// It cannot be written; what was there stays.
pub fn export(
    path: &Path,
    tensors: &HashMap<String, Tensor>,
    state: &State,
    dtype: DType,
) -> Result<()> {
    let names = init::tensor_names(&state.config.autoencoder().encoder)?;
    let encoder = names.into_iter().map(|name| {
        let missing = || Error::failed(format!("tensor {name}"), "is missing");
        let tensor = tensors.get(&name).ok_or_else(missing)?.to_dtype(dtype)?;
        Ok((name, tensor))
    });
    let metadata = [
        ("method", state.config.method.name().to_owned()),
        ("num_heads", state.config.encoder.heads.to_string()),
        ("config", state.config.toml()?),
        ("data", state.data.clone()),
        ("epochs", state.place.epoch.to_string()),
        ("steps", state.place.steps.to_string()),
        ("git_commit", env!("GIT_COMMIT").to_owned()),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    safetensors::write(path, &encoder.collect::<Result<_>>()?, &metadata)
}

/// Reads a checkpoint.
///
/// # Errors
/// It cannot be read, is damaged, or was not written by this version of this program.
pub fn load(path: &Path) -> Result<(State, HashMap<String, Tensor>)> {
    let wrong = |problem: String| {
        Error::weights(path, problem, "remove it to go on from the one before, or begin anew")
    };
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    let (_, header) = ::safetensors::SafeTensors::read_metadata(&bytes)
        .map_err(|error| wrong(format!("is damaged ({error})")))?;
    let state = header.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
    let state = state.ok_or_else(|| wrong("is not a checkpoint of a training run".into()))?;
    let state: State = serde_json::from_str(state)
        .map_err(|error| wrong(format!("was written by another version ({error})")))?;
    if state.version != VERSION {
        return Err(wrong(format!("is of format {}, not {VERSION}", state.version)));
    }
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|error| wrong(format!("is damaged ({error})")))?;
    Ok((state, tensors))
}

/// Whether a file is a checkpoint that [`save`] wrote, whole or not; only its head is read.
///
/// # Errors
/// It cannot be read.
pub fn is_ours(path: &Path) -> Result<bool> {
    Ok(written_state(path)?.is_some())
}

/// What a checkpoint says of its run; only its head is read. `None` where [`save`] of this version
/// did not write it.
///
/// # Errors
/// It cannot be read.
pub fn state(path: &Path) -> Result<Option<State>> {
    let text = written_state(path)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The state as it stands in a checkpoint's head.
fn written_state(path: &Path) -> Result<Option<String>> {
    /// More than any header has.
    const LONGEST: u64 = 100_000_000;
    let mut file = File::open(path).map_err(Error::reading(path))?;
    // what is shorter than its own head is damaged, or something else
    let head = safetensors::head(&mut file, LONGEST).ok().flatten();
    let header: Option<serde_json::Value> =
        head.and_then(|(header, _)| serde_json::from_slice(&header).ok());
    let state = header.as_ref().and_then(|header| header["__metadata__"][STATE].as_str());
    Ok(state.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::config::Preset;
    use super::*;

    fn tensors() -> HashMap<String, Tensor> {
        let a = Tensor::new(&[[1_f32, 2.0], [3.0, 4.5]], &Device::Cpu).unwrap();
        HashMap::from([("b".into(), a.to_dtype(DType::F16).unwrap()), ("a".into(), a)])
    }

    #[test]
    fn comes_back_as_it_went_and_always_in_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { epoch: 3, position: 17, step: 2, steps: 29, unreadable: 1 };
        let state = State::new(place, Preset::Tiny.config(), "data".into());
        let (one, two) = (path(folder.path(), 1), path(folder.path(), 2));
        save(&one, tensors(), &state).unwrap();
        save(&two, tensors(), &state).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        assert!(is_ours(&one).unwrap() && is_ours(&folder.path().join("none")).is_err());
        let (loaded, found) = load(&one).unwrap();
        assert_eq!(loaded, state);
        assert_eq!(super::state(&two).unwrap(), Some(state.clone()));
        for (name, tensor) in tensors() {
            let tensor = tensor.to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
            let found = found[&name].to_dtype(DType::F32).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(found, tensor);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "a part was left");
    }

    #[test]
    fn damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), 5);
        save(&file, tensors(), &State::new(Place::default(), Preset::Tiny.config(), "d".into()))
            .unwrap();
        let bytes = std::fs::read(&file).unwrap();
        for cut in [0, 5, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&file, &bytes[..cut]).unwrap();
            assert_eq!(is_ours(&file).unwrap(), cut + 1 == bytes.len());
            let error = load(&file).unwrap_err().to_string();
            assert!(
                error.contains("checkpoint-00000005") && error.contains("remove it"),
                "{error}"
            );
        }
        safetensors::write(&file, &tensors().into_iter().collect(), &BTreeMap::new()).unwrap();
        assert!(!is_ours(&file).unwrap());
        assert!(
            load(&file).unwrap_err().to_string().contains("not a checkpoint of a training run")
        );
    }

    #[test]
    fn old_ones_go_and_milestones_stay() {
        let folder = tempfile::tempdir().unwrap();
        for steps in [5, 10, 15, 20, 25] {
            std::fs::write(path(folder.path(), steps), "x").unwrap();
        }
        std::fs::write(folder.path().join("checkpoint-x.safetensors"), "y").unwrap();
        prune(folder.path(), 2, 10).unwrap();
        let left: Vec<u64> = list(folder.path()).unwrap().iter().map(|(steps, _)| *steps).collect();
        assert_eq!(left, [10, 20, 25]);
        // one that a killed program was writing
        let half = folder.path().join("checkpoint-00000030.safetensors.partial");
        std::fs::write(&half, "z").unwrap();
        sweep(folder.path()).unwrap();
        assert!(!half.exists() && folder.path().join("checkpoint-x.safetensors").exists());
        prune(folder.path(), 0, 0).unwrap();
        assert_eq!(list(folder.path()).unwrap().len(), 1, "the newest is never removed");
    }
}
