//! Four-legged animals and birds.
//!
//! Both are skeletons posed in three dimensions, so they foreshorten as they turn. Their patterns
//! are painted on the body at rest, seen from the side and facing right.

use std::f32::consts::{PI, TAU};
use std::sync::Arc;

use super::figure::{Body, Bone, Figure, Layer, Paint, Region, Shape};
use super::geometry::{Point, at};
use super::noise::Draw;
use super::path::{Path, Place, Spot, spot};
use super::texture::Texture;

/// A four-legged animal, about 1 from tail to nose.
#[derive(Debug)]
pub(super) struct Animal {
    pub(super) path: Path,
    pub(super) build: Build,
    pub(super) coat: Arc<Texture>,
    /// The pattern of tail, ears and lower legs.
    pub(super) dark: Arc<Texture>,
    pub(super) phase: f32,
}

/// The proportions of an animal, in its lengths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Build {
    leg: f32,
    girth: f32,
    neck: f32,
    /// Angle of the neck above the level, in radians.
    carriage: f32,
    snout: f32,
    ear: f32,
    tail: f32,
    /// Angle of the tail above the level.
    flag: f32,
}

impl Build {
    /// Something between a dog, a cow and a horse.
    pub(super) fn draw(draw: &mut Draw) -> Self {
        let tall = draw.unit();
        Self {
            leg: 0.24 + 0.16 * tall,
            girth: draw.range(0.115, 0.165),
            neck: 0.13 + 0.17 * tall * draw.range(0.5, 1.1),
            carriage: draw.range(0.45, 1.0),
            snout: draw.range(0.12, 0.2),
            ear: draw.range(0.06, 0.12),
            tail: draw.range(0.18, 0.36),
            flag: draw.range(-0.9, 0.8),
        }
    }
}

/// Bones between spots of a body at a place; resting points and radii beside each spot.
fn chain(place: &Place, spots: &[(Spot, Point, f32)], melt: f32) -> Body {
    let mirrored = place.yaw.sin() < 0.0;
    let bone = |ends: &[(Spot, Point, f32)]| {
        let posed = [place.point(ends[0].0), place.point(ends[1].0)];
        let rest = [ends[0].1, ends[1].1];
        Bone::new(posed, rest, [ends[0].2, ends[1].2], place.scale, mirrored)
    };
    Body::Bones { bones: spots.windows(2).map(bone).collect(), melt: melt * place.scale }
}

/// The direction at `angle` above the level, ahead.
fn slanting(angle: f32) -> Spot {
    spot(angle.cos(), 0.0, angle.sin())
}

/// Where a spot rests: seen from the side, facing right.
fn from_the_side(spot: Spot) -> Point {
    at(spot.ahead, -spot.up)
}

impl Animal {
    /// The animal at frame `t`.
    pub(super) fn figure(&self, t: f32) -> Figure {
        let place = self.path.place(t);
        let phase = self.phase + TAU * place.travelled / (2.2 * self.build.leg);
        let legs: [_; 4] = std::array::from_fn(|index| self.leg_spots(index, phase));
        let sole = legs.iter().map(|leg| leg[3].up - 0.02).fold(f32::MAX, f32::min);
        let body_height = -sole;
        // Left legs are the odd ones; facing right the left side is the far one.
        let far = usize::from(place.yaw.sin() > 0.0);
        let leg = |index: usize| self.leg(&place, &legs[index], body_height, index % 2 == far);
        let mut layers: Vec<Layer> = [far, far + 2].map(leg).into();
        layers.push(self.trunk(&place, phase, t, body_height));
        layers.extend([1 - far, 3 - far].map(leg));
        layers.push(self.ear(&place, phase, body_height));
        Figure { layers, ground: place.foot.y, scale: place.scale }
    }

    /// Shoulder or hip, elbow or knee, ankle and paw of leg `index` (0, 1 fore; 2, 3 hind; odd
    /// left), as seen from a body at height 0.
    fn leg_spots(&self, index: usize, phase: f32) -> [Spot; 4] {
        let (fore, left) = (index < 2, index % 2 == 1);
        // A trot: diagonal legs go together.
        let phase = phase + if fore == left { 0.0 } else { PI };
        let half = self.build.leg / 2.0;
        let lift = phase.cos().max(0.0);
        let swing = 0.5 * phase.sin() + if fore { 0.05 } else { 0.3 };
        let lower = swing - (if fore { 0.1 } else { 0.55 }) - 0.8 * lift;
        let top = spot(if fore { 0.27 } else { -0.3 }, if left { 0.075 } else { -0.075 }, -0.03);
        let knee = top.moved(Spot::hanging(swing, 0.0), half);
        let ankle = knee.moved(Spot::hanging(lower, 0.0), half);
        [top, knee, ankle, ankle.moved(slanting(-0.35), 0.05)]
    }

