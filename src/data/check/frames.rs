//! The frames of one clip: whether they can be read, have one size, and are without gaps.

use std::path::Path;

use rayon::prelude::*;

use super::{Checked, Depth};
use crate::data::listing;
use crate::error::Result;
use crate::image::decode;

/// Looks at every frame of a clip and notes the size of the first that can be read.
pub(super) fn check(frames: &[&Path], depth: Depth, checked: &mut Checked) {
    checked.facts.frames = frames.len();
    let size = |path: &&Path| -> Result<(usize, usize)> {
        match depth {
            Depth::Headers => decode::size(path),
            Depth::Pixels => decode::read(path).map(|frame| (frame.width, frame.height)),
        }
    };
    let sizes: Vec<Result<(usize, usize)>> = frames.par_iter().map(size).collect();
    let mut readable = Vec::new();
    let mut broken = Vec::new();
    for (path, size) in frames.iter().zip(sizes) {
        match size {
            Ok(size) => readable.push((*path, size)),
            Err(error) => broken.push(error),
        }
    }
    checked.fail_all(broken);
    checked.facts.frame_size = readable.first().map(|(_, size)| *size);
    one_size(&readable, "frames", checked);
    gaps(frames, checked);
}

/// An error where a file's size is not that of the first.
pub(super) fn one_size(files: &[(&Path, (usize, usize))], what: &str, checked: &mut Checked) {
    let Some(&(_, first)) = files.first() else { return };
    let mut others = files.iter().filter(|(_, size)| *size != first);
    if let Some((path, (width, height))) = others.next() {
        let count = 1 + others.count();
        let problem = format!(
            "is {height}x{width}, but the first of the clip is {}x{} ({count} of {} {what} differ)",
            first.1,
            first.0,
            files.len()
        );
        checked.fail(path, problem, "extract the clip again: all have one size as released");
    }
}

/// A warning where the numbers of the frames leap further than between the first two.
fn gaps(frames: &[&Path], checked: &mut Checked) {
    let numbers: Option<Vec<u64>> =
        frames.iter().map(|path| listing::stem(path).parse().ok()).collect();
    let numbers = numbers.unwrap_or_default();
    let steps = || numbers.windows(2).map(|pair| pair[1].abs_diff(pair[0]));
    let usual = steps().min().unwrap_or(0);
    if let Some(at) = steps().position(|step| step != usual) {
        let count = steps().filter(|step| *step != usual).count();
        let (before, after) = (listing::stem(frames[at]), listing::stem(frames[at + 1]));
        let problem = format!("frame {before} is followed by {after} (gaps in all: {count})");
        checked.warn(frames[at + 1], problem, "if frames are missing, extract the clip again");
    }
}
