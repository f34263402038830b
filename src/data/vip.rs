//! VIP: the parts of people (hat, hair, left arm, …), to be tracked through a clip.
//!
//! The release, `VIP_Fine`, holds `Images/videos1/000000000001.jpg`, masks of class ids 0 … 19 in
//! `Annotations/Category_ids/videos1/`, and lists of videos. Next: the evaluation propagates the
//! first annotation of each clip; all of them are scored together, under the names of
//! [`crate::metric::miou::VIP_CLASSES`].

use std::path::{Path, PathBuf};

use super::listing::{self, check_root};
use super::{Benchmark, Dataset, LabelClip, Need, Split, Survey, pairing};
use crate::error::{Error, Result};

/// Finds the videos of a split and their files. `root` is `VIP_Fine` or the folder that holds it.
///
/// The list is `lists/val_videos.txt`, else another text file in `lists` or in `root` whose name
/// holds `val`, else every folder of annotations (with a notice). Frames may lack an annotation,
/// except the first.
///
/// # Errors
/// `root` is not the dataset's folder, the list cannot be read, or a video is missing or broken.
pub fn open(root: &Path, split: &Split, need: Need) -> Result<Dataset<LabelClip>> {
    survey(root, split, need)?.into_dataset()
}

pub(super) fn survey(root: &Path, split: &Split, need: Need) -> Result<Survey<LabelClip>> {
    let inner = root.join("VIP_Fine");
    let base = if inner.is_dir() { inner } else { root.to_path_buf() };
    check_root(&base, Benchmark::Vip, &["Images", "Annotations"])?;
    let annotations = base.join("Annotations/Category_ids");
    let images = base.join("Images");
    let needed = match need {
        Need::Frames => vec![&annotations, &images],
        Need::LabelsOnly => vec![&annotations],
    };
    for folder in needed {
        if !folder.is_dir() {
            let remedy = "extract VIP_Fine again; the part labels are in Annotations/Category_ids";
            return Err(Error::data(folder, "there is no such folder", remedy));
        }
    }
    let mut notices = Vec::new();
    let (split, names) = names(&base, split, &annotations, &mut notices)?;
    let clip = |name: String| {
        let images = (need == Need::Frames).then(|| images.join(&name));
        let clip = pairing::clip(&name, &split, images.as_deref(), &annotations.join(&name));
        (name, clip)
    };
    let clips = names.into_iter().map(clip).collect();
    Ok(Survey { root: root.to_path_buf(), split, clips, notices })
}

/// The split in words, and its names.
fn names(
    base: &Path,
    split: &Split,
    annotations: &Path,
    notices: &mut Vec<String>,
) -> Result<(String, Vec<String>)> {
    let (word, other) = match split {
        Split::Val => ("val", "train"),
        Split::Train => ("train", "val"),
        Split::File(list) => {
            return Ok((list.display().to_string(), listing::clip_names(list, notices)?));
        }
    };
    if let Some(list) = find_list(base, word, other)? {
        let words = list.strip_prefix(base).unwrap_or(&list).display().to_string();
        return Ok((format!("{word} ({words})"), listing::clip_names(&list, notices)?));
    }
    if *split == Split::Train {
        let remedy = "add it, or name the videos with the setting `split = FILE`";
        let list = base.join("lists/train_videos.txt");
        return Err(Error::data(&list, "there is no such list", remedy));
    }
    let folders = listing::subfolders(annotations)?;
    if folders.is_empty() {
        return Err(Error::data(annotations, "holds no video", "extract the annotations again"));
    }
    let (count, place) = (folders.len(), base.join("lists/val_videos.txt"));
    notices.push(format!("no list at {}: every video found is taken ({count})", place.display()));
    Ok(("all videos found".into(), folders.iter().map(|path| listing::name(path)).collect()))
}

/// `lists/val_videos.txt`, or the first text file in `lists` or `base` that is named after the
/// split.
fn find_list(base: &Path, word: &str, other: &str) -> Result<Option<PathBuf>> {
    let official = base.join(format!("lists/{word}_videos.txt"));
    if official.is_file() {
        return Ok(Some(official));
    }
    for folder in [base.join("lists"), base.to_path_buf()] {
        if !folder.is_dir() {
            continue;
        }
        let named = |path: &PathBuf| {
            let name = listing::name(path).to_ascii_lowercase();
            has_word(&name, word) && !has_word(&name, other)
        };
        if let Some(list) = listing::files(&folder, &["txt"])?.into_iter().find(named) {
            return Ok(Some(list));
        }
    }
    Ok(None)
}

/// Whether a word of the name begins so: `val` in `vip_vallist`, but not in `evaluation`.
fn has_word(name: &str, word: &str) -> bool {
    let before = |at: usize| name[..at].chars().next_back();
    name.match_indices(word).any(|(at, _)| !before(at).is_some_and(|c| c.is_ascii_alphabetic()))
}
