//! DAVIS: objects to be tracked from their masks in the first frame.
//!
//! A root holds `JPEGImages/480p/<sequence>/00000.jpg`, `Annotations/480p/<sequence>/00000.png` and
//! lists under `ImageSets`. Published scores are on DAVIS-2017; the lists and the black and white
//! masks of DAVIS-2016 are read too, and so are your own clips in the same layout. Next: the
//! evaluation reads the first annotation with [`first_mask`] and propagates it.

use std::path::{Path, PathBuf};

use super::listing::{self, check_root};
use super::{Benchmark, Dataset, LabelClip, Need, Split, Survey, pairing};
use crate::error::{Error, Result};
use crate::image::{LabelImage, decode, indexed};

/// Finds the sequences of a split and their files.
///
/// Frames and annotations are looked for in `480p`, then in `Full-Resolution` and `1080p` (with a
/// notice), then straight in `JPEGImages/<sequence>`. The list is `ImageSets/2017/val.txt`, else
/// one of DAVIS-2016's, else every folder that holds annotations (with a notice).
///
/// # Errors
/// `root` is not the dataset's folder (the message says which one to pass, where that can be seen),
/// the list cannot be read, or a sequence is missing or broken.
pub fn open(root: &Path, split: &Split, need: Need) -> Result<Dataset<LabelClip>> {
    survey(root, split, need)?.into_dataset()
}

pub(super) fn survey(root: &Path, split: &Split, need: Need) -> Result<Survey<LabelClip>> {
    check_root(root, Benchmark::Davis, &["JPEGImages", "Annotations"])?;
    let mut notices = Vec::new();
    let annotations = resolution(root, "Annotations", &mut notices)?;
    let images = match need {
        Need::Frames => Some(resolution(root, "JPEGImages", &mut notices)?),
        Need::LabelsOnly => None,
    };
    let (split, names) = names(root, split, &annotations, &mut notices)?;
    let clip = |name: String| {
        let images = images.as_ref().map(|folder| folder.join(&name));
        let clip = pairing::clip(&name, &split, images.as_deref(), &annotations.join(&name));
        (name, clip)
    };
    let clips = names.into_iter().map(clip).collect();
    Ok(Survey { root: root.to_path_buf(), split, clips, notices })
}

/// `kind/480p`, the official resolution, or what stands in for it.
fn resolution(root: &Path, kind: &str, notices: &mut Vec<String>) -> Result<PathBuf> {
    let folder = root.join(kind);
    if !folder.is_dir() {
        let remedy = match kind {
            "JPEGImages" => "extract the frames; scoring alone does without them",
            _ => "extract the annotations",
        };
        return Err(Error::data(&folder, "there is no such folder", remedy));
    }
    let official = folder.join("480p");
    if official.is_dir() {
        return Ok(official);
    }
    for name in ["Full-Resolution", "1080p"] {
        let other = folder.join(name);
        if other.is_dir() {
            notices
                .push(format!("{kind} has no 480p: {name} is read, published numbers are at 480p"));
            return Ok(other);
        }
    }
    Ok(folder)
}

/// The split in words, and its names.
fn names(
    root: &Path,
    split: &Split,
    annotations: &Path,
    notices: &mut Vec<String>,
) -> Result<(String, Vec<String>)> {
    let word = match split {
        Split::Val => "val",
        Split::Train => "train",
        Split::File(list) => {
            return Ok((list.display().to_string(), listing::clip_names(list, notices)?));
        }
    };
    let lists = ["2017/", "2016/", "480p/", "1080p/", ""]
        .map(|folder| format!("ImageSets/{folder}{word}.txt"));
    if let Some(list) = lists.iter().find(|list| root.join(list).is_file()) {
        let names = listing::clip_names(&root.join(list), notices)?;
        return Ok((format!("{word} ({list})"), names));
    }
    if *split == Split::Train {
        let remedy = "add it, or name the sequences with the setting `split = FILE`";
        return Err(Error::data(&root.join(&lists[0]), "there is no such list", remedy));
    }
    all(root, annotations, notices)
}

/// Every folder that holds annotations.
fn all(
    root: &Path,
    annotations: &Path,
    notices: &mut Vec<String>,
) -> Result<(String, Vec<String>)> {
    let folders = listing::subfolders(annotations)?;
    if folders.is_empty() {
        return Err(Error::data(annotations, "holds no sequence", "extract the annotations again"));
    }
    let (count, place) = (folders.len(), root.join("ImageSets/2017/val.txt"));
    notices
        .push(format!("no list at {}: every sequence found is taken ({count})", place.display()));
    Ok(("all sequences found".into(), folders.iter().map(|path| listing::name(path)).collect()))
}

/// What 255 means in the masks of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskKind {
    /// Pixel values are object ids, 255 is void: DAVIS-2017.
    Ids,
    /// 255 is object 1: the black and white masks of DAVIS-2016.
    Binary,
}

impl MaskKind {
    /// The kind of a clip by its first annotation: [`MaskKind::Binary`] where 255 is the only value
    /// beside 0.
    pub(crate) fn of(first: &LabelImage) -> Self {
        let binary = first.data.contains(&255) && first.data.iter().all(|id| matches!(id, 0 | 255));
        if binary { Self::Binary } else { Self::Ids }
    }
}

