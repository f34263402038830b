//! Lines, discs and outlines on a picture, with soft edges.
//!
//! Positions are in pixels, with fractions: (0, 0) is the picture's upper left corner and (0.5,
//! 0.5) the middle of its first pixel. A shape is given by the distance to it; a pixel on its edge
//! takes a share of the colour that falls from 1 to 0 within half a pixel on either side of the
//! edge. What lies outside the picture is not drawn. Next: [`super::masks`] and [`super::skeleton`]
//! draw with these.

use crate::image::Rgb;

/// Red, green and blue.
pub(crate) type Color = [u8; 3];

/// A place as (x, y).
pub(crate) type Point = (f32, f32);

/// A box of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Area {
    /// Its left side.
    pub left: f32,
    /// Its upper side.
    pub top: f32,
    /// Its right side.
    pub right: f32,
    /// Its lower side.
    pub bottom: f32,
}

/// What a line is drawn with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pen {
    /// Its colour.
    pub color: Color,
    /// Its width in pixels.
    pub width: f32,
    /// How much it covers, from 0 to 1.
    pub opacity: f32,
}

impl Pen {
    /// One that covers.
    pub(crate) fn new(color: Color, width: f32) -> Self {
        Self { color, width, opacity: 1.0 }
    }
}

/// Mixes a colour into a pixel.
pub(super) fn blend(pixel: &mut [u8], color: Color, opacity: f32) {
    for (value, color) in pixel.iter_mut().zip(color) {
        let (old, new) = (f32::from(*value), f32::from(color));
        *value = (old + (new - old) * opacity).round().clamp(0.0, 255.0) as u8;
    }
}

/// A straight line with round ends.
pub(crate) fn line(picture: &mut Rgb, from: Point, to: Point, pen: Pen) {
    let along = (to.0 - from.0, to.1 - from.1);
    let length = along.0 * along.0 + along.1 * along.1;
    let distance = |(x, y): Point| {
        let offset = (x - from.0, y - from.1);
        let share = match length > 0.0 {
            true => ((offset.0 * along.0 + offset.1 * along.1) / length).clamp(0.0, 1.0),
            false => 0.0,
        };
        (offset.0 - share * along.0).hypot(offset.1 - share * along.1) - pen.width / 2.0
    };
    let area = Area {
        left: from.0.min(to.0),
        top: from.1.min(to.1),
        right: from.0.max(to.0),
        bottom: from.1.max(to.1),
    };
    shape(picture, grown(area, pen.width), pen, distance);
}

/// A line of dashes, each three times as long as it is wide, with gaps as long.
pub(crate) fn dashed(picture: &mut Rgb, from: Point, to: Point, pen: Pen) {
    let along = (to.0 - from.0, to.1 - from.1);
    let pieces = (along.0.hypot(along.1) / (3.0 * pen.width).max(1.0)).ceil().max(1.0);
    let at = |piece: f32| {
        let share = (piece / pieces).min(1.0);
        (from.0 + along.0 * share, from.1 + along.1 * share)
    };
    let starts = (0..pieces as usize).step_by(2).map(|piece| piece as f32);
    starts.for_each(|piece| line(picture, at(piece), at(piece + 1.0), pen));
}

/// A filled circle.
pub(crate) fn disc(picture: &mut Rgb, centre: Point, radius: f32, color: Color) {
    let distance = |(x, y): Point| (x - centre.0).hypot(y - centre.1) - radius;
    shape(picture, around(centre, radius), Pen::new(color, 0.0), distance);
}

/// A circle's line, its middle at `radius`.
pub(crate) fn ring(picture: &mut Rgb, centre: Point, radius: f32, pen: Pen) {
    let distance =
        |(x, y): Point| ((x - centre.0).hypot(y - centre.1) - radius).abs() - pen.width / 2.0;
    shape(picture, around(centre, radius + pen.width), pen, distance);
}

/// The outline of a box, its line within it.
pub(crate) fn outline(picture: &mut Rgb, area: Area, pen: Pen) {
    let inner = grown(area, -pen.width);
    shape(picture, area, pen, |place| inside(area, place).max(-inside(inner, place)));
}

/// A filled box.
pub(crate) fn fill(picture: &mut Rgb, area: Area, color: Color, opacity: f32) {
    shape(picture, area, Pen { color, width: 0.0, opacity }, |place| inside(area, place));
}

/// Below 0 inside of the box, above 0 outside: how far the nearest side is along its axis.
fn inside(area: Area, (x, y): Point) -> f32 {
    let across = (area.left - x).max(x - area.right);
    across.max((area.top - y).max(y - area.bottom))
}

