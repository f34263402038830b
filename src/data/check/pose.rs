//! One clip with joints: whether there are as many as frames, and whether they lie inside the
//! frames.

use std::path::Path;

use super::{Checked, Depth, frames};
use crate::data::PoseClip;
use crate::data::joints::{self, Joints};
use crate::wording::counted;

pub(super) fn check(clip: &PoseClip, depth: Depth) -> Checked {
    let mut checked = Checked::new(&clip.name);
    let images: Vec<&Path> = clip.frames.iter().map(AsRef::as_ref).collect();
    frames::check(&images, depth, &mut checked);
    match joints::read(&clip.joints) {
        Ok(joints) => places(&joints, clip, &mut checked),
        Err(error) => checked.fail_all(vec![error]),
    }
    checked
}

fn places(joints: &Joints, clip: &PoseClip, checked: &mut Checked) {
    checked.facts.objects = 1;
    checked.facts.annotations = joints.frames;
    let (labelled, frames) = (joints.frames, clip.frames.len());
    if labelled != frames {
        let problem =
            format!("has joints for {}, but the clip has {frames}", counted(labelled, "frame"));
        let remedy = match labelled > frames {
            true => "if pictures are missing, extract Rename_Images.tar.gz again",
            false => "fine: frames without joints are not scored",
        };
        checked.warn(&clip.joints, problem, remedy);
    }
    if let Some((width, height)) = checked.facts.frame_size {
        // Pixels count from 1: the last column's centre is at x = width.
        let outside =
            |[x, y]: &&[f64; 2]| *x < 1.0 || *y < 1.0 || *x > width as f64 || *y > height as f64;
        let all = joints.positions.iter().flatten();
        checked.facts.joints_outside = all.filter(outside).count();
    }
}
