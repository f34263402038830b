//! The images that `--images` names, and figures made of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use cropmae::Error;
use cropmae::files::{self, listing};
use cropmae::image::{Rgb, figure};

use crate::common::targets::place;
use crate::common::usage::usage;
use crate::targets::Inputs;

/// Rows of figure.png; more do not fit a page.
const FIGURE_ROWS: usize = 32;

/// Images by name, folders searched for what looks like one.
pub(crate) fn list(paths: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for path in paths {
        let files = match path.is_dir() {
            false => vec![path.clone()],
            true => listing::files(path, listing::PICTURES)?,
        };
        if files.is_empty() {
            bail!(
                "{}: no .jpg, .jpeg or .png in this folder; pass images, or the folder that holds them",
                path.display()
            );
        }
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(other) = found.insert(name.clone(), file.clone()) {
                bail!(usage!(
                    "{} and {} would both be stored as {name}; store them in files of their own",
                    other.display(),
                    file.display()
                ));
            }
        }
    }
    Ok(found)
}

/// Refuses a folder for figures where the images are: a figure has its image's name, and drawings
/// among photographs would be taken for images the next time.
pub(crate) fn spare(
    out: &Path,
    paths: &[PathBuf],
    images: &BTreeMap<String, PathBuf>,
) -> Result<()> {
    let folders = paths.iter().filter(|path| path.is_dir());
    folders.fold(Inputs::default(), |all, path| all.with(path)).spare("--out", out)?;
    let wanted = place(out);
    if let Some(image) = images.values().find(|image| place(image).parent() == Some(&wanted)) {
        bail!(usage!(
            "--out: {} holds {}, which this command reads; name another folder",
            out.display(),
            image.display()
        ));
    }
    Ok(())
}

/// A folder of figures: a file an image, and one of all.
pub(crate) struct Figures {
    folder: PathBuf,
    rows: Vec<Vec<Rgb>>,
}

impl Figures {
    /// The name of the figure of all.
    const ALL: &str = "figure";

    /// Creates the folder for these images' figures.
    pub(crate) fn create(folder: &Path, images: &BTreeMap<String, PathBuf>) -> Result<Self> {
        if let Some(image) = images.get(Self::ALL) {
            bail!(usage!(
                "{}: its file would be that of the figure of all images; rename it",
                image.display()
            ));
        }
        std::fs::create_dir_all(folder).map_err(Error::creating(folder))?;
        Ok(Self { folder: folder.to_path_buf(), rows: Vec::new() })
    }

    /// Writes an image's figure and keeps its rows for that of all.
    pub(crate) fn add(&mut self, name: &str, rows: Vec<Vec<Rgb>>) -> Result<()> {
        self.write(name, &rows)?;
        let room = FIGURE_ROWS.saturating_sub(self.rows.len());
        self.rows.extend(rows.into_iter().take(room));
        Ok(())
    }

    /// Writes the figure of all; returns its path.
    pub(crate) fn finish(self) -> Result<PathBuf> {
        self.write(Self::ALL, &self.rows)
    }

    fn write(&self, name: &str, rows: &[Vec<Rgb>]) -> Result<PathBuf> {
        let rows: Vec<Vec<&Rgb>> = rows.iter().map(|row| row.iter().collect()).collect();
        let path = self.folder.join(format!("{name}.png"));
        files::write(&path, &figure::png(&figure::tiled(&rows))?)?;
        Ok(path)
    }
}
