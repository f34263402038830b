//! Masks over a frame: a translucent fill in the palette's colour, a contour, and the errors.
//!
//! Masks may be of any size. They are resized to two samples per pixel along each axis by the
//! nearest rule, every sample is coloured, and a pixel is the mean of its samples. So contours have
//! soft edges, and masks of the annotation's size and of the grid's size are drawn alike.

use rayon::prelude::*;

use super::canvas::Color;
use crate::image::resize::nearest_centered;
use crate::image::{LabelImage, Rgb, indexed};
use crate::metric::VOID;

/// Samples a pixel, along each axis.
const FINE: usize = 2;
/// How much of a pixel is the colour of the mask that lies on it.
const FILL: f32 = 0.4;
/// The same where errors are marked: they are to stand out.
const PALE: f32 = 0.22;
/// How much of a contour is its colour.
const CONTOUR: f32 = 0.95;
/// How much of an error's pixel is its mark.
const MARK: f32 = 0.8;

/// What marks pixels of an object that were not predicted as it: yellow. With [`FALSE`] it is told
/// apart by people of every kind of colour vision, and by its lightness on paper without colour.
pub(crate) const MISSED: Color = [255, 196, 0];
/// What marks pixels that were predicted as an object and are not of it: blue.
pub(crate) const FALSE: Color = [24, 108, 255];
/// The contour of the truth: white.
pub(crate) const TRUTH: Color = [255, 255, 255];

/// The colour of an id: the hue that masks of DAVIS carry, with more light, so that it stands out
/// from dark frames too. No two ids of VIP have the same.
pub(crate) fn color(id: u8) -> Color {
    let stored = indexed::davis_palette()[usize::from(id)].map(u32::from);
    // 64, 128 and 192 are the strongest that ids below 64 have
    let most = stored.into_iter().max().unwrap_or(0).max(1);
    let light = (most * 4 / 3 + 60).min(255);
    stored.map(|value| (value * light / most) as u8)
}

/// What is to be drawn over a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers<'a> {
    /// Predicted ids; 0 is background.
    pub predicted: &'a LabelImage,
    /// True ids, where their contours are to be drawn.
    pub truth: Option<&'a LabelImage>,
    /// True ids, where the errors are to be marked.
    pub marked: Option<&'a LabelImage>,
}

/// Draws masks over a frame.
pub(crate) fn draw(picture: &mut Rgb, layers: Layers<'_>) {
    let (width, height) = (picture.width, picture.height);
    let fine = |mask: &LabelImage| nearest_centered(mask, FINE * height, FINE * width);
    // a line of a pixel and a half on a frame of 480 columns, wider on wider ones
    let thickness = (FINE as f32 * (width as f32 / 320.0).clamp(1.0, 4.0)).round() as usize;
    let predicted = fine(layers.predicted);
    let contour = contours(&predicted, thickness);
    let marked = layers.marked.map(fine);
    let truth = layers.truth.map(|mask| contours(&fine(mask), thickness.div_ceil(2)));
    let colors: Vec<Color> = (0..=255).map(color).collect();
    let pen = Samples { predicted, contour, marked, truth, colors };
    picture.data.par_chunks_mut((3 * width).max(1)).enumerate().for_each(|(y, row)| {
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            pen.color(pixel, (x, y));
        }
    });
}

/// All that decides a sample's colour.
struct Samples {
    predicted: LabelImage,
    contour: Vec<bool>,
    marked: Option<LabelImage>,
    truth: Option<Vec<bool>>,
    /// Of each id.
    colors: Vec<Color>,
}

impl Samples {
    /// Colours a pixel as the mean of its samples.
    fn color(&self, pixel: &mut [u8], (x, y): (usize, usize)) {
        let mut sum = [0.0; 3];
        for row in FINE * y..FINE * (y + 1) {
            for column in FINE * x..FINE * (x + 1) {
                let mut color = [0, 1, 2].map(|channel| f32::from(pixel[channel]));
                self.paint(&mut color, (column, row));
                sum.iter_mut().zip(color).for_each(|(sum, value)| *sum += value);
            }
        }
        let samples = (FINE * FINE) as f32;
        pixel.iter_mut().zip(sum).for_each(|(pixel, sum)| *pixel = (sum / samples).round() as u8);
    }

    /// Fill, mark, contour and the truth's contour of one sample, one over the other.
    fn paint(&self, color: &mut [f32; 3], (column, row): (usize, usize)) {
        let sample = row * self.predicted.width + column;
        let id = self.predicted.data[sample];
        let mut mix = |new: Color, opacity: f32| {
            let mix = |old: f32, new: u8| old + (f32::from(new) - old) * opacity;
            *color = [0, 1, 2].map(|channel| mix(color[channel], new[channel]));
        };
        let own = self.colors[usize::from(id)];
        if id != 0 {
            mix(own, if self.marked.is_some() { PALE } else { FILL });
        }
        let truth = self.marked.as_ref().map(|truth| truth.data[sample]);
        if let Some(mark) = truth.and_then(|truth| mark(id, truth, (column, row))) {
            mix(mark, MARK);
        }
        if self.contour[sample] {
            mix(own, CONTOUR);
        }
        if self.truth.as_ref().is_some_and(|truth| truth[sample]) {
            mix(TRUTH, CONTOUR);
        }
    }
}

/// The mark of a sample: stripes of both where one object was taken for another.
fn mark(predicted: u8, truth: u8, (column, row): (usize, usize)) -> Option<Color> {
    match (predicted, truth) {
        _ if predicted == truth || truth == VOID => None,
        (0, _) => Some(MISSED),
        (_, 0) => Some(FALSE),
        _ => Some(if ((column + row) / (3 * FINE)).is_multiple_of(2) { MISSED } else { FALSE }),
    }
}

