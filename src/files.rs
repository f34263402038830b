//! Files that are written completely or not at all, whenever the program or the machine stops; and
//! the few formats that several modules share. A leaf.

pub mod list;
mod occupied;
pub mod safetensors;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
pub use occupied::Occupied;

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
pub fn json_bytes(path: &Path, value: &impl Serialize) -> Result<Vec<u8>> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::writing(path)(std::io::Error::other(error)))?;
    Ok((text + "\n").into_bytes())
}

/// Writes files that belong together: none takes its name before there was room for all.
///
/// # Errors
/// A file cannot be written; none was replaced then. Or one cannot be renamed.
pub fn write_together(files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
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

/// A file that is written piece by piece over a long time: it takes its name once it is whole; if
/// it is dropped before `finish`, the partial file is deleted. Others may be writing the same file
/// meanwhile.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    part: PathBuf,
    /// `None` once the file has its name.
    out: Option<BufWriter<File>>,
}

impl Pending {
    /// How the names of files in the making end.
    pub const SUFFIX: &str = ".partial";

    /// Begins the file, in a folder that is there.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}{}", std::process::id(), Self::SUFFIX));
        let part = path.with_file_name(name);
        let file = File::create(&part).map_err(Error::creating(&part))?;
        let out = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { path: path.to_path_buf(), part, out })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// There is no room, for example.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.out {
            Some(out) => out.write_all(bytes).map_err(Error::writing(&self.path)),
            None => Ok(()),
        }
    }

    /// Flushes the file to the disk and gives it its name, which another file may have had.
    ///
    /// # Errors
    /// There is no room, for example; the name's file is then what it was.
    pub fn finish(mut self) -> Result<()> {
        let written = self.out.as_mut().map_or(Ok(()), |out| {
            out.flush()?;
            // a name must not come to the disk before its contents do
            out.get_ref().sync_all()?;
            std::fs::rename(&self.part, &self.path)
        });
        written.map_err(Error::writing(&self.path))?;
        self.out = None;
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.out.is_some() {
            // best effort: ignore the error
            drop(std::fs::remove_file(&self.part));
        }
    }
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

    fn names(folder: &Path) -> Vec<String> {
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
    fn a_file_written_piece_by_piece_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut given_up = Pending::create(&path).unwrap();
        given_up.append(b"half of the n").unwrap();
        assert_eq!(names(folder.path()), [format!("a.{}.partial", std::process::id())]);
        drop(given_up);
        assert!(names(folder.path()).is_empty());
        std::fs::write(&path, b"old").unwrap();
        let mut whole = Pending::create(&path).unwrap();
        whole.append(b"ne").unwrap();
        whole.append(b"w").unwrap();
        whole.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a"]);
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
