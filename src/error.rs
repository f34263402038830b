//! The errors of the library, as types.
//!
//! Every variant that comes from a file names the file and says what to do about it; the programs
//! print the chain once and turn it into an exit status. A leaf: every module may use it.
//!
//! The library knows settings, not flags: it names them as records and configurations do (`topk`,
//! `patch_size`), within a sentence as "the setting `topk`" or "the setting `device = cpu`". A
//! program may show its own word for what stands there.

use std::path::{Path, PathBuf};

/// The result of everything in this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is done to a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAction {
    /// Its contents, or what it holds, are read.
    Read,
    /// It is written, or takes its name.
    Write,
    /// It is made.
    Create,
    /// It is removed.
    Remove,
}

impl std::fmt::Display for FileAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Remove => "remove",
        })
    }
}

/// An error of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: FileAction,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder of a dataset is missing, damaged or not what it should be.
    #[error("{}: {problem}; {remedy}", path.display())]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What the user can do about it.
        remedy: String,
    },
    /// A checkpoint cannot be used.
    #[error("{}: {problem}; {remedy}", path.display())]
    Weights {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What the user can do about it.
        remedy: String,
    },
    /// A setting has a value that makes no sense, alone or beside another one.
    #[error("{name}: {problem}")]
    Setting {
        /// The setting, spelled as in records and configurations: `patch_size`, `views.flip`.
        name: String,
        /// Why it cannot be so.
        problem: String,
    },
    /// Something was not computed or stored as it must be, though no setting is to blame.
    #[error("{what}: {problem}")]
    Failed {
        /// What it is about: a tensor, a picture, the loss.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An [`Observer`](crate::progress::Observer) asked to stop.
    #[error("stopped, as asked for")]
    Stopped,
    /// The device asked for is not there.
    #[error("{0}")]
    Device(String),
    /// A tensor operation failed: out of device memory, or a mistake of ours.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// An [`Error::Io`] of reading `path`, to be used with `map_err`.
    pub fn reading(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(FileAction::Read, path)
    }

    /// An [`Error::Io`] of writing `path`, to be used with `map_err`.
    pub fn writing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(FileAction::Write, path)
    }

    /// An [`Error::Io`] of making `path`, to be used with `map_err`.
    pub fn creating(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(FileAction::Create, path)
    }

    /// An [`Error::Io`] of removing `path`, to be used with `map_err`.
    pub fn removing(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(FileAction::Remove, path)
    }

    fn io(action: FileAction, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }

    /// Whether a result could not be stored: the next one could not either.
    pub fn is_of_storing(&self) -> bool {
        matches!(self, Self::Io { action: FileAction::Write | FileAction::Create, .. })
    }

    /// The error with all its reasons in one line, and what to do about it where the operating
    /// system refused something.
    pub fn explained(&self) -> String {
        let reasons = std::iter::successors(std::error::Error::source(self), |e| e.source());
        let text = reasons.fold(self.to_string(), |text, reason| format!("{text}: {reason}"));
        match self {
            Self::Io { action, source, .. } => match io_remedy(*action, source.kind()) {
                Some(remedy) => format!("{text}; {remedy}"),
                None => text,
            },
            _ => text,
        }
    }

    /// Whether a device had no room for something: with less at once it may go.
    pub fn is_out_of_memory(&self) -> bool {
        // candle hands the driver's error on as text
        matches!(self, Self::Tensor(error) if error.to_string().contains("OUT_OF_MEMORY"))
    }

    /// An [`Error::Data`] for `path`.
    pub fn data(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Data { path: path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// An [`Error::Weights`] for `path`.
    pub fn weights(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Weights { path: path.to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// An [`Error::Setting`].
    pub fn setting(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { name: name.into(), problem: problem.into() }
    }

    /// An [`Error::Failed`].
    pub fn failed(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), problem: problem.into() }
    }
}

/// What a user can do when the operating system refuses.
fn io_remedy(action: FileAction, kind: std::io::ErrorKind) -> Option<&'static str> {
    use std::io::ErrorKind as Kind;
    match (action, kind) {
        (FileAction::Read, Kind::NotFound) => Some("check the path: nothing is there"),
        (FileAction::Read, Kind::PermissionDenied) => Some("check its permissions"),
        (FileAction::Read, Kind::NotADirectory) => {
            Some("a file is there, where a folder is needed")
        }
        (FileAction::Read, _) => None,
        (_, Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge) => {
            Some("make room and run the same command again: what is finished is kept")
        }
        (_, Kind::AlreadyExists | Kind::NotADirectory) => {
            Some("a file is in the way: choose another folder")
        }
        _ => Some("choose a folder that you may write to"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_system_come_with_a_remedy() {
        let explained = |action, kind: std::io::ErrorKind| {
            Error::io(action, Path::new("out/a.png"))(kind.into()).explained()
        };
        let full = explained(FileAction::Write, std::io::ErrorKind::StorageFull);
        assert!(full.starts_with("cannot write out/a.png: "), "{full}");
        assert!(full.ends_with("run the same command again: what is finished is kept"), "{full}");
        let missing = explained(FileAction::Read, std::io::ErrorKind::NotFound);
        assert!(missing.ends_with("nothing is there"), "{missing}");
        let data = Error::data(Path::new("a.png"), "is empty", "copy it again");
        assert_eq!(data.explained(), "a.png: is empty; copy it again");
    }
}
