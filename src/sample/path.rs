//! Paths through a scene: where a thing is at frame t, how large it looks, where it faces.
//!
//! Things stand on a ground plane seen in perspective. Every path is a function of the frame number
//! alone and never leaves the scene, so a clip may have any length. Next: [`super::person`] and the
//! modules like it pose their bodies at that place.

use std::f32::consts::FRAC_PI_2;

use super::geometry::{Point, Sway, at};

/// How far the camera is from depth 0, in picture heights.
const CAMERA_DISTANCE: f32 = 2.2;

/// Where a thing is at one instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The point of the scene where it touches the ground.
    pub(super) foot: Point,
    /// Scene units per unit of its body.
    pub(super) scale: f32,
    /// Where it faces, in radians: 0 towards the viewer, π/2 to the right.
    pub(super) yaw: f32,
    /// How far it has gone, in units of its body.
    pub(super) travelled: f32,
}

/// A way over the ground.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    /// The y of the scene where the ground meets the horizon.
    pub(super) horizon: f32,
    /// The y of the scene of the ground at depth 0.
    pub(super) ground: f32,
    /// Scene units per unit of the body at depth 0, where paths are but for circles.
    pub(super) size: f32,
    /// The x of the scene around which it moves.
    pub(super) x: f32,
    pub(super) course: Course,
}

/// The manner of moving.
#[derive(Debug, Clone, Copy)]
pub(super) enum Course {
    /// Around a circle on the ground.
    Circle {
        radius: f32,
        /// Where on the circle it starts, in radians: 0 is farthest from the middle towards the
        /// viewer.
        start: f32,
        /// Units of the body per frame; negative for clockwise seen from above.
        speed: f32,
    },
    /// On the spot, turning a little.
    Stand { yaw: f32, sway: Sway },
    /// Forth and back across the picture, always facing the same side.
    Lane { reach: f32, sway: Sway, yaw: f32 },
}

impl Path {
    /// The place at frame `t`.
    pub(super) fn place(&self, t: f32) -> Place {
        match self.course {
            Course::Circle { radius, start, speed } => {
                let angle = start + t * speed * self.size / radius;
                let (sin, cos) = angle.sin_cos();
                // The tangent: a quarter turn ahead of the radius. Never wrapped, so that what is
                // painted by yaw does not jump.
                let yaw = angle + FRAC_PI_2 * speed.signum();
                // Mostly beyond depth 0, so that what is given as its size is nearly its largest.
                let depth = radius * (cos - 0.5);
                self.seen(self.x + radius * sin, depth, yaw, (t * speed).abs())
            }
            Course::Stand { yaw, sway } => {
                let turn = sway.value(t);
                self.seen(self.x + 0.02 * turn, 0.0, yaw + 0.15 * turn, 0.0)
            }
            Course::Lane { reach, sway, yaw } => {
                let shift = reach * sway.value(t);
                self.seen(self.x + shift, 0.0, yaw, shift * yaw.sin().signum() / self.size)
            }
        }
    }

    /// The place at scene position `x` and depth `z` (towards the viewer), in perspective.
    fn seen(&self, x: f32, z: f32, yaw: f32, travelled: f32) -> Place {
        let nearer = 1.0 / (1.0 - z / CAMERA_DISTANCE);
        let foot = at(x * nearer, self.horizon + (self.ground - self.horizon) * nearer);
        Place { foot, scale: self.size * nearer, yaw, travelled }
    }
}

/// A point of a body in its own frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spot {
    /// In the direction it faces.
    pub(super) ahead: f32,
    /// Towards its left side.
    pub(super) left: f32,
    /// Above the ground.
    pub(super) up: f32,
}

/// The spot at (ahead, left, up).
pub(super) const fn spot(ahead: f32, left: f32, up: f32) -> Spot {
    Spot { ahead, left, up }
}

impl Spot {
    /// This spot moved by `length` along `direction`.
    pub(super) fn moved(self, direction: Self, length: f32) -> Self {
        spot(
            self.ahead + direction.ahead * length,
            self.left + direction.left * length,
            self.up + direction.up * length,
        )
    }

    /// The direction straight down, swung ahead and then raised to the left, both in radians.
    pub(super) fn hanging(swing: f32, raise: f32) -> Self {
        let (sin, cos) = swing.sin_cos();
        spot(sin * raise.cos(), raise.sin(), -cos * raise.cos())
    }
}

impl Place {
    /// Where in the scene a spot of the body is seen.
    pub(super) fn point(&self, spot: Spot) -> Point {
        let (sin, cos) = self.yaw.sin_cos();
        let right = spot.ahead * sin + spot.left * cos;
        // The camera looks slightly down: what is nearer appears lower.
        let down = 0.13 * self.depth(spot) - spot.up;
        self.foot + at(right, down) * self.scale
    }

    /// How much nearer to the viewer than the foot a spot of the body is, in units of the body.
    pub(super) fn depth(&self, spot: Spot) -> f32 {
        let (sin, cos) = self.yaw.sin_cos();
        spot.ahead * cos - spot.left * sin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(course: Course) -> Path {
        Path { horizon: -0.1, ground: 0.3, size: 0.5, x: 0.2, course }
    }

    #[test]
    fn things_face_where_they_go() {
        for (start, speed) in [(0.3, 0.02), (2.0, -0.02), (4.0, 0.02)] {
            let path = path(Course::Circle { radius: 0.4, start, speed });
            let (before, after) = (path.place(9.0), path.place(10.0));
            let moved = (after.foot - before.foot).x;
            // To the right exactly where the face points right.
            assert_eq!(moved > 0.0, before.yaw.sin() > 0.0, "{start}");
            // Growing exactly where it comes closer.
            assert_eq!(after.scale > before.scale, before.yaw.cos() > 0.0, "{start}");
            assert!((after.travelled - before.travelled - 0.02).abs() < 1e-6);
        }
    }

    #[test]
    fn depth_zero_is_the_given_size() {
        // cos(π/3) = 1/2: the point of the circle that lies at depth 0.
        let start = std::f32::consts::FRAC_PI_3;
        let place = path(Course::Circle { radius: 0.4, start, speed: 0.02 }).place(0.0);
        assert!((place.scale - 0.5).abs() < 1e-6);
        assert!((place.foot - at(0.2 + 0.4 * start.sin(), 0.3)).length() < 1e-6);
    }

    #[test]
    fn bodies_are_seen_from_the_side_they_show() {
        let place = Place { foot: at(0.0, 0.0), scale: 1.0, yaw: FRAC_PI_2, travelled: 0.0 };
        // Facing right, its left side is away from the viewer.
        assert!(place.point(spot(1.0, 0.0, 0.0)).x > 0.99);
        assert!(place.depth(spot(0.0, 1.0, 0.0)) < -0.99);
        let facing = Place { yaw: 0.0, ..place };
        // Facing the viewer, its left is on the right of the picture.
        assert!(facing.point(spot(0.0, 1.0, 0.0)).x > 0.99);
        let down = Spot::hanging(0.0, 0.0);
        assert!((down.up + 1.0).abs() < 1e-6);
    }
}
