//! A lock: one program at a time works in a folder of results, since two would delete each other's
//! files.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A folder that is being worked in. The system lets go of it when the program ends, however it
/// ends; what a killed one leaves, an empty file, holds nobody up.
#[derive(Debug)]
pub struct Occupied {
    path: PathBuf,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

impl Occupied {
    /// The file that is locked; it goes when the work is done.
    pub const NAME: &str = ".lock";

    /// Takes a folder that is there. Where the file system knows no locks, that is taken for
    /// success.
    ///
    /// # Errors
    /// Another program works in it, or nothing can be written there.
    pub fn take(folder: &Path) -> Result<Self> {
        Self::hold(folder, |lock| match lock.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Self::busy(folder)),
            _ => Ok(()),
        })
    }

    /// Refuses a folder that another program works in; takes it from nobody, and makes no file.
    ///
    /// # Errors
    /// Another program works in it.
    pub fn check(folder: &Path) -> Result<()> {
        match File::open(folder.join(Self::NAME)).map(|lock| lock.try_lock_shared()) {
            Ok(Err(TryLockError::WouldBlock)) => Err(Self::busy(folder)),
            _ => Ok(()),
        }
    }

    fn busy(folder: &Path) -> Error {
        Error::data(
            folder,
            "another run is using this folder",
            "let it end, or choose another folder for the setting `out`",
        )
    }

    /// Takes a folder, where need be once the other program has ended.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub(crate) fn wait_for(folder: &Path) -> Result<Self> {
        Self::hold(folder, |lock| {
            drop(lock.lock());
            Ok(())
        })
    }

    fn hold(folder: &Path, locked: impl Fn(&File) -> Result<()>) -> Result<Self> {
        let path = folder.join(Self::NAME);
        loop {
            let opened = File::options().create(true).truncate(false).write(true).open(&path);
            let lock = opened.map_err(Error::creating(&path))?;
            locked(&lock)?;
            // One that ended meanwhile may have taken the name off the file that is locked here.
            if is_named(&lock, &path) {
                return Ok(Self { path, _lock: lock });
            }
        }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        // while it is still locked; best effort: ignore the error
        drop(std::fs::remove_file(&self.path));
    }
}

/// Whether the path leads to this file.
#[cfg(unix)]
pub(super) fn is_named(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |data: std::fs::Metadata| (data.dev(), data.ino());
    let (open, named) = (file.metadata().map(place), std::fs::metadata(path).map(place));
    open.is_ok() && open.ok() == named.ok()
}

/// Whether the path leads to this file: an open file keeps its name here.
#[cfg(not(unix))]
pub(super) fn is_named(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Occupied::take(folder.path()).unwrap();
        let refused = Occupied::take(folder.path()).unwrap_err().to_string();
        assert_eq!(Occupied::check(folder.path()).unwrap_err().to_string(), refused);
        assert!(
            refused.contains("another run is using this folder")
                && refused.contains("another folder")
        );
        drop(first);
        Occupied::check(folder.path()).unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        // what a killed program leaves
        std::fs::write(folder.path().join(Occupied::NAME), b"").unwrap();
        drop(Occupied::take(folder.path()).unwrap());
        assert!(Occupied::take(&folder.path().join("nowhere")).is_err());
    }

    /// Programs that come and go: never two of them at once, though each takes the file away.
    #[test]
    fn no_two_get_in_by_a_file_that_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(_held) = Occupied::take(folder.path()) {
                            assert_eq!(inside.fetch_add(1, order), 0);
                            inside.fetch_sub(1, order);
                        }
                    }
                });
            }
        });
    }
}
