//! Figures: pictures in rows and columns with white between them, which of many and how large, and
//! their PNG files.

use super::Rgb;
use super::resize::bicubic;
use crate::error::{Error, Result};

/// White pixels between pictures.
pub const GUTTER: usize = 4;

/// Puts pictures into rows and columns with [`GUTTER`] white pixels between them. A column is as
/// wide as its widest picture and a row as high as its highest; smaller ones stand in the middle.
pub fn tiled(rows: &[Vec<&Rgb>]) -> Rgb {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|picture| picture.width).max()
    };
    let widths: Vec<usize> = (0..columns).filter_map(widest).collect();
    let heights: Vec<usize> = rows
        .iter()
        .map(|row| row.iter().map(|picture| picture.height).max().unwrap_or(0))
        .collect();
    let along =
        |sizes: &[usize]| sizes.iter().sum::<usize>() + GUTTER * sizes.len().saturating_sub(1);
    let (width, height) = (along(&widths), along(&heights));
    let mut figure = Rgb { width, height, data: vec![255; 3 * width * height] };
    let mut top = 0;
    for (row, height) in rows.iter().zip(&heights) {
        let mut left = 0;
        for (picture, width) in row.iter().zip(&widths) {
            let at = (top + (height - picture.height) / 2, left + (width - picture.width) / 2);
            paste(&mut figure, picture, at);
            left += width + GUTTER;
        }
        top += height + GUTTER;
    }
    figure
}

/// Copies a picture into a larger one, its first pixel to (row, column).
fn paste(figure: &mut Rgb, picture: &Rgb, (top, left): (usize, usize)) {
    let rows = figure.data.chunks_exact_mut((3 * figure.width).max(1)).skip(top);
    for (into, from) in rows.zip(picture.data.chunks_exact((3 * picture.width).max(1))) {
        into[3 * left..][..from.len()].copy_from_slice(from);
    }
}

/// The bytes of a PNG file.
///
/// # Errors
/// The picture has no pixels.
pub fn png(picture: &Rgb) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&picture.data)?;
        writer.finish()
    });
    written.map_err(|error| Error::failed("picture", format!("cannot be stored: {error}")))?;
    Ok(bytes)
}

/// The numbers of `count` things among `of`, evenly spaced, the first and the last among them.
pub fn evenly(count: usize, of: usize) -> Vec<usize> {
    let (count, last) = (count.min(of), of.saturating_sub(1));
    let steps = count.saturating_sub(1).max(1);
    (0..count).map(|step| (step * last + steps / 2) / steps).collect()
}

/// A picture brought to this width, its shape kept, with antialiasing.
pub fn scaled(picture: Rgb, width: usize) -> Rgb {
    if width == 0 || width == picture.width || picture.width == 0 {
        return picture;
    }
    let height = (picture.height * width + picture.width / 2) / picture.width;
    bicubic(&picture, height.max(1), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize, height: usize, grey: u8) -> Rgb {
        Rgb { width, height, data: vec![grey; 3 * width * height] }
    }

    fn grey(figure: &Rgb, row: usize, column: usize) -> u8 {
        figure.data[3 * (row * figure.width + column)]
    }

    #[test]
    fn pictures_stand_in_rows_and_columns() {
        let (wide, high, small) = (plain(10, 4, 1), plain(6, 8, 2), plain(4, 4, 3));
        let figure = tiled(&[vec![&wide, &high], vec![&small]]);
        assert_eq!((figure.width, figure.height), (10 + GUTTER + 6, 8 + GUTTER + 4));
        assert_eq!(grey(&figure, 2, 0), 1, "in the middle of its row");
        assert_eq!(grey(&figure, 1, 0), 255);
        assert_eq!(grey(&figure, 0, 10 + GUTTER), 2);
        assert_eq!(grey(&figure, 0, 10), 255, "a gutter");
        assert_eq!(grey(&figure, 8 + GUTTER, 3), 3, "in the middle of its column");
        assert_eq!(grey(&figure, 8 + GUTTER, 2), 255);
        assert_eq!(tiled(&[]), plain(0, 0, 0));
    }

    #[test]
    fn a_png_gives_the_pixels_back() {
        let picture = Rgb { width: 2, height: 1, data: vec![1, 2, 3, 250, 251, 252] };
        let bytes = png(&picture).unwrap();
        let read = super::super::decode::from_bytes(std::path::Path::new("a.png"), &bytes);
        assert_eq!(read.unwrap(), picture);
        assert!(png(&plain(0, 0, 0)).is_err());
    }

    #[test]
    fn numbers_are_spread_from_the_first_to_the_last() {
        assert_eq!(evenly(4, 10), [0, 3, 6, 9]);
        assert_eq!(evenly(3, 4), [0, 2, 3]);
        assert_eq!(evenly(8, 3), [0, 1, 2]);
        assert_eq!(evenly(1, 5), [0]);
        assert_eq!((evenly(8, 0), evenly(0, 8)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn pictures_keep_their_shape() {
        let size = |width| {
            let scaled = scaled(plain(854, 480, 7), width);
            assert!(scaled.data.iter().all(|value| *value == 7));
            (scaled.width, scaled.height)
        };
        assert_eq!((size(360), size(0), size(1708)), ((360, 202), (854, 480), (1708, 960)));
    }
}
