//! JHMDB: the 15 joints of a person, to be tracked through a clip.
//!
//! A root holds three archives unpacked side by side: `Rename_Images/<action>/<clip>/00001.png`,
//! `joint_positions/<action>/<clip>/joint_positions.mat` and `splits/<action>_test_split1.txt`.
//! Next: [`super::joints`] reads the joints of the first frame, which the evaluation propagates.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::listing::{self, PICTURES, check_root};
use super::{Benchmark, Dataset, Need, PoseClip, Split, Survey};
use crate::error::{Error, Result};
use crate::files::list::entries;

/// Finds the clips of a split and their files.
///
/// [`Split::Val`] is test split 1 (the lines marked 2 in `splits/<action>_test_split1.txt`), and
/// [`Split::Train`] its counterpart (marked 1). Without those files every clip that has joints is
/// taken, with a notice. A list of one's own holds `action/clip`, or `clip` alone, or lines of a
/// split file, or those of the reference program's file list. With [`Need::LabelsOnly`] a clip has
/// the frames that are there, or none.
///
/// # Errors
/// `root` is not the dataset's folder, a list cannot be read or names an unknown clip, or a clip
/// has no frames or no joints.
pub fn open(root: &Path, split: &Split, need: Need) -> Result<Dataset<PoseClip>> {
    survey(root, split, need)?.into_dataset()
}

pub(super) fn survey(root: &Path, split: &Split, need: Need) -> Result<Survey<PoseClip>> {
    check_root(root, Benchmark::Jhmdb, &["Rename_Images", "joint_positions"])?;
    let needed = match need {
        Need::Frames => vec!["Rename_Images", "joint_positions"],
        Need::LabelsOnly => vec!["joint_positions"],
    };
    for name in needed {
        let folder = root.join(name);
        if !folder.is_dir() {
            let remedy = format!("extract {name} beside the other folders");
            return Err(Error::data(&folder, "there is no such folder", remedy));
        }
    }
    let mut notices = Vec::new();
    let (split, names) = match split {
        Split::File(list) => (list.display().to_string(), listed(root, list, &mut notices)?),
        Split::Val => official(root, Mark::Test, &mut notices)?,
        Split::Train => official(root, Mark::Train, &mut notices)?,
    };
    let clips = names.into_iter().map(|name| (name.clone(), clip(root, name, &split, need)));
    let clips = clips.collect();
    Ok(Survey { root: root.to_path_buf(), split, clips, notices })
}

fn clip(root: &Path, name: String, split: &str, need: Need) -> Result<PoseClip> {
    let folder = root.join("Rename_Images").join(&name);
    let joints = root.join("joint_positions").join(&name).join("joint_positions.mat");
    let remedy = "extract Rename_Images.tar.gz and joint_positions.zip again, or correct the list";
    let without = need == Need::LabelsOnly && !folder.is_dir();
    for (path, there) in [(&folder, without || folder.is_dir()), (&joints, joints.is_file())] {
        if !there {
            let problem = format!("is missing, though the clip is one of {split}");
            return Err(Error::data(path, problem, remedy));
        }
    }
    let frames = if without { Vec::new() } else { listing::files(&folder, PICTURES)? };
    if frames.is_empty() && need == Need::Frames {
        return Err(Error::data(&folder, "holds no frame", remedy));
    }
    require_all(&frames)?;
    Ok(PoseClip { name, frames, joints })
}

/// Refuses frames whose numbers leap: joints belong to frames by their order, so those after a frame
/// that is missing would be compared with the joints of others.
fn require_all(frames: &[PathBuf]) -> Result<()> {
    let number = |path: &PathBuf| listing::stem(path).parse::<u64>().ok();
    let gap = frames.windows(2).find(|pair| {
        let numbers = number(&pair[0]).zip(number(&pair[1]));
        numbers.is_some_and(|(before, after)| after != before + 1)
    });
    let Some([before, after]) = gap else { return Ok(()) };
    let problem = format!("follows {}: frames between them are missing", listing::name(before));
    Err(Error::data(after, problem, "extract Rename_Images.tar.gz again"))
}

/// What the number after a clip says in `<action>_test_split1.txt`; 0 is "not in this split".
#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Train,
    Test,
}

