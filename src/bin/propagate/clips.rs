//! Which clips to process: opens or renders a dataset, and selects the clips asked for.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use cropmae::data::{self, Clip, Dataset, LabelClip, Need, PoseClip, Split};
use cropmae::nearest::nearest;
use cropmae::overlay::{Overlay, Style};
use cropmae::protocol::Benchmark;
use cropmae::report::record::DatasetRecord;

use crate::args::DataArgs;
use crate::common;
use crate::common::usage::{Usage, usage};
use crate::show::Notes;

/// The clips of a benchmark.
pub(crate) enum Clips {
    Masks(Dataset<LabelClip>),
    Poses(Dataset<PoseClip>),
}

impl Clips {
    /// Opens a dataset and narrows it to the clips asked for.
    pub(crate) fn open(
        benchmark: Benchmark,
        args: &DataArgs,
        need: Need,
        say: &Notes,
    ) -> Result<Self> {
        let root = root(benchmark, args.data.as_deref(), say)?;
        let split = split(&args.split)?;
        let masks = |set| narrowed(set, args).map(Self::Masks);
        let poses = |set| narrowed(set, args).map(Self::Poses);
        let clips = match (benchmark, need) {
            (Benchmark::Davis, _) => masks(data::davis::open(&root, &split, need)?),
            (Benchmark::Vip, _) => masks(data::vip::open(&root, &split, need)?),
            (Benchmark::Jhmdb, Need::Frames) => poses(data::jhmdb::open(&root, &split)?),
            (Benchmark::Jhmdb, Need::LabelsOnly) => poses(data::jhmdb::open_labels(&root, &split)?),
        }?;
        clips.notices().iter().for_each(|notice| say.line(notice));
        Ok(clips)
    }

    /// Leaves out all other clips.
    pub(crate) fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        match self {
            Self::Masks(set) => set.keep(wanted),
            Self::Poses(set) => set.keep(wanted),
        }
    }

    /// Names and frame counts.
    pub(crate) fn list(&self) -> Vec<(&str, usize)> {
        match self {
            Self::Masks(set) => set.clips.iter().map(|c| (&*c.name, c.frames.len())).collect(),
            Self::Poses(set) => set.clips.iter().map(|c| (&*c.name, c.frames.len())).collect(),
        }
    }

    /// What decides a clip's record: its given labels in a line, and how many frames it has.
    pub(crate) fn given(&self, index: usize) -> Result<(String, usize)> {
        let of = |clip: Option<&dyn Clip>| {
            let clip = clip.context("no such clip")?;
            Ok((clip.label_line()?, clip.frame_count()))
        };
        match self {
            Self::Masks(set) => of(set.clips.get(index).map(|clip| clip as &dyn Clip)),
            Self::Poses(set) => of(set.clips.get(index).map(|clip| clip as &dyn Clip)),
        }
    }

    /// Frames of all clips.
    pub(crate) fn frames(&self) -> usize {
        self.list().iter().map(|(_, frames)| frames).sum()
    }

    /// Frames of the longest clip.
    pub(crate) fn longest(&self) -> usize {
        self.list().iter().map(|(_, frames)| *frames).max().unwrap_or(0)
    }

    fn notices(&self) -> &[String] {
        match self {
            Self::Masks(set) => &set.notices,
            Self::Poses(set) => &set.notices,
        }
    }

    /// How many clips are asked for, those that cannot be opened among them.
    pub(crate) fn asked(&self) -> usize {
        match self {
            Self::Masks(set) => set.clips.len() + set.broken.len(),
            Self::Poses(set) => set.clips.len() + set.broken.len(),
        }
    }

    /// Whether the list names more clips than are asked for.
    pub(crate) fn narrowed(&self) -> bool {
        let listed = match self {
            Self::Masks(set) => set.listed,
            Self::Poses(set) => set.listed,
        };
        self.asked() < listed
    }

    /// The dataset's folder.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Self::Masks(set) => &set.root,
            Self::Poses(set) => &set.root,
        }
    }

    /// The first frame, whose size stands for the clips'.
    pub(crate) fn first_frame(&self) -> Option<&Path> {
        match self {
            Self::Masks(set) => set.clips.first()?.frames.first()?.image.as_deref(),
            Self::Poses(set) => set.clips.first()?.frames.first().map(PathBuf::as_path),
        }
    }

    /// A frame of the first clip.
    pub(crate) fn image(&self, index: usize) -> Option<&Path> {
        match self {
            Self::Masks(set) => set.clips.first()?.frames.get(index)?.image.as_deref(),
            Self::Poses(set) => set.clips.first()?.frames.get(index).map(PathBuf::as_path),
        }
    }

    /// A clip's frames with what was predicted of them; `None` where there is no such clip.
    /// `predictions` holds a folder for each clip.
    pub(crate) fn overlay(
        &self,
        benchmark: Benchmark,
        index: usize,
        predictions: &Path,
        style: Style,
    ) -> Option<cropmae::Result<Overlay<'_>>> {
        let drawn = match (self, benchmark) {
            (Self::Masks(set), Benchmark::Davis) => {
                Overlay::objects(set.clips.get(index)?, predictions, style)
            }
            (Self::Masks(set), _) => Overlay::parts(set.clips.get(index)?, predictions, style),
            (Self::Poses(set), _) => Overlay::joints(set.clips.get(index)?, predictions, style),
        };
        Some(drawn)
    }

    /// The data's part of the record.
    pub(crate) fn record(&self, done: usize, frames: usize) -> DatasetRecord {
        let (split, clips, hash) = match self {
            Self::Masks(set) => (&set.split, set.listed, set.label_hash()),
            Self::Poses(set) => (&set.split, set.listed, set.label_hash()),
        };
        let (name, split) = (folder_name(self.root()), split.clone());
        DatasetRecord { name, split, clips, done, frames, labels_sha256: hash.ok() }
    }
}

