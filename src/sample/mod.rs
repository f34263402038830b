//! Rendered clips with exact ground truth, in the layouts of DAVIS, VIP and JHMDB.
//!
//! Nothing has to be downloaded to try, test or time this crate: [`render()`] writes
//! small videos of drawn scenes, in which textured animals, people, cars and balls move in front
//! of each other, together with the masks, part classes or joints that the renderer knows exactly.
//! The folders look like the official releases, so [`crate::data`] reads them like those.
//!
//! The way through the modules: a clip is drawn by chance (`clip`, `cast`), people and things are
//! posed for a frame (`path`, `skeleton`, `person`, `animal`, `things`) as layers of rounded shapes
//! (`figure`) with painted surfaces (`texture`, `wardrobe`) before a backdrop (`scenery`, `decor`,
//! `backdrop`), turned into pixels (`render`) and stored (`layout`, `matlab`).
//!
//! The same settings give the same bytes, on any number of threads. A clip depends on the seed, the
//! benchmark, its own number and the size of the picture; a frame, beyond that, only on its number.
//! So more clips or more frames leave the first ones as they are. (Across platforms the pictures
//! may differ in single grey levels: sine and cosine come from the system's mathematical library.)

mod animal;
mod backdrop;
mod cast;
mod clip;
mod decor;
mod figure;
mod geometry;
mod layout;
mod matlab;
mod noise;
mod path;
mod person;
mod render;
mod scenery;
mod skeleton;
mod texture;
mod things;
mod wardrobe;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::Benchmark;
use crate::error::{Error, Result};
use crate::files::{self, Occupied};

/// What to render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Clips, at least 1.
    pub clips: usize,
    /// Frames of each clip, at least 1.
    pub frames: usize,
    /// Rows of a frame, 48 to 4096.
    pub height: usize,
    /// Columns of a frame, 48 to 4096.
    pub width: usize,
    /// Chooses scenes, actors and their ways; any number.
    pub seed: u64,
    /// Frames as JPEG of quality 92 instead of PNG. JHMDB is always PNG.
    pub jpeg: bool,
}

/// A small sample of a benchmark, rendered in a few seconds.
pub fn default_settings(benchmark: Benchmark) -> Settings {
    let (clips, frames, height, width, jpeg) = match benchmark {
        Benchmark::Davis => (3, 20, 480, 854, true),
        Benchmark::Vip => (3, 16, 480, 854, true),
        Benchmark::Jhmdb => (6, 24, 240, 320, false),
    };
    Settings { clips, frames, height, width, seed: 4, jpeg }
}

/// Renders a benchmark's clips into a folder laid out like the official release.
///
/// * DAVIS: clips of 2 to 4 moving objects, `JPEGImages/480p/<clip>/00000.jpg`,
///   `Annotations/480p/<clip>/00000.png` (palette PNG; ids count the objects from back to front,
///   and all of them are seen in the first frame), `ImageSets/2017/{train,val}.txt`, which both
///   name every clip.
/// * VIP: clips of one or two people, `Images/<clip>/000000000001.jpg`,
///   `Annotations/Category_ids/<clip>/000000000001.png` (palette PNG of the 20 classes),
///   `lists/val_videos.txt`.
/// * JHMDB: clips of a person, `Rename_Images/<action>/<clip>/00001.png`,
///   `joint_positions/<action>/<clip>/joint_positions.mat` (MATLAB 5; `pos_img` is 2×15×frames,
///   1-based x and y of neck, belly, head, then right and left shoulders, hips, elbows, knees,
///   wrists, ankles), `splits/<action>_test_split1.txt`, in which every clip is a test clip.
///
/// Does nothing where the folder already holds this very sample; finishes one that was interrupted.
///
/// # Errors
/// A setting makes no sense, `root` holds anything else, or a file cannot be written.
pub fn render(root: &Path, benchmark: Benchmark, settings: &Settings) -> Result<()> {
    match benchmark {
        Benchmark::Davis => guarded(root, benchmark, settings, layout::davis),
        Benchmark::Vip => guarded(root, benchmark, settings, layout::vip),
        Benchmark::Jhmdb => guarded(root, benchmark, settings, layout::jhmdb),
    }
}

