//! A person: joints clothed layer by layer.
//!
//! The skeleton of [`super::skeleton`] is seen at its place in the scene; limbs, torso and head
//! become layers from back to front as they lie in depth, each with the clothes of
//! [`super::wardrobe`].

use super::figure::{Body, Bone, Figure, Ink, Layer, Paint, Region, Shape};
use super::geometry::{Point, at, smoothstep};
use super::path::{Path, Place, Spot, spot};
use super::skeleton::{Action, FOOT, FOREARM, HAND, Joints, SHIN, THIGH, TORSO, UPPER_ARM, joints};
use super::texture::scaled;
use super::wardrobe::{Wardrobe, part};

/// Somebody doing something somewhere.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) path: Path,
    pub(super) action: Action,
    /// Factor on the swing of the limbs, around 1.
    pub(super) verve: f32,
    /// Factor on the width of the body, around 1.
    pub(super) girth: f32,
    /// Phase of the action at frame 0, in radians.
    pub(super) phase: f32,
    pub(super) wardrobe: Wardrobe,
}

/// A limb or garment being built: spots of the body, where they rest, radii.
type Chain<'a> = &'a [(Spot, Point, f32)];

impl Person {
    fn pose(&self, t: f32) -> (Place, Joints) {
        let place = self.path.place(t);
        let phase = self.phase + self.action.phase(place.travelled, t);
        (place, joints(&self.action.angles(phase, self.verve)))
    }

    /// The person at frame `t`.
    pub(super) fn figure(&self, t: f32) -> Figure {
        let (place, body) = self.pose(t);
        let dressed = Dressed { person: self, clothes: &self.wardrobe, place, body };
        Figure { layers: dressed.layers(), ground: place.foot.y, scale: place.scale }
    }

    /// The 15 joints that JHMDB annotates, in its order, as points of the scene.
    pub(super) fn joints(&self, t: f32) -> [Point; 15] {
        let (place, b) = self.pose(t);
        [
            b.neck,
            b.belly,
            b.head,
            b.shoulder[0],
            b.shoulder[1],
            b.hip[0],
            b.hip[1],
            b.elbow[0],
            b.elbow[1],
            b.knee[0],
            b.knee[1],
            b.wrist[0],
            b.wrist[1],
            b.ankle[0],
            b.ankle[1],
        ]
        .map(|spot| place.point(spot))
    }
}

/// A posed person on the way to becoming layers.
struct Dressed<'a> {
    person: &'a Person,
    clothes: &'a Wardrobe,
    place: Place,
    body: Joints,
}