/// Reads an annotation of a clip of that kind; ids come back as [`MaskKind::Ids`] has them.
///
/// # Errors
/// See [`indexed::read`].
pub fn read_mask(path: &Path, kind: MaskKind) -> Result<LabelImage> {
    let mask = indexed::read(path)?;
    Ok(match kind {
        MaskKind::Ids => mask,
        MaskKind::Binary => from_binary(mask),
    })
}

fn from_binary(mut mask: LabelImage) -> LabelImage {
    for id in &mut mask.data {
        if *id == 255 {
            *id = 1;
        }
    }
    mask
}

/// What to do about an annotation whose sides are those of its frame, exchanged.
pub(crate) const ON_ITS_SIDE: &str = "one of them lies on its side: frames are turned as their EXIF orientation says, so save them and the annotations upright";

/// Refuses a first annotation that lies on its side beside its frame.
///
/// # Errors
/// It does, or the frame cannot be read.
pub(crate) fn require_upright(clip: &LabelClip, first: &LabelImage) -> Result<()> {
    let Some(frame) = clip.frames.first() else { return Ok(()) };
    let (Some(image), Some(annotation)) = (&frame.image, &frame.annotation) else { return Ok(()) };
    let (width, height) = decode::size(image)?;
    if width == height || (width, height) != (first.height, first.width) {
        return Ok(());
    }
    let problem = format!("is {}x{}, but its frame is {height}x{width}", first.height, first.width);
    Err(Error::data(annotation, problem, ON_ITS_SIDE))
}

/// Reads the first annotation of a clip and decides what kind the clip's masks are.
///
/// # Errors
/// The first frame has no annotation, or it cannot be read.
pub fn first_mask(clip: &LabelClip) -> Result<(LabelImage, MaskKind)> {
    let path = clip.frames.first().and_then(|frame| frame.annotation.as_deref());
    let path = path.ok_or_else(|| {
        let problem = "the first frame of this clip has no annotation";
        Error::data(Path::new(&clip.name), problem, "open the dataset again")
    })?;
    let mask = indexed::read(path)?;
    Ok(match MaskKind::of(&mask) {
        MaskKind::Ids => (mask, MaskKind::Ids),
        MaskKind::Binary => (from_binary(mask), MaskKind::Binary),
    })
}

/// How the objects of a clip are numbered. The official evaluator scores objects 1 to the highest id
/// of the first annotation, and one that is not there counts as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Numbering {
    /// The objects that are there, ascending.
    ids: Vec<u8>,
}

impl Numbering {
    /// What to do about gaps.
    pub(crate) const REMEDY: &str =
        "number the objects from 1 without gaps; shades of grey are no ids";

    /// That of a first annotation.
    pub(crate) fn of(first: &LabelImage) -> Self {
        Self::of_ids(first.ids().into_iter().filter(|id| !matches!(id, 0 | 255)).collect())
    }

    /// That of these ids, ascending.
    pub(crate) fn of_ids(ids: Vec<u8>) -> Self {
        Self { ids }
    }

    /// Of the objects that would be scored, so few are there that the score would be of the others.
    pub(crate) fn is_senseless(&self) -> bool {
        self.highest() > 4 * self.ids.len()
    }

    /// What is wrong, where there are gaps.
    pub(crate) fn problem(&self) -> Option<String> {
        let (highest, ids) = (self.highest(), &self.ids);
        let listed = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        (ids.len() != highest)
            .then(|| format!("holds the ids {listed}, but objects 1 to {highest} are scored"))
    }

    /// Refuses a senseless one of this file.
    pub(crate) fn refused(&self, first: &Path) -> Error {
        Error::data(first, self.problem().unwrap_or_default(), Self::REMEDY)
    }

    fn highest(&self) -> usize {
        self.ids.last().copied().unwrap_or(0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_told_and_most_of_them_missing_is_refused() {
        let of = |ids: &[u8]| Numbering::of(&image(ids));
        for whole in [&[0, 1, 2, 255][..], &[0, 255], &[1]] {
            assert_eq!(of(whole).problem(), None, "{whole:?}");
        }
        assert!(of(&[0, 1, 3]).problem().unwrap().contains("ids 1, 3, but objects 1 to 3"));
        assert!(!of(&[0, 2, 5]).is_senseless() && of(&[0, 5]).is_senseless());
        let refused = of(&[0, 38, 75]).refused(Path::new("a.png")).to_string();
        assert!(refused.contains("a.png: ") && refused.contains("38, 75"), "{refused}");
    }

    fn image(data: &[u8]) -> LabelImage {
        LabelImage { width: data.len(), height: 1, data: data.to_vec() }
    }

    #[test]
    fn white_is_an_object_only_where_nothing_else_is() {
        assert_eq!(MaskKind::of(&image(&[0, 255, 0])), MaskKind::Binary);
        assert_eq!(MaskKind::of(&image(&[0, 255, 1])), MaskKind::Ids);
        assert_eq!(MaskKind::of(&image(&[0, 1])), MaskKind::Ids);
        assert_eq!(MaskKind::of(&image(&[0, 0])), MaskKind::Ids);
    }

    #[test]
    fn binary_masks_come_back_as_object_1() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00000.png");
        indexed::write(&path, &image(&[0, 255, 255])).unwrap();
        assert_eq!(read_mask(&path, MaskKind::Binary).unwrap().data, [0, 1, 1]);
        assert_eq!(read_mask(&path, MaskKind::Ids).unwrap().data, [0, 255, 255]);
    }
}
