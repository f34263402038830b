//! What lies in a folder, listed by one rule wherever a folder is taken: hidden files
//! (`.DS_Store`, `._00000.jpg`, …) are ignored, and the order is numerical (9 before 10).

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Extensions of the pictures that are read, in lower case.
pub const PICTURES: &[&str] = &["jpg", "jpeg", "png"];

/// The folders in `folder`, hidden ones left out, in natural order.
///
/// # Errors
/// The folder cannot be read.
pub fn subfolders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The files in `folder` with one of these extensions (any case), hidden ones left out, in natural
/// order. A link that leads nowhere is listed, so that reading it fails aloud.
///
/// # Errors
/// The folder cannot be read.
pub fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let wanted = |path: &PathBuf| has_extension(path, extensions) && !path.is_dir();
    Ok(entries(folder)?.into_iter().filter(wanted).collect())
}

/// Whether the path ends in one of these extensions (lower case), in any case.
pub fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
}

/// Whether a file or folder of this name is none of the user's own making: a hidden one, or what a
/// Mac leaves in archives, the same names without content.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX"
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::reading(folder))? {
        let entry = entry.map_err(Error::reading(folder))?;
        let name = entry.file_name();
        if !is_hidden(&name) {
            paths.push(entry.path());
        }
    }
    paths.sort_by(|a, b| natural_order(&name(a), &name(b)));
    Ok(paths)
}

/// The last part of a path as text.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file's name without its extension.
pub fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Runs of digits compare as numbers of any length, everything else byte by byte; equal values with
/// other zeros in front (`1`, `01`) keep their plain order. For names that are plain numbers this
/// is the order of the numbers.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let (Some(&x), Some(&y)) = (left.first(), right.first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (take_number(&mut left), take_number(&mut right));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Splits the leading digits off, without zeros in front.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    &digits[digits.iter().position(|&digit| digit != b'0').unwrap_or(digits.len())..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hidden_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["10.PNG", "9.png", "._9.png", ".DS_Store", "notes.txt"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        for name in ["__MACOSX", ".git", "b", "a.png"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let names = |paths: Vec<PathBuf>| paths.iter().map(|path| name(path)).collect::<Vec<_>>();
        assert_eq!(names(files(folder.path(), &["png"]).unwrap()), ["9.png", "10.PNG"]);
        assert_eq!(names(subfolders(folder.path()).unwrap()), ["a.png", "b"]);
    }

    #[test]
    fn ten_comes_after_nine() {
        let mut names =
            ["10", "9", "frame10", "frame9", "00010", "videos2", "videos10", "2b", "2a"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            ["2a", "2b", "9", "00010", "10", "frame9", "frame10", "videos2", "videos10"]
        );
    }

    proptest! {
        #[test]
        fn plain_numbers_are_in_the_order_of_their_values(a: u32, b: u32, width in 0_usize..12) {
            let (x, y) = (format!("{a:0width$}"), format!("{b}"));
            let order = natural_order(&x, &y);
            prop_assert!(order == a.cmp(&b) || a == b);
            prop_assert_eq!(natural_order(&y, &x), order.reverse());
        }

        #[test]
        fn the_order_has_no_circles(names in proptest::collection::vec("[a0-2.]{0,4}", 3)) {
            let (a, b, c) = (&names[0], &names[1], &names[2]);
            if natural_order(a, b).is_le() && natural_order(b, c).is_le() {
                prop_assert!(natural_order(a, c).is_le());
            }
            prop_assert_eq!(natural_order(a, b).is_eq(), a == b);
        }
    }
}
