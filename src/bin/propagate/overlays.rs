//! Overlays: drawn after every evaluation, and by `propagate overlays` for a finished run.
//!
//! They are drawn from the files of a run after its results are stored, so a failure here loses no
//! result. A picture that is newer than its clip's record is not drawn again.

mod ffmpeg;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cropmae::data::{Clip, Need, Opened};
use cropmae::eval::folder::record_path;
use cropmae::eval::{Record, flat_name};
use cropmae::files::write_json;
use cropmae::image::{decode, figure};
use cropmae::overlay::{Overlay, Style, film, sheet};
use cropmae::protocol::Benchmark;
use cropmae::report;
use cropmae::wording::counted;
use cropmae::{Error, files};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::args::{Kind, OverlayArgs, OverlaysArgs};
use crate::common::usage::usage;
use crate::show::{self, Notes};
use crate::targets::Inputs;
use crate::{Outcome, clips};

/// Frames of a contact sheet, and how many stand in a row.
const SHEET: (usize, usize) = (8, 4);

/// A run whose clips are to be drawn.
pub(crate) struct Drawn<'a> {
    pub(crate) clips: &'a Opened,
    pub(crate) folder: &'a Path,
}

/// `propagate overlays`.
pub(crate) fn run(args: &OverlaysArgs) -> Result<Outcome> {
    let say = Notes::new(args.quiet);
    let benchmark = benchmark(&args.run)?;
    if let Some(file) = &args.figure {
        Inputs::default()
            .with_data(benchmark, args.data.data.as_deref(), &args.data.split)
            .with(&args.run.join("predictions"))
            .spare_file("--figure", file, "png", true)?;
    }
    let clips = clips::open(benchmark, &args.data, Need::Frames, &say)?;
    let drawn = Drawn { clips: &clips, folder: &args.run };
    if let Some(file) = &args.figure {
        drawn.figure(args, file)?;
        say.line(&format!("figure in {}", file.display()));
        return Ok(Outcome::Done);
    }
    let kind = args.overlay.overlays;
    if kind == Kind::None {
        bail!(usage!("--overlays: none leaves nothing to do; pass png, mp4 or gif"));
    }
    let summary = drawn.all(&args.overlay, args.width.map(usize::from), &say)?;
    if summary.drawn + summary.kept == 0 {
        let clips = counted(clips.overview().asked(), "clip");
        let why = summary.why.map_or(String::new(), |why| format!("; {why}"));
        bail!("{}: 0 of {clips} could be drawn{why}", args.run.display());
    }
    say.line(&summary.words(&args.run));
    Ok(if summary.failed == 0 { Outcome::Done } else { Outcome::Partial })
}

/// Draws the clips of a run whose results are stored; what cannot be drawn is said, whatever is
/// quiet, and loses nothing of them. Whether all that is done was drawn.
pub(crate) fn after(drawn: &Drawn<'_>, args: &OverlayArgs, say: &Notes) -> bool {
    if args.overlays == Kind::None {
        return true;
    }
    match drawn.all(args, None, say) {
        Ok(summary) => {
            say.line(&summary.words(drawn.folder));
            summary.failed == 0
        }
        Err(error) => {
            show::note(&format!("no overlays: {}", show::explained(&error)));
            false
        }
    }
}

/// The benchmark of a run's folder.
fn benchmark(folder: &Path) -> Result<Benchmark> {
    let path = folder.join("run.json");
    let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => report::no_run(folder),
        _ => Error::reading(&path)(error),
    })?;
    let identity: Value = serde_json::from_slice(&bytes)
        .with_context(|| format!("{}: is damaged", path.display()))?;
    serde_json::from_value(identity["benchmark"].clone()).map_err(|_| report::no_run(folder).into())
}

/// What became of the clips.
#[derive(Default)]
struct Summary {
    drawn: usize,
    kept: usize,
    failed: usize,
    seconds: f64,
    /// Why the first one that was not drawn was not: its name and the reason.
    why: Option<String>,
}

impl Summary {
    fn words(&self, folder: &Path) -> String {
        let place = folder.join("overlays");
        let place = place.display();
        let overlays = counted(self.drawn, "overlay");
        let drawn = format!("{overlays} in {place}, {:.1} s", self.seconds);
        match (self.drawn, self.kept) {
            (0, 0) => format!("no overlays in {place}"),
            (0, _) => format!("overlays in {place}, as they were"),
            (_, 0) => drawn,
            (_, kept) => format!("{drawn}; {kept} more as they were"),
        }
    }
}

/// What became of a clip.
enum Fate {
    Drawn,
    Kept,
    /// The run has not done it.
    Undone,
}

