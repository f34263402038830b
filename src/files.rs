//! Files that are written completely or not at all, whenever the program or the machine stops; and
//! the few formats that several modules share. A leaf.

pub mod list;
pub mod listing;
mod occupied;
mod pending;
pub mod safetensors;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
pub use occupied::Occupied;
pub use pending::Pending;
pub(crate) use pending::{PendingFolder, sweep};

/// Writes a file beside `path`, flushes it to the disk and renames it to `path`.
///
/// # Errors
/// Anything on the way; `path` is then what it was.
pub fn replace(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let written = part(path, fill).and_then(|part| std::fs::rename(part, path));
    written.map_err(|error| abandoned(&[path], Error::writing(path)(error)))
}

/// Writes these bytes as [`replace`] does.
///
/// # Errors
/// The file cannot be written; `path` is then what it was.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, |out| out.write_all(bytes))
}

/// Whether a folder can be made at `path`, or is there already; makes nothing.
///
/// # Errors
/// A file is there, or lies where one of the folders above it would have to be.
pub fn check_folder(path: &Path) -> Result<()> {
    let there = path.ancestors().find(|place| place.symlink_metadata().is_ok());
    match there {
        Some(place) if !place.is_dir() => {
            Err(Error::creating(path)(std::io::ErrorKind::NotADirectory.into()))
        }
        _ => Ok(()),
    }
}

/// Writes JSON, the file whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write(path, &json_bytes(path, value)?)
}

/// A value as the text of a JSON file; `path` is named where it cannot be one.
///
/// # Errors
/// JSON has no words for the value.
pub(crate) fn json_bytes(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::writing(path)(std::io::Error::other(error)))?;
    Ok((text + "\n").into_bytes())
}

/// Writes files that belong together: none takes its name before there was room for all.
///
/// # Errors
/// A file cannot be written; none was replaced then. Or one cannot be renamed.
pub(crate) fn write_together(files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let written = files.iter().try_for_each(|(path, bytes)| {
        part(path, |out| out.write_all(bytes)).map(drop).map_err(Error::writing(path))
    });
    let renamed = written.and_then(|()| {
        files.iter().try_for_each(|(path, _)| {
            std::fs::rename(part_name(path), path).map_err(Error::writing(path))
        })
    });
    let paths: Vec<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
    renamed.map_err(|error| abandoned(&paths, error))
}

/// Whether a file of this name may be what a killed program has left in its folder: the lock, or a
/// file in the making that was to have a name of `ours`.
pub fn is_left(name: &OsStr, ours: impl Fn(&str) -> bool) -> bool {
    let begun = name.to_str().and_then(|name| name.strip_suffix(Pending::SUFFIX));
    name == Occupied::NAME || begun.is_some_and(ours)
}

/// The file beside `path` that takes its place once it is whole.
fn part_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(Pending::SUFFIX);
    path.with_file_name(name)
}

fn part(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> std::io::Result<PathBuf> {
    let part = part_name(path);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&part)?);
    fill(&mut out)?;
    out.flush()?;
    // a name must not come to the disk before its contents do
    out.get_ref().sync_all()?;
    Ok(part)
}

/// Removes the partial files, which are of no use. Best effort: ignores that error for `error`.
fn abandoned(paths: &[&Path], error: Error) -> Error {
    paths.iter().for_each(|path| drop(std::fs::remove_file(part_name(path))));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_the_old_one_or_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"old").unwrap();
        let failed = replace(&path, |out| {
            out.write_all(b"half of the n")?;
            Err(std::io::ErrorKind::StorageFull.into())
        });
        let message = failed.unwrap_err().explained();
        assert!(message.contains("a.txt") && message.contains("make room"), "{message}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn what_may_be_left_is_a_lock_or_begun() {
        let left = |name: &str| is_left(OsStr::new(name), |name| name == "run.json");
        assert!(left(".lock") && left("run.json.partial"));
        assert!(!left("run.json") && !left("my-run.json.partial") && !left(".partial"));
    }

    #[test]
    fn none_of_those_that_belong_together_comes_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| (folder.path().join(name), name.as_bytes().to_vec());
        let error = write_together(&[file("a"), file("no/b")]).unwrap_err().to_string();
        assert!(error.contains("no/b"), "{error}");
        assert!(names(folder.path()).is_empty());
        write_together(&[file("a"), file("b")]).unwrap();
        assert_eq!(names(folder.path()), ["a", "b"]);
    }
}
