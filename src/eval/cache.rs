//! The cache of features: what an encoder computed for a clip, kept on disk so that a run with
//! another setting of the propagation neither decodes nor encodes.
//!
//! ```text
//! DIR/<weights>-<key>/<clip>-<frames>.safetensors     features [T, h·w, D], f32; checksums [T], u32
//! ```
//!
//! A file is used only if its header says that the same encoder made it in the same way from frames
//! with the same bytes, and if its length is right; otherwise it is made again. It is written while
//! the clip is labelled and read frame by frame, so only a few frames are in memory; each frame has
//! a CRC-32, so that bytes that a disk has changed fail the clip instead of moving its score. Features are
//! always compared in f32, whatever number type the encoder uses, and are stored as such: nothing
//! is lost, and labels are the same to the last bit. [`super::stream`] looks here before it decodes
//! anything.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::folder::flat_name;
use super::input::Encoded;
use crate::digest::hexadecimal;
use crate::error::{Error, Result};
use crate::files::safetensors::{self, FEATURES_HEAD};
use crate::files::{self, Pending};
use crate::protocol::{self, Size};

/// Changes with the layout of the files.
const FORMAT: u64 = 2;

/// A folder of features made by one encoder in one way.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    key: Value,
    /// Whether files go once their clip is done.
    passing: bool,
    refresh: bool,
    /// What this run has made, with the clip's name: it need not be made again for the sake of
    /// [`Kept::Refreshed`].
    made: Mutex<HashMap<PathBuf, String>>,
}

/// How long features are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Until the user removes them.
    Always,
    /// As [`Kept::Always`], and what earlier runs have left is made again.
    Refreshed,
    /// Until [`Cache::clip_done`].
    WithinClip,
}

impl Cache {
    /// Opens a cache in `root`. `key` holds everything that decides the features of a frame: the
    /// encoder and how frames are prepared for it.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(root: &Path, key: &Value, kept: Kept) -> Result<Self> {
        let weights = key["weights_sha256"].as_str().unwrap_or_default();
        let weights = weights.get(..8).unwrap_or(weights);
        let key = json!({ "format": FORMAT, "made_by": key });
        let folder = root.join(format!("{weights}-{}", &protocol::hash(&key)[..8]));
        let passing = kept == Kept::WithinClip;
        std::fs::create_dir_all(&folder).map_err(Error::creating(&folder))?;
        // what killed runs have left, of whatever encoder
        let folders = std::fs::read_dir(root).into_iter().flatten().flatten();
        folders.for_each(|folder| files::sweep(&folder.path()));
        let refresh = kept == Kept::Refreshed;
        Ok(Self { folder, key, passing, refresh, made: Mutex::default() })
    }

    /// Told when all settings are through with a clip.
    ///
    /// # Errors
    /// Features that were kept for the clip alone cannot be removed.
    pub fn clip_done(&self, clip: &str) -> Result<()> {
        if !self.passing {
            return Ok(());
        }
        let mut made = self.made();
        let of_clip: Vec<PathBuf> =
            made.extract_if(|_, of| of == clip).map(|(path, _)| path).collect();
        drop(made);
        of_clip
            .iter()
            .try_for_each(|path| std::fs::remove_file(path).map_err(Error::removing(path)))
    }

    /// The place of a clip's features; reads the bytes of all its frames, and decodes none.
    ///
    /// # Errors
    /// A frame cannot be read.
    pub(super) fn place(&self, clip: &str, frames: &[PathBuf]) -> Result<Place<'_>> {
        let fingerprint = fingerprint(frames)?;
        let name = format!("{}-{}.safetensors", flat_name(clip), &fingerprint[..16]);
        let key = json!({ "key": self.key, "frames": fingerprint }).to_string();
        let path = self.folder.join(name);
        Ok(Place { cache: self, clip: clip.to_owned(), path, key, frames: frames.len() })
    }

    fn made(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// SHA-256 over the SHA-256 of every frame's file, in hexadecimal.
fn fingerprint(frames: &[PathBuf]) -> Result<String> {
    let digest =
        |path: &PathBuf| std::fs::read(path).map(Sha256::digest).map_err(Error::reading(path));
    let digests: Vec<_> = frames.par_iter().map(digest).collect::<Result<_>>()?;
    let whole = Sha256::digest(digests.concat());
    Ok(hexadecimal(&whole))
}

/// Where the features of a clip are, or will be.
pub(super) struct Place<'a> {
    cache: &'a Cache,
    clip: String,
    path: PathBuf,
    /// All that decides them, as the file says it.
    key: String,
    /// How many frames the clip has.
    frames: usize,
}

