//! One clip with label images: which annotation belongs to which frame.
//!
//! Frames and annotations are paired by their names without the extension. Only the first
//! annotation is needed to propagate; the others are the ground truth of the scores. DAVIS and VIP
//! share this.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::listing::{self, PICTURES};
use super::{Frame, LabelClip};
use crate::error::{Error, Result};

/// The clip `name` from its two folders; without `images` the annotations are its frames. `split`
/// says in words where the name is from.
///
/// # Errors
/// A folder is missing or empty, two files share a name, an annotation has no frame, or the first
/// frame has no annotation.
pub(super) fn clip(
    name: &str,
    split: &str,
    images: Option<&Path>,
    annotations: &Path,
) -> Result<LabelClip> {
    if !annotations.is_dir() {
        return Err(missing_folder(annotations, "annotations", split));
    }
    let masks = named(annotations, &["png"])?;
    let name = name.to_string();
    let Some(images) = images else {
        let frame = |(name, path)| Frame { name, image: None, annotation: Some(path) };
        return Ok(LabelClip { name, frames: masks.into_iter().map(frame).collect() });
    };
    if !images.is_dir() {
        return Err(missing_folder(images, "frames", split));
    }
    let mut masks: BTreeMap<String, PathBuf> = masks.into_iter().collect();
    let frame = |(name, path)| Frame { annotation: masks.remove(&name), name, image: Some(path) };
    let frames: Vec<Frame> = named(images, PICTURES)?.into_iter().map(frame).collect();
    check_first(&frames, images, annotations)?;
    check_rest(&masks, images)?;
    Ok(LabelClip { name, frames })
}

fn missing_folder(folder: &Path, what: &str, split: &str) -> Error {
    if folder.to_string_lossy().contains(char::REPLACEMENT_CHARACTER) {
        let remedy = "rename it in frames and annotations: clips are named in text files";
        return Error::data(folder, "the clip's name is not UTF-8", remedy);
    }
    Error::data(
        folder,
        format!("there is no such folder of {what}, though the clip is one of {split}"),
        "extract the clip again, or leave it out with the setting `split = FILE`",
    )
}

fn check_first(frames: &[Frame], images: &Path, annotations: &Path) -> Result<()> {
    match frames.first() {
        Some(first) if first.annotation.is_none() => Err(Error::data(
            annotations,
            format!("the first frame of {} has no annotation {}.png", images.display(), first.name),
            format!("paint the first frame's mask as {}.png: it is what is propagated", first.name),
        )),
        _ => Ok(()),
    }
}

/// Annotations that no frame took: frames are missing, and the score would be of a shorter clip.
fn check_rest(masks: &BTreeMap<String, PathBuf>, images: &Path) -> Result<()> {
    let Some((stem, path)) = masks.first_key_value() else { return Ok(()) };
    let others = match masks.len() - 1 {
        0 => String::new(),
        others => format!(" (and {others} more of its kind)"),
    };
    let problem =
        format!("annotates frame {stem}, which {} does not hold{others}", images.display());
    Err(Error::data(path, problem, "extract the frames again: some are missing"))
}

/// The files of `folder` with their names without extension, in natural order.
///
/// # Errors
/// The folder cannot be read, holds no such file, or two that differ in their extension alone.
fn named(folder: &Path, extensions: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let files = listing::files(folder, extensions)?;
    let files: Vec<_> = files.into_iter().map(|path| (listing::stem(&path), path)).collect();
    if files.is_empty() {
        let problem = format!("holds no file with the extension {}", extensions.join(", "));
        return Err(Error::data(folder, problem, "extract the clip again"));
    }
    let mut names = HashSet::new();
    let twice = files.iter().find(|(name, _)| !names.insert(name));
    match twice {
        Some((name, _)) => Err(Error::data(
            folder,
            format!("holds two files called {name}, with different extensions"),
            "remove one of them",
        )),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with empty files of these names.
    fn folder(root: &Path, name: &str, files: &[&str]) -> PathBuf {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for file in files {
            std::fs::write(folder.join(file), []).unwrap();
        }
        folder
    }

    #[test]
    fn frames_count_like_numbers_and_meet_their_annotations() {
        let root = tempfile::tempdir().unwrap();
        let images =
            folder(root.path(), "images", &["10.jpg", "9.JPG", "11.jpeg", "._9.jpg", ".DS_Store"]);
        let annotations =
            folder(root.path(), "masks", &["9.png", "11.PNG", "._9.png", "notes.txt"]);
        let clip = clip("a", "val", Some(&images), &annotations).unwrap();
        let names: Vec<&str> = clip.frames.iter().map(|frame| frame.name.as_str()).collect();
        assert_eq!(names, ["9", "10", "11"]);
        let annotated: Vec<bool> = clip.frames.iter().map(|f| f.annotation.is_some()).collect();
        assert_eq!(annotated, [true, false, true]);
        assert_eq!(clip.frames[0].image.as_deref(), Some(images.join("9.JPG").as_path()));
    }

    #[test]
    fn without_frames_the_annotations_are_the_clip() {
        let root = tempfile::tempdir().unwrap();
        let annotations = folder(root.path(), "masks", &["00010.png", "00009.png"]);
        let clip = clip("a", "val", None, &annotations).unwrap();
        assert_eq!(clip.frames[0].name, "00009");
        assert!(
            clip.frames.iter().all(|frame| frame.image.is_none() && frame.annotation.is_some())
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let root = tempfile::tempdir().unwrap();
        let at = root.path();
        let frames = folder(at, "frames", &["0.jpg", "1.jpg"]);
        let masks = folder(at, "masks", &["0.png", "1.png"]);
        let cases = [
            (at.join("nowhere"), masks.clone(), "no such folder of frames"),
            (frames.clone(), at.join("nowhere"), "no such folder of annotations"),
            (folder(at, "empty", &[]), masks.clone(), "holds no file with the extension jpg"),
            (frames.clone(), folder(at, "text", &["0.txt"]), "extension png"),
            (frames.clone(), folder(at, "late", &["1.png"]), "has no annotation 0.png"),
            (
                frames.clone(),
                folder(at, "more", &["0.png", "2.png", "3.png"]),
                "and 1 more of its kind",
            ),
            (
                frames.clone(),
                folder(at, "another", &["0.png", "2.png"]),
                "frames does not hold; extract",
            ),
            (folder(at, "twice", &["0.jpg", "0.png"]), masks.clone(), "two files called 0"),
            // 01 and 1 are as large, and so in between
            (
                folder(at, "between", &["01.jpg", "1.jpg", "01.png"]),
                masks.clone(),
                "two files called 01",
            ),
            (at.join("s\u{fffd}"), masks, "name is not UTF-8; rename"),
        ];
        for (images, annotations, words) in cases {
            let message = clip("a", "val", Some(&images), &annotations).unwrap_err().to_string();
            assert!(message.contains(words), "{message:?} lacks {words:?}");
        }
    }
}
