//! A scratch directory with samples in it, and the program run there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use cropmae::data::Benchmark;
use cropmae::image::{LabelImage, indexed};
use cropmae::sample::{self, Settings};
use serde_json::Value;
use tempfile::TempDir;

/// Clips of a sample.
pub(crate) const CLIPS: usize = 3;
/// Frames of each clip.
pub(crate) const FRAMES: usize = 4;
/// Rows and columns of the frames.
pub(crate) const SIZE: (usize, usize) = (96, 160);
/// Raw pixels at the frames' size: a clip takes milliseconds.
pub(crate) const QUICK: &str = "--weights pixels --size 96x160";

/// The benchmarks by the names of their verbs.
pub(crate) const BENCHMARKS: [(&str, Benchmark); 3] =
    [("davis", Benchmark::Davis), ("vip", Benchmark::Vip), ("jhmdb", Benchmark::Jhmdb)];

/// Files by their paths.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A directory that is removed at the end of the test. Paths are relative to it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// With a sample of each of these benchmarks, in folders of their names.
    pub(crate) fn with(names: &[&str]) -> Self {
        let place = Self::new();
        names.iter().for_each(|name| place.sample(name, CLIPS, FRAMES));
        place
    }

    /// Renders a sample of the benchmark into the folder of its name.
    pub(crate) fn sample(&self, name: &str, clips: usize, frames: usize) {
        let benchmark = BENCHMARKS.iter().find(|(known, _)| *known == name).unwrap().1;
        let defaults = sample::default_settings(benchmark);
        let settings = Settings { clips, frames, height: SIZE.0, width: SIZE.1, ..defaults };
        sample::render(&self.path(name), benchmark, &settings).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program, with nothing of the caller's environment that it looks at.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_propagate"));
        command.current_dir(self.0.path()).env("COLUMNS", "100").timeout(Duration::from_secs(120));
        for name in ["DAVIS_ROOT", "VIP_ROOT", "JHMDB_ROOT", "PROPAGATE_DEVICE"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command line, its words parted by spaces.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.run_in("", line)
    }

    /// As [`Place::run`], in a folder that is made where it is not there.
    pub(crate) fn run_in(&self, folder: &str, line: &str) -> Ran {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).unwrap();
        let mut command = self.command();
        let output = command.current_dir(folder).args(line.split_whitespace()).output().unwrap();
        Ran {
            line: line.to_owned(),
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// All files in a folder, by their paths in it.
    pub(crate) fn files(&self, folder: &str) -> Files {
        let root = self.path(folder);
        let mut found = BTreeMap::new();
        collect(&root, &root, &mut found);
        found
    }

    /// The names of all files in a folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        self.files(folder).into_keys().collect()
    }

    pub(crate) fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    pub(crate) fn json(&self, file: &str) -> Value {
        serde_json::from_str(&self.text(file)).unwrap()
    }

    pub(crate) fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        let path = self.path(name);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    pub(crate) fn mask(&self, file: &str) -> LabelImage {
        indexed::read(&self.path(file)).unwrap()
    }

    /// Writes a mask, or rewrites one with its ids changed.
    pub(crate) fn write_mask(&self, file: &str, mask: &LabelImage) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        indexed::write(&self.path(file), mask).unwrap();
    }

    pub(crate) fn change_mask(&self, file: &str, change: impl Fn(u8) -> u8) {
        let mut mask = self.mask(file);
        mask.data.iter_mut().for_each(|id| *id = change(*id));
        self.write_mask(file, &mask);
    }

    /// Cuts a file to this share of its length.
    pub(crate) fn cut(&self, file: &str, share: f64) {
        let mut bytes = fs::read(self.path(file)).unwrap();
        bytes.truncate((bytes.len() as f64 * share) as usize);
        fs::write(self.path(file), bytes).unwrap();
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Files) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        // Links are to places that must not be read, such as /dev/full.
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            collect(root, &path, found);
        } else if kind.is_file() {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// Asserts that two folders hold the same files; the names of those that differ are shown.
pub(crate) fn assert_same(a: &Files, b: &Files, what: &str) {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differing: Vec<_> = names.into_iter().filter(|name| a.get(*name) != b.get(*name)).collect();
    assert!(differing.is_empty(), "{what}: {differing:?} differ");
}

/// What a command did.
pub(crate) struct Ran {
    line: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Asserts the exit status; what was printed is shown where it is another.
    pub(crate) fn exits(self, code: i32) -> Self {
        let Self { line, out, err, .. } = &self;
        assert_eq!(self.code, Some(code), "propagate {line}\nstdout:\n{out}\nstderr:\n{err}");
        self
    }

    /// Asserts that stderr holds all of these.
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.err.contains(part),
                "{part:?} is not in the stderr of {}:\n{}",
                self.line,
                self.err
            );
        }
        self
    }

    /// Asserts that nothing is on stdout, and that stderr ends in one line of these words and is no
    /// panic.
    pub(crate) fn refuses(self, parts: &[&str]) -> Self {
        assert!(self.out.is_empty(), "{}: stdout is not empty:\n{}", self.line, self.out);
        assert!(!self.err.contains("panicked"), "{}: {}", self.line, self.err);
        let last = self.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: "), "{}: the last line is {last:?}", self.line);
        for part in parts {
            assert!(last.contains(part), "{}: {part:?} is not in {last:?}", self.line);
        }
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{}: {error}", self.line))
    }
}
