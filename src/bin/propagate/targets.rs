//! What a command may write where: never over what it reads, never into a dataset's folder, and over
//! another file only where that is of the same kind. All of it is checked before anything is computed.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use cropmae::model::source::Source;
use cropmae::protocol::Benchmark;

use crate::clips;
use crate::common::place;

/// What a command reads, by places ([`place`]).
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Inputs {
    /// Adds a file, or a folder with all that is in it.
    pub(crate) fn with(mut self, path: &Path) -> Self {
        let list = if path.is_dir() { &mut self.folders } else { &mut self.files };
        list.push(place(path));
        self
    }

    /// Adds the files of these encoders, and the lists that name them.
    pub(crate) fn with_weights(self, weights: &[Source]) -> Self {
        weights.iter().fold(self, |all, source| match source {
            Source::File(path) => all.with(&list_file(path).unwrap_or_else(|| path.clone())),
            _ => all,
        })
    }

    /// Adds a dataset's folder and, where it is a file, the list of its clips.
    pub(crate) fn with_data(self, benchmark: Benchmark, data: Option<&Path>, split: &str) -> Self {
        let list = Path::new(split);
        let all = if list.is_file() { self.with(list) } else { self };
        match clips::folder(benchmark, data) {
            Some(root) => all.with(&root),
            None => all,
        }
    }

    /// Refuses a file to be written that is one of these, or that is there and is of another kind
    /// than `ending`, which its name must end in in any case where `always`.
    pub(crate) fn spare_file(
        &self,
        flag: &str,
        file: &Path,
        ending: &str,
        always: bool,
    ) -> Result<()> {
        self.spare(flag, file)?;
        let fits = file.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending));
        let shown = file.display();
        if file.is_dir() {
            bail!(
                "{flag}: {shown} is a folder; name a file, such as {}",
                file.join(format!("new.{ending}")).display()
            );
        }
        if !fits && always {
            bail!("{flag}: what is written is .{ending}; name a file that ends so, not {shown}");
        }
        if !fits && file.exists() {
            bail!(
                "{flag}: {shown} is there and does not end in .{ending}: it is not replaced; name another file"
            );
        }
        Ok(())
    }

    /// Refuses a file or folder to be written that is one of these, or lies in one of the folders.
    pub(crate) fn spare(&self, flag: &str, path: &Path) -> Result<()> {
        let wanted = place(path);
        if self.files.contains(&wanted) || self.folders.contains(&wanted) {
            bail!("{flag}: {} is what this command reads; name another", path.display());
        }
        if let Some(folder) = self.folders.iter().find(|folder| wanted.starts_with(folder)) {
            bail!(
                "{flag}: {} is in {}, which this command reads and leaves as it is; name another place",
                path.display(),
                folder.display()
            );
        }
        Ok(())
    }
}

/// The file of an `@list`.
pub(crate) fn list_file(path: &Path) -> Option<PathBuf> {
    path.to_str()?.strip_prefix('@').map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_the_same_however_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name);
        std::fs::create_dir(inside("data")).unwrap();
        std::fs::write(inside("w.pth"), b"w").unwrap();
        assert_eq!(place(&inside("data/../w.pth")), place(&inside("w.pth")));
        assert_eq!(place(&inside("new/../data/x")), place(&inside("data/x")));
        let inputs = Inputs::default().with(&inside("data")).with(&inside("w.pth"));
        let refused = |name: &str| inputs.spare("--out", &inside(name)).is_err();
        assert!(
            refused("w.pth")
                && refused("data")
                && refused("data/new/x")
                && refused("new/../data/x")
        );
        assert!(!refused("w.pth2") && !refused("data2/x") && !refused("x"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(inside("data"), inside("link")).unwrap();
            assert!(refused("link/new"));
        }
    }
}
