//! Folders and lists of clip names, read the same way for every dataset.
//!
//! For a root that is one folder too deep or too shallow the error names the path to pass instead.
//! Next: [`super::pairing`], which makes clips of what is found.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use strum::VariantArray;

use super::Benchmark;
use crate::error::{Error, Result};
use crate::files::list;
pub(crate) use crate::files::listing::{PICTURES, files, name, natural_order, stem, subfolders};

/// The clip that a line of a list means, where it may be a bare name, a path to the clip's folder
/// or to one of its frames, or several paths of which the first counts (as in DAVIS-2016's lists:
/// `/JPEGImages/480p/blackswan/00000.jpg /Annotations/…`).
fn clip_of_line(line: &str) -> &str {
    if !line.contains('/') {
        return line;
    }
    let path = first_path(line);
    let (folder, last) = path.rsplit_once('/').unwrap_or(("", path));
    if is_picture(path) { folder.rsplit_once('/').map_or(folder, |(_, clip)| clip) } else { last }
}

fn first_path(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or(line).trim_end_matches('/')
}

fn is_picture(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| PICTURES.contains(&extension.as_str()))
}

/// The clips a list names, each once; a notice says where a name stands there again. Lists with a
/// line per frame, as DAVIS-2016 has them, repeat names by nature.
///
/// # Errors
/// See [`list::entries`] and [`distinct`].
pub(super) fn clip_names(list: &Path, notices: &mut Vec<String>) -> Result<Vec<String>> {
    let lines = list::entries(list, "clip", |_| false)?;
    let by_frame = lines.iter().all(|(_, line)| is_picture(first_path(line)));
    let names = lines.iter().map(|(_, line)| clip_of_line(line).to_string()).collect();
    let (names, again) = distinct(list, names)?;
    if again > 0 && !by_frame {
        notices.push(format!("{} repeats names ({again}): each clip counts once", list.display()));
    }
    Ok(names)
}

/// The names once each, in order, and how many were there again.
///
/// # Errors
/// A name would lead out of the dataset's folder (`..`, an absolute path).
pub(super) fn distinct(list: &Path, names: Vec<String>) -> Result<(Vec<String>, usize)> {
    let (before, mut seen) = (names.len(), HashSet::new());
    let mut kept = Vec::with_capacity(before);
    for name in names {
        let plain = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || name.is_empty() {
            let problem = format!("names {name:?}, which cannot be a clip");
            return Err(Error::data(list, problem, "write one clip name a line"));
        }
        if seen.insert(name.clone()) {
            kept.push(name);
        }
    }
    let again = before - kept.len();
    Ok((kept, again))
}

/// Checks that `root` holds at least one of the folders `expected`.
///
/// # Errors
/// It does not; where a folder above or below does, the error says which path to pass.
pub(super) fn check_root(root: &Path, benchmark: Benchmark, expected: &[&str]) -> Result<()> {
    let dataset = benchmark.name().to_uppercase();
    let wanted = expected.join(" and ");
    if !root.is_dir() {
        let problem =
            if root.exists() { "is a file, not a folder" } else { "there is no such folder" };
        let remedy = format!("pass the folder of {dataset} that holds {wanted}");
        return Err(Error::data(root, problem, remedy));
    }
    if let Some(other) = other_layout(root, benchmark) {
        let problem = format!("is laid out as {}, not as {dataset}", other.name().to_uppercase());
        return Err(Error::data(root, problem, format!("`propagate {}` reads it", other.name())));
    }
    let any = |folder: &Path| expected.iter().any(|name| folder.join(name).is_dir());
    if any(root) {
        return Ok(());
    }
    // A folder that holds all is surely meant; one that holds some may be (`Images` is a common
    // name).
    let all = |folder: &Path| expected.iter().all(|name| folder.join(name).is_dir());
    let mut meant = nearby(root, all);
    if meant.is_empty() {
        meant = nearby(root, any);
    }
    let problem = format!("is not the folder that holds {wanted}");
    let named = |paths: &[PathBuf]| {
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    };
    let remedy = match &*meant {
        [] => format!("pass the folder of {dataset} that does"),
        [path] => format!("pass {}", path.display()),
        [some @ .., _] if meant.len() > NAMED => {
            format!("pass the one that is meant: {}, …", named(some))
        }
        all => format!("pass the one that is meant: {}", named(all)),
    };
    Err(Error::data(root, problem, remedy))
}

/// The benchmark whose folders these are, where they are none of the one that was asked for: all
/// have annotations, and each has folders that no other has.
fn other_layout(root: &Path, asked: Benchmark) -> Option<Benchmark> {
    let has = |folders: &[&str]| folders.iter().any(|name| root.join(name).is_dir());
    let is_of = |benchmark: &Benchmark| match benchmark {
        Benchmark::Davis => has(&["JPEGImages"]),
        Benchmark::Vip => has(&["VIP_Fine", "Annotations/Category_ids"]),
        Benchmark::Jhmdb => has(&["joint_positions", "Rename_Images"]),
    };
    let found = Benchmark::VARIANTS.iter().copied().find(is_of);
    found.filter(|_| !is_of(&asked))
}

/// How many folders an error names.
const NAMED: usize = 3;

/// Folders that are right: the nearest one up to four levels up, else those one or two levels down,
/// no more than [`NAMED`] and one.
fn nearby(root: &Path, is_right: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let Ok(full) = root.canonicalize() else { return Vec::new() };
    let mut above = full.ancestors().skip(1).take(4);
    if let Some(folder) = above.find(|folder| is_right(folder)) {
        return vec![folder.to_path_buf()];
    }
    let children = subfolders(root).unwrap_or_default();
    let below = children.iter().flat_map(|child| subfolders(child).unwrap_or_default());
    let candidates = children.iter().cloned().chain(below);
    candidates.filter(|folder| is_right(folder)).take(NAMED + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_paths_mean_the_clip() {
        let cases = [
            ("blackswan", "blackswan"),
            ("my own clip", "my own clip"),
            ("/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png", "bear"),
            ("data/VIP/Images/videos1 data/VIP/Annotations/Category_ids/videos1", "videos1"),
            ("Images/videos338/", "videos338"),
            ("..", ".."),
        ];
        for (line, clip) in cases {
            assert_eq!(clip_of_line(line), clip);
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let list = Path::new("val.txt");
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        for name in ["..", "a/../..", "/etc", "", "./a"] {
            assert!(distinct(list, names(&[name])).is_err(), "{name:?}");
        }
        let (kept, again) = distinct(list, names(&["b", "a/c", "b"])).unwrap();
        assert_eq!((kept, again), (names(&["b", "a/c"]), 1));
    }
}