impl Dressed<'_> {
    /// All layers, back to front.
    fn layers(&self) -> Vec<Layer> {
        let away = self.place.yaw.cos() < -0.3;
        let far = usize::from(self.place.yaw.sin() > 0.0);
        let arms = [far, 1 - far];
        let (behind, before): (Vec<_>, Vec<_>) =
            arms.into_iter().partition(|&side| self.arm_depth(side) < -0.02);
        let mut layers = Vec::with_capacity(12);
        layers.extend(self.long_hair().filter(|_| !away));
        layers.extend(behind.into_iter().map(|side| self.arm(side, far)));
        layers.extend(self.legs_by_depth(far).map(|side| self.leg(side, far)));
        layers.extend(self.skirt());
        layers.push(self.torso());
        layers.extend(self.scarf());
        layers.push(self.head());
        layers.extend(self.long_hair().filter(|_| away));
        layers.extend(self.hat());
        layers.extend(before.into_iter().map(|side| self.arm(side, far)));
        layers
    }

    /// How far in front of the body's middle an arm is.
    fn arm_depth(&self, side: usize) -> f32 {
        let depth = |spot| self.place.depth(spot);
        0.5 * (depth(self.body.elbow[side]) + depth(self.body.wrist[side]))
            + 0.5 * depth(self.body.shoulder[side])
    }

    fn legs_by_depth(&self, far: usize) -> [usize; 2] {
        let depth = |side: usize| {
            self.place.depth(self.body.hip[side]) + 0.5 * self.place.depth(self.body.knee[side])
        };
        if depth(far) <= depth(1 - far) { [far, 1 - far] } else { [1 - far, far] }
    }

    /// A body of bones from each spot to the next.
    fn chain(&self, chain: Chain, melt: f32) -> Body {
        let bones = chain.windows(2).map(|ends| self.bone(ends[0], ends[1])).collect();
        Body::Bones { bones, melt: melt * self.place.scale }
    }

    fn bone(&self, from: (Spot, Point, f32), to: (Spot, Point, f32)) -> Bone {
        let posed = [self.place.point(from.0), self.place.point(to.0)];
        let radii = [from.2, to.2].map(|radius| radius * self.person.girth);
        Bone::new(posed, [from.1, to.1], radii, self.place.scale, false)
    }

    /// How far the texture around the trunk or a limb of this radius has turned with the body.
    fn rolled(&self, radius: f32) -> f32 {
        -self.place.yaw * radius
    }

    fn arm(&self, side: usize, far: usize) -> Layer {
        let c = self.clothes;
        let x = self.rolled(0.035);
        let wide = if c.coat.is_some() { 0.01 } else { 0.003 };
        let sleeved = |y: f32, radius: f32| radius + if y < c.sleeve { wide } else { 0.0 };
        let [elbow, wrist] = [UPPER_ARM, UPPER_ARM + FOREARM];
        let chain = [
            (self.body.shoulder[side], at(x, 0.0), sleeved(0.0, 0.037)),
            (self.body.elbow[side], at(x, elbow), sleeved(elbow, 0.03)),
            (self.body.wrist[side], at(x, wrist), sleeved(wrist - 0.03, 0.022)),
            (self.body.fingers[side], at(x, wrist + HAND), 0.02),
        ];
        let sleeve = match &c.coat {
            Some(coat) => Paint::tile(part::COAT, coat),
            None => Paint::tile(c.top_class, &c.top),
        };
        let mut surface = vec![Paint::tile(part::ARMS[side], &c.skin).on(Shape::All)];
        if let Some(gloves) = &c.gloves {
            surface.push(Paint::tile(part::GLOVES, gloves).on(Shape::Below(wrist - 0.03)));
        }
        surface.push(sleeve.on(Shape::Above(c.sleeve)));
        Layer { light: self.limb_light(side, far), ..Layer::new(self.chain(&chain, 0.02), surface) }
    }

    fn leg(&self, side: usize, far: usize) -> Layer {
        let c = self.clothes;
        let x = self.rolled(0.05);
        let cloth = |y: f32, radius: f32| radius + if y < c.trousers { 0.009 } else { 0.0 };
        let ankle = THIGH + SHIN;
        let chain = [
            (self.body.hip[side], at(x, 0.0), cloth(0.0, 0.058)),
            (self.body.knee[side], at(x, THIGH), cloth(THIGH, 0.042)),
            (self.body.ankle[side], at(x, ankle), cloth(ankle - 0.04, 0.029)),
            (self.body.toe[side], at(x, ankle + FOOT), 0.024),
        ];
        let mut surface = vec![Paint::tile(part::LEGS[side], &c.skin).on(Shape::All)];
        if let Some((socks, from)) = &c.socks {
            surface.push(Paint::tile(part::SOCKS, socks).on(Shape::Below(*from)));
        }
        if c.trousers > 0.0 {
            surface.push(Paint::tile(part::PANTS, &c.bottom).on(Shape::Above(c.trousers)));
        }
        let shoe = Paint::tile(part::SHOES[side], &c.shoes).glossy(0.25);
        surface.push(shoe.on(Shape::Below(ankle - 0.012)));
        Layer { light: self.limb_light(side, far), ..Layer::new(self.chain(&chain, 0.03), surface) }
    }

    fn limb_light(&self, side: usize, far: usize) -> f32 {
        if side == far { 1.0 - 0.25 * self.place.yaw.sin().abs() } else { 1.0 }
    }

    /// The projected half width of something `half` wide at the body's sides.
    fn half_width(&self, half: f32) -> f32 {
        half * self.place.yaw.cos()
    }

    fn torso(&self) -> Layer {
        let c = self.clothes;
        let b = &self.body;
        let x = self.rolled(0.09);
        let (shoulder, hip) = (self.half_width(0.105), self.half_width(0.055));
        let inward = |side: usize| {
            spot(b.shoulder[side].ahead, b.shoulder[side].left * 0.8, b.shoulder[side].up - 0.015)
        };
        let chest = spot(b.shoulder[0].ahead, 0.0, b.shoulder[0].up - 0.04);
        let thick = if c.coat.is_some() { 0.012 } else { 0.0 };
        let bones = vec![
            self.bone((chest, at(x, 0.04), 0.075 + thick), (b.pelvis, at(x, TORSO), 0.062 + thick)),
            self.bone(
                (inward(0), at(x - 0.8 * shoulder, 0.015), 0.043 + thick),
                (inward(1), at(x + 0.8 * shoulder, 0.015), 0.043 + thick),
            ),
            self.bone(
                (b.hip[0], at(x - hip, TORSO), 0.056 + thick),
                (b.hip[1], at(x + hip, TORSO), 0.056 + thick),
            ),
            self.bone((chest, at(x, 0.04), 0.05), (b.head, at(x, -0.12), 0.03)),
        ];
        let body = Body::Bones { bones, melt: 0.05 * self.place.scale };
        Layer::new(body, self.torso_surface(x))
    }

    fn torso_surface(&self, x: f32) -> Vec<Region> {
        let c = self.clothes;
        let top = Paint::tile(c.top_class, &c.top);
        let mut surface = vec![
            Paint::tile(part::TORSO_SKIN, &c.skin).on(Shape::All),
            top.on(Shape::Below(-0.035)),
        ];
        let front = at(x + 0.085 * self.place.yaw.sin(), -0.035);
        if self.place.yaw.cos() > -0.2 && c.scarf.is_none() {
            let neckline = Shape::Ellipse(front, at(0.045, 0.03));
            surface.push(Paint::tile(part::TORSO_SKIN, &c.skin).on(neckline));
        }
        if c.trousers > 0.0 {
            surface.push(Paint::tile(part::PANTS, &c.bottom).on(Shape::Below(TORSO - 0.04)));
        }
        if let Some((class, _)) = c.skirt.filter(|(class, _)| *class == part::SKIRT) {
            surface.push(Paint::tile(class, &c.bottom).on(Shape::Below(TORSO - 0.06)));
        }
        if let Some(coat) = &c.coat {
            // The two halves of an open coat, left and right of the strip that shows the shirt.
            let coat = Paint::tile(part::COAT, coat);
            let open = if self.place.yaw.cos() > -0.1 { 0.03 } else { -0.1 };
            for side in [-1.0, 1.0] {
                let half = Shape::Box(at(front.x + side * (0.5 + open), 0.46), at(0.5, 0.5));
                surface.push(coat.on(half));
            }
        }
        surface
    }

    /// Skirts, and the lower part of dresses and coats: cloth that follows the thighs.
    fn skirt(&self) -> Option<Layer> {
        let c = self.clothes;
        let (paint, length) = match (&c.coat, c.skirt) {
            (Some(coat), _) => (Paint::tile(part::COAT, coat), 0.15),
            (None, Some((class, length))) => (Paint::tile(class, &c.bottom), length),
            (None, None) => return None,
        };
        let x = self.rolled(0.09);
        let b = &self.body;
        let share = length / THIGH;
        let hem = |side: usize| {
            let down = b.hip[side].moved(towards(b.hip[side], b.knee[side]), length);
            spot(down.ahead, down.left * (1.0 + 0.5 * share), down.up)
        };
        let middle = spot(0.5 * (hem(0).ahead + hem(1).ahead), 0.0, hem(0).up.min(hem(1).up));
        let half = self.half_width(0.055);
        let low = TORSO + length;
        let flare = 0.055 + 0.03 * share;
        let waist = |x: f32| (b.pelvis, at(x, TORSO), 0.064);
        let bones = vec![
            self.bone(waist(x - half), (hem(0), at(x - 1.4 * half, low), flare)),
            self.bone(waist(x), (middle, at(x, low), flare)),
            self.bone(waist(x + half), (hem(1), at(x + 1.4 * half, low), flare)),
        ];
        let body = Body::Bones { bones, melt: 0.06 * self.place.scale };
        let hem = Some(low);
        Some(Layer { light: 0.97, hem, ..Layer::new(body, vec![paint.on(Shape::All)]) })
    }

    fn scarf(&self) -> Option<Layer> {
        let scarf = self.clothes.scarf.as_ref()?;
        let neck = self.body.neck;
        let half = self.half_width(0.05).abs() + 0.012;
        let right = self.place.point(neck) + at(-half, 0.012) * self.place.scale;
        let left = self.place.point(neck) + at(half, 0.012) * self.place.scale;
        let front = self.place.point(spot(neck.ahead + 0.075, 0.02, neck.up - 0.02));
        let end = self.place.point(spot(neck.ahead + 0.08, 0.03, neck.up - 0.16));
        let s = self.place.scale;
        let mut bones = vec![Bone::new(
            [right, left],
            [at(-half, 0.0), at(half, 0.0)],
            [0.034, 0.034],
            s,
            false,
        )];
        if self.place.yaw.cos() > -0.3 {
            bones.push(Bone::new(
                [front, end],
                [at(0.0, 0.0), at(0.0, 0.14)],
                [0.028, 0.024],
                s,
                false,
            ));
        }
        let body = Body::Bones { bones, melt: 0.02 * s };
        Some(Layer::new(body, vec![Paint::tile(part::SCARF, scarf).on(Shape::All)]))
    }

    fn head(&self) -> Layer {
        let h = self.body.head;
        let rest = |ahead: f32, y: f32| at(ahead * self.place.yaw.sin(), y);
        let bones = vec![
            self.bone(
                (spot(h.ahead - 0.008, 0.0, h.up + 0.022), rest(-0.008, -0.022), 0.059),
                (spot(h.ahead + 0.016, 0.0, h.up - 0.03), rest(0.016, 0.03), 0.043),
            ),
            self.bone(
                (spot(h.ahead + 0.03, 0.0, h.up + 0.012), rest(0.03, -0.012), 0.02),
                (spot(h.ahead + 0.065, 0.0, h.up - 0.01), rest(0.065, 0.01), 0.011),
            ),
        ];
        let body = Body::Bones { bones, melt: 0.02 * self.place.scale };
        Layer::new(body, self.face())
    }

    /// The surface of the head: hair, and as much of the face as is turned to the viewer.
    fn face(&self) -> Vec<Region> {
        let c = self.clothes;
        let (sin, cos) = self.place.yaw.sin_cos();
        let shown = smoothstep(-0.75, 0.15, cos);
        let mut surface = vec![Paint::tile(part::HAIR, &c.hair).on(Shape::All)];
        if shown < 0.05 {
            return surface;
        }
        let middle = at(0.043 * sin, 0.02);
        let face = Paint::tile(part::FACE, &c.skin);
        surface.push(face.on(Shape::Ellipse(middle, at(0.051 * shown, 0.06))));
        surface.push(face.on(Shape::Ellipse(at(0.075 * sin, 0.01), at(0.03 * shown, 0.05))));
        if cos < -0.15 {
            return surface;
        }
        let across = |left: f32| at(0.058 * sin + left * cos.max(0.0), -0.004);
        if c.glasses {
            let dark = Paint::plain(part::SUN_GLASSES, [0.06, 0.06, 0.08]).glossy(0.9);
            let half = at(0.038 * cos.max(0.35), 0.0115);
            surface.push(dark.on(Shape::Box(across(0.0), half)));
        } else {
            let eye = Paint::plain(part::FACE, [0.1, 0.08, 0.07]).glossy(0.6);
            for side in [-0.021, 0.021] {
                surface.push(eye.on(Shape::Ellipse(across(side), at(0.0075, 0.006))));
            }
        }
        let lips = Paint { ink: Ink::Plain(scaled(c.skin_color, 0.62)), ..face };
        let mouth = at(0.058 * sin, 0.045);
        surface.push(lips.on(Shape::Ellipse(mouth, at(0.017 * (0.4 + 0.6 * shown), 0.0045))));
        surface
            .extend(c.hat.as_ref().map(|hat| Paint::tile(part::HAT, hat).on(Shape::Above(-0.03))));
        surface
    }

    fn long_hair(&self) -> Option<Layer> {
        if !self.clothes.long_hair {
            return None;
        }
        let h = self.body.head;
        let chain = [
            (spot(h.ahead - 0.012, 0.0, h.up + 0.025), at(0.0, -0.02), 0.066),
            (spot(h.ahead - 0.045, 0.0, h.up - 0.05), at(0.0, 0.06), 0.058),
            (spot(h.ahead - 0.06, 0.0, h.up - 0.13), at(0.0, 0.15), 0.04),
        ];
        let surface = vec![Paint::tile(part::HAIR, &self.clothes.hair).on(Shape::All)];
        Some(Layer { light: 0.9, ..Layer::new(self.chain(&chain, 0.02), surface) })
    }

    fn hat(&self) -> Option<Layer> {
        let hat = self.clothes.hat.as_ref()?;
        let h = self.body.head;
        let turn = self.place.yaw.sin();
        let bones = vec![
            self.bone(
                (spot(h.ahead - 0.012, 0.0, h.up + 0.055), at(0.0, 0.0), 0.05),
                (spot(h.ahead - 0.012, 0.0, h.up + 0.075), at(0.0, -0.03), 0.043),
            ),
            self.bone(
                (spot(h.ahead, 0.0, h.up + 0.048), at(0.0, 0.01), 0.03),
                (spot(h.ahead + 0.095, 0.0, h.up + 0.034), at(0.1 * turn, 0.02), 0.013),
            ),
        ];
        let body = Body::Bones { bones, melt: 0.015 * self.place.scale };
        Some(Layer::new(body, vec![Paint::tile(part::HAT, hat).on(Shape::All)]))
    }
}

/// The direction from one spot to another.
fn towards(from: Spot, to: Spot) -> Spot {
    let gap = spot(to.ahead - from.ahead, to.left - from.left, to.up - from.up);
    let length = gap.ahead.hypot(gap.left).hypot(gap.up).max(1e-6);
    spot(gap.ahead / length, gap.left / length, gap.up / length)
}
