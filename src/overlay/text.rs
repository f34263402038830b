//! Text in pictures: Noto Sans Mono, rendered beforehand, so that no system font is needed.

use noto_sans_mono_bitmap::{
    FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width,
};

use super::canvas::{Color, blend};
use crate::image::Rgb;

const SIZE: RasterHeight = RasterHeight::Size16;
const WEIGHT: FontWeight = FontWeight::Regular;

/// Height of a line in pixels.
pub(crate) const LINE: usize = SIZE.val();

/// How many pixels wide a text is.
pub(crate) fn width(text: &str) -> usize {
    text.chars().count() * get_raster_width(WEIGHT, SIZE)
}

/// Writes a line of text, its upper left corner at (`left`, `top`); what does not fit in is cut
/// off. A letter beyond ASCII becomes a question mark.
pub(crate) fn write(picture: &mut Rgb, (left, top): (usize, usize), text: &str, color: Color) {
    let step = get_raster_width(WEIGHT, SIZE);
    for (place, letter) in text.chars().enumerate() {
        let raster = get_raster(letter, WEIGHT, SIZE).or_else(|| get_raster('?', WEIGHT, SIZE));
        for (y, row) in raster.iter().flat_map(RasterizedChar::rows).enumerate() {
            for (x, strength) in row.iter().enumerate() {
                let (x, y) = (left + place * step + x, top + y);
                if x < picture.width && y < picture.height && *strength > 0 {
                    let pixel = 3 * (y * picture.width + x);
                    let opacity = f32::from(*strength) / 255.0;
                    blend(&mut picture.data[pixel..pixel + 3], color, opacity);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::canvas::tests::plain;

    /// The columns and rows that hold anything but white.
    fn extent(picture: &Rgb) -> (Vec<usize>, Vec<usize>) {
        let inked = |pixel: &usize| picture.data[3 * pixel] < 255;
        let pixels: Vec<usize> =
            (0..picture.width * picture.height).filter(|pixel| inked(pixel)).collect();
        let sorted = |mut places: Vec<usize>| {
            places.sort_unstable();
            places.dedup();
            places
        };
        let columns = pixels.iter().map(|pixel| pixel % picture.width).collect();
        let rows = pixels.iter().map(|pixel| pixel / picture.width).collect();
        (sorted(columns), sorted(rows))
    }

    #[test]
    fn letters_stand_where_they_were_put() {
        let mut picture = plain(60, 40, 255);
        write(&mut picture, (20, 10), "l1", [0; 3]);
        let (columns, rows) = extent(&picture);
        assert!(columns[0] >= 20 && columns[columns.len() - 1] < 20 + width("l1"));
        assert!(rows[0] >= 10 && rows[rows.len() - 1] < 10 + LINE && rows.len() > 8);
        assert!(picture.data.iter().any(|value| *value < 60), "black is black");
    }

    #[test]
    fn what_does_not_fit_is_cut_off_and_what_is_no_letter_is_a_question_mark() {
        let mut picture = plain(10, 5, 255);
        write(&mut picture, (6, 2), "wide and high", [0; 3]);
        write(&mut picture, (60, 20), "beyond", [0; 3]);
        let (mut unknown, mut mark) = (plain(20, LINE, 255), plain(20, LINE, 255));
        write(&mut unknown, (0, 0), "語", [0; 3]);
        write(&mut mark, (0, 0), "?", [0; 3]);
        assert_eq!(unknown, mark);
        assert_eq!(width("語"), width("?"));
    }
}
