//! The output folder: every clip is stored completely or not at all, wherever the program is
//! stopped, and one folder holds one setting. (Predictions are left to the system to be written to
//! the disk: should the machine lose its power, they can be lost though the record is there.)
//!
//! ```text
//! OUT/run.json                  what was asked: a second run must ask for the same
//! OUT/predictions/<clip>/…      the results, moved here when the clip is done
//! OUT/soft_labels/<clip>.safetensors
//! OUT/clips/<clip>.json         the clip's record, written last: with it the clip counts as done
//! OUT/.unfinished/<clip>/…      the clip being worked on
//! OUT/.lock                     while a run works here: one at a time
//! ```

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::files::{self, Occupied, write_json};

/// The file of what was asked.
const IDENTITY: &str = "run.json";

/// An output folder of one run, which nobody else works in meanwhile.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    _occupied: Occupied,
}

/// Where a clip's results are written before they count.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
}

impl Staging {
    /// The folder for the clip's predictions.
    pub fn predictions(&self) -> PathBuf {
        self.root.join("predictions")
    }

    /// The file for its soft labels.
    pub fn soft_labels(&self) -> PathBuf {
        self.root.join("soft_labels.safetensors")
    }
}

/// A clip's name as one file name: '/' becomes '__'.
pub fn flat_name(clip: &str) -> String {
    clip.replace('/', "__")
}

/// The files of all records that a run's folder keeps, in no order.
///
/// # Errors
/// The folder keeps no records or cannot be read.
pub fn record_files(root: &Path) -> Result<Vec<PathBuf>> {
    let place = root.join("clips");
    let entries = std::fs::read_dir(&place).map_err(Error::reading(&place))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> =
        paths.collect::<std::io::Result<_>>().map_err(Error::reading(&place))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    Ok(paths)
}

/// Where a run's folder keeps a clip's record.
pub fn record_path(root: &Path, clip: &str) -> PathBuf {
    root.join("clips").join(format!("{}.json", flat_name(clip)))
}

impl RunFolder {
    /// Creates the folder, or takes up a run that was interrupted there.
    ///
    /// `identity` holds everything that decides the results; it is stored as `run.json`.
    ///
    /// # Errors
    /// The folder holds a run with another identity, or files that are no run at all, or another
    /// program is at work in it.
    pub fn open(root: &Path, identity: &Value) -> Result<Self> {
        create_dir(root)?;
        // no file is made in the folder of somebody else, not even for a moment
        if !root.join(Occupied::NAME).exists() {
            refuse_others(root)?;
        }
        // from here on nobody else changes what it holds
        let run = Self { root: root.to_path_buf(), _occupied: Occupied::take(root)? };
        refuse_others(root)?;
        if !is_noted(root, identity)? {
            write_json(&root.join(IDENTITY), identity)?;
        }
        Ok(run)
    }

    /// Refuses what [`RunFolder::open`] would refuse, and makes nothing.
    ///
    /// # Errors
    /// Those of [`RunFolder::open`], but for what shows only in making the folder.
    pub fn check(root: &Path, identity: &Value) -> Result<()> {
        files::check_folder(root)?;
        if root.exists() {
            Occupied::check(root)?;
            refuse_others(root)?;
            is_noted(root, identity)?;
        }
        Ok(())
    }

    /// Refuses a folder in which the runs of a sweep or of several encoders lie: with a run of its
    /// own it would no longer be theirs.
    ///
    /// # Errors
    /// Runs of several settings or encoders lie in `root`.
    pub fn check_single(root: &Path) -> Result<()> {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut inner = entries.map(|entry| entry.path().join(IDENTITY));
        if root.join("clips").exists() || !inner.any(|identity| identity.exists()) {
            return Ok(());
        }
        Err(Error::data(
            root,
            "this folder holds the runs of a sweep or of several encoders",
            "choose another folder for the setting `out`",
        ))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The folder that holds a folder of predictions for each clip.
    pub fn predictions(&self) -> PathBuf {
        self.root.join("predictions")
    }

    /// The record of a clip that is done.
    pub fn record<R: DeserializeOwned>(&self, clip: &str) -> Option<R> {
        read_json(&record_path(&self.root, clip)).ok()
    }

    /// Removes the record of a clip, which then does not count as done.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn forget(&self, clip: &str) -> Result<()> {
        remove(&record_path(&self.root, clip))
    }

    /// An empty place to work on a clip; what an interrupted run left there is removed.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn stage(&self, clip: &str) -> Result<Staging> {
        let staging = Staging { root: self.root.join(".unfinished").join(flat_name(clip)) };
        remove(&staging.root)?;
        create_dir(&staging.predictions())?;
        Ok(staging)
    }

    /// Moves a finished clip's results to their place and stores its record.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn commit<R: Serialize>(&self, clip: &str, staging: &Staging, record: &R) -> Result<()> {
        // Without a record the clip does not count, so its parts may be replaced one by one.
        self.forget(clip)?;
        replace(&staging.predictions(), &self.predictions().join(clip))?;
        let name = format!("{}.safetensors", flat_name(clip));
        let (soft, place) = (staging.soft_labels(), self.root.join("soft_labels").join(name));
        match soft.exists() {
            true => replace(&soft, &place)?,
            false => remove(&place)?,
        }
        create_dir(&self.root.join("clips"))?;
        write_json(&record_path(&self.root, clip), record)?;
        remove(&staging.root)
    }

    /// Removes the place where clips were worked on.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn clean(&self) -> Result<()> {
        remove(&self.root.join(".unfinished"))
    }
}

