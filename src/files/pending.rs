//! Files and folders in the making. Whoever makes one holds a lock on it, which the system lets go
//! of when the program ends, however it ends: so what killed programs have left can be told from
//! what others are at work on, and goes ([`sweep`]).

use std::fs::{File, TryLockError};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::occupied::is_named;
use crate::error::{Error, Result};

/// Untouched for this long, it is left, where the file system knows no locks.
const ABANDONED: Duration = Duration::from_secs(3600);

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
        let (part, file) = own(path, |part| {
            let file = File::create_new(part)?;
            Ok(is_locked(&file, part).then_some(file))
        })?;
        let out = Some(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { path: path.to_path_buf(), part, out })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The bytes cannot be written: the disk is full, for example.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.out {
            Some(out) => out.write_all(bytes).map_err(Error::writing(&self.path)),
            None => Ok(()),
        }
    }

    /// Flushes the file to the disk and gives it its name, which another file may have had.
    ///
    /// # Errors
    /// The file cannot be written: the disk is full, for example. The file that had the name keeps it.
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

/// A folder that is filled over a long time, as [`Pending`] is a file.
#[derive(Debug)]
pub(crate) struct PendingFolder {
    path: PathBuf,
    part: PathBuf,
    /// Holds the lock; none where the system opens no folders.
    _lock: Option<File>,
}

impl PendingFolder {
    /// Makes an empty folder beside `path`, where folders are made as well if need be.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(Error::creating(parent))?;
        }
        let (part, lock) = own(path, |part| {
            std::fs::create_dir(part)?;
            let lock = File::open(part).ok();
            let is_ours = lock.as_ref().map_or(part.is_dir(), |lock| is_locked(lock, part));
            Ok(is_ours.then_some(lock))
        })?;
        Ok(Self { path: path.to_path_buf(), part, _lock: lock })
    }

    /// Where it is filled.
    pub(crate) fn part(&self) -> &Path {
        &self.part
    }

    /// Gives the folder its name, unless there is a folder of that name that is not empty.
    ///
    /// # Errors
    /// A folder of that name holds something, or the folder around it cannot be written to.
    pub(crate) fn finish(self) -> Result<()> {
        std::fs::rename(&self.part, &self.path).map_err(Error::writing(&self.path))
    }
}

impl Drop for PendingFolder {
    fn drop(&mut self) {
        // Nothing is there once it has its name. Best effort: ignore the error.
        drop(std::fs::remove_dir_all(&self.part));
    }
}

/// Makes something beside `path` that nobody else has: also not another thread of this program, nor
/// a program of the same number on another machine or before this one. `make` gives nothing where
/// somebody took it for left before it could be locked.
fn own<T>(path: &Path, make: impl Fn(&Path) -> std::io::Result<Option<T>>) -> Result<(PathBuf, T)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}-{count}{}", std::process::id(), Pending::SUFFIX));
        let part = path.with_file_name(name);
        match make(&part) {
            Ok(Some(made)) => return Ok((part, made)),
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::creating(&part)(error)),
        }
    }
}

/// Whether a name is one that [`own`] gives.
fn is_partial(name: &str) -> bool {
    let number = name.strip_suffix(Pending::SUFFIX).and_then(|name| name.rsplit_once('.'));
    let of_program = |number: &str| number.chars().all(|c| c.is_ascii_digit() || c == '-');
    number.is_some_and(|(_, number)| !number.is_empty() && of_program(number))
}

/// Locks a file or folder just made; whether it is still there then. Where the file system knows no
/// locks, that is taken for success.
fn is_locked(file: &File, part: &Path) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) && is_named(file, part)
}

/// Removes from a folder what killed programs have left of files and folders in the making. Best
/// effort: errors are ignored.
pub(crate) fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !is_partial(&entry.file_name().to_string_lossy()) {
            continue;
        }
        // held until it is gone
        let Some(_held) = abandoned(&path) else { continue };
        drop(match path.is_dir() {
            true => std::fs::remove_dir_all(&path),
            false => std::fs::remove_file(&path),
        });
    }
}

/// Takes what nobody is at work on.
fn abandoned(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    match file.try_lock() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(_)) => {
            let age = file.metadata().ok()?.modified().ok()?.elapsed().ok()?;
            (age > ABANDONED).then_some(file)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::names;
    use super::*;

    #[test]
    fn a_file_written_piece_by_piece_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut given_up = Pending::create(&path).unwrap();
        given_up.append(b"half of the n").unwrap();
        let name = names(folder.path()).swap_remove(0);
        assert!(name.starts_with("a.") && name.ends_with(".partial"), "{name}");
        drop(given_up);
        assert!(names(folder.path()).is_empty());
        std::fs::write(&path, b"old").unwrap();
        let (mut whole, other) = (Pending::create(&path).unwrap(), Pending::create(&path).unwrap());
        assert_eq!(names(folder.path()).len(), 3, "each has a file of its own");
        whole.append(b"ne").unwrap();
        whole.append(b"w").unwrap();
        whole.finish().unwrap();
        drop(other);
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn what_is_left_goes_and_what_is_being_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        // nobody holds these
        std::fs::write(place("a.1-0.partial"), b"half").unwrap();
        std::fs::create_dir(place("b.1-0.partial")).unwrap();
        std::fs::write(place("b.1-0.partial/000000.jpg"), b"frame").unwrap();
        std::fs::write(place("a"), b"whole").unwrap();
        let mut file = Pending::create(&place("a")).unwrap();
        file.append(b"new").unwrap();
        let made = PendingFolder::create(&place("b")).unwrap();
        std::fs::write(made.part().join("000000.jpg"), b"frame").unwrap();
        sweep(folder.path());
        assert_eq!(names(folder.path()).len(), 3);
        file.finish().unwrap();
        made.finish().unwrap();
        sweep(folder.path());
        assert_eq!(names(folder.path()), ["a", "b"]);
        assert_eq!(std::fs::read(place("a")).unwrap(), b"new");
        assert_eq!(names(&place("b")), ["000000.jpg"]);
    }

    #[test]
    fn only_our_own_names_are_swept() {
        for ours in ["a.safetensors.17-0.partial", "a.17.partial", "a.b.1-22.partial"] {
            assert!(is_partial(ours), "{ours}");
        }
        for other in ["film.mp4.partial", "a.partial", "a..partial", ".partial", "a.17-0", "17-0"] {
            assert!(!is_partial(other), "{other}");
        }
    }

    /// Many who sweep while many make: nothing is taken from anybody's hands.
    #[test]
    fn nothing_is_swept_away_from_its_maker() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for maker in 0..3 {
                let path = folder.path().join(format!("{maker}"));
                scope.spawn(move || {
                    for _ in 0..50 {
                        sweep(path.parent().unwrap());
                        let mut file = Pending::create(&path).unwrap();
                        file.append(b"whole").unwrap();
                        file.finish().unwrap();
                        let made = PendingFolder::create(&path.with_extension("d")).unwrap();
                        std::fs::write(made.part().join("frame"), b"").unwrap();
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), ["0", "1", "2"]);
    }
}
