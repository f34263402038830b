//! Cars, balls, balloons and lumps that hop: things without a skeleton.

use std::f32::consts::TAU;
use std::sync::Arc;

use super::figure::{Blob, Body, Bone, Figure, HARMONICS, Layer, Paint, Region, Shape};
use super::geometry::{Point, at};
use super::noise::Draw;
use super::path::{Path, Place, spot};
use super::texture::Texture;

/// A car, 1 long, or a van where `tall`.
#[derive(Debug)]
pub(super) struct Car {
    pub(super) path: Path,
    pub(super) tall: bool,
    pub(super) enamel: Arc<Texture>,
    pub(super) stripe: Arc<Texture>,
    pub(super) tyre: Arc<Texture>,
    pub(super) phase: f32,
}

const WHEEL: f32 = 0.088;

impl Car {
    /// The car at frame `t`.
    pub(super) fn figure(&self, t: f32) -> Figure {
        let place = self.path.place(t);
        let mut layers = vec![self.hull(&place, t)];
        layers.extend([-0.28, 0.29].map(|ahead| self.wheel(&place, ahead)));
        Figure { layers, ground: place.foot.y, scale: place.scale }
    }

    fn hull(&self, place: &Place, t: f32) -> Layer {
        // Springs: the hull nods and bobs a little.
        let bob = 0.006 * (0.35 * t + self.phase).sin();
        let nod = 0.012 * (0.23 * t + self.phase).sin();
        let roof = if self.tall { [-0.34, 0.2, 0.4, 0.07] } else { [-0.2, 0.08, 0.345, 0.075] };
        let beams = [
            ([-0.41, 0.155], [0.41, 0.15], [0.085, 0.08]),
            ([-0.42, 0.22], [0.36, 0.2], [0.075, 0.075]),
            (
                [roof[0], 0.5 * (roof[2] + 0.2)],
                [roof[1] + 0.05, 0.5 * (roof[2] + 0.2)],
                [0.09, 0.09],
            ),
            ([roof[0], roof[2]], [roof[1], roof[2]], [roof[3], roof[3]]),
        ];
        let mirrored = place.yaw.sin() < 0.0;
        let bones = beams.map(|(from, to, radii)| {
            let posed = [from, to]
                .map(|[ahead, up]: [f32; 2]| place.point(spot(ahead, 0.0, up + bob + nod * ahead)));
            let rest = [from, to].map(|[ahead, up]| at(ahead, -up));
            Bone::new(posed, rest, radii, place.scale, mirrored)
        });
        let body = Body::Bones { bones: bones.into(), melt: 0.05 * place.scale };
        Layer::new(body, self.panels(roof[2]))
    }

    fn panels(&self, roof: f32) -> Vec<Region> {
        let glass = Paint::plain(1, [0.16, 0.2, 0.24]).glossy(0.8);
        let seam = Paint::plain(1, [0.12, 0.12, 0.13]);
        let lamp = Paint::plain(1, [0.98, 0.93, 0.7]).glossy(0.9);
        let tail = Paint::plain(1, [0.75, 0.08, 0.06]).glossy(0.6);
        let window = |x: f32, half: f32| glass.on(Shape::Box(at(x, -roof + 0.01), at(half, 0.05)));
        let mut surface = vec![
            Paint::tile(1, &self.enamel).glossy(0.55).on(Shape::All),
            Paint::tile(1, &self.stripe).glossy(0.4).on(Shape::Box(at(0.0, -0.18), at(0.6, 0.018))),
            seam.on(Shape::Box(at(-0.06, -0.2), at(0.004, 0.15))),
            seam.on(Shape::Below(-0.085)),
            lamp.on(Shape::Ellipse(at(0.465, -0.2), at(0.03, 0.028))),
            tail.on(Shape::Ellipse(at(-0.485, -0.22), at(0.022, 0.035))),
        ];
        if self.tall {
            surface.extend([window(-0.27, 0.085), window(-0.07, 0.085), window(0.16, 0.1)]);
        } else {
            surface.extend([window(-0.17, 0.095), window(0.05, 0.095)]);
        }
        surface
    }

