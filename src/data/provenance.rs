//! One hash of the labels of a dataset, stored with every score, and one of all of a clip.
//!
//! Two runs with equal label hashes had the same clips in the same order, the same first labels and
//! as many labelled frames. A copy of DAVIS that was resized beforehand, or that lacks a clip, has
//! another hash. [`Clip::content_hash`] covers all annotations and frames of a clip: it tells
//! whether a clip that was done earlier is still the same.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Clip, Frame, LabelClip, PoseClip, listing};
use crate::digest::hexadecimal;
use crate::error::{Error, Result};

impl Clip for LabelClip {
    fn name(&self) -> &str {
        &self.name
    }

    fn frame_count(&self) -> usize {
        self.frames.len()
    }

    fn predicted(&self) -> Vec<String> {
        self.frames.iter().map(|frame| format!("{}.png", frame.name)).collect()
    }

    fn image(&self, frame: usize) -> Option<&Path> {
        self.frames.get(frame)?.image.as_deref()
    }

    /// `<clip name> <annotated frames> <SHA-256 of the first annotation's file>`. Frames do not
    /// enter, so that [`super::Need::LabelsOnly`] gives the same line.
    fn label_line(&self) -> Result<String> {
        let annotated = self.frames.iter().filter(|frame| frame.annotation.is_some()).count();
        let first = self.frames.first().and_then(|frame| frame.annotation.as_deref());
        let digest = first.map(sha256_of_file).transpose()?.unwrap_or_default();
        Ok(format!("{} {annotated} {digest}", self.name))
    }

    fn content_hash(&self) -> Result<String> {
        let line = |frame: &Frame| -> Result<String> {
            let length = frame.image.as_deref().map(length_of_file).transpose()?;
            let digest = frame.annotation.as_deref().map(sha256_of_file).transpose()?;
            let length = length.map(|length| length.to_string()).unwrap_or_default();
            Ok(format!("{} {length} {}\n", frame.name, digest.unwrap_or_default()))
        };
        let lines: Vec<String> = self.frames.par_iter().map(line).collect::<Result<_>>()?;
        Ok(hexadecimal(&Sha256::digest(lines.concat())))
    }
}

impl Clip for PoseClip {
    fn name(&self) -> &str {
        &self.name
    }

    fn frame_count(&self) -> usize {
        self.frames.len()
    }

    fn predicted(&self) -> Vec<String> {
        vec!["joints.json".to_owned()]
    }

    fn image(&self, frame: usize) -> Option<&Path> {
        self.frames.get(frame).map(PathBuf::as_path)
    }

    /// `<clip name> <SHA-256 of joint_positions.mat>`.
    fn label_line(&self) -> Result<String> {
        Ok(format!("{} {}", self.name, sha256_of_file(&self.joints)?))
    }

    fn content_hash(&self) -> Result<String> {
        let line = |frame: &PathBuf| -> Result<String> {
            Ok(format!("{} {}\n", listing::stem(frame), length_of_file(frame)?))
        };
        let mut lines = vec![sha256_of_file(&self.joints)? + "\n"];
        lines.extend(self.frames.par_iter().map(line).collect::<Result<Vec<_>>>()?);
        Ok(hexadecimal(&Sha256::digest(lines.concat())))
    }
}

fn length_of_file(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).map_err(Error::reading(path))?.len())
}

fn sha256_of_file(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    Ok(hexadecimal(&Sha256::digest(bytes)))
}
