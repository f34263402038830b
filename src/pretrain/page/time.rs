//! Reconstructions over time: the same images, and the network's reconstructions of them during the
//! run.
//!
//! A run stores one picture for each epoch that it draws: rows of samples, each with its views, the
//! visible part of the second view, and its reconstruction ([`crate::pretrain::pictures::grid`]).
//! Here these pictures are cut up and placed side by side: first the columns that do not change,
//! then the reconstruction of every epoch.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use maud::{Markup, html};

use crate::autoencoder::Method;
use crate::error::{Error, Result};
use crate::image::figure::{GUTTER, evenly, scaled};
use crate::image::{Rgb, decode};
use crate::pretrain::Config;
use crate::report::html::player::jpeg;
use crate::wording::counted;

/// Epochs shown at most, the first and the last among them.
const MOST_EPOCHS: usize = 7;
/// Samples shown at most.
const MOST_SAMPLES: usize = 6;
/// Pixels of a side at most: with the two above, some hundred kilobytes in all.
const SIDE: usize = 176;
/// Pixels of a side on the screen: all columns fit beside one another on a wide one.
const SHOWN: usize = 88;
/// JPEG quality.
const QUALITY: u8 = 78;

/// The pictures of a run with the epochs done when they were drawn, in order and thinned.
///
/// # Errors
/// The folder cannot be listed. A picture that is no picture any more is left out.
pub(super) fn read(folder: &Path) -> Result<Vec<(u64, Rgb)>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(Error::reading(folder))?;
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::reading(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let epochs = name.and_then(|name| name.strip_prefix("epoch-")?.strip_suffix(".png"));
        if let Some(epochs) = epochs.and_then(|epochs| epochs.parse().ok()) {
            found.push((epochs, path));
        }
    }
    found.sort();
    let kept = evenly(MOST_EPOCHS, found.len());
    let kept = kept.into_iter().filter_map(|index| found.get(index));
    Ok(kept.filter_map(|(epochs, path)| Some((*epochs, decode::read(path).ok()?))).collect())
}

/// The table of them; `None` where there is no picture of this configuration.
///
/// # Errors
/// A picture cannot be stored.
pub(super) fn markup(config: &Config, pictures: &[(u64, Rgb)]) -> Result<Option<Markup>> {
    let names: &[&str] = match config.method {
        Method::Mae => &["view", "what is left"],
        Method::Cropmae | Method::Siammae => &["view 1", "view 2", "what is left of it"],
    };
    let side = config.views.size;
    // of other views than the newest are those of a folder that something else was run in before
    let fits = |picture: &Rgb| {
        picture.width == (names.len() + 1) * (side + GUTTER) - GUTTER && picture.height >= side
    };
    let pictures: Vec<&(u64, Rgb)> = pictures.iter().filter(|(_, picture)| fits(picture)).collect();
    let Some((_, newest)) = pictures.last() else { return Ok(None) };
    let samples = ((newest.height + GUTTER) / (side + GUTTER)).min(MOST_SAMPLES);
    let mut rows = Vec::new();
    for sample in 0..samples {
        let mut cells = Vec::new();
        for column in 0..names.len() {
            cells.push(cell(newest, (sample, column), side, &format!("sample {}", sample + 1))?);
        }
        for (epochs, picture) in &pictures {
            let words = format!("sample {} after {}", sample + 1, counted(*epochs, "epoch"));
            cells.push(cell(picture, (sample, names.len()), side, &words)?);
        }
        rows.push(cells);
    }
    Ok(Some(html! {
        p { "The same images, cut and masked alike each time. Visible patches are the image's own; where "
            "patches of mean 0 and variance 1 are reconstructed, they have the mean and the deviation of "
            "the view's." }
        div.scroll role="region" aria-label="Reconstructions through time" tabindex="0" {
            table {
                thead { tr {
                    @for name in names { th scope="col" { (name) } }
                    @for (epochs, _) in &pictures { th scope="col" { "epoch " (epochs) } }
                } }
                tbody { @for row in &rows { tr { @for cell in row { td { (cell) } } } } }
            }
        }
    }))
}

/// One part of a picture as an image in the page; empty where the picture ends before it.
fn cell(picture: &Rgb, (row, column): (usize, usize), side: usize, words: &str) -> Result<Markup> {
    let Some(part) = cut(picture, (row * (side + GUTTER), column * (side + GUTTER)), side) else {
        return Ok(html! {});
    };
    let shown = side.min(SHOWN);
    let bytes = jpeg(&scaled(part, side.min(SIDE)), QUALITY)?;
    Ok(html! {
        img width=(shown) height=(shown) alt=(words) loading="lazy"
            src={ "data:image/jpeg;base64," (BASE64_STANDARD.encode(bytes)) };
    })
}

/// A square of a picture, its first pixel at (row, column).
fn cut(picture: &Rgb, (top, left): (usize, usize), side: usize) -> Option<Rgb> {
    let mut data = Vec::with_capacity(3 * side * side);
    for row in top..top + side {
        let start = 3 * (row * picture.width + left);
        (left + side <= picture.width).then_some(())?;
        data.extend_from_slice(picture.data.get(start..start + 3 * side)?);
    }
    Some(Rgb { width: side, height: side, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::figure;
    use crate::pretrain::config::Preset;

    fn square(value: u8) -> Rgb {
        Rgb { width: 32, height: 32, data: vec![value; 3 * 32 * 32] }
    }

    #[test]
    fn every_epoch_has_its_column_and_what_stays_is_shown_once() {
        let folder = tempfile::tempdir().unwrap();
        for epochs in 1..=30_u8 {
            let parts = [square(10), square(20), square(128), square(8 * epochs)];
            let rows: Vec<Vec<&Rgb>> = (0..8).map(|_| parts.iter().collect()).collect();
            let png = figure::png(&figure::tiled(&rows)).unwrap();
            std::fs::write(folder.path().join(format!("epoch-{epochs:04}.png")), png).unwrap();
        }
        std::fs::write(folder.path().join("epoch-0031.png"), "cut short").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let pictures = read(folder.path()).unwrap();
        assert!(pictures.len() <= MOST_EPOCHS && pictures[0].0 == 1, "{}", pictures.len());
        let mut config = Preset::Tiny.config();
        config.views.size = 32;
        let html = markup(&config, &pictures).unwrap().unwrap().into_string();
        assert_eq!(html.matches("<img ").count(), MOST_SAMPLES * (3 + pictures.len()));
        assert_eq!(html.matches("<th ").count(), 3 + pictures.len());
        assert!(html.contains("epoch 1<") && html.contains("sample 6 after 1 epoch\""));
        config.views.size = 64;
        assert!(markup(&config, &pictures).unwrap().is_none(), "pictures of another run");
        assert!(read(&folder.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn parts_are_cut_where_they_are() {
        let parts = [square(1), square(2), square(3), square(4)];
        let picture = figure::tiled(&[parts.iter().collect(), parts.iter().rev().collect()]);
        let at = |row: usize, column: usize| {
            cut(&picture, (row * (32 + GUTTER), column * (32 + GUTTER)), 32)
        };
        assert_eq!(at(0, 3), Some(square(4)));
        assert_eq!(at(1, 3), Some(square(1)));
        assert_eq!(at(2, 0), None);
        assert_eq!(at(0, 4), None);
    }
}
