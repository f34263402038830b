//! The log of a run, `log.jsonl`: one line of JSON for each start, step and measurement. The
//! numbers also go to TensorBoard.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoint::Place;
use super::tensorboard::EventFile;
use crate::error::{Error, Result};
use crate::files;

/// The name of the loss on held-out images.
pub const HELD_OUT: &str = "held-out loss";
/// The name of the loss of the averaged weights on held-out images.
pub const HELD_OUT_AVERAGE: &str = "held-out loss of the average";
/// The name of the baseline's loss on held-out images: predicting their mean patch.
pub const MEAN_PATCH: &str = "held-out loss of the mean patch";

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Entry {
    /// A step of the optimiser.
    Step(StepRecord),
    /// A measurement between epochs.
    Measure(Measure),
    /// The program was started, or started again.
    Session(SessionRecord),
}

/// The program, machine and settings that made the steps that follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Steps made before.
    pub steps: u64,
    /// The command.
    pub command: String,
    /// This package's version.
    pub version: String,
    /// The commit that it was built from.
    pub git_commit: String,
    /// The device.
    pub device: String,
    /// The number type of the passes.
    pub dtype: String,
    /// CPU threads.
    pub threads: usize,
    /// Threads that decode and crop.
    pub workers: usize,
}

/// A step of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps made, this one included.
    pub steps: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The mean squared error of the masked patches, before the step.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Images a second, loading included.
    pub images_per_second: f64,
}

/// A measurement between epochs: of held-out images, or of a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Steps made.
    pub steps: u64,
    /// Epochs done.
    pub epochs: u64,
    /// What was measured: [`HELD_OUT`], [`MEAN_PATCH`], or a benchmark's score, `davis J&F`.
    pub name: String,
    /// The value.
    pub value: f64,
}

impl Entry {
    /// Steps made.
    pub fn steps(&self) -> u64 {
        match self {
            Self::Step(step) => step.steps,
            Self::Measure(measure) => measure.steps,
            Self::Session(session) => session.steps,
        }
    }

    /// The step, where it is one.
    pub fn step(&self) -> Option<&StepRecord> {
        match self {
            Self::Step(step) => Some(step),
            _ => None,
        }
    }

    /// The measurement, where it is one.
    pub fn measure(&self) -> Option<&Measure> {
        match self {
            Self::Measure(measure) => Some(measure),
            _ => None,
        }
    }

    /// The session, where it is one.
    pub fn session(&self) -> Option<&SessionRecord> {
        match self {
            Self::Session(session) => Some(session),
            _ => None,
        }
    }
}

/// Reads a log; a last line that a crash cut off is left out.
///
/// # Errors
/// The file cannot be read, or another line than the last is not an entry.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    // as bytes: the cut may go through a character
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    let mut entries = Vec::new();
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut lines = (1..).zip(lines).filter(|(_, line)| !line.is_empty()).peekable();
    while let Some((number, line)) = lines.next() {
        match serde_json::from_slice(line) {
            Ok(entry) => entries.push(entry),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => {
                let problem = format!("line {number} is not an entry of a log ({error})");
                return Err(Error::data(path, problem, "mend that line or delete it"));
            }
        }
    }
    Ok(entries)
}

/// The log of the run in `folder`.
pub fn path(folder: &Path) -> PathBuf {
    folder.join("log.jsonl")
}

/// A log that is being written, beside an event file for TensorBoard.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: std::fs::File,
    events: EventFile,
}

