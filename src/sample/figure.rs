//! Moving things as layers of rounded shapes: the distance of a point from a shape, and its colour
//! there.
//!
//! A [`Figure`] is posed again for every frame. Each [`Layer`] is one continuous body, either bones
//! with flesh around them or a wobbly closed outline, and has a surface in the coordinates of the
//! body at rest: a point of the picture is mapped back to the body at rest and looked up there. So
//! patterns move with the body. [`super::person`], [`super::animal`] and [`super::things`] pose
//! figures; [`mod@super::render`] draws them.

use std::sync::Arc;

use super::geometry::{Point, at, between, mix};
use super::texture::{Color, Texture};

/// One posed thing, its layers from back to front.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) layers: Vec<Layer>,
    /// The y of the scene at which it stands, or above which it floats.
    pub(super) ground: f32,
    /// Scene units per unit of the resting body.
    pub(super) scale: f32,
}

/// One continuous body and what is painted on it.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) body: Body,
    /// Regions painted over one another in this order; the first covers everything.
    pub(super) surface: Vec<Region>,
    /// Light that reaches it: 1, or less for a limb on the far side.
    pub(super) light: f32,
    /// Where cloth ends: nothing is left below this y of the resting body.
    pub(super) hem: Option<f32>,
}

impl Layer {
    /// A layer in full light, all of its body covered.
    pub(super) fn new(body: Body, surface: Vec<Region>) -> Self {
        Self { body, surface, light: 1.0, hem: None }
    }

    /// The signed distance from `p` to the outline of the layer, negative inside.
    pub(super) fn distance(&self, p: Point, scale: f32) -> f32 {
        let distance = self.body.distance(p);
        match self.hem {
            Some(hem) if distance < 0.05 * scale => {
                distance.max((self.body.relief(p).rest.y - hem) * scale)
            }
            _ => distance,
        }
    }
}

/// The shape of a layer.
#[derive(Debug)]
pub(super) enum Body {
    /// Tapered bones melted together over a distance of `melt`.
    Bones { bones: Vec<Bone>, melt: f32 },
    /// A closed outline around a centre.
    Blob(Blob),
}

/// What one point of a body looks like.
pub(super) struct Relief {
    /// The point of the resting body.
    pub(super) rest: Point,
    /// How far the surface leans away from the viewer, as a vector of length 0 (facing) to 1 (rim).
    pub(super) lean: Point,
}

impl Body {
    /// The signed distance from `p` to the outline, negative inside; exact near single bones, close
    /// elsewhere.
    pub(super) fn distance(&self, p: Point) -> f32 {
        match self {
            Self::Bones { bones, melt } => bones
                .iter()
                .map(|bone| bone.nearest(p).distance)
                .fold(f32::MAX, |a, b| smooth_min(a, b, *melt)),
            Self::Blob(blob) => blob.distance(p),
        }
    }

    /// Where `p` lies on the resting body.
    pub(super) fn relief(&self, p: Point) -> Relief {
        match self {
            Self::Bones { bones, .. } => blended_relief(bones, p),
            Self::Blob(blob) => blob.relief(p),
        }
    }

    /// The corners (least x and y, greatest x and y) of a box around the body.
    pub(super) fn bounds(&self) -> (Point, Point) {
        let around = |(low, high): (Point, Point), p: Point, r: f32| {
            (
                at(low.x.min(p.x - r), low.y.min(p.y - r)),
                at(high.x.max(p.x + r), high.y.max(p.y + r)),
            )
        };
        let nothing = (at(f32::MAX, f32::MAX), at(f32::MIN, f32::MIN));
        match self {
            Self::Bones { bones, melt } => bones.iter().fold(nothing, |sides, bone| {
                let sides = around(sides, bone.from, bone.radii[0] + melt);
                around(sides, bone.from + bone.along, bone.radii[1] + melt)
            }),
            Self::Blob(blob) => around(nothing, blob.center, blob.reach()),
        }
    }
}

