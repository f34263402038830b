//! A whole clip: the scene, the camera, the light and the cast, drawn by chance from one key.
//!
//! Everything that moves is a function of the frame number, so frame t of a clip is the same
//! however many frames are rendered. Next: [`mod@super::render`] turns a clip and a frame number
//! into pixels.

use super::animal::{Animal, Bird};
use super::backdrop::{self, Backdrop};
use super::decor::Decor;
use super::figure::Figure;
use super::geometry::{Point, Sway, View, at};
use super::noise::{Draw, gradient};
use super::person::Person;
use super::scenery::{Look, Scene};
use super::things::{Balloon, Car, Lump};

/// Somebody or something that moves.
#[derive(Debug)]
pub(super) enum Actor {
    Person(Box<Person>),
    Animal(Animal),
    Bird(Bird),
    Car(Car),
    Lump(Lump),
    Balloon(Balloon),
}

impl Actor {
    /// The actor at frame `t`.
    pub(super) fn figure(&self, t: f32) -> Figure {
        match self {
            Self::Person(person) => person.figure(t),
            Self::Animal(animal) => animal.figure(t),
            Self::Bird(bird) => bird.figure(t),
            Self::Car(car) => car.figure(t),
            Self::Lump(lump) => lump.figure(t),
            Self::Balloon(balloon) => balloon.figure(t),
        }
    }
}

/// Where the light comes from and how it changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Light {
    /// Unit vector towards the light: right, down, towards the viewer.
    pub(super) direction: [f32; 3],
    /// Share of the light that comes from everywhere.
    pub(super) ambient: f32,
    /// How far down the picture the shadow of something 1 high falls.
    pub(super) fall: f32,
    gain: Sway,
    warmth: Sway,
}

impl Light {
    fn draw(draw: &mut Draw) -> Self {
        let (right, up) = (draw.range(-0.6, 0.6), draw.range(0.45, 0.75));
        let length = (right * right + up * up + 0.45).sqrt();
        let front = draw.chance(0.6);
        Self {
            direction: [right / length, -up / length, 0.45_f32.sqrt() / length],
            ambient: draw.range(0.5, 0.62),
            fall: if front { -draw.range(0.12, 0.22) } else { draw.range(0.08, 0.14) },
            gain: Sway { period: draw.range(60.0, 120.0), phase: draw.unit() },
            warmth: Sway { period: draw.range(80.0, 160.0), phase: draw.unit() },
        }
    }

    /// Factors on red, green and blue at frame `t`.
    pub(super) fn tint(&self, t: f32) -> [f32; 3] {
        let gain = 1.0 + 0.04 * self.gain.value(t);
        let warmth = 0.015 * self.warmth.value(t);
        [gain * (1.0 + warmth), gain, gain * (1.0 - warmth)]
    }
}

/// The movement of the camera.
#[derive(Debug, Clone, Copy)]
pub(super) struct Camera {
    reach: Point,
    pan: [Sway; 2],
    zoom: Sway,
    roll: Sway,
    seed: u32,
    /// Factor on all movement.
    calm: f32,
}

impl Camera {
    fn draw(draw: &mut Draw, calm: f32) -> Self {
        let mut sway = |low, high| Sway { period: draw.range(low, high), phase: draw.unit() };
        let pan = [sway(90.0, 150.0), sway(70.0, 130.0)];
        let (zoom, roll) = (sway(90.0, 170.0), sway(80.0, 140.0));
        let reach = at(draw.range(0.08, 0.2), draw.range(0.01, 0.035)) * calm;
        Self { reach, pan, zoom, roll, seed: draw.bits(), calm }
    }