impl Log {
    /// Goes on with the log of the run in `folder` as it stood at a place: what a run wrote after
    /// its last checkpoint will come again. Also returns the steps that the place's epoch has
    /// already.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn open(folder: &Path, place: Place) -> Result<(Self, Vec<StepRecord>)> {
        let path = path(folder);
        let Place { epoch, steps, .. } = place;
        let is_kept = |entry: &Entry| match entry {
            Entry::Step(step) => step.steps <= steps,
            // a checkpoint of the last step of an epoch may be from before the epoch was measured
            Entry::Measure(measure) => measure.steps <= steps && measure.epochs <= epoch,
            // a session that made none of the steps that are kept is no part of the run
            Entry::Session(session) => session.steps < steps,
        };
        let kept: Vec<Entry> = read(&path)?.into_iter().filter(is_kept).collect();
        files::replace(&path, |out| {
            kept.iter().try_for_each(|entry| {
                serde_json::to_writer(&mut *out, entry)?;
                out.write_all(b"\n")
            })
        })?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::writing(&path))?;
        let made = kept.iter().filter_map(Entry::step).filter(|step| step.epoch == epoch);
        let made = made.copied().collect();
        Ok((Self { path, file, events: EventFile::begin(folder, steps)? }, made))
    }

    /// Appends an entry. A measurement that is not a finite number is left out: JSON has no word
    /// for it.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn push(&mut self, entry: &Entry) -> Result<()> {
        if entry.measure().is_some_and(|measure| !measure.value.is_finite()) {
            return Ok(());
        }
        let mut line = serde_json::to_string(entry)
            .map_err(|error| Error::failed("log", error.to_string()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(Error::writing(&self.path))?;
        match entry {
            Entry::Step(step) => self.events.scalars(
                step.steps,
                &[
                    ("loss", step.loss),
                    ("learning_rate", step.learning_rate),
                    ("gradient_norm", step.gradient_norm),
                    ("images_per_second", step.images_per_second),
                ],
            ),
            Entry::Measure(Measure { steps, name, value, .. }) => {
                self.events.scalars(*steps, &[(name, *value)])
            }
            Entry::Session(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(steps: u64) -> Entry {
        Entry::Step(StepRecord {
            steps,
            epoch: 0,
            loss: 1.0 / steps as f64,
            learning_rate: 1e-4,
            gradient_norm: 2.0,
            images_per_second: 30.0,
        })
    }

    fn session(steps: u64) -> Entry {
        Entry::Session(SessionRecord {
            steps,
            command: "pretrain --preset tiny".into(),
            version: "0.1.0".into(),
            git_commit: "unknown".into(),
            device: "cpu".into(),
            dtype: "f32".into(),
            threads: 2,
            workers: 2,
        })
    }

    fn place(epoch: u64, steps: u64) -> Place {
        Place { epoch, steps, ..Place::default() }
    }

    #[test]
    fn a_resumed_log_forgets_what_will_come_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let (mut log, _) = Log::open(folder.path(), place(0, 0)).unwrap();
        log.push(&session(0)).unwrap();
        (1..=3).for_each(|steps| log.push(&step(steps)).unwrap());
        log.push(&session(3)).unwrap();
        (4..=5).for_each(|steps| log.push(&step(steps)).unwrap());
        let name = HELD_OUT.to_owned();
        let measure = Entry::Measure(Measure { steps: 5, epochs: 1, name, value: 0.5 });
        log.push(&measure).unwrap();
        // a line that a crash cut off, within a character
        log.file.write_all(b"{\"kind\":\"session\",\"command\":\"pretrain --out na\xc3").unwrap();
        assert_eq!(read(&path).unwrap().len(), 8);
        let (mut log, made) = Log::open(folder.path(), place(0, 3)).unwrap();
        assert_eq!(made.iter().map(|step| step.steps).collect::<Vec<u64>>(), [1, 2, 3]);
        log.push(&step(4)).unwrap();
        let expected: Vec<Entry> = Some(session(0)).into_iter().chain((1..=4).map(step)).collect();
        assert_eq!(read(&path).unwrap(), expected);
    }

    fn measure(steps: u64, value: f64) -> Entry {
        Entry::Measure(Measure { steps, epochs: 1, name: HELD_OUT.to_owned(), value })
    }

    /// A checkpoint of the last step can be from before the epoch was measured, or from after it.
    #[test]
    fn an_epoch_that_is_measured_again_is_logged_once() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(folder.path(), place(0, 0)).unwrap();
        [step(1), step(2), measure(2, 0.5)].iter().for_each(|entry| log.push(entry).unwrap());
        let (_, made) = Log::open(folder.path(), place(1, 2)).unwrap();
        assert!(made.is_empty());
        assert_eq!(read(&path(folder.path())).unwrap().len(), 3);
        let (_, made) = Log::open(folder.path(), place(0, 2)).unwrap();
        assert_eq!(made.len(), 2);
        assert_eq!(read(&path(folder.path())).unwrap(), [step(1), step(2)]);
    }

    #[test]
    fn a_measurement_that_is_no_number_costs_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::open(folder.path(), place(0, 0)).unwrap();
        let entries =
            [step(1), measure(1, f64::NAN), measure(1, f64::INFINITY), step(2), measure(2, 0.5)];
        entries.iter().for_each(|entry| log.push(entry).unwrap());
        drop(log);
        // as a run that goes on opens it
        drop(Log::open(folder.path(), place(1, 2)).unwrap());
        assert_eq!(read(&path(folder.path())).unwrap(), [step(1), step(2), measure(2, 0.5)]);
    }

    #[test]
    fn a_broken_line_is_named_and_costs_no_other_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let line = |steps| serde_json::to_string(&step(steps)).unwrap();
        let null = r#"{"kind":"measure","steps":1,"epochs":1,"name":"held-out loss","value":null}"#;
        let text = [line(1), null.into(), line(2)].join("\n") + "\n";
        std::fs::write(&path, &text).unwrap();
        for error in [read(&path).unwrap_err(), Log::open(folder.path(), place(0, 2)).unwrap_err()]
        {
            let error = error.to_string();
            assert!(error.contains("log.jsonl: line 2 is not an entry"), "{error}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing is thrown away");
    }
}
