//! Folders of pictures, of any depth.
//!
//! Every `jpg`, `jpeg` or `png` file below the folder counts, in upper or lower case. The order is
//! that of the bytes of the paths, so it does not depend on the file system. Hidden files and
//! folders, and what macOS adds to archives (`__MACOSX`), are ignored.

use std::path::{Path, PathBuf};

use crate::data::listing::PICTURES;
use crate::error::{Error, Result};
pub(super) use crate::files::listing::has_extension;
use crate::files::listing::is_hidden;

/// Deeper than any dataset: a link must be leading back.
const DEEPEST: usize = 32;

/// The pictures below `root`, relative to it, in the order of their bytes.
///
/// # Errors
/// The folder cannot be read or holds no picture.
pub(super) fn pictures(root: &Path) -> Result<Vec<PathBuf>> {
    let pictures = files(root, PICTURES)?;
    if pictures.is_empty() {
        let problem = "holds no .jpg, .jpeg or .png file, at any depth";
        return Err(Error::data(
            root,
            problem,
            "pass the folder with the training pictures; videos take the setting `kind = video`",
        ));
    }
    Ok(pictures)
}

/// The files below `root` with one of these extensions (lower case), relative to it, in the order
/// of their bytes.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn files(root: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    if !root.is_dir() {
        let problem = if root.exists() { "is not a folder" } else { "there is no such folder" };
        return Err(Error::data(root, problem, "check the path of the training data"));
    }
    let mut found = Vec::new();
    walk(root, Path::new(""), extensions, 0, &mut found)?;
    found.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(found)
}

fn walk(
    root: &Path,
    inside: &Path,
    extensions: &[&str],
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    let folder = root.join(inside);
    if depth > DEEPEST {
        let problem = format!("lies more than {DEEPEST} folders deep");
        return Err(Error::data(
            &folder,
            problem,
            "remove the link that leads back up, if it is one",
        ));
    }
    for entry in std::fs::read_dir(&folder).map_err(Error::reading(&folder))? {
        let entry = entry.map_err(Error::reading(&folder))?;
        let name = entry.file_name();
        if is_hidden(&name) {
            continue;
        }
        let path = inside.join(&name);
        let kind = entry.file_type().map_err(Error::reading(&folder))?;
        // links are followed
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        if is_folder {
            walk(root, &path, extensions, depth + 1, found)?;
        } else if has_extension(&path, extensions) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_at_any_depth_come_in_the_order_of_their_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["b/10.png", "b/9.JPEG", "a.Jpg", "B/x/y/1.jpeg", "b.png", "b/.hidden.png"];
        for name in names.into_iter().chain(["notes.txt", "__MACOSX/1.png", ".cache/1.png"]) {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        }
        let found = pictures(folder.path()).unwrap();
        let expected = ["B/x/y/1.jpeg", "a.Jpg", "b.png", "b/10.png", "b/9.JPEG"];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn folders_without_pictures_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = pictures(folder.path()).unwrap_err().to_string();
        assert!(message.contains("holds no .jpg"), "{message}");
        let message = pictures(&folder.path().join("train")).unwrap_err().to_string();
        assert!(message.contains("train: there is no such folder"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("1.png"), "").unwrap();
        std::os::unix::fs::symlink(other.path(), folder.path().join("linked")).unwrap();
        assert_eq!(pictures(folder.path()).unwrap(), [PathBuf::from("linked/1.png")]);
        std::os::unix::fs::symlink(folder.path(), other.path().join("back")).unwrap();
        let message = pictures(folder.path()).unwrap_err().to_string();
        assert!(message.contains("remove the link"), "{message}");
    }
}
