//! Checks every file of a dataset before hours are spent on it.
//!
//! [`davis`], [`vip`] and [`jhmdb`] go through all clips in parallel and return a [`Report`]:
//! counts beside the official ones, facts about each clip, and findings, each with advice. An error
//! is something that stops an evaluation or makes its scores wrong; a warning is something
//! unexpected. Clips, frames and findings are in the order of the list, whatever the number of
//! threads.

mod frames;
mod labels;
mod pose;
mod report;

use std::path::Path;

use rayon::prelude::*;

use self::report::{Checked, finding, finding_of};
pub use self::report::{ClipFacts, Finding, Report};
use super::{Dataset, LabelClip, Need, Split, Survey};
use crate::error::Result;
use crate::wording::counted;

/// How closely the frames are looked at. Annotations and joints are always read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The header of every frame: is it a picture, and of what size.
    Headers,
    /// Every pixel of every frame: finds files that are cut short, at the cost of decoding them.
    Pixels,
}

/// Checks a DAVIS root; without `JPEGImages` the annotations alone, with a warning.
///
/// # Errors
/// The root or its list cannot be read. Broken clips are findings, not errors.
pub fn davis(root: &Path, split: &Split, depth: Depth) -> Result<Report> {
    let bare = !root.join("JPEGImages").is_dir();
    let need = if bare { Need::LabelsOnly } else { Need::Frames };
    let survey = super::davis::survey(root, split, need)?;
    let official = match (split, survey.split.as_str()) {
        (Split::Val, "val (ImageSets/2017/val.txt)") => {
            let counts = Official::clips("DAVIS-2017 val", 30);
            Official { frames: Some(1999), objects: Some(61), ..counts }
        }
        // what else is in ImageSets is the user's own
        (
            Split::Val,
            "val (ImageSets/2016/val.txt)"
            | "val (ImageSets/480p/val.txt)"
            | "val (ImageSets/1080p/val.txt)",
        ) => Official { objects: Some(20), ..Official::clips("DAVIS-2016 val", 20) },
        _ => Official::default(),
    };
    let mut report = labelled("DAVIS", survey, official, |clip| {
        labels::check(clip, labels::Dataset::Davis, depth)
    });
    if bare {
        let remedy = "extract the frames to propagate; scoring does without them";
        report
            .warnings
            .insert(0, finding("", root, "has no JPEGImages: annotations alone", remedy));
    }
    Ok(report)
}

/// Checks a VIP root.
///
/// # Errors
/// The root or its list cannot be read. Broken clips are findings, not errors.
pub fn vip(root: &Path, split: &Split, depth: Depth) -> Result<Report> {
    let survey = super::vip::survey(root, split, Need::Frames)?;
    let official = match split {
        Split::Val => Official::clips("VIP val", 50),
        Split::Train => Official::clips("VIP train", 304),
        Split::File(_) => Official::default(),
    };
    Ok(labelled("VIP", survey, official, |clip| labels::check(clip, labels::Dataset::Vip, depth)))
}

/// Checks a JHMDB root.
///
/// # Errors
/// The root or its lists cannot be read. Broken clips are findings, not errors.
pub fn jhmdb(root: &Path, split: &Split, depth: Depth) -> Result<Report> {
    let survey = super::jhmdb::survey(root, split, Need::Frames)?;
    let official = match split {
        Split::Val if survey.split.contains("split 1") => {
            Official::clips("JHMDB split 1, test", 268)
        }
        Split::Val => Official::clips("JHMDB", 928),
        Split::Train | Split::File(_) => Official::default(),
    };
    let (mut report, dataset) = run("JHMDB", survey, &official, |clip| pose::check(clip, depth));
    report.add_hash(dataset.label_hash());
    let outside: usize = report.clips.iter().map(|clip| clip.joints_outside).sum();
    report.add("joints outside the frame", outside.to_string());
    Ok(report)
}

/// What a complete copy of a split holds; without a name there is nothing to compare with.
#[derive(Default)]
struct Official {
    name: &'static str,
    clips: Option<usize>,
    frames: Option<usize>,
    objects: Option<usize>,
}

impl Official {
    fn clips(name: &'static str, clips: usize) -> Self {
        Self { name, clips: Some(clips), ..Self::default() }
    }

    fn has(&self, count: Option<usize>) -> Option<(&str, usize)> {
        count.map(|count| (self.name, count))
    }
}

fn labelled(
    dataset: &str,
    survey: Survey<LabelClip>,
    official: Official,
    check: impl Fn(&LabelClip) -> Checked + Send + Sync,
) -> Report {
    let (mut report, dataset) = run(dataset, survey, &official, check);
    report.add_hash(dataset.label_hash());
    let objects: usize = report.clips.iter().map(|clip| clip.objects).sum();
    report.count("objects", objects, official.has(official.objects), &dataset.root);
    let binary = report.clips.iter().filter(|clip| clip.binary).count();
    let clips = report.clips.len();
    if binary > 0 {
        report.add(
            "black and white masks",
            format!("255 is object 1 in {binary} of {}", counted(clips, "clip")),
        );
    }
    let later = report.clips.iter().filter(|clip| !clip.later_ids.is_empty()).count();
    report.add("clips with ids that appear later", later.to_string());
    report
}

/// Checks every clip that could be opened; the others become errors of the report.
fn run<C: Sync>(
    name: &str,
    survey: Survey<C>,
    official: &Official,
    check: impl Fn(&C) -> Checked + Send + Sync,
) -> (Report, Dataset<C>) {
    let Survey { root, split, clips, notices } = survey;
    let mut report = Report::default();
    report
        .warnings
        .extend(notices.iter().map(|notice| finding("", &root, notice, "fine if meant so")));
    let checked: Vec<Option<Checked>> =
        clips.par_iter().map(|(_, clip)| clip.as_ref().ok().map(&check)).collect();
    let (listed, mut whole) = (clips.len(), Vec::new());
    for ((name, clip), checked) in clips.into_iter().zip(checked) {
        match clip {
            Ok(clip) => whole.push(clip),
            Err(error) => report.errors.push(finding_of(&name, error)),
        }
        report.take(checked);
    }
    report.add("dataset", name.to_string());
    report.add("list", split.clone());
    let frames = report.clips.iter().map(|clip| clip.frames).sum();
    report.count("clips", report.clips.len(), official.has(official.clips), &root);
    report.count("frames", frames, official.has(official.frames), &root);
    (report, Dataset { root, split, clips: whole, broken: Vec::new(), listed, notices })
}
