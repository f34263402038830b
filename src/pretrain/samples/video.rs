//! Frames of clips: folders of frames, or video files through the programs `ffmpeg` and `ffprobe`.
//!
//! The sample's stream `frames` chooses the frames: one at random for CropMAE; for SiamMAE a gap
//! uniform in 4…47 unless set otherwise (or up to the length of the clip), and then the earlier
//! frame. `ffprobe` lists a file's packets once (`index.rs`). `ffmpeg` decodes from the last key
//! frame before the wanted frames, or from the start if a file's times cannot be used, so that the
//! frames are the same in every format. It pipes them out as raw pixels, the short side at most
//! [`VideoSettings::short_side`]. Nothing is stored unless a cache is asked for: then each file is
//! turned into a folder of JPEG frames the first time, and read from there (`cache.rs`).

mod cache;
mod index;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use self::index::Index;
use super::folder;
use crate::data::listing::{self, PICTURES};
use crate::error::{Error, Result};
use crate::image::{Rgb, decode};
use crate::pretrain::random::Stream;

/// Extensions of video files, in lower case.
pub(super) const VIDEOS: &[&str] = &["mp4", "avi", "webm", "mkv", "mov"];

/// How many frames of a clip a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// One at random, cropped twice (CropMAE).
    One,
    /// Two, cropped alike (SiamMAE).
    Two {
        /// How far apart they are: least and most.
        gap: [usize; 2],
    },
}

impl Frames {
    /// The frames that a clip must have.
    fn needed(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two { gap: [least, _] } => least + 1,
        }
    }
}

/// How video files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoSettings {
    /// Frames are scaled down so that their short side has at most so many pixels.
    pub short_side: usize,
    /// Where to keep the frames of files that have been read once.
    pub frames_cache: Option<PathBuf>,
    /// The program `ffmpeg`.
    pub ffmpeg: PathBuf,
    /// The program `ffprobe`.
    pub ffprobe: PathBuf,
}

impl Default for VideoSettings {
    fn default() -> Self {
        Self {
            short_side: 256,
            frames_cache: None,
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
        }
    }
}

/// Clips, listed.
#[derive(Debug)]
pub(super) struct Clips {
    root: PathBuf,
    clips: Vec<Clip>,
    frames: Frames,
    settings: VideoSettings,
}

#[derive(Debug)]
struct Clip {
    /// Relative to the root.
    name: PathBuf,
    is_file: bool,
    /// The frames of a file, once listed.
    index: OnceLock<Index>,
}

impl Clips {
    /// The clips below `root`: folders that hold at least two pictures, and video files. Also all
    /// the files that they consist of, relative to `root`.
    ///
    /// # Errors
    /// There are none, or there are video files and no `ffmpeg`.
    pub(super) fn in_folder(
        root: &Path,
        frames: Frames,
        settings: &VideoSettings,
    ) -> Result<(Self, Vec<PathBuf>)> {
        let (clips, files) = clips_below(root)?;
        if clips.is_empty() {
            let problem = format!(
                "holds no folder with two or more frames and no video file ({})",
                VIDEOS.join(", ")
            );
            return Err(Error::data(root, problem, "pass the folder with the training videos"));
        }
        Ok((Self::new(root, clips, frames, settings)?, files))
    }

    /// The clips of a list: video files and folders of frames. Also all the files that they consist
    /// of, relative to `root`.
    ///
    /// # Errors
    /// A path of the list is neither, or there are video files and no `ffmpeg`.
    pub(super) fn in_list(
        (root, paths): (&Path, Vec<PathBuf>),
        list: &Path,
        frames: Frames,
        settings: &VideoSettings,
    ) -> Result<(Self, Vec<PathBuf>)> {
        let (mut clips, mut files) = (Vec::new(), Vec::new());
        for name in paths {
            let is_file = folder::has_extension(&name, VIDEOS);
            let pictures = if is_file { Vec::new() } else { pictures(&root.join(&name)) };
            if is_file {
                files.push(name.clone());
            } else if pictures.len() < 2 {
                let problem =
                    format!("names {}, neither a video nor a folder of frames", name.display());
                return Err(Error::data(list, problem, "list video files and folders of frames"));
            }
            files.extend(pictures.iter().filter_map(|path| Some(name.join(path.file_name()?))));
            clips.push(Clip { name, is_file, index: OnceLock::new() });
        }
        Ok((Self::new(root, clips, frames, settings)?, files))
    }

    fn new(
        root: &Path,
        clips: Vec<Clip>,
        frames: Frames,
        settings: &VideoSettings,
    ) -> Result<Self> {
        if clips.iter().any(|clip| clip.is_file) {
            for program in [&settings.ffmpeg, &settings.ffprobe] {
                run(Command::new(program).arg("-version"), root)?;
            }
        }
        // a cache is written from within its folders, where relative paths mean something else
        let root = std::path::absolute(root).map_err(Error::reading(root))?;
        Ok(Self { root, clips, frames, settings: settings.clone() })
    }

    pub(super) fn len(&self) -> usize {
        self.clips.len()
    }