/// Refuses a folder with files in it that are no run's. A lock file or a partial run.json left by a
/// killed run does not count.
fn refuse_others(root: &Path) -> Result<()> {
    let is_left = |name: &OsStr| files::is_left(name, |name| name == IDENTITY);
    let mut entries = std::fs::read_dir(root).map_err(Error::reading(root))?;
    if root.join(IDENTITY).exists()
        || entries.all(|entry| entry.is_ok_and(|entry| is_left(&entry.file_name())))
    {
        return Ok(());
    }
    Err(Error::data(
        root,
        "this folder is not empty and holds no run of this program",
        "choose another folder for the setting `out`",
    ))
}

/// Whether the folder says already that its run is this one.
///
/// # Errors
/// It says that it is another, and that one has finished a clip.
fn is_noted(root: &Path, identity: &Value) -> Result<bool> {
    let file = root.join(IDENTITY);
    if !file.exists() {
        return Ok(false);
    }
    let differing = differing_keys(&read_json(&file)?, identity);
    // where it finished no clip there is nothing to mix with
    if !differing.is_empty() && root.join("clips").exists() {
        return Err(Error::data(
            root,
            format!("this folder holds a run with other settings ({})", differing.join(", ")),
            "choose another folder for the setting `out`, or remove this one",
        ));
    }
    Ok(differing.is_empty())
}

fn differing_keys(stored: &Value, asked: &Value) -> Vec<String> {
    let (Value::Object(stored), Value::Object(asked)) = (stored, asked) else {
        return vec!["run.json".into()];
    };
    let keys = stored.keys().chain(asked.keys().filter(|key| !stored.contains_key(*key)));
    keys.filter(|key| stored.get(*key) != asked.get(*key)).cloned().collect()
}

fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::creating(path))
}

fn remove(path: &Path) -> Result<()> {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::removing(path)(error))
        }
        _ => Ok(()),
    }
}

fn replace(from: &Path, to: &Path) -> Result<()> {
    remove(to)?;
    if let Some(parent) = to.parent() {
        create_dir(parent)?;
    }
    std::fs::rename(from, to).map_err(Error::writing(to))
}

fn read_json<R: DeserializeOwned>(path: &Path) -> Result<R> {
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::data(path, format!("is damaged ({error})"), "remove the folder and run again")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_clip_counts_when_its_record_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        let run = RunFolder::open(&root, &json!({ "topk": 7 })).unwrap();
        let staging = run.stage("a/b").unwrap();
        std::fs::write(staging.predictions().join("00000.png"), b"mask").unwrap();
        std::fs::write(staging.soft_labels(), b"soft").unwrap();
        assert_eq!(run.record::<u32>("a/b"), None);
        run.commit("a/b", &staging, &41).unwrap();
        assert_eq!(run.record::<u32>("a/b"), Some(41));
        assert!(root.join("predictions/a/b/00000.png").exists());
        assert!(root.join("soft_labels/a__b.safetensors").exists());
        // Doing it again replaces everything.
        let staging = run.stage("a/b").unwrap();
        run.commit("a/b", &staging, &42).unwrap();
        assert_eq!(run.record::<u32>("a/b"), Some(42));
        assert!(!root.join("predictions/a/b/00000.png").exists());
        assert!(!root.join("soft_labels/a__b.safetensors").exists());
    }

    #[test]
    fn settings_never_mix() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("out");
        let run = RunFolder::open(&root, &json!({ "topk": 5, "weights": "a" })).unwrap();
        let busy = RunFolder::open(&root, &json!({ "topk": 5, "weights": "a" })).unwrap_err();
        assert!(busy.to_string().contains("another run is using this folder"), "{busy}");
        drop(run);
        // Nothing was finished with 5, so 7 may have the folder.
        let run = RunFolder::open(&root, &json!({ "topk": 7, "weights": "a" })).unwrap();
        run.commit("clip", &run.stage("clip").unwrap(), &1).unwrap();
        drop(run);
        drop(RunFolder::open(&root, &json!({ "topk": 7, "weights": "a" })).unwrap());
        let error = RunFolder::open(&root, &json!({ "topk": 5, "weights": "a" })).unwrap_err();
        assert!(error.to_string().contains("other settings (topk)"), "{error}");
    }

    /// What is refused is so in the same words, and nothing is made of what is not.
    #[test]
    fn a_check_refuses_as_opening_does() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::write(place("file"), b"").unwrap();
        std::fs::create_dir(place("mine")).unwrap();
        std::fs::write(place("mine/thesis.tex"), b"...").unwrap();
        let run = RunFolder::open(&place("done"), &json!({ "topk": 5 })).unwrap();
        run.commit("clip", &run.stage("clip").unwrap(), &1).unwrap();
        let busy = RunFolder::check(&place("done"), &json!({ "topk": 5 })).unwrap_err();
        assert!(busy.to_string().contains("another run is using this folder"), "{busy}");
        drop(run);
        for name in ["file", "file/out", "mine", "done"] {
            let checked = RunFolder::check(&place(name), &json!({ "topk": 7 })).unwrap_err();
            let opened = RunFolder::open(&place(name), &json!({ "topk": 7 })).unwrap_err();
            assert_eq!(checked.to_string(), opened.to_string());
        }
        RunFolder::check(&place("done"), &json!({ "topk": 5 })).unwrap();
        RunFolder::check(&place("new/out"), &json!({})).unwrap();
        assert!(!place("new").exists());
    }

    #[test]
    fn folders_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.tex"), b"...").unwrap();
        assert!(RunFolder::open(folder.path(), &json!({})).is_err());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        // a run that was killed at its beginning is no other
        let root = folder.path().join("out");
        std::fs::create_dir(&root).unwrap();
        for left in [Occupied::NAME, "run.json.partial"] {
            std::fs::write(root.join(left), b"").unwrap();
        }
        drop(RunFolder::open(&root, &json!({})).unwrap());
        assert!(root.join("run.json").exists());
    }
}