/// A box with all sides moved outwards.
pub(super) fn grown(area: Area, by: f32) -> Area {
    Area {
        left: area.left - by,
        top: area.top - by,
        right: area.right + by,
        bottom: area.bottom + by,
    }
}

fn around((x, y): Point, radius: f32) -> Area {
    grown(Area { left: x, top: y, right: x, bottom: y }, radius)
}

/// Colours the pixels of an area by how far their middles are outside of a shape.
fn shape(picture: &mut Rgb, area: Area, pen: Pen, outside: impl Fn(Point) -> f32) {
    let span = |from: f32, to: f32, size: usize| {
        let most = size as f32;
        let from = (from - 1.0).floor().clamp(0.0, most) as usize;
        from..(to + 1.0).ceil().clamp(0.0, most) as usize
    };
    let columns = span(area.left, area.right, picture.width);
    for row in span(area.top, area.bottom, picture.height) {
        for column in columns.clone() {
            let share = 0.5 - outside((column as f32 + 0.5, row as f32 + 0.5));
            if share > 0.0 {
                let pixel = 3 * (row * picture.width + column);
                let opacity = pen.opacity * share.min(1.0);
                blend(&mut picture.data[pixel..pixel + 3], pen.color, opacity);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn plain(width: usize, height: usize, grey: u8) -> Rgb {
        Rgb { width, height, data: vec![grey; 3 * width * height] }
    }

    /// The reds of a row.
    fn reds(picture: &Rgb, row: usize) -> Vec<u8> {
        let row = &picture.data[3 * row * picture.width..][..3 * picture.width];
        row.iter().step_by(3).copied().collect()
    }

    #[test]
    fn a_line_covers_its_width_and_half_of_a_pixel_that_it_halves() {
        let mut picture = plain(5, 4, 0);
        line(&mut picture, (-9.0, 1.5), (9.0, 1.5), Pen::new([200, 0, 0], 1.0));
        assert_eq!(reds(&picture, 1), [200; 5]);
        assert_eq!((reds(&picture, 0), reds(&picture, 2)), (vec![0; 5], vec![0; 5]));
        let mut picture = plain(5, 4, 0);
        line(&mut picture, (-9.0, 2.0), (9.0, 2.0), Pen::new([200, 0, 0], 1.0));
        assert_eq!((reds(&picture, 1), reds(&picture, 2)), (vec![100; 5], vec![100; 5]));
        // a line of no length is a dot
        let mut picture = plain(3, 3, 0);
        line(&mut picture, (1.5, 1.5), (1.5, 1.5), Pen::new([200, 0, 0], 1.0));
        assert_eq!(reds(&picture, 1), [0, 200, 0]);
    }

    #[test]
    fn dashes_leave_gaps_of_their_length() {
        let mut picture = plain(12, 1, 0);
        dashed(&mut picture, (0.0, 0.5), (12.0, 0.5), Pen::new([200, 0, 0], 1.0));
        let row = reds(&picture, 0);
        assert_eq!([row[1], row[4], row[7], row[10]], [200, 0, 200, 0]);
    }

    #[test]
    fn boxes_and_circles_keep_within_their_bounds() {
        let area = Area { left: 1.0, top: 1.0, right: 5.0, bottom: 5.0 };
        let mut picture = plain(6, 6, 0);
        outline(&mut picture, area, Pen::new([200, 0, 0], 1.0));
        assert_eq!(reds(&picture, 1), [0, 200, 200, 200, 200, 0]);
        assert_eq!(reds(&picture, 2), [0, 200, 0, 0, 200, 0]);
        assert_eq!(reds(&picture, 5), [0; 6]);
        let mut picture = plain(6, 6, 0);
        fill(&mut picture, area, [200, 0, 0], 0.5);
        assert_eq!(
            (reds(&picture, 0), reds(&picture, 4)),
            (vec![0; 6], vec![0, 100, 100, 100, 100, 0])
        );
        let mut picture = plain(9, 9, 0);
        disc(&mut picture, (4.5, 4.5), 2.5, [200, 0, 0]);
        assert_eq!(reds(&picture, 4), [0, 0, 200, 200, 200, 200, 200, 0, 0]);
        let mut picture = plain(9, 9, 0);
        ring(&mut picture, (4.5, 4.5), 3.0, Pen::new([200, 0, 0], 1.0));
        assert_eq!(reds(&picture, 4), [0, 200, 0, 0, 0, 0, 0, 200, 0]);
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let mut picture = plain(3, 3, 7);
        disc(&mut picture, (-50.0, 400.0), 9.0, [200, 0, 0]);
        line(&mut picture, (-50.0, -50.0), (f32::NAN, 4.0), Pen::new([200, 0, 0], 1.0));
        assert_eq!(picture, plain(3, 3, 7));
    }
}