/// The last part of a path.
pub(crate) fn folder_name(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned()
}

/// `--split`.
pub(crate) fn split(text: &str) -> Result<Split> {
    let file = Path::new(text);
    match text {
        "val" => Ok(Split::Val),
        "train" => Ok(Split::Train),
        _ if file.exists() && !file.is_dir() => Ok(Split::File(file.to_path_buf())),
        _ => bail!(usage!(
            "--split: {text:?} is neither val nor train nor a file of clip names; pass other lists as files, such as DAVIS/ImageSets/2017/test-dev.txt"
        )),
    }
}

/// Whether it is said where the dataset is.
pub(crate) fn is_named(benchmark: Benchmark, data: Option<&Path>) -> bool {
    data.is_some() || std::env::var_os(variable(benchmark)).is_some()
}

/// The dataset's folder, where it is said or will be rendered.
pub(crate) fn folder(benchmark: Benchmark, data: Option<&Path>) -> Option<PathBuf> {
    match data {
        Some(data) if common::is_sample(data) => Some(common::sample_folder(benchmark)),
        Some(data) => Some(data.to_path_buf()),
        None => std::env::var_os(variable(benchmark)).map(PathBuf::from),
    }
}

/// What the environment calls the dataset's folder.
fn variable(benchmark: Benchmark) -> String {
    format!("{}_ROOT", benchmark.name().to_uppercase())
}

/// Where the dataset is: `--data`, the environment, or rendered now.
pub(crate) fn root(benchmark: Benchmark, data: Option<&Path>, say: &Notes) -> Result<PathBuf> {
    let variable = variable(benchmark);
    let found = data.map(PathBuf::from).or_else(|| std::env::var_os(&variable).map(PathBuf::from));
    let Some(found) = found else {
        bail!(usage!(
            "where is the dataset? Pass --data ROOT, set {variable}, or try --data sample"
        ));
    };
    if !data.is_some_and(common::is_sample) {
        return Ok(found);
    }
    common::sample_root(benchmark, &|line| say.line(line))
}

/// Only the clips of `--sequences`, and of these the first of the list that `--limit` allows,
/// broken or not: no other clip stands in for a broken one.
fn narrowed<C: Clip>(mut dataset: Dataset<C>, args: &DataArgs) -> Result<Dataset<C>> {
    let names = dataset.names();
    let wanted = wanted(&args.sequences)?;
    if let Some(unknown) = wanted.iter().find(|wanted| !names.contains(wanted)) {
        bail!(unknown_clip(unknown, &names, &dataset.split));
    }
    let limit = args.limit.unwrap_or(usize::MAX);
    ensure!(limit > 0, usage!("--limit: at least one clip is needed"));
    let asked = names.iter().filter(|name| wanted.is_empty() || wanted.contains(name));
    let asked: HashSet<String> = asked.take(limit).map(|name| (*name).to_owned()).collect();
    dataset.keep(|name| asked.contains(name));
    Ok(dataset)
}

/// The names that were typed.
fn wanted(typed: &[String]) -> Result<Vec<&str>> {
    let names: Vec<&str> = typed.iter().map(|name| name.trim()).collect();
    for (index, name) in names.iter().enumerate() {
        ensure!(
            !name.is_empty(),
            usage!(
                "--sequences: a name is empty; write the clips as A,B, with nothing after the last"
            )
        );
        ensure!(
            !names[..index].contains(name),
            usage!("--sequences: {name} is there twice; name each clip once")
        );
    }
    Ok(names)
}

/// What is said of a clip that is not in the list.
fn unknown_clip(unknown: &str, names: &[&str], split: &str) -> Usage {
    let whole = names.iter().copied().find(|name| name.ends_with(&format!("/{unknown}")));
    let near = whole.or_else(|| nearest(unknown, names.iter().copied()));
    let there = match near {
        Some(near) => format!("did you mean {near}? There are {}", names.len()),
        None => format!("there are {}", names.len()),
    };
    let some: Vec<&str> = names.iter().copied().take(NAMED).collect();
    usage!("no clip is called {unknown:?} in {split}; {there}, such as {}", some.join(", "))
}

/// How many clips are named where one is not found.
const NAMED: usize = 8;