    pub(super) fn name(&self, number: usize) -> String {
        self.clips.get(number).map_or_else(String::new, |clip| clip.name.display().to_string())
    }

    /// Frames of a clip, drawn from `stream`: one, or two with the earlier one first.
    ///
    /// # Errors
    /// The clip cannot be read or is too short.
    pub(super) fn read(&self, number: usize, stream: &mut Stream) -> Result<Vec<Rgb>> {
        let Some(clip) = self.clips.get(number) else {
            return Err(Error::setting("videos", format!("have no clip {number}")));
        };
        let path = self.root.join(&clip.name);
        let folder = match (&self.settings.frames_cache, clip.is_file) {
            (Some(cache), true) => self.cached(clip, &path, cache)?,
            (None, true) => return self.piped(clip, &path, stream),
            (_, false) => path,
        };
        let frames = listing::files(&folder, PICTURES)?;
        let chosen = choose(frames.len(), self.frames, stream);
        let chosen = chosen.ok_or_else(|| too_short(&folder, frames.len(), self.frames))?;
        chosen
            .iter()
            .filter_map(|frame| frames.get(*frame))
            .map(|path| decode::read(path))
            .collect()
    }

    fn piped(&self, clip: &Clip, path: &Path, stream: &mut Stream) -> Result<Vec<Rgb>> {
        let index = match clip.index.get() {
            Some(index) => index,
            None => {
                let listed = list(path, &self.settings)?;
                clip.index.get_or_init(|| listed)
            }
        };
        let chosen = choose(index.length, self.frames, stream);
        let chosen = chosen.ok_or_else(|| too_short(path, index.length, self.frames))?;
        grab(path, index, &chosen, &self.settings)
    }

    /// The folder with the frames of a file, made now if it is not there.
    fn cached(&self, clip: &Clip, path: &Path, cache: &Path) -> Result<PathBuf> {
        let size = std::fs::metadata(path).map_err(Error::reading(path))?.len();
        let folder = cache.join(cache::name(&clip.name, size, self.settings.short_side));
        cache::made_once(&folder, |partial| extract(path, partial, &self.settings))?;
        Ok(folder)
    }
}

/// Folders with two pictures or more and video files below `root`, and the files of both.
fn clips_below(root: &Path) -> Result<(Vec<Clip>, Vec<PathBuf>)> {
    let mut extensions = PICTURES.to_vec();
    extensions.extend(VIDEOS);
    let mut files = folder::files(root, &extensions)?;
    let mut pictures: BTreeMap<&Path, usize> = BTreeMap::new();
    let is_picture = |path: &Path| folder::has_extension(path, PICTURES);
    for file in files.iter().filter(|path| is_picture(path)) {
        *pictures.entry(file.parent().unwrap_or(Path::new(""))).or_default() += 1;
    }
    pictures.retain(|_, count| *count >= 2);
    let folders = pictures.keys().map(|path| (path.to_path_buf(), false));
    let videos = files.iter().filter(|path| !is_picture(path)).map(|path| (path.clone(), true));
    let mut named: Vec<(PathBuf, bool)> = folders.chain(videos).collect();
    let kept: Vec<PathBuf> = pictures.keys().map(|path| path.to_path_buf()).collect();
    files.retain(|path| {
        let parent = path.parent().unwrap_or(Path::new(""));
        !is_picture(path) || kept.binary_search_by(|folder| folder.as_path().cmp(parent)).is_ok()
    });
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    named.sort_by_cached_key(|(path, _)| bytes(path));
    let clip = |(name, is_file)| Clip { name, is_file, index: OnceLock::new() };
    Ok((named.into_iter().map(clip).collect(), files))
}

fn pictures(folder: &Path) -> Vec<PathBuf> {
    listing::files(folder, PICTURES).unwrap_or_default()
}

/// The frames of a clip of `length`; `None` where it is too short.
fn choose(length: usize, frames: Frames, stream: &mut Stream) -> Option<Vec<usize>> {
    match frames {
        Frames::One => (length > 0).then(|| vec![stream.below(length)]),
        Frames::Two { gap: [least, most] } => {
            let most = most.min(length.checked_sub(1)?);
            let choices = (most + 1).checked_sub(least).filter(|choices| *choices > 0)?;
            let gap = least + stream.below(choices);
            let first = stream.below(length - gap);
            Some(vec![first, first + gap])
        }
    }
}

fn too_short(path: &Path, length: usize, frames: Frames) -> Error {
    let needed = frames.needed();
    let problem = format!("has {length} frames, fewer than the {needed} a sample needs");
    Error::data(path, problem, "leave it out or copy it again")
}

/// Runs a program to its end and returns what it wrote.
fn run(command: &mut Command, path: &Path) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let program = Path::new(command.get_program()).display().to_string();
        let problem = format!(
            "video files are read with the program {program}, which does not start ({error})"
        );
        Error::data(path, problem, "install ffmpeg, or pass folders of frames")
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last =
        words.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no reason given");
    let program = Path::new(command.get_program()).display();
    Err(Error::data(path, format!("{program} cannot read it: {last}"), "copy or download it again"))
}