/// What is at the place of a clip's features.
pub(super) enum Found {
    /// They are.
    Features(Features),
    /// Nothing.
    Nothing,
    /// Something that must not be used, and why.
    Unfit(String),
}

impl Place<'_> {
    /// Looks there. `width` is that of the encoder's features, `patch` the side of its patches.
    pub(super) fn find(&self, patch: usize, width: usize) -> Found {
        if self.cache.refresh && !self.cache.made().contains_key(&self.path) {
            return Found::Nothing;
        }
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => return Found::Unfit(error.to_string()),
        };
        match self.read_head(&mut file, patch, width) {
            Ok(head) => {
                let path = self.path.clone();
                Found::Features(Features { file, path, head, width, next: 0 })
            }
            Err(problem) => Found::Unfit(format!("{}: {problem}", self.path.display())),
        }
    }

    /// What stands around the features; leaves the file at the first number.
    fn read_head(&self, file: &mut File, patch: usize, width: usize) -> Result<Head, String> {
        let damaged = || "is damaged".to_owned();
        let said = |error: std::io::Error| error.to_string();
        let head = safetensors::head(file, FEATURES_HEAD).map_err(said)?;
        let (header, start) = head.ok_or_else(damaged)?;
        let header: Value = serde_json::from_slice(&header).map_err(|_| damaged())?;
        let about = &header["__metadata__"];
        if about["key"] != *self.key {
            return Err("is not of this encoder and these frames".into());
        }
        let size = |name: &str| about[name].as_str().and_then(|size| size.parse::<Size>().ok());
        let (frame, input) = size("frame").zip(size("input")).ok_or_else(damaged)?;
        let cells = (input.height / patch.max(1)) * (input.width / patch.max(1));
        let tensor = &header[FEATURES];
        let shape = [self.frames, cells, width];
        if tensor["dtype"] != "F32" || tensor["shape"] != json!(shape) {
            return Err(format!("holds {} and not {shape:?}", tensor["shape"]));
        }
        let bytes = file.metadata().map_err(said)?.len();
        let features = 4 * shape.iter().product::<usize>() as u64;
        let expected = start + features + 4 * self.frames as u64;
        if bytes != expected {
            return Err(format!("has {bytes} bytes and not {expected}"));
        }
        file.seek(SeekFrom::Start(start + features)).map_err(said)?;
        let mut checksums = Vec::new();
        file.read_to_end(&mut checksums).map_err(said)?;
        let checksums =
            checksums.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        file.seek(SeekFrom::Start(start)).map_err(said)?;
        Ok(Head { frame, input, cells, checksums })
    }

    /// Begins the file for features like the first frame's.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(super) fn begin(&self, first: &Encoded) -> Result<Writer<'_>> {
        let (cells, width) = first.features.dims2()?;
        let about = json!({
            "key": self.key,
            "frame": first.frame.to_string(),
            "input": first.input.to_string(),
            "axes": "frame,cell,channel",
        });
        let mut file = Pending::create(&self.path)?;
        let (features, checksums) = ([self.frames, cells, width], [self.frames]);
        let tensors =
            [(FEATURES, DType::F32, &features[..]), (CHECKSUMS, DType::U32, &checksums[..])];
        file.append(&safetensors::header(&about, tensors)?)?;
        Ok(Writer { place: self, file, checksums: Vec::new() })
    }
}

/// The tensors' names.
const FEATURES: &str = "features";
const CHECKSUMS: &str = "checksums";

