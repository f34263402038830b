//! A patch and where it takes its labels from: the frame with the patch, then each context frame
//! that holds neighbours; these are shaded and labelled with their weights.

use std::collections::BTreeMap;

use super::canvas::{Area, Color, Pen, dashed, fill, grown, line, outline};
use super::sheet::{self, captioned, framed};
use super::text;
use crate::error::Result;
use crate::eval::trace::Traced;
use crate::image::figure::{self, scaled};
use crate::image::{Rgb, heat};
use crate::propagation::Neighbor;
use crate::propagation::Neighborhood;

/// The outline of the query's patch.
const QUERY: Color = [255, 60, 190];
/// The outline of neighbours' patches, and words on frames.
const WHITE: Color = [255, 255, 255];
/// Behind lines and words.
const SHADE: Color = [15, 15, 15];
/// Pictures in a row.
const COLUMNS: usize = 3;
/// How much a patch is covered by its shade.
const COVER: f32 = 0.55;

/// What decides which keys were looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// The keys' spatial limit.
    pub neighborhood: Neighborhood,
    /// Whether it binds the keys of frame 0 too.
    pub restrict_first: bool,
}

/// Draws a trace of frame `frame`; `load` is asked for the pictures of frames, which are brought to
/// `width` columns each.
///
/// # Errors
/// A frame cannot be loaded.
pub fn draw(
    traced: &Traced,
    frame: usize,
    reach: Reach,
    width: usize,
    load: impl Fn(usize) -> Result<Rgb>,
) -> Result<Rgb> {
    let grid = Grid { cells: traced.grid, cell: traced.cell, reach: reach.neighborhood };
    let mut query = scaled(load(frame)?, width);
    grid.draw_reach(&mut query);
    grid.draw_query(&mut query);
    let mut tiles = vec![captioned(&query, &format!("frame {frame}, the query"))];
    let mut by_frame: BTreeMap<usize, Vec<&Neighbor>> = BTreeMap::new();
    for neighbor in &traced.neighbors {
        by_frame.entry(neighbor.frame).or_default().push(neighbor);
    }
    let most = traced.neighbors.iter().map(|n| n.weight).fold(0.0, f32::max);
    for (frame, neighbors) in by_frame.iter().rev() {
        let mut picture = scaled(load(*frame)?, width);
        let everywhere = *frame == 0 && !reach.restrict_first;
        if !everywhere {
            grid.draw_reach(&mut picture);
        }
        grid.draw_neighbors(&mut picture, neighbors, most);
        let total: f32 = neighbors.iter().map(|n| n.weight).sum();
        let words = format!("frame {frame}: {}", percent(total));
        let words = if everywhere { words + ", searched everywhere" } else { words };
        tiles.push(captioned(&picture, &words));
    }
    let rows: Vec<Vec<&Rgb>> = tiles.chunks(COLUMNS).map(|row| row.iter().collect()).collect();
    let frames = figure::tiled(&rows);
    let scale = scale(frames.width, most);
    Ok(framed(&figure::tiled(&[vec![&frames], vec![&scale]])))
}

fn percent(weight: f32) -> String {
    format!("{:.1} %", 100.0 * weight)
}

/// The grid over a picture.
struct Grid {
    cells: (usize, usize),
    /// The query's.
    cell: (usize, usize),
    reach: Neighborhood,
}

impl Grid {
    /// A cell's box in pixels of a picture.
    fn area(&self, picture: &Rgb, (row, column): (usize, usize)) -> Area {
        let across = picture.width as f32 / self.cells.1 as f32;
        let down = picture.height as f32 / self.cells.0 as f32;
        let (left, top) = (column as f32 * across, row as f32 * down);
        Area { left, top, right: left + across, bottom: top + down }
    }

    fn draw_query(&self, picture: &mut Rgb) {
        let area = self.area(picture, self.cell);
        mark(picture, grown(area, 2.0), QUERY, 3.0);
    }

