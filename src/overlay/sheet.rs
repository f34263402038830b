//! Frames put together: a contact sheet of a clip, a figure of several clips, a legend of the
//! colours. [`crate::image::figure::png`] stores the result.

use super::canvas::{Area, Color, Pen, fill, outline};
use super::{Key, Overlay, text};
use crate::error::Result;
use crate::image::Rgb;
use crate::image::figure::{self, evenly};

/// The colour of words.
pub(super) const INK: Color = [30, 30, 30];
/// White around a sheet.
const MARGIN: usize = 8;
/// Space around words.
const PAD: usize = 4;
/// The side of a colour's square in a legend.
const SWATCH: usize = 12;

/// A clip at a glance: its name, `count` evenly spaced frames in rows of `columns`, each with its
/// number, and the legend. The first is frame 0 with its given labels.
///
/// # Errors
/// A frame cannot be drawn.
pub fn contact(overlay: &Overlay<'_>, count: usize, columns: usize) -> Result<Rgb> {
    let mut tiles = Vec::new();
    for index in evenly(count, overlay.len()) {
        let (picture, words) = match index {
            0 => (overlay.given()?, "frame 0, given".to_owned()),
            _ => (overlay.frame(index)?, format!("frame {index}")),
        };
        tiles.push(captioned(&picture, &words));
    }
    let rows: Vec<Vec<&Rgb>> =
        tiles.chunks(columns.max(1)).map(|row| row.iter().collect()).collect();
    let frames = figure::tiled(&rows);
    let title = strip(frames.width, overlay.name());
    let keys = shown(overlay.legend());
    let legend = (!keys.is_empty()).then(|| legend(&keys, frames.width));
    let parts = [Some(title), Some(frames), legend];
    let rows: Vec<Vec<&Rgb>> = parts.iter().flatten().map(|part| vec![part]).collect();
    Ok(framed(&figure::tiled(&rows)))
}

/// Clips below each other, `count` evenly spaced frames of each, thin white gaps: as papers print
/// it. The first column is the given labels of frame 0.
///
/// # Errors
/// A frame cannot be drawn.
pub fn printed(overlays: &[Overlay<'_>], count: usize) -> Result<Rgb> {
    let mut rows: Vec<Vec<Rgb>> = Vec::new();
    for overlay in overlays {
        let draw = |index| if index == 0 { overlay.given() } else { overlay.frame(index) };
        rows.push(evenly(count, overlay.len()).into_iter().map(draw).collect::<Result<_>>()?);
    }
    let rows: Vec<Vec<&Rgb>> = rows.iter().map(|row| row.iter().collect()).collect();
    Ok(figure::tiled(&rows))
}

/// A frame with its legend below, where the legend says more than a name: how films of a clip look.
pub fn explained(picture: Rgb, keys: Vec<Key>) -> Rgb {
    let keys = shown(keys);
    if keys.is_empty() {
        return picture;
    }
    let strip = legend(&keys, picture.width);
    let (width, height) = (picture.width, picture.height + strip.height);
    Rgb { width, height, data: [picture.data, strip.data].concat() }
}

/// A legend of a single object tells nothing.
fn shown(keys: Vec<Key>) -> Vec<Key> {
    if keys.len() > 1 { keys } else { Vec::new() }
}

/// Squares of colours with what they mean, in as many lines as that takes.
pub fn legend(keys: &[Key], width: usize) -> Rgb {
    const STEP: usize = text::LINE + PAD;
    let wide = |key: &Key| SWATCH + PAD + text::width(&key.name) + 4 * PAD;
    let (mut places, mut left, mut top) = (Vec::new(), PAD, PAD);
    for key in keys {
        if left > PAD && left + wide(key) > width {
            (left, top) = (PAD, top + STEP);
        }
        places.push((left, top));
        left += wide(key);
    }
    let mut strip = white(width, top + STEP);
    for (key, (left, top)) in keys.iter().zip(places) {
        let (x, y) = (left as f32, (top + (text::LINE - SWATCH) / 2) as f32);
        let square = Area { left: x, top: y, right: x + SWATCH as f32, bottom: y + SWATCH as f32 };
        fill(&mut strip, square, key.color, 1.0);
        outline(&mut strip, square, Pen { opacity: 0.6, ..Pen::new(INK, 1.0) });
        text::write(&mut strip, (left + SWATCH + PAD, top), &key.name, INK);
    }
    strip
}

/// A picture with words below.
pub(super) fn captioned(picture: &Rgb, words: &str) -> Rgb {
    let strip = strip(picture.width, words);
    let height = picture.height + strip.height;
    Rgb { width: picture.width, height, data: [&picture.data[..], &strip.data].concat() }
}

/// A line of words on white.
pub(super) fn strip(width: usize, words: &str) -> Rgb {
    let mut strip = white(width, text::LINE + PAD);
    text::write(&mut strip, (0, PAD / 2), words, INK);
    strip
}

/// A picture with white around it.
pub(super) fn framed(picture: &Rgb) -> Rgb {
    let (width, height) = (picture.width + 2 * MARGIN, picture.height + 2 * MARGIN);
    let mut framed = white(width, height);
    let rows = picture.data.chunks_exact((3 * picture.width).max(1));
    for (into, from) in framed.data.chunks_exact_mut(3 * width).skip(MARGIN).zip(rows) {
        into[3 * MARGIN..][..from.len()].copy_from_slice(from);
    }
    framed
}

pub(super) fn white(width: usize, height: usize) -> Rgb {
    Rgb { width, height, data: vec![255; 3 * width * height] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::canvas::tests::plain;

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().map(|name| Key { name: (*name).into(), color: [9, 90, 200] }).collect()
    }

    #[test]
    fn legends_break_into_lines_and_show_their_colors() {
        let one = legend(&keys(&["face", "hair"]), 400);
        let two = legend(&keys(&["face", "hair"]), 100);
        assert_eq!((one.width, two.width), (400, 100));
        assert_eq!(two.height - one.height, text::LINE + PAD);
        let middle = 3 * ((PAD + text::LINE / 2) * 400 + PAD + SWATCH / 2);
        assert_eq!(one.data[middle..middle + 3], [9, 90, 200]);
        // a name too long for any line is cut off, not lost
        assert_eq!(legend(&keys(&["a very long name indeed"]), 40).width, 40);
    }

    #[test]
    fn films_have_a_legend_where_there_is_something_to_tell() {
        let picture = plain(200, 20, 7);
        assert_eq!(explained(picture.clone(), keys(&["object 1"])), picture);
        let told = explained(picture.clone(), keys(&["face", "hair"]));
        assert_eq!(told.width, 200);
        assert_eq!(told.data[..picture.data.len()], picture.data);
        assert!(told.height > 20 + text::LINE);
    }

    #[test]
    fn a_frame_of_white_moves_no_pixel() {
        let framed = framed(&plain(3, 2, 7));
        assert_eq!((framed.width, framed.height), (3 + 2 * MARGIN, 2 + 2 * MARGIN));
        let grey = |x: usize, y: usize| framed.data[3 * (y * framed.width + x)];
        assert_eq!((grey(MARGIN, MARGIN), grey(MARGIN + 2, MARGIN + 1)), (7, 7));
        assert_eq!((grey(MARGIN - 1, MARGIN), grey(MARGIN + 3, MARGIN + 1)), (255, 255));
    }
}