    fn wheel(&self, place: &Place, ahead: f32) -> Layer {
        let blob = Blob {
            center: place.point(spot(ahead, 0.0, WHEEL)),
            size: WHEEL * place.scale,
            turn: place.travelled / WHEEL * place.yaw.sin().signum(),
            stretch: 1.0,
            waves: Default::default(),
            grain: 0.1,
        };
        let rim = Paint::plain(1, [0.62, 0.63, 0.66]).glossy(0.6);
        let gap = Paint::plain(1, [0.17, 0.17, 0.18]);
        let mut surface = vec![
            Paint::tile(1, &self.tyre).on(Shape::All),
            rim.on(Shape::Ellipse(at(0.0, 0.0), at(0.063, 0.063))),
        ];
        for turn in 0..5 {
            let hole = at(0.0, 0.038).turned(turn as f32 * TAU / 5.0);
            surface.push(gap.on(Shape::Ellipse(hole, at(0.014, 0.014))));
        }
        Layer::new(Body::Blob(blob), surface)
    }
}

/// A ball, or a lump with a face: one closed outline that rolls, bounces and wobbles.
#[derive(Debug)]
pub(super) struct Lump {
    pub(super) path: Path,
    /// Whether it rolls as it goes.
    pub(super) rolls: bool,
    /// Height of its bounces, in its radii.
    pub(super) bounce: f32,
    /// Frames that a bounce takes.
    pub(super) period: f32,
    pub(super) waves: [Wave; HARMONICS],
    pub(super) skin: Arc<Texture>,
    pub(super) belt: Option<Arc<Texture>>,
    pub(super) face: bool,
    pub(super) phase: f32,
}

/// One wave of an outline: a share of the radius that swells and ebbs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wave {
    amplitude: f32,
    angle: f32,
    wobble: f32,
    pace: f32,
    phase: f32,
}

impl Wave {
    /// Waves for an irregular outline; `roughness` is about the share of the radius they add up to.
    pub(super) fn draw_all(draw: &mut Draw, roughness: f32) -> [Self; HARMONICS] {
        std::array::from_fn(|index| {
            let most = roughness / (1.0 + 0.7 * index as f32);
            // The first wave only shifts the outline: leave it out.
            let share = if index == 0 { 0.0 } else { most };
            Self {
                amplitude: share * draw.range(0.25, 0.6),
                angle: draw.range(0.0, TAU),
                wobble: share * draw.range(0.1, 0.3),
                pace: draw.range(0.05, 0.16),
                phase: draw.range(0.0, TAU),
            }
        })
    }

    /// Its cosine and sine weights at frame `t`.
    fn weights(&self, t: f32) -> (f32, f32) {
        let amplitude = self.amplitude + self.wobble * (self.pace * t + self.phase).sin();
        let angle = self.angle + 0.3 * (0.6 * self.pace * t + self.phase).cos();
        (amplitude * angle.cos(), amplitude * angle.sin())
    }
}

impl Lump {
    /// The lump at frame `t`. Its unit is its radius.
    pub(super) fn figure(&self, t: f32) -> Figure {
        let place = self.path.place(t);
        let hop = (std::f32::consts::PI * t / self.period + self.phase).sin().abs();
        let landed = (1.0 - 4.0 * hop).max(0.0) * self.bounce.min(1.0);
        let stretch = 1.0 + 0.16 * landed - 0.05 * hop * self.bounce.min(1.0);
        let up = 0.97 / stretch + self.bounce * hop;
        let turn = if self.rolls {
            place.travelled * place.yaw.sin().signum()
        } else {
            0.2 * (0.07 * t + self.phase).sin()
        };
        let blob = Blob {
            center: place.point(spot(0.0, 0.0, up)),
            size: place.scale,
            turn,
            stretch: if self.rolls { 1.0 } else { stretch },
            waves: self.waves.map(|wave| wave.weights(t)),
            grain: GRAIN,
        };
        let layer = Layer::new(Body::Blob(blob), self.surface());
        Figure { layers: vec![layer], ground: place.foot.y, scale: place.scale }
    }