    /// The border of what the query's neighbourhood holds, dashed.
    fn draw_reach(&self, picture: &mut Rgb) {
        let (rows, columns) = self.cells;
        let inside = |row: isize, column: isize| {
            let within =
                (0..rows as isize).contains(&row) && (0..columns as isize).contains(&column);
            let offset =
                (row.abs_diff(self.cell.0 as isize), column.abs_diff(self.cell.1 as isize));
            within && self.reach.half_width(offset.0).is_some_and(|half| offset.1 <= half)
        };
        // the sides of cells whose neighbour across the side is beyond, but not those of the
        // picture
        let mut sides = Vec::new();
        for row in 0..rows as isize {
            for column in 0..columns as isize {
                if !inside(row, column) {
                    continue;
                }
                let Area { left, top, right, bottom } =
                    self.area(picture, (row as usize, column as usize));
                let beyond = |row: isize, column: isize| {
                    (0..rows as isize).contains(&row)
                        && (0..columns as isize).contains(&column)
                        && !inside(row, column)
                };
                let neighbors = [
                    ((row - 1, column), ((left, top), (right, top))),
                    ((row + 1, column), ((left, bottom), (right, bottom))),
                    ((row, column - 1), ((left, top), (left, bottom))),
                    ((row, column + 1), ((right, top), (right, bottom))),
                ];
                let open = neighbors.into_iter().filter(|((row, column), _)| beyond(*row, *column));
                sides.extend(open.map(|(_, side)| side));
            }
        }
        for (from, to) in &sides {
            line(picture, *from, *to, Pen { opacity: 0.35, ..Pen::new(SHADE, 3.0) });
        }
        for (from, to) in &sides {
            dashed(picture, *from, *to, Pen { opacity: 0.9, ..Pen::new(WHITE, 1.2) });
        }
    }

    /// Shades patches by their weights, `most` being brightest, and writes these beside them.
    fn draw_neighbors(&self, picture: &mut Rgb, neighbors: &[&Neighbor], most: f32) {
        for neighbor in neighbors {
            let area = self.area(picture, neighbor.cell);
            fill(picture, area, heat::color(neighbor.weight / most.max(f32::MIN_POSITIVE)), COVER);
            mark(picture, area, WHITE, 1.5);
        }
        let mut ordered: Vec<&&Neighbor> = neighbors.iter().collect();
        ordered.sort_by_key(|neighbor| neighbor.cell);
        let mut taken: Vec<Area> =
            neighbors.iter().map(|neighbor| self.area(picture, neighbor.cell)).collect();
        for neighbor in ordered {
            let area = self.area(picture, neighbor.cell);
            let words = percent(neighbor.weight);
            let place = place(picture, area, text::width(&words) as f32 + 4.0, &taken);
            label(picture, area, place, &words);
            taken.push(place);
        }
    }
}

/// The outline of a patch with a dark line around it.
fn mark(picture: &mut Rgb, area: Area, color: Color, width: f32) {
    outline(picture, grown(area, 1.0), Pen { opacity: 0.7, ..Pen::new(SHADE, 1.0) });
    outline(picture, area, Pen::new(color, width));
}

/// Room for words beside a patch: on its right or left, as high as it is or as near to that as what
/// is taken leaves.
fn place(picture: &Rgb, area: Area, width: f32, taken: &[Area]) -> Area {
    let height = text::LINE as f32;
    let (right, bottom) = (picture.width as f32, picture.height as f32);
    let middle = (area.top + area.bottom - height) / 2.0;
    let at = |left: f32, top: f32| {
        let left = left.clamp(0.0, (right - width).max(0.0)).round();
        let top = top.clamp(0.0, (bottom - height).max(0.0)).round();
        Area { left, top, right: left + width, bottom: top + height }
    };
    let meets = |a: &Area, b: &Area| {
        a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
    };
    // away from the patch in ever larger steps, below and above, on both sides
    let tries = (0..24).flat_map(|step| {
        let away = 6.0 * step as f32;
        let sides = [area.right + 5.0 + away / 4.0, area.left - width - 5.0 - away / 4.0];
        sides.into_iter().flat_map(move |left| [(left, middle + away), (left, middle - away)])
    });
    let mut tries = tries.map(|(left, top)| at(left, top));
    let free = tries.find(|place| !taken.iter().any(|other| meets(place, other)));
    free.unwrap_or_else(|| at(area.right + 5.0, middle))
}

/// Words in their place, on dark, with a line to their patch.
fn label(picture: &mut Rgb, area: Area, place: Area, words: &str) {
    let near = |from: f32, to: f32, value: f32| value.clamp(from, to);
    let (x, y) = ((area.left + area.right) / 2.0, (area.top + area.bottom) / 2.0);
    let end = (near(place.left, place.right, x), near(place.top, place.bottom, y));
    let start = (near(area.left, area.right, end.0), near(area.top, area.bottom, end.1));
    line(picture, start, end, Pen { opacity: 0.8, ..Pen::new(WHITE, 1.0) });
    fill(picture, place, SHADE, 0.7);
    text::write(picture, (place.left as usize + 2, place.top as usize), words, WHITE);
}