/// A path that the programs take for a file's, whatever is in it.
fn as_file(path: &Path) -> OsString {
    let mut text = OsString::from("file:");
    text.push(path);
    text
}

/// The frames of a file, by the packets of its first video track.
fn list(path: &Path, settings: &VideoSettings) -> Result<Index> {
    let mut command = Command::new(&settings.ffprobe);
    command.args(["-v", "error", "-select_streams", "v:0"]);
    command.args(["-show_entries", "packet=pts_time,flags", "-of", "csv=p=0"]).arg(as_file(path));
    let output = run(&mut command, path)?;
    let index = Index::of_packets(&String::from_utf8_lossy(&output));
    let index = index.ok_or_else(|| Error::data(path, "has no video track", "leave it out"))?;
    // AVI keeps no times: ffprobe's and ffmpeg's guesses are a frame apart
    Ok(if folder::has_extension(path, &["avi"]) { index.without_keys() } else { index })
}

/// Scales the short side down to at most this; an even size, as most codecs want it.
fn scaling(settings: &VideoSettings) -> String {
    let most = settings.short_side.max(2);
    format!("scale=w='if(lt(iw,ih),min(iw,{most}),-2)':h='if(lt(iw,ih),-2,min(ih,{most}))'")
}

/// Frames by their numbers, which rise.
fn grab(
    path: &Path,
    index: &Index,
    numbers: &[usize],
    settings: &VideoSettings,
) -> Result<Vec<Rgb>> {
    let Some((seconds, skipped)) = numbers.first().and_then(|first| index.seek(*first)) else {
        return decoded(path, None, numbers, settings);
    };
    let numbers_after: Vec<usize> = numbers.iter().map(|number| number - skipped).collect();
    // what cannot be begun there may still be read from its start
    decoded(path, Some(&seconds), &numbers_after, settings)
        .or_else(|_| decoded(path, None, numbers, settings))
}

/// Frames by their numbers among those after a time, or among all of them.
fn decoded(
    path: &Path,
    after: Option<&str>,
    numbers: &[usize],
    settings: &VideoSettings,
) -> Result<Vec<Rgb>> {
    let terms: Vec<String> = numbers.iter().map(|number| format!("eq(n,{number})")).collect();
    // New times, a frame apart: whatever the file's are, no frame is left out or put in.
    let filters = format!("select='{}',{},settb=1/25,setpts=N", terms.join("+"), scaling(settings));
    let mut command = Command::new(&settings.ffmpeg);
    command.args(["-v", "error", "-nostdin"]);
    if let Some(seconds) = after {
        // frames before it are decoded and dropped; the time is the file's own, not from its start
        command.args(["-seek_timestamp", "1", "-ss", seconds]);
    }
    command.arg("-i").arg(as_file(path));
    command.args([
        "-map",
        "0:v:0",
        "-vf",
        &filters,
        "-r",
        "25",
        "-frames:v",
        &numbers.len().to_string(),
    ]);
    command.args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]);
    let output = run(&mut command, path)?;
    let mut rest = output.as_slice();
    let mut frames = Vec::with_capacity(numbers.len());
    while let Some(frame) = take_ppm(&mut rest) {
        frames.push(frame);
    }
    if frames.len() != numbers.len() {
        let problem = format!("only {} of the frames {numbers:?} can be decoded", frames.len());
        return Err(Error::data(path, problem, "copy or download it again"));
    }
    Ok(frames)
}

/// The next picture of a stream of raw RGB pictures, each after a line `P6`, its size and 255.
fn take_ppm(rest: &mut &[u8]) -> Option<Rgb> {
    let mut words = [0; 3];
    let mut bytes = rest.strip_prefix(b"P6")?;
    for word in &mut words {
        bytes = bytes.trim_ascii_start();
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, after) = bytes.split_at(digits);
        *word = std::str::from_utf8(number).ok()?.parse::<usize>().ok()?;
        bytes = after;
    }
    let [width, height, most] = words;
    let length = width.checked_mul(height)?.checked_mul(3)?;
    // one white space ends the header
    let (data, after) = bytes.get(1..)?.split_at_checked(length)?;
    *rest = after;
    (most == 255 && length > 0).then(|| Rgb { width, height, data: data.to_vec() })
}

/// Writes all frames into `folder` as JPEG files.
fn extract(path: &Path, folder: &Path, settings: &VideoSettings) -> Result<()> {
    let filters = format!("{},settb=1/25,setpts=N", scaling(settings));
    let mut command = Command::new(&settings.ffmpeg);
    command.current_dir(folder).args(["-v", "error", "-nostdin", "-y", "-i"]).arg(as_file(path));
    command.args(["-map", "0:v:0", "-vf", &filters, "-r", "25", "-q:v", "2", "-c:v", "mjpeg"]);
    command.args(["-pix_fmt", "yuvj420p", "-f", "image2", "-start_number", "0"]);
    command.arg(OsStr::new("%06d.jpg"));
    run(&mut command, path).map(drop)
}

#[cfg(test)]
mod tests;