impl Drawn<'_> {
    /// Draws every clip that is done, clips in parallel.
    fn all(&self, args: &OverlayArgs, width: Option<usize>, say: &Notes) -> Result<Summary> {
        let start = Instant::now();
        let kind = match args.overlays {
            Kind::Mp4 if !ffmpeg::is_there() => {
                say.line("ffmpeg is not there: GIFs are made; install it, or pass --overlays gif");
                Kind::Gif
            }
            kind => kind,
        };
        let place = self.folder.join("overlays");
        std::fs::create_dir_all(&place).map_err(Error::creating(&place))?;
        let style = self.style(args, width, kind)?;
        renew(&place, kind, &style)?;
        let clips = self.clips.overview().clips;
        let each = clips.par_iter().enumerate();
        let fates: Vec<(&str, Result<Fate>)> =
            each.map(|(index, clip)| (clip.name(), self.one(index, *clip, kind, style))).collect();
        let mut summary = Summary { seconds: start.elapsed().as_secs_f64(), ..Summary::default() };
        for (name, fate) in fates {
            match fate {
                Ok(Fate::Drawn) => summary.drawn += 1,
                Ok(Fate::Kept) => summary.kept += 1,
                Ok(Fate::Undone) => {
                    let why = || format!("{name}: this run has not done it; pass its own --data");
                    summary.why.get_or_insert_with(why);
                }
                Err(error) => {
                    summary.failed += 1;
                    let why = show::explained(&error);
                    show::note(&format!("{name}: no overlay: {why}"));
                    summary.why.get_or_insert(format!("{name}: {why}"));
                }
            }
        }
        Ok(summary)
    }

    fn one(&self, index: usize, clip: &dyn Clip, kind: Kind, style: Style) -> Result<Fate> {
        let name = clip.name();
        if !self.is_done(clip)? {
            return Ok(Fate::Undone);
        }
        let path =
            self.folder.join("overlays").join(format!("{}.{}", flat_name(name), extension(kind)));
        if is_newer(&path, &record_path(self.folder, name)) {
            return Ok(Fate::Kept);
        }
        let overlay = self.overlay(index, style)?;
        let frames = || overlay.frames().map(|f| Ok(sheet::explained(f?, overlay.legend())));
        match kind {
            Kind::Gif => film::gif(&path, frames())?,
            Kind::Mp4 => ffmpeg::write(&path, frames())?,
            Kind::Png | Kind::None => {
                let sheet = sheet::contact(&overlay, SHEET.0, SHEET.1)?;
                files::write(&path, &figure::png(&sheet)?)?;
            }
        }
        Ok(Fate::Drawn)
    }

    /// Whether the run has done a clip.
    ///
    /// # Errors
    /// The clip is another by now.
    fn is_done(&self, clip: &dyn Clip) -> Result<bool> {
        let path = record_path(self.folder, clip.name());
        let Ok(bytes) = std::fs::read(&path) else { return Ok(false) };
        let record: Record<Value> = serde_json::from_slice(&bytes)
            .with_context(|| format!("{}: is damaged", path.display()))?;
        if record.labels != clip.label_line()? || record.frames != clip.frame_count() {
            bail!("this dataset's clip is another than the run's; pass the same --data");
        }
        Ok(true)
    }

    fn overlay(&self, index: usize, style: Style) -> Result<Overlay<'_>> {
        let predictions = self.folder.join("predictions");
        let found = Overlay::of(self.clips, index, &predictions, style);
        Ok(found.context("no such clip")??)
    }

    fn style(&self, args: &OverlayArgs, width: Option<usize>, kind: Kind) -> Result<Style> {
        let most = match kind {
            Kind::Png => Some(360),
            Kind::Gif | Kind::None => Some(480),
            Kind::Mp4 => None,
        };
        let own = self.clips.overview().image(0).map(decode::size).transpose()?;
        let usual = most.zip(own).map_or(0, |(most, (width, _))| width.min(most));
        let width = width.unwrap_or(usual);
        let truth = args.overlay_truth || !self.clips.benchmark().has_masks();
        Ok(Style { errors: args.overlay_errors, truth, width })
    }

    /// One figure of all clips asked for.
    fn figure(&self, args: &OverlaysArgs, file: &Path) -> Result<()> {
        let style = self.style(&args.overlay, args.width.map(usize::from), Kind::None)?;
        let mut overlays = Vec::new();
        for (index, clip) in self.clips.overview().clips.into_iter().enumerate() {
            let name = clip.name();
            if self.is_done(clip).with_context(|| name.to_owned())? {
                overlays.push(self.overlay(index, style).with_context(|| name.to_owned())?);
            } else if !args.data.sequences.is_empty() {
                bail!(usage!("{name}: this run has not done it; leave it out of --sequences"));
            }
        }
        if overlays.is_empty() {
            bail!("{}: the run has done none of these clips", self.folder.display());
        }
        let picture = sheet::printed(&overlays, usize::from(args.frames))?;
        Ok(files::write(file, &figure::png(&picture)?)?)
    }
}

fn extension(kind: Kind) -> &'static str {
    match kind {
        Kind::Gif => "gif",
        Kind::Mp4 => "mp4",
        Kind::Png | Kind::None => "png",
    }
}

/// Removes what was drawn in another style, and notes which style this is.
fn renew(place: &Path, kind: Kind, style: &Style) -> Result<(), Error> {
    let note = place.join("style.json");
    let stored = std::fs::read(&note).ok();
    let mut styles: BTreeMap<String, Value> =
        stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let (extension, style) = (extension(kind), json!(style));
    if styles.get(extension) == Some(&style) {
        return Ok(());
    }
    let entries = std::fs::read_dir(place).map_err(Error::reading(place))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|found| found == extension) {
            std::fs::remove_file(&path).map_err(Error::removing(&path))?;
        }
    }
    styles.insert(extension.to_owned(), style);
    write_json(&note, &styles)
}

/// Whether a file was written after another.
fn is_newer(path: &Path, than: &Path) -> bool {
    let written = |path: &Path| {
        let data = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        data.modified().ok()
    };
    written(path).zip(written(than)).is_some_and(|(this, that)| this >= that)
}
