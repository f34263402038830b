//! Where a run's checkpoint lay: `origin.json`, beside the results and no part of them.
//!
//! Results name a checkpoint and its hash, which hold wherever they are sent. This file tells the
//! machine that made them where the checkpoint was, so that [`super::explain`]'s ablation can run
//! the encoder again from any folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files;

/// The file's name in a run's folder.
const NAME: &str = "origin.json";

/// Its content.
#[derive(Debug, Serialize, Deserialize)]
struct Origin {
    /// The checkpoint, absolute.
    weights: PathBuf,
}

/// The file of a run whose checkpoint lay at `weights`, and its bytes; none where the path is no
/// Unicode, for which JSON has no words.
pub(super) fn file(folder: &Path, weights: &Path) -> Option<(PathBuf, Vec<u8>)> {
    let place = folder.join(NAME);
    let bytes = files::json_bytes(&place, &Origin { weights: weights.to_path_buf() }).ok()?;
    Some((place, bytes))
}

/// Where the checkpoint of a run lay; none where it had no file, or an earlier version made it.
pub fn weights(folder: &Path) -> Option<PathBuf> {
    let bytes = std::fs::read(folder.join(NAME)).ok()?;
    serde_json::from_slice::<Origin>(&bytes).ok().map(|origin| origin.weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(weights(folder.path()), None);
        let (name, bytes) = file(folder.path(), Path::new("/w/a b.pth")).unwrap();
        std::fs::write(name, bytes).unwrap();
        assert_eq!(weights(folder.path()), Some("/w/a b.pth".into()));
    }
}
