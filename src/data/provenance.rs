//! One hash for the labels of a dataset, to stand beside every score.
//!
//! Two runs whose hashes agree were given the same clips in the same order, the same first labels
//! and as many labelled frames; a copy of DAVIS resized beforehand, or one with a clip missing, shows.

use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Dataset, LabelClip, PoseClip};
use crate::error::{Error, Result};

impl Dataset<LabelClip> {
    /// The SHA-256, in hexadecimal, of a text with one line per clip, in order:
    ///
    /// `<clip name> <annotated frames> <SHA-256 of the first annotation's file>` and a line feed,
    /// separated by single spaces. Frames do not enter, so that [`super::Need::LabelsOnly`] gives the
    /// same hash.
    ///
    /// # Errors
    /// A first annotation cannot be read.
    pub fn label_hash(&self) -> Result<String> {
        hash(&self.clips, |clip| {
            let annotated = clip.frames.iter().filter(|frame| frame.annotation.is_some()).count();
            let first = clip.frames.first().and_then(|frame| frame.annotation.as_deref());
            (&clip.name, annotated, first)
        })
    }
}

impl Dataset<PoseClip> {
    /// The same for joints: `<clip name> <frames on disk> <SHA-256 of joint_positions.mat>` a line.
    ///
    /// # Errors
    /// A `joint_positions.mat` cannot be read.
    pub fn label_hash(&self) -> Result<String> {
        hash(&self.clips, |clip| (&clip.name, clip.frames.len(), Some(&clip.joints)))
    }
}

fn hash<C: Sync>(
    clips: &[C],
    parts: impl Fn(&C) -> (&str, usize, Option<&Path>) + Sync,
) -> Result<String> {
    let line = |clip: &C| -> Result<String> {
        let (name, frames, labels) = parts(clip);
        let digest = labels.map(sha256_of_file).transpose()?.unwrap_or_default();
        Ok(format!("{name} {frames} {digest}\n"))
    };
    let lines: Vec<String> = clips.par_iter().map(line).collect::<Result<_>>()?;
    Ok(hexadecimal(&Sha256::digest(lines.concat())))
}

fn sha256_of_file(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    Ok(hexadecimal(&Sha256::digest(bytes)))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