    fn surface(&self) -> Vec<Region> {
        let mut surface = vec![Paint::tile(1, &self.skin).glossy(0.25).on(Shape::All)];
        if let Some(belt) = &self.belt {
            let paint = Paint::tile(1, belt).glossy(0.25);
            surface.push(paint.on(Shape::Box(at(0.0, 0.0), at(1.0, 0.3 * GRAIN))));
        }
        if self.face {
            let ellipse =
                |x: f32, y: f32, half: Point| Shape::Ellipse(at(x, y) * GRAIN, half * GRAIN);
            let white = Paint::plain(1, [0.93, 0.92, 0.88]).glossy(0.5);
            let black = Paint::plain(1, [0.06, 0.05, 0.05]).glossy(0.9);
            for x in [-0.3, 0.3] {
                surface.push(white.on(ellipse(x, -0.28, at(0.17, 0.2))));
                surface.push(black.on(ellipse(x + 0.05, -0.25, at(0.08, 0.1))));
            }
            surface.push(black.on(ellipse(0.02, 0.22, at(0.22, 0.05))));
        }
        surface
    }
}

/// Units of texture per radius of a lump: patterns are made for bodies, and a lump is a third of
/// one.
const GRAIN: f32 = 0.3;

/// A hot-air balloon, 1 high.
#[derive(Debug)]
pub(super) struct Balloon {
    pub(super) path: Path,
    /// Height above the ground, in its heights.
    pub(super) altitude: f32,
    pub(super) envelope: Arc<Texture>,
    pub(super) belt: Arc<Texture>,
    pub(super) basket: Arc<Texture>,
    pub(super) phase: f32,
}

impl Balloon {
    /// The balloon at frame `t`.
    pub(super) fn figure(&self, t: f32) -> Figure {
        let place = self.path.place(t);
        let up = self.altitude + 0.12 * (t / 23.0 + self.phase).sin();
        let tilt = 0.1 * (t / 17.0 + 2.0 * self.phase).sin();
        let hang =
            |x: f32, y: f32| place.point(spot(0.0, 0.0, up)) + at(x, -y).turned(tilt) * place.scale;
        let bone = |from: [f32; 2], to: [f32; 2], radii: [f32; 2]| {
            let posed = [hang(from[0], from[1]), hang(to[0], to[1])];
            Bone::new(posed, [at(from[0], -from[1]), at(to[0], -to[1])], radii, place.scale, false)
        };
        let layer = |bones: Vec<Bone>, surface: Vec<Region>| {
            Layer::new(Body::Bones { bones, melt: 0.05 * place.scale }, surface)
        };
        let belt = Paint::tile(1, &self.belt).on(Shape::Box(at(0.0, -0.6), at(1.0, 0.1)));
        let layers = vec![
            layer(
                vec![
                    bone([-0.05, 0.1], [-0.09, 0.35], [0.006, 0.006]),
                    bone([0.05, 0.1], [0.09, 0.35], [0.006, 0.006]),
                ],
                vec![Paint::plain(1, [0.25, 0.2, 0.15]).on(Shape::All)],
            ),
            layer(
                vec![bone([0.0, 0.68], [0.0, 0.3], [0.31, 0.07])],
                vec![Paint::tile(1, &self.envelope).on(Shape::All), belt],
            ),
            layer(
                vec![bone([-0.045, 0.06], [0.045, 0.06], [0.045, 0.045])],
                vec![Paint::tile(1, &self.basket).on(Shape::All)],
            ),
        ];
        Figure { layers, ground: place.foot.y, scale: place.scale }
    }
}
