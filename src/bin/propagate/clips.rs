//! Which clips to process: opens or renders a dataset, and selects the clips asked for.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use cropmae::data::{Need, Opened, Split};
use cropmae::nearest::nearest;
use cropmae::protocol::Benchmark;
use cropmae::report::record::DatasetRecord;

use crate::args::DataArgs;
use crate::common;
use crate::common::usage::{Usage, usage};
use crate::show::Notes;

/// Opens a dataset and narrows it to the clips asked for.
pub(crate) fn open(
    benchmark: Benchmark,
    args: &DataArgs,
    need: Need,
    say: &Notes,
) -> Result<Opened> {
    let root = root(benchmark, args.data.as_deref(), say)?;
    let split = split(&args.split)?;
    let clips = narrowed(Opened::open(benchmark, &root, &split, need)?, args)?;
    clips.overview().notices.iter().for_each(|notice| say.line(notice));
    Ok(clips)
}

/// The data's part of the record.
pub(crate) fn record(clips: &Opened, done: usize, frames: usize) -> DatasetRecord {
    let overview = clips.overview();
    let (name, split) = (folder_name(overview.root), overview.split.to_owned());
    let labels_sha256 = overview.label_hash().ok();
    DatasetRecord { name, split, clips: overview.listed, done, frames, labels_sha256 }
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
fn narrowed(mut clips: Opened, args: &DataArgs) -> Result<Opened> {
    let overview = clips.overview();
    let names = overview.names();
    let wanted = wanted(&args.sequences)?;
    if let Some(unknown) = wanted.iter().find(|wanted| !names.contains(wanted)) {
        bail!(unknown_clip(unknown, &names, overview.split));
    }
    let limit = args.limit.unwrap_or(usize::MAX);
    ensure!(limit > 0, usage!("--limit: at least one clip is needed"));
    let asked = names.iter().filter(|name| wanted.is_empty() || wanted.contains(name));
    let asked: HashSet<String> = asked.take(limit).map(|name| (*name).to_owned()).collect();
    clips.keep(|name| asked.contains(name));
    Ok(clips)
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
            usage!("--sequences: {name} is given twice; name each clip once")
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
