//! Datasets as they are released: which clips exist, and where their frames and labels are.
//!
//! [`davis::open`], [`vip::open`] and [`jhmdb::open`] read folders and lists of names but no
//! pixels, and return a [`Dataset`] of clips in a fixed order; [`check`] reads every file and
//! reports what is missing or odd. Nothing is ever written into a dataset. Next stop of a clip:
//! [`crate::image`], which decodes its frames.

pub mod check;
pub mod davis;
pub mod jhmdb;
pub mod joints;
pub(crate) mod listing;
mod matlab;
pub mod opened;
mod pairing;
mod provenance;
pub mod vip;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::error::{Error, Result};
pub use opened::{Opened, Overview};

/// The three tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Benchmark {
    /// DAVIS-2017: object masks, scored by J and F.
    Davis,
    /// VIP: body parts, scored by mIoU.
    Vip,
    /// JHMDB: 15 joints, scored by PCK.
    Jhmdb,
}

impl Benchmark {
    /// The benchmark's name in settings and records.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether its labels are masks, which can be scored at any size; joints are scored in pixels
    /// of their frames.
    pub fn has_masks(self) -> bool {
        match self {
            Self::Davis | Self::Vip => true,
            Self::Jhmdb => false,
        }
    }
}

impl std::fmt::Display for Benchmark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Davis => "DAVIS-2017",
            Self::Vip => "VIP",
            Self::Jhmdb => "JHMDB",
        })
    }
}

/// A clip whose labels are images: DAVIS, VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelClip {
    /// The clip's folder name, such as `bmx-trees`.
    pub name: String,
    /// At least one frame, in the order of time (natural order of the names: 9 before 10).
    pub frames: Vec<Frame>,
}

/// One frame of a [`LabelClip`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The file's name without its extension, such as `00000`: predictions are named after it.
    pub name: String,
    /// The picture; `None` where the dataset was opened with [`Need::LabelsOnly`].
    pub image: Option<PathBuf>,
    /// The palette or grey PNG of ids; always there for the first frame.
    pub annotation: Option<PathBuf>,
}

/// A clip whose labels are joints: JHMDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoseClip {
    /// Action and clip, such as `catch/Goal_Keeping_Tips_catch_f_cm_np1_fr_med_2`.
    pub name: String,
    /// The pictures in the order of time: at least one, or none with
    /// [`Need::LabelsOnly`].
    pub frames: Vec<PathBuf>,
    /// The clip's `joint_positions.mat`; [`joints::read`] reads it.
    pub joints: PathBuf,
}

/// What all clips have in common.
pub trait Clip: Sync {
    /// The clip's name.
    fn name(&self) -> &str;

    /// How many frames it has.
    fn frame_count(&self) -> usize;

    /// The files that its predictions consist of, in the clip's folder.
    fn predicted(&self) -> Vec<String>;

    /// The picture of a frame, counted from 0; none where there is no such frame or the dataset was
    /// opened without pictures.
    fn image(&self, frame: usize) -> Option<&Path>;

    /// One line that changes when its given labels do; see [`Overview::label_hash`].
    ///
    /// # Errors
    /// The file of its labels cannot be read.
    fn label_line(&self) -> Result<String>;

    /// SHA-256, in hexadecimal, of what its scores are made of beside that: the contents of all
    /// annotations, and the names and lengths of the frames' files, in order. Where the files lie,
    /// and when they were written, changes nothing.
    ///
    /// # Errors
    /// A file cannot be read.
    fn content_hash(&self) -> Result<String>;
}

/// A clip of the list that cannot be used, and why.
#[derive(Debug)]
pub struct Broken {
    /// The clip.
    pub name: String,
    /// Its place among the dataset's clips, whole and broken, from 0.
    pub place: usize,
    /// What is wrong with it.
    pub error: Error,
}

/// What the caller is going to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Frames and labels: to propagate.
    Frames,
    /// Labels alone: to score predictions where the frames are not at hand.
    LabelsOnly,
}

/// Which clips of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// The validation list, which published numbers are computed on (JHMDB: test split 1).
    Val,
    /// The training list.
    Train,
    /// A list of one clip name a line; blank lines, `#` comments and CRLF line ends are fine.
    File(PathBuf),
}