/// The smaller of two distances, rounded off where they are within `melt` of each other.
fn smooth_min(a: f32, b: f32, melt: f32) -> f32 {
    let overlap = (melt - (a - b).abs()).max(0.0);
    let least = a.min(b);
    if overlap > 0.0 { least - overlap * overlap / (4.0 * melt) } else { least }
}

/// Near each bone the point rests where that bone carries it; between bones the answers are
/// averaged.
fn blended_relief(bones: &[Bone], p: Point) -> Relief {
    let (mut total, mut rest, mut lean) = (0.0, at(0.0, 0.0), at(0.0, 0.0));
    for bone in bones {
        let near = bone.nearest(p);
        let share = near.offset.length() / near.radius;
        let weight = 1.0 / (share * share + 0.03).powi(2);
        total += weight;
        rest = rest + bone.resting(&near) * weight;
        lean = lean + near.offset * (weight / near.radius);
    }
    let lean = lean * (1.0 / total);
    let excess = lean.length().max(1.0);
    Relief { rest: rest * (1.0 / total), lean: lean * (1.0 / excess) }
}

/// A bone with flesh around it: two discs and their tangents.
#[derive(Debug)]
pub(super) struct Bone {
    from: Point,
    along: Point,
    direction: Point,
    across: Point,
    per_length_squared: f32,
    radii: [f32; 2],
    per_scale: f32,
    rest: [Point; 2],
    rest_direction: Point,
}

/// The nearest point of a bone's axis.
struct Nearest {
    distance: f32,
    share: f32,
    offset: Point,
    radius: f32,
}

impl Bone {
    /// The bone that leads `rest` to `posed`. `radii` and `rest` are in units of the resting body,
    /// `scale` the posed units in one of them; `mirrored` swaps the two sides of the bone.
    pub(super) fn new(
        posed: [Point; 2],
        rest: [Point; 2],
        radii: [f32; 2],
        scale: f32,
        mirrored: bool,
    ) -> Self {
        let along = posed[1] - posed[0];
        let direction = along.direction();
        Self {
            from: posed[0],
            along,
            direction,
            across: direction.across() * if mirrored { -1.0 } else { 1.0 },
            per_length_squared: 1.0 / along.dot(along).max(1e-9),
            radii: radii.map(|radius| radius * scale),
            per_scale: 1.0 / scale,
            rest,
            rest_direction: (rest[1] - rest[0]).direction(),
        }
    }

    fn nearest(&self, p: Point) -> Nearest {
        let from = p - self.from;
        let share = (from.dot(self.along) * self.per_length_squared).clamp(0.0, 1.0);
        let offset = from - self.along * share;
        let radius = mix(self.radii[0], self.radii[1], share);
        Nearest { distance: offset.length() - radius, share, offset, radius }
    }

    fn resting(&self, near: &Nearest) -> Point {
        let ahead = near.offset.dot(self.direction) * self.per_scale;
        let aside = near.offset.dot(self.across) * self.per_scale;
        between(self.rest[0], self.rest[1], near.share)
            + self.rest_direction * ahead
            + self.rest_direction.across() * aside
    }
}

/// How many waves a blob's outline is the sum of, at most.
pub(super) const HARMONICS: usize = 7;

/// A closed outline around a centre: the radius is a Fourier series of the angle.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) center: Point,
    /// Mean radius.
    pub(super) size: f32,
    /// How far it is turned.
    pub(super) turn: f32,
    /// Factor on the width; the height is divided by it, so that the area stays.
    pub(super) stretch: f32,
    /// Cosine and sine weights of the waves 1, 2, 3, … around the outline, as shares of the radius.
    pub(super) waves: [(f32, f32); HARMONICS],
    /// Units of the resting body per mean radius.
    pub(super) grain: f32,
}

impl Blob {
    /// The point in the blob's own turned and unstretched frame, in mean radii.
    fn local(&self, p: Point) -> Point {
        let q = (p - self.center).turned(-self.turn) * (1.0 / self.size);
        at(q.x / self.stretch, q.y * self.stretch)
    }

