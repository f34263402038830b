//! The result of a check: counts, facts about each clip, findings.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Counts of the whole dataset, beside the official ones where the split has some: name, value.
    pub summary: Vec<(String, String)>,
    /// The clips that could be opened.
    pub clips: Vec<ClipFacts>,
    /// What may surprise.
    pub warnings: Vec<Finding>,
    /// What stops an evaluation or makes its numbers wrong.
    pub errors: Vec<Finding>,
}

/// Something odd about one file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The clip; empty where the whole dataset is meant.
    pub clip: String,
    /// The file or folder, the first one where several are alike.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// What one clip holds. Sizes are width, height in pixels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClipFacts {
    /// The clip.
    pub name: String,
    /// Pictures on disk (annotations, where the dataset has no frames).
    pub frames: usize,
    /// Frames with labels: annotation files, or T of the joints.
    pub annotations: usize,
    /// Size of the first frame that can be read.
    pub frame_size: Option<(usize, usize)>,
    /// Size of the first annotation.
    pub annotation_size: Option<(usize, usize)>,
    /// Ids in the first annotation, without background (0) and void (255): what is propagated.
    pub ids: Vec<u8>,
    /// Objects that are scored: the largest id (DAVIS), the classes in the first annotation (VIP),
    /// or one person (JHMDB).
    pub objects: usize,
    /// Ids of later annotations that the first lacks: they can never be predicted.
    pub later_ids: Vec<u8>,
    /// Annotations with void pixels.
    pub void_frames: usize,
    /// The masks are black and white: 255 is read as object 1 (DAVIS-2016).
    pub binary: bool,
    /// Joints outside the picture, over all frames (JHMDB).
    pub joints_outside: usize,
}

/// A clip's facts and findings while they are collected.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) facts: ClipFacts,
    pub(super) warnings: Vec<Finding>,
    pub(super) errors: Vec<Finding>,
}

impl Checked {
    pub(super) fn new(name: &str) -> Self {
        Self {
            facts: ClipFacts { name: name.to_string(), ..Default::default() },
            ..Default::default()
        }
    }

    pub(super) fn warn(&mut self, path: &Path, problem: impl Into<String>, remedy: &str) {
        self.warnings.push(finding(&self.facts.name, path, problem, remedy));
    }

    pub(super) fn fail(&mut self, path: &Path, problem: impl Into<String>, remedy: &str) {
        self.errors.push(finding(&self.facts.name, path, problem, remedy));
    }

    /// The first of these errors, with the number of the others.
    pub(super) fn fail_all(&mut self, errors: Vec<Error>) {
        let others = errors.len().saturating_sub(1);
        if let Some(first) = errors.into_iter().next() {
            let mut found = finding_of(&self.facts.name, first);
            if others > 0 {
                found.problem =
                    format!("{} (and {others} more of this clip likewise)", found.problem);
            }
            self.errors.push(found);
        }
    }
}

pub(super) fn finding(
    clip: &str,
    path: &Path,
    problem: impl Into<String>,
    remedy: &str,
) -> Finding {
    Finding {
        clip: clip.to_string(),
        path: path.to_path_buf(),
        problem: problem.into(),
        remedy: remedy.to_string(),
    }
}

pub(super) fn finding_of(clip: &str, error: Error) -> Finding {
    match error {
        Error::Data { path, problem, remedy } => finding(clip, &path, problem, &remedy),
        Error::Io { action, path, source } => {
            finding(clip, &path, format!("cannot {action} it ({source})"), "check that it is there")
        }
        other => finding(clip, Path::new(""), other.to_string(), "report this"),
    }
}

impl Report {
    pub(super) fn add(&mut self, name: &str, value: String) {
        self.summary.push((name.to_string(), value));
    }

    /// The hash of the labels, where it would be that of a run: every clip is whole.
    pub(super) fn add_hash(&mut self, hash: Result<String>) {
        if let (Ok(hash), true) = (hash, self.errors.is_empty()) {
            self.add("labels sha256", hash);
        }
    }

    /// A count, beside that of a complete copy (its name, its count); a warning where they differ.
    pub(super) fn count(
        &mut self,
        name: &str,
        found: usize,
        complete: Option<(&str, usize)>,
        root: &Path,
    ) {
        let Some((official, expected)) = complete else {
            return self.add(name, found.to_string());
        };
        self.add(name, format!("{found} ({official} has {expected})"));
        if found != expected {
            let problem = format!("{name}: {found}, but {official} has {expected}");
            let remedy = "numbers of it are not comparable with published ones";
            self.warnings.push(finding("", root, problem, remedy));
        }
    }

    /// Takes over what was found in a clip that could be opened.
    pub(super) fn take(&mut self, checked: Option<Checked>) {
        if let Some(checked) = checked {
            self.clips.push(checked.facts);
            self.warnings.extend(checked.warnings);
            self.errors.extend(checked.errors);
        }
    }
}