/// The clips of a dataset, in the order of the list.
#[derive(Debug)]
pub struct Dataset<C> {
    /// The folder as it was passed.
    pub root: PathBuf,
    /// Which list the clips are from, in words, such as `val (ImageSets/2017/val.txt)`.
    pub split: String,
    /// The clips, each name once.
    pub clips: Vec<C>,
    /// Clips of the list that cannot be used: one of them does not lose the others.
    pub broken: Vec<Broken>,
    /// How many clips the list names; more than there are here once some are left out.
    pub listed: usize,
    /// What was decided for the user and is worth a line: a list that is missing, another
    /// resolution.
    pub notices: Vec<String>,
}

impl<C: Clip> Dataset<C> {
    /// The names of all clips in the order of the list, of the broken ones too.
    pub fn names(&self) -> Vec<&str> {
        self.overview().names()
    }

    /// The SHA-256 of the clips' given labels; see [`Overview::label_hash`].
    ///
    /// # Errors
    /// The labels of a clip cannot be read.
    pub fn label_hash(&self) -> Result<String> {
        self.overview().label_hash()
    }

    /// The dataset without the kind of its clips.
    pub fn overview(&self) -> Overview<'_> {
        let Self { root, split, clips, broken, listed, notices } = self;
        let clips = clips.iter().map(|clip| clip as &dyn Clip).collect();
        Overview { root, split, clips, broken, listed: *listed, notices }
    }

    /// Leaves out all other clips; the list is as long as it was.
    pub fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        let names = self.names().into_iter().map(&wanted).collect::<Vec<_>>();
        let kept_before = |place: usize| names.iter().take(place).filter(|kept| **kept).count();
        self.clips.retain(|clip| wanted(clip.name()));
        self.broken.retain(|broken| wanted(&broken.name));
        self.broken.iter_mut().for_each(|broken| broken.place = kept_before(broken.place));
    }
}

/// A dataset whose clips may be broken: what [`check`] reports on, and `open` sorts.
struct Survey<C> {
    root: PathBuf,
    split: String,
    clips: Vec<(String, Result<C>)>,
    notices: Vec<String>,
}

impl<C> Survey<C> {
    /// The dataset of the clips that are whole, with the others named; the first error where none
    /// is.
    fn into_dataset(self) -> Result<Dataset<C>> {
        let listed = self.clips.len();
        let (mut clips, mut broken) = (Vec::new(), Vec::new());
        for (place, (name, clip)) in self.clips.into_iter().enumerate() {
            match clip {
                Ok(clip) => clips.push(clip),
                Err(error) => broken.push(Broken { name, place, error }),
            }
        }
        if clips.is_empty() && !broken.is_empty() {
            return Err(broken.swap_remove(0).error);
        }
        let Self { root, split, notices, .. } = self;
        Ok(Dataset { root, split, clips, broken, listed, notices })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dataset of these clips; those in capitals are broken.
    fn dataset(names: &[&str]) -> Dataset<LabelClip> {
        let clip = |name: &&str| {
            let whole = LabelClip { name: (*name).to_owned(), frames: Vec::new() };
            let broken = Error::data(name.as_ref(), "is broken", "mend it");
            (
                (*name).to_owned(),
                if name.to_uppercase() == **name { Err(broken) } else { Ok(whole) },
            )
        };
        let (root, split) = (PathBuf::new(), String::new());
        let clips = names.iter().map(clip).collect();
        Survey { root, split, clips, notices: Vec::new() }.into_dataset().unwrap()
    }

    #[test]
    fn broken_clips_keep_their_places_among_the_others() {
        let mut set = dataset(&["A", "b", "C", "D", "e", "f", "G"]);
        assert_eq!(set.names(), ["A", "b", "C", "D", "e", "f", "G"]);
        set.keep(|name| name != "b" && name != "C");
        assert_eq!(set.names(), ["A", "D", "e", "f", "G"]);
        assert_eq!((set.clips.len(), set.broken.len(), set.listed), (2, 3, 7));
        set.keep(|name| "eG".contains(name));
        assert_eq!(set.names(), ["e", "G"]);
    }
}
