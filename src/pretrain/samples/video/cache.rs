//! The frames cache: one folder of JPEG frames for each video file.
//!
//! Worker threads, and other programs that share the cache, may want the same file at the same time
//! (a list can name it twice; the end of one epoch overlaps with the beginning of the next). Each
//! extracts into a folder of its own and renames it; the first one wins, the others discard theirs.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::digest::hexadecimal;
use crate::error::Result;
use crate::files::{self, PendingFolder};

/// The folder of a file's frames, relative to the cache: it depends on the file's path below the
/// root, its size in bytes and the short side that frames are scaled to.
pub(super) fn name(file: &Path, bytes: u64, short_side: usize) -> PathBuf {
    let mut hasher = Sha256::new();
    hasher.update(file.as_os_str().as_encoded_bytes());
    hasher.update(format!("\t{bytes}\t{short_side}"));
    let hash = hexadecimal(&hasher.finalize()[..8]);
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(format!("-{hash}"));
    // few file systems like a folder of a quarter of a million
    Path::new(&hash[..2]).join(name)
}

/// Makes the folder `folder` where it is not there yet: `fill` writes into an empty folder of its
/// own, which is then renamed. Threads and programs may do so at the same time; the first to finish
/// wins.
///
/// # Errors
/// A folder cannot be made, or `fill` fails.
pub(super) fn made_once(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    folder.parent().into_iter().for_each(files::sweep);
    let partial = PendingFolder::create(folder)?;
    let moved = fill(partial.part()).and_then(|()| partial.finish());
    // another one may have been faster: a rename does not replace a folder with files in it
    if folder.is_dir() { Ok(()) } else { moved }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::error::Error;

    fn entries(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn two_that_extract_the_same_file_do_not_share_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("12/a.mp4-1234");
        let (both, count) = (Barrier::new(2), AtomicUsize::new(0));
        let make = || {
            made_once(&folder, |partial| {
                let own = partial.join(count.fetch_add(1, Ordering::Relaxed).to_string());
                std::fs::write(&own, "frame").unwrap();
                both.wait();
                assert_eq!(entries(partial).len(), 1, "nobody else writes here");
                std::fs::rename(own, partial.join("000000.jpg")).unwrap();
                Ok(())
            })
        };
        std::thread::scope(|scope| {
            let threads = [scope.spawn(make), scope.spawn(make)];
            threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        });
        assert_eq!(entries(&folder), ["000000.jpg"]);
        assert_eq!(entries(&root.path().join("12")), ["a.mp4-1234"], "the slower one's is gone");
        made_once(&folder, |_| panic!("it is there")).unwrap();
    }

    #[test]
    fn what_a_killed_run_left_is_not_taken_and_a_failure_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a.mp4-1234");
        // a number of a process comes again: always 1 in a container
        for count in 0..1000 {
            let name = format!("a.mp4-1234.{}-{count}.partial", std::process::id());
            std::fs::create_dir(root.path().join(&name)).unwrap();
            std::fs::write(root.path().join(&name).join("000099.jpg"), "old").unwrap();
        }
        made_once(&folder, |partial| {
            assert!(entries(partial).is_empty());
            Err(Error::setting("video", "is broken"))
        })
        .unwrap_err();
        assert_eq!(entries(root.path()), Vec::<String>::new());
    }
}
