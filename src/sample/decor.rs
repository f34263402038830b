//! What stands in a scene without moving: bushes, trees, rocks, lamps, pots, parasols.

use super::geometry::{Point, at, mix, smoothstep};
use super::noise::{Draw, cells, gradient, octaves};
use super::scenery::{Look, Scene, foliage};
use super::texture::{Color, band, blend, hue, scaled};

/// One standing thing.
#[derive(Debug)]
pub(super) struct Decor {
    kind: Kind,
    /// The point of the scene where it stands.
    pub(super) foot: Point,
    /// Its height.
    size: f32,
    color: Color,
    seed: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bush,
    Tree,
    Rock,
    Lamp,
    Pot,
    Parasol,
    Chest,
}

impl Decor {
    /// Draws something that suits the place, mostly towards the horizon.
    pub(super) fn draw(draw: &mut Draw, look: &Look) -> Self {
        let kind = match look.scene {
            Scene::Meadow => draw.pick(&[Kind::Bush, Kind::Bush, Kind::Tree, Kind::Rock]),
            Scene::Street => draw.pick(&[Kind::Lamp, Kind::Pot, Kind::Bush, Kind::Chest]),
            Scene::Room => draw.pick(&[Kind::Pot, Kind::Chest]),
            Scene::Beach => draw.pick(&[Kind::Rock, Kind::Parasol, Kind::Rock, Kind::Bush]),
        };
        let near = draw.unit().powi(2);
        let foot = at(draw.range(-1.0, 1.0), look.horizon + mix(0.015, 0.3, near));
        let full = match kind {
            Kind::Bush => draw.range(0.22, 0.36),
            Kind::Tree => draw.range(0.9, 1.2),
            Kind::Rock => draw.range(0.14, 0.26),
            Kind::Lamp => draw.range(0.8, 1.0),
            Kind::Pot => draw.range(0.35, 0.5),
            Kind::Parasol => draw.range(0.45, 0.6),
            Kind::Chest => draw.range(0.2, 0.3),
        };
        let color = match kind {
            Kind::Rock => hue(draw.range(0.05, 0.12), 0.12, draw.range(0.45, 0.65)),
            Kind::Lamp => hue(0.5, 0.1, draw.range(0.14, 0.3)),
            Kind::Parasol => hue(draw.unit(), 0.65, 0.8),
            Kind::Chest => hue(draw.range(0.03, 0.13), 0.5, draw.range(0.35, 0.65)),
            _ => hue(draw.range(0.2, 0.34), draw.range(0.4, 0.62), draw.range(0.36, 0.52)),
        };
        Self { kind, foot, size: full * mix(0.55, 1.0, near), color, seed: draw.bits() }
    }

    /// The light that the thing leaves on the ground at `p`: less where it stands.
    pub(super) fn shade(&self, p: Point) -> f32 {
        let wide =
            self.size * if matches!(self.kind, Kind::Lamp | Kind::Tree) { 0.25 } else { 0.6 };
        let q = p - self.foot - at(0.25 * wide, 0.0);
        let distance = at(q.x / wide, q.y / (0.3 * wide)).length();
        1.0 - 0.45 * smoothstep(1.0, 0.1, distance)
    }

    /// Colour and opacity at `p`, if it is anywhere near.
    pub(super) fn color(&self, p: Point, texel: f32) -> Option<(Color, f32)> {
        let q = (p - self.foot) * (1.0 / self.size);
        if q.x.abs() > 0.75 || q.y > 0.1 || q.y < -1.15 {
            return None;
        }
        let texel = texel / self.size;
        match self.kind {
            Kind::Bush => self.leaves(q, at(0.0, -0.42), at(0.62, 0.5), texel),
            Kind::Tree => self.tree(q, texel),
            Kind::Rock => self.rock(q, texel),
            Kind::Lamp => self.lamp(q, texel),
            Kind::Pot => self.pot(q, texel),
            Kind::Parasol => self.parasol(q, texel),
            Kind::Chest => self.chest(q, texel),
        }
        .filter(|(_, cover)| *cover > 0.0)
    }

    /// A ragged ellipse of leaves, brighter above.
    fn leaves(&self, q: Point, center: Point, half: Point, texel: f32) -> Option<(Color, f32)> {
        let from = q - center;
        let ragged = 0.22 * octaves(q, 0.3, texel, self.seed);
        let beyond = at(from.x / half.x, from.y / half.y).length() - 1.0 - ragged;
        let cover = smoothstep(0.02, -0.02, beyond);
        let light = mix(1.2, 0.6, smoothstep(-half.y, half.y, from.y));
        let scene_point = q * self.size;
        let color = foliage(scene_point, self.color, texel * self.size, self.seed);
        Some((scaled(color, light), cover))
    }

    fn tree(&self, q: Point, texel: f32) -> Option<(Color, f32)> {
        let crown = self.leaves(q, at(0.0, -0.72), at(0.4, 0.33), texel);
        let bend = 0.02 * gradient(at(0.3, q.y * 3.0), self.seed);
        let half = 0.035 + 0.03 * smoothstep(-0.12, 0.0, q.y);
        let cover =
            smoothstep(texel, -texel, (q.x - bend).abs() - half) * smoothstep(0.01, 0.0, q.y);
        let bark = octaves(at(q.x * 9.0, q.y), 0.2, texel, self.seed ^ 2);
        let round = 1.0 - 0.5 * smoothstep(-half, half, q.x - bend);
        let trunk = (scaled([0.42, 0.33, 0.25], round * (0.9 + 0.5 * bark)), cover);
        crown.filter(|(_, cover)| *cover > 0.5).or(Some(trunk))
    }