/// Which samples are of a contour: those of an object that lie less than `thickness` from a sample
/// of anything else. The picture's border is none.
fn contours(mask: &LabelImage, thickness: usize) -> Vec<bool> {
    let (width, height) = (mask.width, mask.height);
    let mut found = vec![false; mask.data.len()];
    let reach = thickness as isize - 1;
    let disc: Vec<(isize, isize)> = (-reach..=reach)
        .flat_map(|y| (-reach..=reach).map(move |x| (x, y)))
        .filter(|(x, y)| x * x + y * y <= reach * reach)
        .collect();
    for y in 0..height {
        for x in 0..width {
            let id = mask.data[y * width + x];
            if id == 0 || id == VOID || !at_edge(mask, id, (x, y)) {
                continue;
            }
            for &(right, down) in &disc {
                let (Some(x), Some(y)) = (x.checked_add_signed(right), y.checked_add_signed(down))
                else {
                    continue;
                };
                if x < width && y < height && mask.data[y * width + x] == id {
                    found[y * width + x] = true;
                }
            }
        }
    }
    found
}

/// Whether a sample of this id has a neighbour of another.
fn at_edge(mask: &LabelImage, id: u8, (x, y): (usize, usize)) -> bool {
    let other = |x: usize, y: usize| mask.data[y * mask.width + x] != id;
    x > 0 && other(x - 1, y)
        || x + 1 < mask.width && other(x + 1, y)
        || y > 0 && other(x, y - 1)
        || y + 1 < mask.height && other(x, y + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::canvas::tests::plain;

    fn mask(rows: &[&[u8]]) -> LabelImage {
        LabelImage { width: rows[0].len(), height: rows.len(), data: rows.concat() }
    }

    fn pixel(picture: &Rgb, x: usize, y: usize) -> Color {
        let at = 3 * (y * picture.width + x);
        [0, 1, 2].map(|channel| picture.data[at + channel])
    }

    /// 16 rows: eight columns of one id beside eight of another.
    fn halves(left: u8, right: u8) -> LabelImage {
        let row = [[left; 8], [right; 8]].concat();
        mask(&[&row[..]; 16])
    }

    #[test]
    fn fill_and_contour_in_the_palettes_colors() {
        let predicted = halves(1, 0);
        let mut picture = plain(16, 16, 80);
        draw(&mut picture, Layers { predicted: &predicted, truth: None, marked: None });
        // 0.4 of (230, 0, 0) over the grey
        assert_eq!(pixel(&picture, 2, 8), [140, 48, 48]);
        // 0.95 of (230, 0, 0) over that; the picture's border is no contour
        assert_eq!(pixel(&picture, 7, 8), [226, 2, 2]);
        assert_eq!(pixel(&picture, 0, 0), [140, 48, 48]);
        assert_eq!(pixel(&picture, 8, 8), [80; 3]);
    }

    #[test]
    fn a_mask_of_another_size_lies_where_the_frame_has_its_pixels() {
        let small = LabelImage { width: 2, height: 1, data: vec![0, 3] };
        let (mut ours, mut same) = (plain(16, 16, 80), plain(16, 16, 80));
        draw(&mut ours, Layers { predicted: &small, truth: None, marked: None });
        draw(&mut same, Layers { predicted: &halves(0, 3), truth: None, marked: None });
        assert_eq!(ours, same);
    }

    #[test]
    fn errors_are_marked_by_their_kind() {
        let predicted = halves(0, 1);
        let draw = |predicted: &LabelImage, truth: &LabelImage| {
            let mut picture = plain(16, 16, 0);
            draw(&mut picture, Layers { predicted, truth: None, marked: Some(truth) });
            picture
        };
        let marked = |color: Color| color.map(|value| (f32::from(value) * MARK).round() as u8);
        let missed = draw(&predicted, &halves(2, 1));
        assert_eq!(pixel(&missed, 2, 8), marked(MISSED));
        let right = pixel(&missed, 13, 8);
        assert_eq!(right, [(230.0 * PALE).round() as u8, 0, 0], "what is right is pale");
        let wrong = draw(&predicted, &halves(0, 0));
        let [_, green, blue] = pixel(&wrong, 13, 8);
        let [_, wanted_green, wanted_blue] = marked(FALSE);
        assert_eq!((green, blue), (wanted_green, wanted_blue));
        assert_eq!(pixel(&wrong, 2, 8), [0; 3]);
        // void is nobody's
        assert_eq!(pixel(&draw(&predicted, &halves(VOID, 1)), 2, 8), [0; 3]);
    }

    #[test]
    fn an_object_taken_for_another_is_striped() {
        let kinds = |x| mark(1, 2, (x, 0));
        assert_eq!((kinds(0), kinds(3 * FINE)), (Some(MISSED), Some(FALSE)));
        assert_eq!(mark(2, 2, (0, 0)), None);
    }

    #[test]
    fn the_truth_is_a_white_line() {
        let mut picture = plain(16, 16, 80);
        let (predicted, truth) = (halves(0, 0), halves(1, 0));
        draw(&mut picture, Layers { predicted: &predicted, truth: Some(&truth), marked: None });
        let [red, ..] = pixel(&picture, 7, 8);
        assert!(red > 150, "{red}");
        assert_eq!(pixel(&picture, 5, 8), [80; 3]);
    }

    #[test]
    fn the_colors_of_all_ids_of_vip_differ() {
        let mut colors: Vec<Color> = (1..20).map(color).collect();
        colors.sort_unstable();
        colors.dedup();
        assert_eq!(colors.len(), 19);
    }
}
