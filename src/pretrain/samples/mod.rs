//! The training samples: pictures or clips, and their order.
//!
//! [`Samples::open`] lists a folder of pictures, a list file, tar shards or clips without decoding
//! anything; [`Samples::epoch`] gives an epoch's [`Job`]s from any place on, and [`Samples::read`]
//! decodes one, or finds it already decoded (see `kept.rs`). The order is a function of the run's
//! seed and the epoch: stream `order` of the epoch shuffles all samples, or for shards the shards
//! and then a buffer (see `shards.rs`). Pictures are decoded at their full size: decoding a JPEG at
//! a fraction of its size would save little and give other pixels. Next stop of a job:
//! [`super::loader`], whose workers read it and draw its views.

mod folder;
mod kept;
mod list;
mod shards;
mod video;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

use self::kept::Kept;
use self::shards::{Reader, Shards};
use self::video::{Clips, VIDEOS};
pub use self::video::{Frames, VideoSettings};
use super::random::{Purpose, Stream};
use crate::data::listing::PICTURES;
use crate::digest::hexadecimal;
use crate::error::{Error, Result};
use crate::image::{Rgb, decode};

/// What the samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// Pictures: a folder of any depth, a list of files, or tar shards
    Images,
    /// Clips: folders of frames and video files, in a folder of any depth or a list of them
    Video,
}

/// How samples are listed and read.
#[derive(Debug, Clone)]
pub struct Options {
    /// What they are.
    pub kind: Kind,
    /// Samples from shards that wait in memory to be drawn from.
    pub shuffle_buffer: usize,
    /// How many frames of a clip a sample is.
    pub frames: Frames,
    /// How video files are read.
    pub video: VideoSettings,
    /// Bytes of decoded pictures, of those that are files of their own, to keep in memory. No
    /// sample depends on it.
    pub keep_decoded: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: Kind::Images,
            shuffle_buffer: 1000,
            frames: Frames::One,
            video: VideoSettings::default(),
            keep_decoded: 0,
        }
    }
}

/// A dataset to learn from, listed.
#[derive(Debug)]
pub struct Samples {
    source: Source,
    fingerprint: String,
}

#[derive(Debug)]
enum Source {
    /// Pictures, each a file.
    Files {
        root: PathBuf,
        names: Vec<PathBuf>,
        kept: Kept,
    },
    Shards(Shards),
    Clips(Clips),
}

/// One sample's turn.
#[derive(Debug)]
pub struct Job {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The place in the epoch's order, from 0.
    pub position: usize,
    /// The sample's number in the dataset, from 0: its views are drawn for that.
    pub number: usize,
    /// The sample's name, for messages.
    pub name: String,
    /// Where its pixels are.
    pub payload: Payload,
}

/// Where the pixels of a sample are.
#[derive(Debug)]
pub enum Payload {
    /// In a file.
    File(PathBuf),
    /// Here, as the bytes of a file, unless its shard could not be read.
    Bytes(Result<Vec<u8>>),
    /// In the clip that has the sample's number.
    Clip,
}

/// What views are drawn from.
#[derive(Debug)]
pub enum Pixels {
    /// A picture, or one frame of a clip.
    One(Arc<Rgb>),
    /// Two frames of a clip, the earlier one first.
    Two(Rgb, Rgb),
}

/// Reports a compressed shard as compressed instead of as an unreadable list.
fn compressed(path: &Path) -> Option<Error> {
    let mut file = path.is_file().then(|| File::open(path).ok()).flatten()?;
    shards::refuse_compressed(path, &mut file).err()
}

