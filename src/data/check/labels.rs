//! One clip with label images: sizes and ids of all its annotations.

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;

use super::{Checked, Depth, frames};
use crate::data::LabelClip;
use crate::data::davis::{MaskKind, Numbering, ON_ITS_SIDE, read_mask};
use crate::error::Result;
use crate::image::indexed;
use crate::wording::counted;

/// Whose rules the ids follow.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Dataset {
    /// Ids are objects, 255 is void.
    Davis,
    /// Ids are classes below 20.
    Vip,
}

/// The size and the ids of one annotation.
type Mask = ((usize, usize), BTreeSet<u8>);

pub(super) fn check(clip: &LabelClip, dataset: Dataset, depth: Depth) -> Checked {
    let mut checked = Checked::new(&clip.name);
    let images: Vec<&Path> =
        clip.frames.iter().filter_map(|frame| frame.image.as_deref()).collect();
    frames::check(&images, depth, &mut checked);
    checked.facts.frames = clip.frames.len();
    let paths: Vec<&Path> =
        clip.frames.iter().filter_map(|frame| frame.annotation.as_deref()).collect();
    checked.facts.annotations = paths.len();
    if dataset == Dataset::Davis {
        missing(clip, &mut checked);
    }
    // Without the first mask nothing is known of the clip's ids.
    match paths.first().map(|path| (path, indexed::read(path))) {
        Some((_, Ok(first))) => {
            let kind = match dataset {
                Dataset::Davis => MaskKind::of(&first),
                Dataset::Vip => MaskKind::Ids,
            };
            checked.facts.binary = kind == MaskKind::Binary;
            let masks = read(&paths, kind, &mut checked);
            sizes(&masks, &mut checked);
            ids(&masks, dataset, &mut checked);
        }
        Some((_, Err(error))) => checked.fail_all(vec![error]),
        None => {}
    }
    checked
}

/// DAVIS: an error where a frame that is scored lacks its annotation, since a score without it is
/// not the benchmark's; a warning where all do: they can be predicted. VIP is scored where it is
/// annotated.
fn missing(clip: &LabelClip, checked: &mut Checked) {
    let scored = clip.frames.get(1..clip.frames.len().saturating_sub(1)).unwrap_or_default();
    let mut without = scored.iter().filter(|frame| frame.annotation.is_none());
    let annotated = clip.frames.first().and_then(|frame| frame.annotation.as_deref());
    let (Some(frame), Some(folder)) = (without.next(), annotated.and_then(Path::parent)) else {
        return;
    };
    let path = folder.join(format!("{}.png", frame.name));
    let (count, all) = (1 + without.count(), scored.len());
    if count == all {
        let problem = "no frame but the first is annotated: the clip can be predicted, not scored";
        checked.warn(folder, problem, "fine if meant so");
        return;
    }
    let problem = format!("is not there ({count} of {} to score lack it)", counted(all, "frame"));
    let remedy = "extract the annotations again: scores without them are not the benchmark's";
    checked.fail(&path, problem, remedy);
}

/// The annotations that can be read; the others become one error.
fn read<'a>(paths: &[&'a Path], kind: MaskKind, checked: &mut Checked) -> Vec<(&'a Path, Mask)> {
    let one = |path: &&Path| -> Result<Mask> {
        let mask = read_mask(path, kind)?;
        Ok(((mask.width, mask.height), mask.ids().into_iter().collect()))
    };
    let masks: Vec<Result<Mask>> = paths.par_iter().map(one).collect();
    let mut readable = Vec::new();
    let mut broken = Vec::new();
    for (path, mask) in paths.iter().zip(masks) {
        match mask {
            Ok(mask) => readable.push((*path, mask)),
            Err(error) => broken.push(error),
        }
    }
    checked.fail_all(broken);
    readable
}

fn sizes(masks: &[(&Path, Mask)], checked: &mut Checked) {
    let sizes: Vec<_> = masks.iter().map(|(path, (size, _))| (*path, *size)).collect();
    frames::one_size(&sizes, "annotations", checked);
    let Some(&(path, size)) = sizes.first() else { return };
    checked.facts.annotation_size = Some(size);
    if let Some(frame) = checked.facts.frame_size.filter(|frame| *frame != size) {
        let ((width, height), (x, y)) = (size, frame);
        let problem = format!("is {height}x{width}, but the frames are {y}x{x}");
        match (height, width) == (x, y) {
            true => checked.fail(path, problem, ON_ITS_SIDE),
            false => {
                checked.warn(
                    path,
                    problem,
                    "fine if meant so: scores are at the annotation's size",
                );
            }
        }
    }
}

fn ids(masks: &[(&Path, Mask)], dataset: Dataset, checked: &mut Checked) {
    let Some((path, (_, first))) = masks.first() else { return };
    let labels = |ids: &BTreeSet<u8>| -> BTreeSet<u8> {
        ids.iter().copied().filter(|id| !matches!(id, 0 | 255)).collect()
    };
    let given = labels(first);
    let all: BTreeSet<u8> = masks.iter().flat_map(|(_, (_, ids))| labels(ids)).collect();
    let facts = &mut checked.facts;
    facts.ids = given.iter().copied().collect();
    facts.later_ids = all.difference(&given).copied().collect();
    facts.void_frames = masks.iter().filter(|(_, (_, ids))| ids.contains(&255)).count();
    match dataset {
        Dataset::Davis => objects(path, checked),
        Dataset::Vip => classes(path, &all, checked),
    }
}

fn objects(first: &Path, checked: &mut Checked) {
    let facts = &mut checked.facts;
    facts.objects = facts.ids.last().copied().unwrap_or(0).into();
    let later = listed(&facts.later_ids);
    let numbering = Numbering::of_ids(facts.ids.clone());
    if facts.ids.is_empty() {
        let remedy = "give every object an id from 1 in the first annotation";
        checked.fail(first, "holds no object: there is nothing to propagate", remedy);
    } else if let Some(problem) = numbering.problem() {
        match numbering.is_senseless() {
            true => checked.fail(first, problem, Numbering::REMEDY),
            false => checked.warn(first, problem, Numbering::REMEDY),
        }
    }
    if !later.is_empty() {
        let problem = format!("lacks the ids {later}, which later annotations hold");
        let remedy =
            "they cannot be predicted; those up to the largest first id are scored all the same";
        checked.warn(first, problem, remedy);
    }
}

fn classes(first: &Path, all: &BTreeSet<u8>, checked: &mut Checked) {
    checked.facts.objects = checked.facts.ids.len();
    if checked.facts.ids.is_empty() {
        let problem = "holds background alone: there is nothing to propagate";
        checked.fail(first, problem, "check that it is the clip's first frame");
    }
    let given = checked.facts.ids.clone();
    let unknown = |given_too: bool| -> Vec<u8> {
        let ids = all.iter().copied().filter(|id| *id >= 20);
        ids.filter(|id| given.contains(id) == given_too).collect()
    };
    let (in_first, in_later) = (unknown(true), unknown(false));
    if !in_first.is_empty() {
        let problem = format!("holds the ids {}: VIP has 0 to 19", listed(&in_first));
        checked.fail(first, problem, "extract the annotations again: such ids cannot be scored");
    }
    if !in_later.is_empty() {
        let problem = format!("is followed by ids {}: VIP has 0 to 19", listed(&in_later));
        checked.warn(first, problem, "pixels of other ids are left out of the scores");
    }
}

fn listed(ids: &[u8]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