    /// The radius of the outline in the direction of a local point, and its slope along the angle.
    fn radius(&self, local: Point) -> (f32, f32) {
        let unit = local.direction();
        let (mut cos, mut sin) = (1.0, 0.0);
        let (mut radius, mut slope) = (1.0, 0.0);
        for (index, (even, odd)) in self.waves.iter().enumerate() {
            // The angle sum formulas give cos and sin of the next multiple without a call.
            (cos, sin) = (cos * unit.x - sin * unit.y, sin * unit.x + cos * unit.y);
            radius += even * cos + odd * sin;
            slope += (index + 1) as f32 * (odd * cos - even * sin);
        }
        (radius, slope)
    }

    fn distance(&self, p: Point) -> f32 {
        let local = self.local(p);
        let (radius, slope) = self.radius(local);
        let steep = slope / radius;
        (local.length() - radius) * self.size / (1.0 + steep * steep).sqrt()
    }

    fn relief(&self, p: Point) -> Relief {
        let local = self.local(p);
        // Within the resting body the outline is the unit circle.
        let inside = local * (1.0 / self.radius(local).0);
        let lean = (p - self.center).direction() * inside.length().min(1.0);
        Relief { rest: inside * self.grain, lean }
    }

    /// A radius that nothing of the blob reaches beyond.
    fn reach(&self) -> f32 {
        let waves: f32 = self.waves.iter().map(|(even, odd)| even.hypot(*odd)).sum();
        self.size * (1.0 + waves) * self.stretch.max(1.0 / self.stretch)
    }
}

/// A part of a surface.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) shape: Shape,
    pub(super) paint: Paint,
}

/// Where on the resting body a region lies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// Everywhere.
    All,
    /// Where y is less.
    Above(f32),
    /// Where y is more.
    Below(f32),
    /// Within an ellipse: centre and half axes.
    Ellipse(Point, Point),
    /// Within a rectangle: centre and half sides.
    Box(Point, Point),
}

impl Shape {
    /// The signed distance from a point of the resting body to the region's edge, negative inside.
    pub(super) fn distance(&self, p: Point) -> f32 {
        match *self {
            Self::All => f32::MIN,
            Self::Above(y) => p.y - y,
            Self::Below(y) => y - p.y,
            Self::Ellipse(center, half) => {
                let q = p - center;
                let share = at(q.x / half.x, q.y / half.y).length();
                (share - 1.0) * half.x.min(half.y)
            }
            Self::Box(center, half) => {
                let q = p - center;
                (q.x.abs() - half.x).max(q.y.abs() - half.y)
            }
        }
    }
}

/// What a region is made of.
#[derive(Debug, Clone)]
pub(super) struct Paint {
    /// The class that it counts as, where the clip is labelled by parts.
    pub(super) class: u8,
    pub(super) ink: Ink,
    /// Strength of the highlight: 0 for cloth, 1 for glass.
    pub(super) gloss: f32,
}

/// The colour of a paint.
#[derive(Debug, Clone)]
pub(super) enum Ink {
    /// A pattern.
    Tile(Arc<Texture>),
    /// One colour.
    Plain(Color),
}

impl Paint {
    /// Matt pattern of a class.
    pub(super) fn tile(class: u8, texture: &Arc<Texture>) -> Self {
        Self { class, ink: Ink::Tile(Arc::clone(texture)), gloss: 0.06 }
    }

    /// One colour of a class.
    pub(super) fn plain(class: u8, color: Color) -> Self {
        Self { class, ink: Ink::Plain(color), gloss: 0.1 }
    }

    /// The same paint with another highlight.
    pub(super) fn glossy(self, gloss: f32) -> Self {
        Self { gloss, ..self }
    }

    /// This paint on a part of a surface.
    pub(super) fn on(&self, shape: Shape) -> Region {
        Region { shape, paint: self.clone() }
    }