impl Samples {
    /// Lists the samples at `path`: a folder, a list file (`.txt`), a tar shard, or a pattern of
    /// shards such as `shard-{000000..000147}.tar`. A folder that holds `.tar` files is one of
    /// shards.
    ///
    /// # Errors
    /// Nothing is there, no samples are, or their list or shards are damaged; clips are video files
    /// and there is no `ffmpeg`.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let is_tar = |path: &Path| folder::has_extension(path, &["tar"]);
        if path.is_dir() {
            return Self::in_folder(path, options);
        }
        let is_pattern = !path.exists() && path.to_string_lossy().contains('{');
        if is_pattern || is_tar(path) {
            let (root, names) = shards::named(path)?;
            return Self::in_shards(&root, names, options);
        }
        if !path.exists() {
            return Err(Error::data(path, "is not there", "check the path of the training data"));
        }
        let is_sample = |path: &Path| {
            folder::has_extension(path, PICTURES) || folder::has_extension(path, VIDEOS)
        };
        if is_sample(path) {
            let problem = "is one sample, no dataset";
            return Err(Error::data(path, problem, "pass its folder, or a list of files"));
        }
        let (root, names) = list::read(path).map_err(|error| compressed(path).unwrap_or(error))?;
        if options.kind == Kind::Video {
            let found = Clips::in_list((&root, names), path, options.frames, &options.video)?;
            return Self::in_clips(&root, found);
        }
        if names.iter().all(|name| is_tar(name)) {
            return Self::in_shards(&root, names, options);
        }
        if let Some(odd) = names.iter().find(|name| !folder::has_extension(name, PICTURES)) {
            let problem = format!("names {}, no .jpg, .jpeg or .png file", odd.display());
            return Err(Error::data(path, problem, "list pictures alone, or shards alone"));
        }
        Self::in_files(&root, names, options)
    }

    fn in_folder(root: &Path, options: &Options) -> Result<Self> {
        if options.kind == Kind::Video {
            let found = Clips::in_folder(root, options.frames, &options.video)?;
            return Self::in_clips(root, found);
        }
        let shards = folder::files(root, &["tar"])?;
        if shards.is_empty() {
            return Self::in_files(root, folder::pictures(root)?, options);
        }
        Self::in_shards(root, shards, options)
    }

    fn in_files(root: &Path, names: Vec<PathBuf>, options: &Options) -> Result<Self> {
        let fingerprint = fingerprint(root, &names)?;
        let kept = Kept::new(names.len(), options.keep_decoded);
        Ok(Self { source: Source::Files { root: root.to_path_buf(), names, kept }, fingerprint })
    }

    fn in_shards(root: &Path, mut names: Vec<PathBuf>, options: &Options) -> Result<Self> {
        if options.kind == Kind::Video {
            let problem = "shards hold pictures, and the samples are to be clips";
            return Err(Error::data(root, problem, "pass folders of frames or video files"));
        }
        names
            .sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
        let fingerprint = fingerprint(root, &names)?;
        let files = names.iter().map(|name| root.join(name)).collect();
        let source = Source::Shards(Shards::open(files, options.shuffle_buffer)?);
        Ok(Self { source, fingerprint })
    }

    fn in_clips(root: &Path, (clips, files): (Clips, Vec<PathBuf>)) -> Result<Self> {
        let fingerprint = fingerprint(root, &files)?;
        Ok(Self { source: Source::Clips(clips), fingerprint })
    }

    /// How many samples an epoch has.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Files { names, .. } => names.len(),
            Source::Shards(shards) => shards.len(),
            Source::Clips(clips) => clips.len(),
        }
    }

    /// Whether there are none; [`Samples::open`] refuses that.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SHA-256, in hexadecimal, of the names and sizes of the samples' files (or of the shards): a
    /// run is only resumed on the data that it was started on.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The jobs of `epoch` from place `start` on. What comes before is not read.
    pub fn epoch(&self, seed: u64, epoch: u64, start: usize) -> Epoch<'_> {
        let mut stream = Stream::new(seed, Purpose::Order, epoch, 0);
        let order = match &self.source {
            Source::Shards(shards) => Order::Shards(Reader::new(shards, shards.plan(&mut stream))),
            _ => Order::Plain(stream.order(self.len())),
        };
        Epoch { samples: self, epoch, order, position: start }
    }

    /// Decodes a job's pixels; `seed` is the run's, for the choice of frames.
    ///
    /// # Errors
    /// The sample cannot be read or decoded, or a clip is too short.
    pub fn read(&self, job: Job, seed: u64) -> Result<Pixels> {
        match (job.payload, &self.source) {
            (Payload::File(path), Source::Files { kept, .. }) => {
                Ok(Pixels::One(kept.picture(job.number, || decode::read(&path))?))
            }
            (Payload::Bytes(bytes), _) => {
                let picture = decode::from_bytes(Path::new(&job.name), &bytes?)?;
                Ok(Pixels::One(Arc::new(picture)))
            }
            (Payload::Clip, Source::Clips(clips)) => {
                let mut stream = Stream::new(seed, Purpose::Frames, job.epoch, job.number as u64);
                let mut frames = clips.read(job.number, &mut stream)?.into_iter();
                match (frames.next(), frames.next()) {
                    (Some(first), Some(second)) => Ok(Pixels::Two(first, second)),
                    (Some(frame), None) => Ok(Pixels::One(Arc::new(frame))),
                    _ => Err(Error::data(Path::new(&job.name), "gave no frame", "leave it out")),
                }
            }
            (Payload::File(_) | Payload::Clip, _) => {
                Err(Error::setting("samples", "a job of another dataset was asked for"))
            }
        }
    }

    fn name(&self, number: usize) -> String {
        match &self.source {
            Source::Files { names, .. } => {
                names.get(number).map_or_else(String::new, |name| name.display().to_string())
            }
            Source::Shards(shards) => shards.name(number),
            Source::Clips(clips) => clips.name(number),
        }
    }
}

/// The jobs of an epoch, in order.
#[derive(Debug)]
pub struct Epoch<'a> {
    samples: &'a Samples,
    epoch: u64,
    order: Order<'a>,
    position: usize,
}

#[derive(Debug)]
enum Order<'a> {
    Plain(Vec<usize>),
    Shards(Reader<'a>),
}

impl Iterator for Epoch<'_> {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        let position = self.position;
        let (number, payload) = match &mut self.order {
            Order::Plain(order) => {
                let number = *order.get(position)?;
                let payload = match &self.samples.source {
                    Source::Files { root, names, .. } => {
                        Payload::File(root.join(names.get(number)?))
                    }
                    _ => Payload::Clip,
                };
                (number, payload)
            }
            Order::Shards(reader) => {
                let (number, bytes) = reader.at(position)?;
                (number, Payload::Bytes(bytes))
            }
        };
        self.position += 1;
        let name = self.samples.name(number);
        Some(Job { epoch: self.epoch, position, number, name, payload })
    }
}

/// The hash of names, relative to `root`, and sizes, a line each.
fn fingerprint(root: &Path, names: &[PathBuf]) -> Result<String> {
    let mut lines = Vec::with_capacity(names.len());
    for name in names {
        let path = root.join(name);
        let size = std::fs::metadata(&path).map_err(Error::reading(&path))?.len();
        lines.push((name.as_os_str().as_encoded_bytes(), size));
    }
    lines.sort_unstable();
    let mut hasher = Sha256::new();
    for (name, size) in lines {
        hasher.update(name);
        hasher.update(format!("\t{size}\n"));
    }
    Ok(hexadecimal(&hasher.finalize()))
}

#[cfg(test)]
mod tests;