    /// What it looks at in frame `t`: it pans, zooms and rolls slowly and is held by hand.
    pub(super) fn view(&self, t: f32) -> View {
        let shake = |axis: f32| 0.004 * self.calm * gradient(at(0.31 * t, axis), self.seed);
        View {
            center: at(
                self.reach.x * self.pan[0].value(t) + shake(0.5),
                self.reach.y * self.pan[1].value(t) + shake(7.5),
            ),
            zoom: 1.06 + 0.06 * self.calm * self.zoom.value(t),
            roll: 0.02 * self.calm * self.roll.value(t),
        }
    }

    /// The half width and height of all it ever sees, for pictures `aspect` times as wide as high.
    fn sees(&self, aspect: f32) -> Point {
        let roll = 0.02 * self.calm;
        let least_zoom = 1.06 - 0.06 * self.calm;
        let half = at((aspect + roll) / 2.0, (1.0 + roll * aspect) / 2.0) * (1.0 / least_zoom);
        half + self.reach + at(0.01, 0.01)
    }
}

/// The size of the pictures that a clip is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Format {
    /// Width over height.
    pub(super) fn aspect(&self) -> f32 {
        self.width as f32 / self.height as f32
    }
}

/// The stage that the members of a cast share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) horizon: f32,
    /// Width over height of the pictures.
    pub(super) aspect: f32,
    /// Rows of the pictures, for which textures are made fine enough.
    pub(super) height: usize,
}

/// A drawn clip whose backdrop is not painted yet.
#[derive(Debug)]
pub(super) struct Clip {
    look: Look,
    decor: Vec<Decor>,
    pub(super) camera: Camera,
    pub(super) light: Light,
    /// Back to front.
    pub(super) cast: Vec<Actor>,
}

impl Clip {
    /// Draws a clip: its scene, then its cast by `cast`. `calm` scales the movement of the camera,
    /// `fineness` is the number of picture rows that the textures of the cast are made for: nothing
    /// else depends on it.
    pub(super) fn draw(
        draw: &mut Draw,
        scene: Scene,
        (aspect, fineness): (f32, usize),
        calm: f32,
        cast: impl FnOnce(&mut Draw, &Stage) -> Vec<Actor>,
    ) -> Self {
        let (look, decor) = backdrop::draw(draw, scene);
        let light = Light::draw(draw);
        let camera = Camera::draw(draw, calm);
        let stage = Stage { scene, horizon: look.horizon, aspect, height: fineness };
        Self { cast: cast(draw, &stage), look, decor, camera, light }
    }

    /// The y of the scene at which the ground begins.
    pub(super) fn horizon(&self) -> f32 {
        self.look.horizon
    }

    /// Paints all of the scene that the camera will ever see.
    pub(super) fn paint_backdrop(&self, format: Format) -> Backdrop {
        let half = self.camera.sees(format.aspect());
        Backdrop::paint(&self.look, &self.decor, half, format.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_camera_never_sees_beyond_the_plates() {
        for clip in 0..20 {
            let camera = Camera::draw(&mut Draw::new(3, 1, clip, 0, 0), 1.0);
            let half = camera.sees(16.0 / 9.0);
            for t in 0..300 {
                let view = camera.view(t as f32);
                for corner in [at(0.0, 0.0), at(160.0, 0.0), at(0.0, 90.0), at(160.0, 90.0)] {
                    let p = view.scene_point(corner, 90, 160);
                    assert!(p.x.abs() <= half.x && p.y.abs() <= half.y, "clip {clip}, frame {t}");
                }
            }
        }
    }

    #[test]
    fn the_camera_moves_but_not_in_jumps() {
        let camera = Camera::draw(&mut Draw::new(3, 1, 0, 0, 0), 1.0);
        let (first, later) = (camera.view(0.0), camera.view(20.0));
        assert!((first.center - later.center).length() > 0.01);
        for t in 0..200 {
            let step = camera.view(t as f32).center - camera.view(t as f32 + 1.0).center;
            // 0.2 of reach around 90 frames and the shaking hand: below 0.03 a frame.
            assert!(step.length() < 0.03);
        }
    }
}