    /// The colour at a point of the resting body.
    pub(super) fn color(&self, rest: Point) -> Color {
        match &self.ink {
            Ink::Tile(texture) => texture.color(rest),
            Ink::Plain(color) => *color,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(bend: f32) -> Body {
        let rest = [at(0.0, 0.0), at(0.0, 1.0), at(0.0, 2.0)];
        let elbow = at(0.0, 2.0);
        let posed = [at(0.0, 0.0), elbow, elbow + at(0.0, 2.0).turned(bend)];
        let bone = |i: usize| {
            Bone::new([posed[i], posed[i + 1]], [rest[i], rest[i + 1]], [0.2, 0.2], 2.0, false)
        };
        Body::Bones { bones: vec![bone(0), bone(1)], melt: 0.1 }
    }

    #[test]
    fn a_straight_arm_is_a_capsule() {
        let arm = arm(0.0);
        // Posed at twice the size: radius 0.4 around the axis x = 0, from y = 0 to y = 4.
        assert!((arm.distance(at(1.0, 1.0)) - 0.6).abs() < 1e-6);
        assert!((arm.distance(at(0.0, 4.5)) - 0.1).abs() < 1e-6);
        assert!(arm.distance(at(0.1, 2.0)) < 0.0);
        let (low, high) = arm.bounds();
        assert!(low.x <= -0.4 && low.y <= -0.4 && high.x >= 0.4 && high.y >= 4.4);
    }

    #[test]
    fn patterns_follow_the_bone() {
        // 0.2 beside the forearm's axis, halfway down: resting at (0.1 aside, 1.5 down) either way.
        for bend in [0.0_f32, -0.9, 0.6] {
            let p = at(0.0, 2.0) + at(0.2, 1.0).turned(bend);
            let rest = arm(bend).relief(p).rest;
            // The upper arm has a say of a few per cent.
            assert!((rest - at(0.1, 1.5)).length() < 0.06, "{bend}: {rest:?}");
        }
    }

    #[test]
    fn a_blob_without_waves_is_an_ellipse() {
        let blob = Blob {
            center: at(1.0, 0.0),
            size: 0.5,
            turn: 0.0,
            stretch: 2.0,
            waves: Default::default(),
            grain: 1.0,
        };
        // Half axes 0.5 * 2 and 0.5 / 2.
        assert!(blob.distance(at(2.0, 0.0)).abs() < 1e-6);
        assert!(blob.distance(at(1.0, 0.25)).abs() < 1e-6);
        assert!(blob.distance(at(1.0, 0.0)) < 0.0);
        let rest = blob.relief(at(1.5, 0.0)).rest;
        assert!((rest - at(0.5, 0.0)).length() < 1e-6);
        assert!(blob.reach() >= 1.0);
    }

    #[test]
    fn the_slope_of_a_blob_is_its_derivative() {
        let mut waves = [(0.0, 0.0); HARMONICS];
        waves[1] = (0.1, 0.05);
        waves[4] = (-0.03, 0.04);
        let blob =
            Blob { center: at(0.0, 0.0), size: 1.0, turn: 0.0, stretch: 1.0, waves, grain: 1.0 };
        let (angle, step) = (0.7_f32, 1e-2_f32);
        let radius = |a: f32| blob.radius(at(a.cos(), a.sin()));
        let difference = (radius(angle + step).0 - radius(angle - step).0) / (2.0 * step);
        // Central difference: error about step² / 6 times the third derivative, 5³ * 0.05 = 6.
        assert!((difference - radius(angle).1).abs() < 1e-3);
    }

    #[test]
    fn regions_know_inside_from_outside() {
        assert!(Shape::Above(0.5).distance(at(9.0, 0.4)) < 0.0);
        assert!(Shape::Below(0.5).distance(at(9.0, 0.4)) > 0.0);
        assert!(Shape::Ellipse(at(1.0, 1.0), at(0.5, 0.2)).distance(at(1.4, 1.0)) < 0.0);
        assert!(Shape::Ellipse(at(1.0, 1.0), at(0.5, 0.2)).distance(at(1.0, 1.4)) > 0.0);
        assert!((Shape::Box(at(0.0, 0.0), at(1.0, 2.0)).distance(at(1.5, 0.0)) - 0.5).abs() < 1e-6);
    }
}