/// What shades mean, from nothing to the largest weight.
fn scale(width: usize, most: f32) -> Rgb {
    const BAR: usize = 160;
    let (from, to) = ("weight 0 %", percent(most));
    let mut strip = sheet::strip(width, from);
    let left = text::width(from) + 6;
    for column in 0..BAR.min(width.saturating_sub(left)) {
        let area = Area {
            left: (left + column) as f32,
            top: 4.0,
            right: (left + column + 1) as f32,
            bottom: 16.0,
        };
        fill(&mut strip, area, heat::color(column as f32 / (BAR - 1) as f32), 1.0);
    }
    text::write(&mut strip, (left + BAR + 6, 2), &to, sheet::INK);
    strip
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::canvas::tests::plain;
    use crate::propagation::Shape;
    use crate::protocol::Size;

    fn neighbor(frame: usize, cell: (usize, usize), weight: f32) -> Neighbor {
        Neighbor { frame, cell, cosine: 0.9, weight, copies: 1, labels: vec![1.0] }
    }

    fn traced(neighbors: Vec<Neighbor>) -> Traced {
        Traced {
            size: Size { height: 64, width: 128 },
            grid: (4, 8),
            cell: (1, 2),
            neighbors,
            labels: vec![1.0],
            names: vec!["background".into()],
        }
    }

    const REACH: Reach = Reach {
        neighborhood: Neighborhood { shape: Shape::Square, radius: 1.0 },
        restrict_first: false,
    };

    #[test]
    fn a_picture_for_the_query_and_each_frame_with_neighbors() {
        let asked = std::cell::RefCell::new(Vec::new());
        let load = |frame: usize| {
            asked.borrow_mut().push(frame);
            Ok(plain(128, 64, 60))
        };
        let found =
            vec![neighbor(3, (1, 2), 0.5), neighbor(0, (3, 7), 0.3), neighbor(3, (1, 3), 0.2)];
        let drawn = draw(&traced(found), 5, REACH, 256, load).unwrap();
        assert_eq!(*asked.borrow(), [5, 3, 0], "the query, then back in time");
        assert_eq!(drawn.width, 3 * 256 + 2 * figure::GUTTER + 16);
    }

    #[test]
    fn shades_tell_weights_and_patches_keep_their_places() {
        let grid = Grid { cells: (4, 8), cell: (1, 2), reach: REACH.neighborhood };
        let mut picture = plain(256, 128, 0);
        let strong = neighbor(1, (1, 2), 0.6);
        grid.draw_neighbors(&mut picture, &[&strong], 0.6);
        // the middle of row 1, column 2 where a patch is 32 pixels wide
        let at = 3 * (48 * 256 + 80);
        let wanted = heat::color(1.0).map(|value| (f32::from(value) * COVER).round() as u8);
        assert_eq!(picture.data[at..at + 3], wanted);
        assert_eq!(picture.data[3 * (48 * 256 + 40)], 0, "column 1 is as it was");
    }

    #[test]
    fn the_reach_is_drawn_between_cells_and_not_along_the_picture() {
        let grid = Grid { cells: (4, 8), cell: (1, 2), reach: REACH.neighborhood };
        let mut picture = plain(256, 128, 0);
        grid.draw_reach(&mut picture);
        let lit = |x: usize, y: usize| picture.data[3 * (y * 256 + x)] > 60;
        // columns 1 to 3 and rows 0 to 2 are inside
        assert!(lit(33, 97 - 1) && lit(128, 2) && !lit(33, 0) && !lit(80, 48));
        assert!(!lit(200, 96), "beyond the corner");
    }

    #[test]
    fn words_do_not_cover_each_other_nor_the_patches() {
        let picture = plain(256, 128, 0);
        let patch = |left: f32| Area { left, top: 50.0, right: left + 16.0, bottom: 66.0 };
        let mut taken = vec![patch(100.0), patch(116.0)];
        for area in [patch(100.0), patch(116.0)] {
            let found = place(&picture, area, 50.0, &taken);
            let free = taken.iter().all(|other| {
                found.left >= other.right
                    || found.right <= other.left
                    || found.top >= other.bottom
                    || found.bottom <= other.top
            });
            assert!(free, "{found:?}");
            assert!(found.left >= 0.0 && found.right <= 256.0);
            taken.push(found);
        }
    }
}