/// Keeps the features of a clip, frame after frame.
pub(super) struct Writer<'a> {
    place: &'a Place<'a>,
    file: Pending,
    checksums: Vec<u8>,
}

impl Writer<'_> {
    /// Appends a frame's features.
    ///
    /// # Errors
    /// There is no room, for example.
    pub(super) fn append(&mut self, features: &Tensor) -> Result<()> {
        let values: Vec<f32> = features.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.checksums.extend(crc32fast::hash(&bytes).to_le_bytes());
        self.file.append(&bytes)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// There is no room, for example.
    pub(super) fn complete(mut self) -> Result<()> {
        self.file.append(&self.checksums)?;
        self.file.finish()?;
        let Place { cache, path, clip, .. } = self.place;
        cache.made().insert(path.clone(), clip.clone());
        Ok(())
    }
}

/// What a file says before and after the features.
struct Head {
    /// The frames' size.
    frame: Size,
    /// The input's.
    input: Size,
    /// The cells of the grid.
    cells: usize,
    /// Of every frame.
    checksums: Vec<u32>,
}

/// The features of a clip, to be read frame after frame.
pub(super) struct Features {
    file: File,
    path: PathBuf,
    head: Head,
    width: usize,
    next: usize,
}

impl Features {
    /// The next frame's.
    ///
    /// # Errors
    /// The file cannot be read, or has been cut or changed since it was written.
    pub(super) fn next(&mut self, device: &Device) -> Result<Encoded> {
        let Head { frame, input, cells, ref checksums } = self.head;
        let damaged = |problem| Error::data(&self.path, problem, "remove the file and run again");
        let mut bytes = vec![0; 4 * cells * self.width];
        (self.file.read_exact(&mut bytes))
            .map_err(|error| damaged(format!("cannot be read ({error})")))?;
        if checksums.get(self.next) != Some(&crc32fast::hash(&bytes)) {
            let index = self.next;
            return Err(damaged(format!("the kept features of frame {index} are damaged")));
        }
        self.next += 1;
        let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let features = Tensor::from_vec(values.collect(), (cells, self.width), device)?;
        Ok(Encoded { features, frame, input })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Size = Size { height: 32, width: 48 };

    fn encoded(seed: f32) -> Encoded {
        let values: Vec<f32> = (0..24).map(|i| (seed + i as f32).sin()).collect();
        let features = Tensor::from_vec(values, (6, 4), &Device::Cpu).unwrap();
        Encoded { features, frame: Size { height: 31, width: 50 }, input: INPUT }
    }

    /// Three "frames" and a cache beside them.
    fn frames(folder: &Path) -> Vec<PathBuf> {
        let path = |t: usize| folder.join(format!("{t}.jpg"));
        (0..3).for_each(|t| std::fs::write(path(t), format!("frame {t}")).unwrap());
        (0..3).map(path).collect()
    }

    fn key() -> Value {
        json!({ "weights_sha256": "0123456789abcdef" })
    }

    fn fill(cache: &Cache, frames: &[PathBuf]) -> PathBuf {
        let place = cache.place("a/b", frames).unwrap();
        let mut file = place.begin(&encoded(0.0)).unwrap();
        (0..3).for_each(|t| file.append(&encoded(t as f32).features).unwrap());
        file.complete().unwrap();
        place.path
    }

    fn found(cache: &Cache, frames: &[PathBuf]) -> Result<Features, String> {
        match cache.place("a/b", frames).unwrap().find(16, 4) {
            Found::Features(features) => Ok(features),
            Found::Nothing => Err("nothing".into()),
            Found::Unfit(problem) => Err(problem),
        }
    }

    #[test]
    fn features_come_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let frames = frames(folder.path());
        let cache = Cache::open(&folder.path().join("cache"), &key(), Kept::Always).unwrap();
        assert_eq!(found(&cache, &frames).err().unwrap(), "nothing");
        let path = fill(&cache, &frames);
        let bytes = std::fs::read(path).unwrap();
        let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("features").unwrap().shape(), [3, 6, 4]);
        let mut features = found(&cache, &frames).unwrap();
        assert_eq!(features.head.checksums.len(), 3);
        for t in 0..3 {
            let (ours, made) = (features.next(&Device::Cpu).unwrap(), encoded(t as f32));
            let values = |it: &Encoded| it.features.to_vec2::<f32>().unwrap();
            assert_eq!(values(&ours), values(&made));
            assert_eq!((ours.frame, ours.input), (made.frame, made.input));
        }
        assert!(features.next(&Device::Cpu).is_err());
    }

    #[test]
    fn what_does_not_fit_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let frames = frames(folder.path());
        let root = folder.path().join("cache");
        let cache = Cache::open(&root, &key(), Kept::Always).unwrap();
        let path = fill(&cache, &frames);
        let whole = std::fs::read(&path).unwrap();
        let with = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            found(&cache, &frames).err().unwrap_or_default()
        };
        assert!(with(&whole[..whole.len() - 1]).contains("bytes and not"));
        assert!(with(&[&whole[..], &[0]].concat()).contains("bytes and not"));
        assert!(with(&whole[..100]).contains("damaged") && with(b"").contains("damaged"));
        let mut other = whole.clone();
        let at = whole.windows(8).position(|word| word == b"01234567").unwrap();
        other[at] = b'X';
        assert!(with(&other).contains("not of this encoder"), "{}", with(&other));
        assert_eq!(with(&whole), "");
        // one bit of the second frame's last number
        let mut other = whole.clone();
        let last = other.len() - 4 * 3 - 4 * 24 - 1;
        other[last] ^= 1;
        assert_eq!(with(&other), "");
        let mut features = found(&cache, &frames).unwrap();
        features.next(&Device::Cpu).unwrap();
        let error = features.next(&Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("features of frame 1 are damaged"), "{error}");
        std::fs::write(&path, &whole).unwrap();
        // Another encoder, other frames: another file.
        let key = json!({ "weights_sha256": "0123456789abcdef", "layer": "3" });
        let other = Cache::open(&root, &key, Kept::Always).unwrap();
        assert_eq!(found(&other, &frames).err().unwrap(), "nothing");
        std::fs::write(&frames[1], "frame One").unwrap();
        assert_eq!(found(&cache, &frames).err().unwrap(), "nothing");
    }

    #[test]
    fn leftovers_of_killed_runs_go_and_work_in_progress_stays() {
        let folder = tempfile::tempdir().unwrap();
        let frames = frames(folder.path());
        let cache = || Cache::open(&folder.path().join("cache"), &key(), Kept::Always).unwrap();
        let path = fill(&cache(), &frames);
        // of this encoder and of another
        let left =
            [path.with_extension("1-0.partial"), folder.path().join("cache/x/b.1-0.partial")];
        std::fs::create_dir(folder.path().join("cache/x")).unwrap();
        left.iter().for_each(|file| std::fs::write(file, b"half").unwrap());
        let at_work = cache();
        assert!(!left[0].exists() && !left[1].exists() && path.exists());
        let place = at_work.place("c", &frames).unwrap();
        let file = place.begin(&encoded(0.0)).unwrap();
        cache();
        file.complete().unwrap();
        assert!(place.path.exists());
    }

    #[test]
    fn refreshed_once_and_removed_where_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let frames = frames(folder.path());
        let root = folder.path().join("cache");
        fill(&Cache::open(&root, &key(), Kept::Always).unwrap(), &frames);
        let cache = Cache::open(&root, &key(), Kept::Refreshed).unwrap();
        assert_eq!(found(&cache, &frames).err().unwrap(), "nothing");
        let path = fill(&cache, &frames);
        assert!(found(&cache, &frames).is_ok());
        cache.clip_done("a/b").unwrap();
        assert!(path.exists());
        let passing = Cache::open(&folder.path().join("x"), &key(), Kept::WithinClip).unwrap();
        let path = fill(&passing, &frames);
        assert!(found(&passing, &frames).is_ok());
        passing.clip_done("another").unwrap();
        assert!(path.exists());
        passing.clip_done("a/b").unwrap();
        assert!(!path.exists());
    }
}