/// Whether `root` holds the complete sample of a benchmark for exactly these settings.
pub fn is_complete(root: &Path, benchmark: Benchmark, settings: &Settings) -> bool {
    Marker::read(&root.join(COMPLETE)) == Some(Marker::new(benchmark, settings))
}

/// The file that tells a complete sample, and the one that tells that rendering has begun.
const COMPLETE: &str = "sample.json";
const BEGUN: &str = "sample.json.begun";

/// What the marker files say. `format` counts up whenever the same settings give other pictures.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    format: u32,
    benchmark: Benchmark,
    settings: Settings,
}

impl Marker {
    fn new(benchmark: Benchmark, settings: &Settings) -> Self {
        Self { format: 1, benchmark, settings: settings.clone() }
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn write(&self, path: &Path) -> Result<()> {
        files::write_json(path, self)
    }
}

/// Guards the folder while `write` fills it.
fn guarded(
    root: &Path,
    benchmark: Benchmark,
    settings: &Settings,
    write: fn(&Path, &Settings) -> Result<()>,
) -> Result<()> {
    check(settings)?;
    let marker = Marker::new(benchmark, settings);
    let begun = root.join(BEGUN);
    match found(root, &marker) {
        Ok(Found::Complete) => return Ok(()),
        Ok(_) => {}
        // seen half made: whoever makes it is waited for, or has just completed it
        Err(_) if root.join(Occupied::NAME).exists() || is_complete(root, benchmark, settings) => {}
        Err(error) => return Err(error),
    }
    fs::create_dir_all(root).map_err(Error::creating(root))?;
    // whoever renders the same meanwhile is waited for
    let _occupied = Occupied::wait_for(root)?;
    match found(root, &marker)? {
        Found::Complete => return Ok(()),
        Found::Begun => {}
        Found::Nothing => marker.write(&begun)?,
    }
    write(root, settings)?;
    // Renaming is atomic: a folder is complete or it is not.
    let complete: PathBuf = root.join(COMPLETE);
    fs::rename(&begun, &complete).map_err(Error::writing(&complete))
}

/// What a folder holds before rendering.
enum Found {
    Nothing,
    Begun,
    Complete,
}

fn found(root: &Path, marker: &Marker) -> Result<Found> {
    if Marker::read(&root.join(COMPLETE)).as_ref() == Some(marker) {
        return Ok(Found::Complete);
    }
    if !root.join(COMPLETE).exists() && Marker::read(&root.join(BEGUN)).as_ref() == Some(marker) {
        return Ok(Found::Begun);
    }
    match fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(Error::reading(root)(error)),
        Ok(mut entries) => {
            let is_left = |name: &OsStr| files::is_left(name, |name| name == BEGUN);
            match entries.all(|entry| entry.is_ok_and(|entry| is_left(&entry.file_name()))) {
                true => Ok(Found::Nothing),
                false => Err(Error::data(
                    root,
                    "the folder holds something else than this sample",
                    "name a new folder, or delete this one if nothing in it is needed",
                )),
            }
        }
    }
}

fn check(settings: &Settings) -> Result<()> {
    let range = |name: &str, value: usize, low: usize, high: usize| {
        if (low..=high).contains(&value) {
            return Ok(());
        }
        Err(Error::setting(name, format!("{value} is not between {low} and {high}")))
    };
    range("clips", settings.clips, 1, 9_999)?;
    range("frames", settings.frames, 1, 99_999)?;
    range("height", settings.height, 48, 4_096)?;
    range("width", settings.width, 48, 4_096)?;
    let (least, most) = (settings.height / 2, settings.height * 3);
    range("width", settings.width, least, most)
}

#[cfg(test)]
mod tests;
