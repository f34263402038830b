//! The static scene behind the moving things, painted once per clip on two plates.
//!
//! The far plate (sky, hills, walls) and the near plate (ground and what grows on it) shift against
//! each other as the camera moves, which gives parallax. Next: [`mod@super::render`] looks every
//! pixel up.

use rayon::prelude::*;

use super::decor::Decor;
use super::geometry::{Point, View, at, smoothstep};
use super::noise::{Draw, octaves};
use super::scenery::{Look, Scene};
use super::texture::{Color, blend, scaled};

/// How much of the camera's shift the far plate follows: it is farther away.
const FAR_SHIFT: f32 = 0.75;

/// Two plates and the ground between them.
#[derive(Debug)]
pub(super) struct Backdrop {
    far: Plate,
    near: Plate,
}

/// A painted rectangle of the scene: red, green, blue, opacity.
#[derive(Debug)]
struct Plate {
    width: usize,
    height: usize,
    corner: Point,
    per_unit: f32,
    data: Vec<[f32; 4]>,
}

impl Backdrop {
    /// Paints the scene over ±`half.x`, ±`half.y` for pictures `height` pixels high.
    pub(super) fn paint(look: &Look, decor: &[Decor], half: Point, height: usize) -> Self {
        let far = Plate::paint(half, height, |p, texel| {
            // Deeper down the ground hides it, however the plates shift.
            if p.y > look.horizon + 0.03 {
                return [0.0; 4];
            }
            let [r, g, b] = look.far_color(p, texel);
            [r, g, b, 1.0]
        });
        let near = Plate::paint(half, height, |p, texel| near_color(look, decor, p, texel));
        Self { far, near }
    }

    /// The two points of the plates that a camera sees where it would see `point` at rest.
    pub(super) fn color(&self, near: Point, far: Point) -> Color {
        let [r, g, b, opacity] = self.near.color(near);
        if opacity >= 1.0 {
            return [r, g, b];
        }
        let [fr, fg, fb, _] = self.far.color(far);
        blend([fr, fg, fb], [r, g, b], opacity)
    }

    /// The view of the far plate that goes with a view of the scene.
    pub(super) fn far_view(view: &View) -> View {
        View { center: view.center * FAR_SHIFT, ..*view }
    }
}

/// The ground with everything that stands on it, transparent where the far plate shows.
fn near_color(look: &Look, decor: &[Decor], p: Point, texel: f32) -> [f32; 4] {
    let mut opacity = smoothstep(look.horizon - texel, look.horizon + texel, p.y);
    let mut color = [0.0; 3];
    if opacity > 0.0 {
        let dappled = 1.0 + 0.14 * octaves(at(p.x, 2.0 * p.y), 0.7, texel, look.seed ^ 0x1a9);
        color = scaled(look.near_color(p, texel), dappled);
        for thing in decor {
            color = scaled(color, thing.shade(p));
        }
    }
    for thing in decor {
        if let Some((paint, cover)) = thing.color(p, texel) {
            color = if opacity > 0.0 { blend(color, paint, cover) } else { paint };
            opacity = opacity.max(cover);
        }
    }
    [color[0], color[1], color[2], opacity]
}

impl Plate {
    fn paint(half: Point, height: usize, paint: impl Fn(Point, f32) -> [f32; 4] + Sync) -> Self {
        let texel = 1.0 / height as f32;
        let (width, rows) =
            ((2.0 * half.x / texel) as usize + 2, (2.0 * half.y / texel) as usize + 2);
        let mut data = vec![[0.0; 4]; width * rows];
        data.par_chunks_exact_mut(width).enumerate().for_each(|(y, row)| {
            for (x, out) in row.iter_mut().enumerate() {
                *out = paint(at(x as f32, y as f32) * texel - half, texel);
            }
        });
        Self { width, height: rows, corner: half, per_unit: height as f32, data }
    }

    /// The colour at `p`, interpolated; the nearest painted one beyond the edge.
    fn color(&self, p: Point) -> [f32; 4] {
        let q = (p + self.corner) * self.per_unit;
        let x = q.x.clamp(0.0, (self.width - 2) as f32);
        let y = q.y.clamp(0.0, (self.height - 2) as f32);
        let (column, row) = (x as usize, y as usize);
        let (dx, dy) = ((x - column as f32).min(1.0), (y - row as f32).min(1.0));
        let first = row * self.width + column;
        let (above, below) = (&self.data[first..first + 2], &self.data[first + self.width..]);
        std::array::from_fn(|channel| {
            let top = above[0][channel] + (above[1][channel] - above[0][channel]) * dx;
            let bottom = below[0][channel] + (below[1][channel] - below[0][channel]) * dx;
            top + (bottom - top) * dy
        })
    }
}

/// A drawn scene: its look and what stands in it.
pub(super) fn draw(draw: &mut Draw, scene: Scene) -> (Look, Vec<Decor>) {
    let look = Look::draw(draw, scene);
    let count = 4 + draw.below(4);
    let mut decor: Vec<Decor> = (0..count).map(|_| Decor::draw(draw, &look)).collect();
    decor.sort_by(|a, b| a.foot.y.total_cmp(&b.foot.y));
    (look, decor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plates_interpolate_what_was_painted() {
        // A ramp is restored exactly by linear interpolation.
        let plate = Plate::paint(at(1.0, 0.5), 40, |p, _| [p.x, p.y, 0.0, 1.0]);
        let [x, y, _, opacity] = plate.color(at(0.33, -0.21));
        assert!((x - 0.33).abs() < 1e-5 && (y + 0.21).abs() < 1e-5, "{x} {y}");
        assert_eq!(opacity, 1.0);
        assert!(plate.color(at(9.0, 9.0))[0] >= 0.99);
    }

    #[test]
    fn every_place_has_a_far_and_a_near_part() {
        for scene in Scene::ALL {
            let (look, decor) = draw(&mut Draw::new(1, 2, 3, 0, 0), scene);
            let backdrop = Backdrop::paint(&look, &decor, at(1.0, 0.6), 48);
            let opaque = backdrop.near.data.iter().filter(|texel| texel[3] >= 1.0).count();
            let share = opaque as f32 / backdrop.near.data.len() as f32;
            assert!((0.3..0.9).contains(&share), "{scene:?}: {share}");
        }
    }
}