    fn rock(&self, q: Point, texel: f32) -> Option<(Color, f32)> {
        let from = at(q.x, q.y + 0.3);
        let ragged = 0.3 * octaves(q, 0.8, texel, self.seed);
        let beyond = at(from.x / 0.62, from.y / 0.5).length() - 1.0 - ragged;
        let flat = smoothstep(0.06, 0.02, q.y);
        let facet = cells(q * 3.0, self.seed ^ 4);
        let grain = octaves(q, 0.3, texel, self.seed ^ 5);
        let light = 1.15 - 0.7 * smoothstep(-0.5, 0.4, from.y + 0.3 * from.x) + 0.25 * facet.value;
        let crack = 1.0 - 0.4 * smoothstep(0.06, 0.0, facet.border);
        let color = scaled(self.color, light * crack * (1.0 + 0.35 * grain));
        Some((color, smoothstep(2.0 * texel, -2.0 * texel, beyond * 0.5) * flat))
    }

    fn lamp(&self, q: Point, texel: f32) -> Option<(Color, f32)> {
        let edge = |beyond: f32| smoothstep(texel, -texel, beyond);
        let post = edge(
            (q.x.abs() - 0.014 - 0.014 * smoothstep(-0.2, 0.0, q.y)).max(q.y).max(-0.86 - q.y),
        );
        let head = edge((q.x.abs() - 0.06 + 0.3 * (q.y + 0.86)).max((q.y + 0.92).abs() - 0.07));
        let glass = edge((q.x.abs() - 0.045 + 0.3 * (q.y + 0.86)).max((q.y + 0.92).abs() - 0.05));
        let round = 1.25 - 0.6 * smoothstep(-0.03, 0.03, q.x);
        let color = blend(scaled(self.color, round), [0.93, 0.9, 0.78], glass);
        Some((color, post.max(head)))
    }

    fn pot(&self, q: Point, texel: f32) -> Option<(Color, f32)> {
        let wide = mix(0.13, 0.2, smoothstep(0.0, -0.36, q.y));
        let beyond = (q.x.abs() - wide).max(q.y - 0.02).max(-0.36 - q.y);
        let cover = smoothstep(texel, -texel, beyond);
        let round = 1.15 - 0.6 * smoothstep(-0.2, 0.2, q.x);
        let rim = 1.0 + 0.15 * smoothstep(0.01, 0.0, (q.y + 0.31).abs() - 0.03);
        let clay = scaled(
            [0.66, 0.36, 0.24],
            round * rim * (1.0 + 0.2 * octaves(q, 0.1, texel, self.seed)),
        );
        let plant = self.leaves(q, at(0.0, -0.66), at(0.4, 0.34), texel);
        if cover > 0.0 { Some((clay, cover)) } else { plant }
    }

    /// A wooden box: the front in boards, and the lid seen from above.
    fn chest(&self, q: Point, texel: f32) -> Option<(Color, f32)> {
        let edge = |beyond: f32| smoothstep(texel, -texel, beyond);
        let half = 0.6 - 0.25 * smoothstep(-0.62, -0.85, q.y);
        let front = edge((q.x.abs() - 0.6).max(q.y).max(-0.62 - q.y));
        let lid = edge((q.x.abs() - half).max(q.y + 0.6).max(-0.82 - q.y));
        let board = ((q.y / 0.155).rem_euclid(1.0) - 0.5).abs();
        let grain = octaves(at(q.x, q.y * 6.0), 0.4, texel, self.seed);
        let gap = 1.0 - 0.5 * smoothstep(0.44, 0.48, board) * front;
        let brace = 1.0 - 0.25 * edge((q.x.abs() - 0.42).abs() - 0.05) * front;
        let light = if front > 0.5 { 0.85 } else { 1.2 };
        Some((scaled(self.color, light * gap * brace * (1.0 + 0.3 * grain)), front.max(lid)))
    }

    fn parasol(&self, q: Point, texel: f32) -> Option<(Color, f32)> {
        let edge = |beyond: f32| smoothstep(texel, -texel, beyond);
        let from = at(q.x, q.y + 0.62);
        let dome = edge((at(from.x / 0.62, from.y / 0.4).length() - 1.0) * 0.5)
            * edge(from.y + 0.03 * (q.x * 30.0).sin().abs());
        let pole = edge(q.x.abs() - 0.013) * edge(q.y) * edge(-0.62 - q.y);
        let panel = band(
            from.x / (0.25 + 0.6 * (0.16 - from.y * from.y).max(0.0).sqrt()) * 1.6 + 0.25,
            0.5,
        );
        let light = 1.1 - 0.4 * smoothstep(-0.5, 0.6, from.x - from.y);
        let cloth = scaled(blend(self.color, [0.94, 0.92, 0.86], panel), light);
        let wood = scaled([0.72, 0.62, 0.46], 1.2 - 0.5 * smoothstep(-0.01, 0.01, q.x));
        Some((if dome > 0.0 { cloth } else { wood }, dome.max(pole)))
    }
}