    fn leg(&self, place: &Place, spots: &[Spot; 4], height: f32, far: bool) -> Layer {
        let half = self.build.leg / 2.0;
        let top = if spots[0].ahead < 0.0 { 0.085 } else { 0.07 };
        let radii = [top, 0.045, 0.03, 0.026];
        let rests = [0.0, half, 2.0 * half, 2.0 * half + 0.05];
        let joints: [_; 4] = std::array::from_fn(|i| {
            let raised = Spot { up: spots[i].up + height, ..spots[i] };
            (raised, at(spots[0].ahead, rests[i]), radii[i])
        });
        let surface = vec![
            Paint::tile(1, &self.coat).on(Shape::All),
            Paint::tile(1, &self.dark).on(Shape::Below(1.5 * half)),
        ];
        let light = if far { 0.72 } else { 1.0 };
        Layer { light, ..Layer::new(chain(place, &joints, 0.03), surface) }
    }

    /// Withers, poll and muzzle above a body at `height`.
    fn head_spots(&self, phase: f32, height: f32) -> [Spot; 3] {
        let b = &self.build;
        let nod = 0.07 * (2.0 * phase).sin();
        let withers = spot(0.28, 0.0, height + 0.03);
        let poll = withers.moved(slanting(b.carriage + nod), b.neck + 0.1);
        [withers, poll, poll.moved(slanting(-0.45 + nod), b.snout)]
    }

    fn trunk(&self, place: &Place, phase: f32, t: f32, height: f32) -> Layer {
        let b = &self.build;
        let rump = spot(-0.3, 0.0, height);
        let [withers, poll, muzzle] = self.head_spots(phase, height);
        let wag = 0.07 * (0.3 * t + self.phase).sin();
        let root = spot(-0.4, 0.0, height + 0.06);
        let back = root.moved(slanting(PI - b.flag), b.tail / 2.0);
        let tip = back.moved(slanting(PI - b.flag + 0.3), b.tail / 2.0);
        let rest = self.resting_spots();
        let spots = [
            (Spot { left: wag, ..tip }, rest[0], 0.018),
            (Spot { left: wag / 2.0, ..back }, rest[1], 0.026),
            (root, rest[2], 0.04),
            (rump, rest[3], b.girth * 0.95),
            (withers, rest[4], b.girth * 1.05),
            (poll, rest[5], 0.35 * b.girth + 0.035),
            (muzzle, rest[6], 0.043),
        ];
        Layer::new(chain(place, &spots, 0.09), self.markings(&rest))
    }

    /// The spots of the trunk from tail tip to muzzle, as they lie at rest.
    fn resting_spots(&self) -> [Point; 7] {
        let b = &self.build;
        let [withers, poll, muzzle] = self.head_spots(0.0, 0.0);
        let root = spot(-0.4, 0.0, 0.06);
        let back = root.moved(slanting(PI - b.flag), b.tail / 2.0);
        let tip = back.moved(slanting(PI - b.flag + 0.3), b.tail / 2.0);
        [tip, back, root, spot(-0.3, 0.0, 0.0), withers, poll, muzzle].map(from_the_side)
    }

    fn markings(&self, rest: &[Point; 7]) -> Vec<Region> {
        let [.., poll, muzzle] = *rest;
        let dark = |shape| Paint::plain(1, [0.07, 0.05, 0.05]).glossy(0.7).on(shape);
        let eye = poll + (muzzle - poll) * 0.35 + at(0.012, -0.018);
        let nose = muzzle + (muzzle - poll).direction() * 0.04;
        vec![
            Paint::tile(1, &self.coat).on(Shape::All),
            Paint::tile(1, &self.dark).on(Shape::Ellipse(rest[0], at(0.1, 0.1))),
            dark(Shape::Ellipse(eye, at(0.014, 0.014))),
            dark(Shape::Ellipse(nose, at(0.022, 0.02))),
        ]
    }