/// The clips with that mark in every action's file of split 1: actions in alphabetical order, clips
/// in the order of their file.
fn official(root: &Path, mark: Mark, notices: &mut Vec<String>) -> Result<(String, Vec<String>)> {
    let folder = root.join("splits");
    let suffix = "_test_split1";
    let lists = if folder.is_dir() { listing::files(&folder, &["txt"])? } else { Vec::new() };
    let (mut names, mut found) = (Vec::new(), false);
    for list in lists {
        if let Some(action) = listing::stem(&list).strip_suffix(suffix) {
            found = true;
            let lines = entries(&list, "clip", |_| true)?;
            let marked = lines.iter().filter_map(|(_, line)| marked(line));
            let chosen = marked.filter(|(_, other)| *other == Some(mark));
            names.extend(chosen.map(|(clip, _)| format!("{action}/{clip}")));
        }
    }
    let names = listing::distinct(&folder, names)?.0;
    let what = if mark == Mark::Test { "test" } else { "train" };
    if !names.is_empty() {
        return Ok((format!("{what} clips of split 1 (splits/*{suffix}.txt)"), names));
    }
    let place = folder.join(format!("<action>{suffix}.txt"));
    if found {
        let number = if mark == Mark::Test { 2 } else { 1 };
        let problem = format!("marks no clip as {what} clip, by a {number} behind its name");
        let remedy = "extract splits.zip again, or name the clips with the setting `split = FILE`";
        return Err(Error::data(&place, problem, remedy));
    }
    if mark == Mark::Train {
        let remedy = "extract splits.zip, or name the clips with the setting `split = FILE`";
        return Err(Error::data(&place, "there is no such list", remedy));
    }
    let names = all(root)?;
    let (count, place) = (names.len(), place.display());
    notices.push(format!("no lists at {place}: every clip found is taken ({count})"));
    Ok(("all clips found".into(), names))
}

/// A line of a split file: `<clip>.avi 2`. `None` where the line has another form.
fn marked(line: &str) -> Option<(&str, Option<Mark>)> {
    let (file, mark) = line.rsplit_once(char::is_whitespace)?;
    let clip = file.trim_end().strip_suffix(".avi")?;
    match mark {
        "0" => Some((clip, None)),
        "1" => Some((clip, Some(Mark::Train))),
        "2" => Some((clip, Some(Mark::Test))),
        _ => None,
    }
}

/// `action/clip` of every clip that has a folder of joints, in natural order.
fn all(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("joint_positions");
    let mut names = Vec::new();
    for action in listing::subfolders(&folder)? {
        let clips = listing::subfolders(&action)?;
        let action = listing::name(&action);
        names.extend(clips.iter().map(|clip| format!("{action}/{}", listing::name(clip))));
    }
    if names.is_empty() {
        return Err(Error::data(&folder, "holds no clip", "extract joint_positions.zip again"));
    }
    Ok(names)
}

/// The clips of a list of the user's own.
fn listed(root: &Path, list: &Path, notices: &mut Vec<String>) -> Result<Vec<String>> {
    let known = all(root)?;
    let mut actions: HashMap<&str, Vec<&str>> = HashMap::new();
    for (action, clip) in known.iter().filter_map(|name| name.split_once('/')) {
        actions.entry(clip).or_default().push(action);
    }
    let mut names = Vec::new();
    for (_, line) in entries(list, "clip", |line| actions.contains_key(named(line)))? {
        match (marked(&line), named(&line)) {
            (Some((_, mark)), _) if mark != Some(Mark::Test) => {}
            (_, name) if name.contains('/') => names.push(name.to_string()),
            (_, clip) => match actions.get(clip).map(Vec::as_slice) {
                Some([action]) => names.push(format!("{action}/{clip}")),
                Some(actions) => return Err(ambiguous(list, clip, actions)),
                None => names.push(clip.to_string()),
            },
        }
    }
    let (names, again) = listing::distinct(list, names)?;
    if again > 0 {
        notices.push(format!("{} repeats names ({again}): each clip counts once", list.display()));
    }
    if names.is_empty() {
        return Err(Error::data(list, "marks no clip as test clip", "write one clip name a line"));
    }
    Ok(names)
}

/// The clip that a line means: the end of a path into `Rename_Images`, the file of a split's line,
/// or the line itself.
fn named(line: &str) -> &str {
    match (line.rsplit_once("Rename_Images/"), marked(line)) {
        (Some((_, name)), _) => name.trim_end_matches('/'),
        (None, Some((clip, _))) => clip,
        (None, None) => line,
    }
}

fn ambiguous(list: &Path, clip: &str, actions: &[&str]) -> Error {
    let problem = format!("names {clip}, which is in several actions: {}", actions.join(", "));
    Error::data(list, problem, "write action/clip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_split_files_end_in_a_mark() {
        let line = marked("Baby_Bob_kann_klatschen_!_clap_u_cm_np1_fr_med_0.avi 2").unwrap();
        assert_eq!(line.0, "Baby_Bob_kann_klatschen_!_clap_u_cm_np1_fr_med_0");
        assert!(line.1 == Some(Mark::Test));
        assert!(marked("a b.avi 1").unwrap() == ("a b", Some(Mark::Train)));
        assert!(marked("a.avi\t0").unwrap() == ("a", None));
        assert!(marked("a.avi 3").is_none() && marked("a 2").is_none() && marked("a").is_none());
    }

    #[test]
    fn lines_of_other_lists_mean_a_clip_too() {
        let pair =
            "data/joint_positions/catch/x_0/joint_positions.mat data/Rename_Images/catch/x_0/";
        assert_eq!(named(pair), "catch/x_0");
        assert_eq!(named("catch/x_0"), "catch/x_0");
        assert_eq!(named("30_(dead-hang)_0"), "30_(dead-hang)_0");
        assert_eq!(named("#20_Rhythm_0.avi 2"), "#20_Rhythm_0");
    }
}
