//! A benchmark's dataset, whichever benchmark it is.
//!
//! Programs that serve all three hold an [`Opened`]; matching on it names the benchmark and the kind
//! of its clips at once. What needs neither is asked of its [`Overview`].

use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{
    Benchmark, Broken, Clip, Dataset, LabelClip, Need, PoseClip, Split, davis, jhmdb, vip,
};
use crate::digest::hexadecimal;
use crate::error::Result;

/// The dataset of a benchmark.
#[derive(Debug)]
pub enum Opened {
    /// DAVIS-2017.
    Davis(Dataset<LabelClip>),
    /// VIP.
    Vip(Dataset<LabelClip>),
    /// JHMDB.
    Jhmdb(Dataset<PoseClip>),
}

impl Opened {
    /// Finds the clips of a split and their files.
    ///
    /// # Errors
    /// See [`davis::open`], [`vip::open`] and [`jhmdb::open`].
    pub fn open(benchmark: Benchmark, root: &Path, split: &Split, need: Need) -> Result<Self> {
        Ok(match benchmark {
            Benchmark::Davis => Self::Davis(davis::open(root, split, need)?),
            Benchmark::Vip => Self::Vip(vip::open(root, split, need)?),
            Benchmark::Jhmdb => Self::Jhmdb(jhmdb::open(root, split, need)?),
        })
    }

    /// Which benchmark it is.
    pub fn benchmark(&self) -> Benchmark {
        match self {
            Self::Davis(_) => Benchmark::Davis,
            Self::Vip(_) => Benchmark::Vip,
            Self::Jhmdb(_) => Benchmark::Jhmdb,
        }
    }

    /// Leaves out all other clips; see [`Dataset::keep`].
    pub fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        match self {
            Self::Davis(set) | Self::Vip(set) => set.keep(wanted),
            Self::Jhmdb(set) => set.keep(wanted),
        }
    }

    /// What it has in common with the others.
    pub fn overview(&self) -> Overview<'_> {
        match self {
            Self::Davis(set) | Self::Vip(set) => set.overview(),
            Self::Jhmdb(set) => set.overview(),
        }
    }
}

/// A dataset without the kind of its clips; the fields are those of [`Dataset`].
#[derive(Clone)]
pub struct Overview<'a> {
    /// The folder as it was passed.
    pub root: &'a Path,
    /// Which list the clips are from, in words.
    pub split: &'a str,
    /// The clips that can be used.
    pub clips: Vec<&'a dyn Clip>,
    /// Clips of the list that cannot.
    pub broken: &'a [Broken],
    /// How many clips the list names.
    pub listed: usize,
    /// What was decided for the user and is worth a line.
    pub notices: &'a [String],
}

impl<'a> Overview<'a> {
    /// The names of all clips in the order of the list, of the broken ones too.
    pub fn names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self.clips.iter().map(|clip| clip.name()).collect();
        // in the order of their places, so that each finds all before it where they belong
        for broken in self.broken {
            names.insert(broken.place.min(names.len()), &broken.name);
        }
        names
    }

    /// How many clips are asked for, those that cannot be used among them.
    pub fn asked(&self) -> usize {
        self.clips.len() + self.broken.len()
    }

    /// Whether the list names more clips than are asked for.
    pub fn is_narrowed(&self) -> bool {
        self.asked() < self.listed
    }

    /// Frames of all clips that can be used.
    pub fn frames(&self) -> usize {
        self.clips.iter().map(|clip| clip.frame_count()).sum()
    }

    /// Frames of the longest clip; 0 where there is none.
    pub fn longest(&self) -> usize {
        self.clips.iter().map(|clip| clip.frame_count()).max().unwrap_or(0)
    }

    /// The picture of a frame of the first clip; none where there is no such clip or frame.
    pub fn image(&self, frame: usize) -> Option<&'a Path> {
        self.clips.first()?.image(frame)
    }

    /// The SHA-256, in hexadecimal, of the clips' [`Clip::label_line`]s in order, a line feed
    /// after each.
    ///
    /// # Errors
    /// The labels of a clip cannot be read.
    pub fn label_hash(&self) -> Result<String> {
        let line = |clip: &&dyn Clip| Ok(clip.label_line()? + "\n");
        let lines: Vec<String> = self.clips.par_iter().map(line).collect::<Result<_>>()?;
        Ok(hexadecimal(&Sha256::digest(lines.concat())))
    }
}
