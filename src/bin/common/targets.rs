//! What a command may write where: never over what it reads, never into a dataset's folder, and
//! over another file only where that is of the same kind. All of it is checked before anything is
//! computed.

use std::path::{Component, Path, PathBuf};

use super::usage::usage;
use anyhow::{Result, bail};

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
            bail!(usage!(
                "{flag}: {shown} is a folder; name a file, such as {}",
                file.join(format!("new.{ending}")).display()
            ));
        }
        if !fits && always {
            bail!(usage!(
                "{flag}: what is written is .{ending}; name a file that ends so, not {shown}"
            ));
        }
        if !fits && file.exists() {
            bail!(usage!(
                "{flag}: {shown} is there and does not end in .{ending}: it is not replaced; name another file"
            ));
        }
        Ok(())
    }

    /// Refuses a file or folder to be written that is one of these, or lies in one of the folders.
    pub(crate) fn spare(&self, flag: &str, path: &Path) -> Result<()> {
        let wanted = place(path);
        if self.files.contains(&wanted) || self.folders.contains(&wanted) {
            bail!(usage!("{flag}: {} is what this command reads; name another", path.display()));
        }
        if let Some(folder) = self.folders.iter().find(|folder| wanted.starts_with(folder)) {
            bail!(usage!(
                "{flag}: {} is in {}, which this command reads and leaves as it is; name another place",
                path.display(),
                folder.display()
            ));
        }
        Ok(())
    }
}

/// Where a path leads: absolute, with all links followed as far as it is there.
pub(crate) fn place(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut found = PathBuf::new();
    for part in whole.components() {
        if part == Component::ParentDir {
            found.pop();
            continue;
        }
        found.push(part);
        found = found.canonicalize().unwrap_or(found);
    }
    found
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