    fn ear(&self, place: &Place, phase: f32, height: f32) -> Layer {
        let [_, poll, _] = self.head_spots(phase, height);
        let base = spot(poll.ahead - 0.02, 0.0, poll.up + 0.03);
        let tip = base.moved(slanting(1.9), self.build.ear);
        let spots = [(base, at(0.0, 0.0), 0.032), (tip, at(0.0, -0.1), 0.01)];
        let surface = vec![Paint::tile(1, &self.dark).on(Shape::All)];
        Layer { light: 0.95, ..Layer::new(chain(place, &spots, 0.0), surface) }
    }
}

/// A bird on the wing, about 1 from beak to tail.
#[derive(Debug)]
pub(super) struct Bird {
    pub(super) path: Path,
    /// Height above the ground, in its lengths.
    pub(super) altitude: f32,
    pub(super) feathers: Arc<Texture>,
    pub(super) wings: Arc<Texture>,
    pub(super) phase: f32,
}

impl Bird {
    /// The bird at frame `t`.
    pub(super) fn figure(&self, t: f32) -> Figure {
        let place = self.path.place(t);
        let beat = TAU * t / 17.0 + self.phase;
        let up = self.altitude + 0.05 * (beat + 0.6).sin() + 0.2 * (t / 31.0 + self.phase).sin();
        let far = if place.yaw.sin() > 0.0 { 1.0 } else { -1.0 };
        let layers = vec![
            self.wing(&place, beat, up, far, 0.75),
            self.trunk(&place, up),
            self.wing(&place, beat, up, -far, 1.0),
        ];
        Figure { layers, ground: place.foot.y, scale: place.scale }
    }

    fn trunk(&self, place: &Place, up: f32) -> Layer {
        let spots = [
            (spot(-0.5, 0.0, up + 0.01), at(-0.5, 0.0), 0.06),
            (spot(-0.25, 0.0, up), at(-0.25, 0.0), 0.09),
            (spot(0.12, 0.0, up), at(0.12, 0.0), 0.13),
            (spot(0.32, 0.0, up + 0.08), at(0.32, -0.08), 0.085),
            (spot(0.48, 0.0, up + 0.04), at(0.48, -0.04), 0.018),
        ];
        let eye = Paint::plain(1, [0.05, 0.04, 0.04]).glossy(0.8);
        let beak = Paint::plain(1, [0.85, 0.55, 0.15]).glossy(0.3);
        let surface = vec![
            Paint::tile(1, &self.feathers).on(Shape::All),
            beak.on(Shape::Ellipse(at(0.49, -0.04), at(0.075, 0.07))),
            eye.on(Shape::Ellipse(at(0.35, -0.1), at(0.018, 0.018))),
        ];
        Layer::new(chain(place, &spots, 0.09), surface)
    }

    /// A wing is a fan of long feathers from the shoulder, beating up and down.
    fn wing(&self, place: &Place, beat: f32, up: f32, side: f32, light: f32) -> Layer {
        let mirrored = place.yaw.sin() < 0.0;
        let lift = 0.25 + 0.75 * beat.sin();
        let tip_lift = lift + 0.5 * (beat - 0.9).sin();
        let shoulder = |back: f32| spot(0.12 - 0.2 * back, side * 0.05, up + 0.07);
        let feather = |index: usize| {
            let back = index as f32 / 3.0;
            let reach = 0.62 - 0.22 * back;
            let out = |length: f32, lift: f32, sweep: f32| {
                spot(-sweep, side * length * lift.cos(), length * lift.sin())
            };
            let wrist = out(0.5 * reach, lift, 0.03 + 0.05 * back);
            let tip = out(0.5 * reach, tip_lift, 0.07 + 0.09 * back);
            let root = shoulder(back);
            let middle = spot(root.ahead + wrist.ahead, root.left + wrist.left, root.up + wrist.up);
            let end = spot(middle.ahead + tip.ahead, middle.left + tip.left, middle.up + tip.up);
            let x = -0.3 * back;
            [(root, at(x, 0.0), 0.05), (middle, at(x, 0.3), 0.062), (end, at(x, 0.6), 0.044)]
        };
        let bones = (0..4)
            .flat_map(|index| {
                let feather = feather(index);
                [[feather[0], feather[1]], [feather[1], feather[2]]]
            })
            .map(|[from, to]| {
                let posed = [place.point(from.0), place.point(to.0)];
                Bone::new(posed, [from.1, to.1], [from.2, to.2], place.scale, mirrored)
            })
            .collect();
        let surface = vec![Paint::tile(1, &self.wings).on(Shape::All)];
        Layer { light, ..Layer::new(Body::Bones { bones, melt: 0.1 * place.scale }, surface) }
    }
}
