//! Points of the plane, blends, and the camera that looks at it.
//!
//! The renderer's unit of length is the height of the picture, x to the right, y down, the origin
//! in the middle of the picture that a camera at rest sees. A leaf; [`super::figure`] builds on it.

use std::ops::{Add, Mul, Sub};

/// A point or a vector.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Point {
    pub(super) x: f32,
    pub(super) y: f32,
}

/// The point (x, y).
pub(super) const fn at(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Point {
    pub(super) fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y
    }

    pub(super) fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The vector of length 1 in this direction; down for a vector too short to have one.
    pub(super) fn direction(self) -> Self {
        let length = self.length();
        if length < 1e-5 { at(0.0, 1.0) } else { self * (1.0 / length) }
    }

    /// The vector turned by a right angle, from x towards y.
    pub(super) fn across(self) -> Self {
        at(-self.y, self.x)
    }

    /// The vector turned by `angle`, from x towards y.
    pub(super) fn turned(self, angle: f32) -> Self {
        let (sin, cos) = angle.sin_cos();
        at(self.x * cos - self.y * sin, self.x * sin + self.y * cos)
    }
}

impl Add for Point {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        at(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Point {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        at(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f32> for Point {
    type Output = Self;

    fn mul(self, factor: f32) -> Self {
        at(self.x * factor, self.y * factor)
    }
}

/// The value between `a` and `b` at share `t`.
pub(super) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// The point between `a` and `b` at share `t`.
pub(super) fn between(a: Point, b: Point, t: f32) -> Point {
    at(mix(a.x, b.x, t), mix(a.y, b.y, t))
}

/// 0 below `low`, 1 above `high`, a smooth rise between; `low` may be the larger one.
pub(super) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A smooth curve through time that stays within ±1: two sines of unlike period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sway {
    /// Frames that the slower sine takes.
    pub(super) period: f32,
    /// Where it starts, in turns.
    pub(super) phase: f32,
}

impl Sway {
    /// The value at frame `t`.
    pub(super) fn value(&self, t: f32) -> f32 {
        let turn = std::f32::consts::TAU * (t / self.period + self.phase);
        0.75 * turn.sin() + 0.25 * (2.3 * turn + 1.0).sin()
    }
}

/// Where the camera stands at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct View {
    /// The point of the scene in the middle of the picture.
    pub(super) center: Point,
    /// How much larger than at rest everything looks.
    pub(super) zoom: f32,
    /// How far the camera is rolled, in radians.
    pub(super) roll: f32,
}

impl View {
    /// The point of the scene seen at `pixel`, where pixel (0, 0) has its centre at (0.5, 0.5).
    pub(super) fn scene_point(&self, pixel: Point, height: usize, width: usize) -> Point {
        let middle = at(width as f32 / 2.0, height as f32 / 2.0);
        let seen = (pixel - middle) * (1.0 / (height as f32 * self.zoom));
        self.center + seen.turned(self.roll)
    }

    /// The pixel position at which `point` is seen: the inverse of [`View::scene_point`].
    pub(super) fn pixel(&self, point: Point, height: usize, width: usize) -> Point {
        let middle = at(width as f32 / 2.0, height as f32 / 2.0);
        middle + (point - self.center).turned(-self.roll) * (height as f32 * self.zoom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_and_scene_points_are_inverse() {
        let view = View { center: at(0.1, -0.2), zoom: 1.2, roll: 0.05 };
        let pixel = at(31.5, 77.25);
        let back = view.pixel(view.scene_point(pixel, 120, 200), 120, 200);
        // Three roundings of numbers near 100: 1e-4 pixel.
        assert!((back - pixel).length() < 1e-4, "{back:?}");
        assert_eq!(view.scene_point(at(100.0, 60.0), 120, 200), view.center);
    }

    #[test]
    fn smoothstep_runs_either_way() {
        assert_eq!(smoothstep(0.0, 2.0, 1.0), 0.5);
        assert_eq!(smoothstep(2.0, 0.0, 3.0), 0.0);
        assert_eq!(smoothstep(2.0, 0.0, -1.0), 1.0);
    }
}
