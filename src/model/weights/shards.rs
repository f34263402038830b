//! A checkpoint in several files, as Hugging Face saves large models:
//! `model-00001-of-00003.safetensors` … and `model.safetensors.index.json`, which names them all.
//!
//! One of the files, the index, or the folder with the index stands for the whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::report::Refusal;
use crate::error::{Error, Result};

/// What the names of indices end in.
const INDEX: &str = ".index.json";

/// The indices that stand in a model's folder, the preferred one first.
const INDICES: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];

/// The files of the checkpoint at `path`, in the order of their names; `path` alone where it is a
/// whole one.
///
/// # Errors
/// A folder without an index, an index that cannot be read, a shard that is not there, or shards
/// that are no safetensors files.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let files = if path.is_dir() {
        let index = INDICES.iter().map(|name| path.join(name)).find(|index| index.is_file());
        indexed(&index.ok_or_else(|| {
            Refusal::new(
                "a folder, not a checkpoint",
                "pass the .pth or .safetensors file inside it",
            )
            .into_error(path)
        })?)?
    } else if path.to_string_lossy().ends_with(INDEX) {
        indexed(path)?
    } else {
        match Shard::of(path).filter(|shard| shard.count > 1) {
            Some(shard) => shard.siblings(path),
            None => return Ok(vec![path.to_path_buf()]),
        }
    };
    check(path, &files).map_err(|refusal| refusal.into_error(path))?;
    Ok(files)
}

/// What the whole checkpoint is called whose shard `path` is, by its name; none for other files.
///
/// Shards of one checkpoint have it in common: `model.safetensors` of
/// `model-00001-of-00003.safetensors`.
pub fn whole(path: &Path) -> Option<PathBuf> {
    let shard = Shard::of(path)?;
    Some(path.with_file_name(format!("{}.{}", shard.name, shard.extension)))
}

/// `model-00001-of-00003.safetensors`, taken apart.
struct Shard<'a> {
    name: &'a str,
    count: usize,
    extension: &'a str,
}

impl<'a> Shard<'a> {
    fn of(path: &'a Path) -> Option<Self> {
        let number = |digits: &str| {
            let plain = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
            plain.then(|| digits.parse::<usize>().ok())?
        };
        let extension = path.extension()?.to_str()?;
        let (rest, count) = path.file_stem()?.to_str()?.rsplit_once("-of-")?;
        let (name, index) = rest.rsplit_once('-')?;
        let (index, count) = (number(index)?, number(count)?);
        (1..=count).contains(&index).then_some(Self { name, count, extension })
    }

    fn siblings(&self, path: &Path) -> Vec<PathBuf> {
        let Self { name, count, extension } = self;
        let file = |index| format!("{name}-{index:05}-of-{count:05}.{extension}");
        (1..=*count).map(|index| path.with_file_name(file(index))).collect()
    }
}

/// The files that an index names.
fn indexed(index: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(index).map_err(Error::reading(index))?;
    let json: Option<Value> = serde_json::from_str(&text).ok();
    let map = json.as_ref().and_then(|json| json.get("weight_map")?.as_object());
    let names: Option<BTreeSet<&str>> =
        map.filter(|map| !map.is_empty()).and_then(|map| map.values().map(Value::as_str).collect());
    let plain = |name: &&str| {
        let mut parts = Path::new(name).components();
        matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
    };
    let names = names.filter(|names| names.iter().all(plain)).ok_or_else(|| {
        Refusal::new(
            "an index of shards whose `weight_map` names no files beside it",
            "download or copy it again",
        )
        .into_error(index)
    })?;
    Ok(names.into_iter().map(|name| index.with_file_name(name)).collect())
}

/// Refuses shards of which one is not there or which are not read.
fn check(path: &Path, files: &[PathBuf]) -> Result<(), Refusal> {
    let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lost: Vec<String> = files.iter().filter(|file| !file.is_file()).map(name).collect();
    if !lost.is_empty() {
        return Err(Refusal::new(
            format!(
                "a checkpoint in {} shards, of which {} are not there: {}",
                files.len(),
                lost.len(),
                super::report::shortened(&lost)
            ),
            "download or copy all of them into one folder",
        ));
    }
    let other = |file: &&PathBuf| file.extension().is_none_or(|it| it != "safetensors");
    if files.len() > 1 && files.iter().any(|file| other(&file)) {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let names = files.iter().map(|file| format!("{:?}", name(file))).collect::<Vec<_>>();
        return Err(Refusal::new(
            format!("a checkpoint in {} shards that are no safetensors files", files.len()),
            format!(
                "merge them, in Python in {}: torch.save({{key: tensor for file in [{}] for key, tensor in torch.load(file, map_location=\"cpu\").items()}}, \"merged.pth\")",
                folder.display(),
                names.join(", ")
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_known_by_their_names() {
        let whole = |name: &str| whole(Path::new(name)).map(|path| path.display().to_string());
        assert_eq!(whole("a/model-00002-of-00003.safetensors"), Some("a/model.safetensors".into()));
        assert_eq!(whole("pytorch_model-00001-of-00002.bin"), Some("pytorch_model.bin".into()));
        for other in
            ["model.safetensors", "model-00004-of-00003.bin", "run-1-of-2.pth", "a-of-00002.pth"]
        {
            assert_eq!(whole(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_of_its_own_stands_for_itself() {
        for name in ["model.safetensors", "x-00001-of-00001.safetensors", "absent.pth"] {
            assert_eq!(files(Path::new(name)).unwrap(), [PathBuf::from(name)]);
        }
    }
}
