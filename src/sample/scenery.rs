//! Four places: a meadow, a street, a room, a beach, as colours of points.
//!
//! Each has a far part, seen upright, and a ground seen in perspective below the horizon.
//! Everything is a pure function of the point, so that [`super::backdrop`] can paint plates of any
//! size.

use super::geometry::{Point, at, mix, smoothstep};
use super::noise::{Draw, cell_value, cells, gradient, octaves};
use super::texture::{Color, band, blend, hue, scaled};

/// The kinds of scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    Meadow,
    Street,
    Room,
    Beach,
}

impl Scene {
    /// The four of them, in the order in which clips take them.
    pub(super) const ALL: [Self; 4] = [Self::Meadow, Self::Street, Self::Beach, Self::Room];
}

/// How one scene looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) scene: Scene,
    /// The y at which the ground begins.
    pub(super) horizon: f32,
    pub(super) seed: u32,
    /// The main colour of the far part and of the ground.
    far: Color,
    ground: Color,
    /// A second colour for details.
    accent: Color,
}

impl Look {
    /// Draws horizon and colours of a scene.
    pub(super) fn draw(draw: &mut Draw, scene: Scene) -> Self {
        let warm = draw.range(-0.02, 0.03);
        let (far, ground) = match scene {
            Scene::Meadow => (hue(0.59, 0.4, 0.86), hue(0.25 + warm, 0.5, 0.46)),
            Scene::Street => (hue(0.03 + warm, draw.range(0.25, 0.55), 0.6), hue(0.1, 0.1, 0.55)),
            Scene::Room => {
                (hue(draw.unit(), draw.range(0.12, 0.35), 0.76), hue(0.075 + warm, 0.55, 0.56))
            }
            Scene::Beach => (hue(0.56 + warm, 0.35, 0.9), hue(0.11 + warm, 0.34, 0.8)),
        };
        let horizon = match scene {
            Scene::Street | Scene::Room => draw.range(0.02, 0.1),
            _ => draw.range(-0.12, -0.02),
        };
        let accent = hue(draw.unit(), draw.range(0.3, 0.6), draw.range(0.35, 0.7));
        Self { scene, horizon, seed: draw.bits(), far, ground, accent }
    }

    /// The far part at `p`; `texel` limits detail.
    pub(super) fn far_color(&self, p: Point, texel: f32) -> Color {
        match self.scene {
            Scene::Meadow => self.hills(p, texel),
            Scene::Street => self.facade(p, texel),
            Scene::Room => self.wall(p, texel),
            Scene::Beach => self.sea(p, texel),
        }
    }

    /// The ground at `p`, below the horizon.
    pub(super) fn near_color(&self, p: Point, texel: f32) -> Color {
        let (g, finest) = self.ground_point(p, texel);
        match self.scene {
            Scene::Meadow => self.grass(g, finest),
            Scene::Street => self.pavement(g, finest),
            Scene::Room => self.planks(g, finest),
            Scene::Beach => self.sand(g, finest),
        }
    }

    /// The point of the ground seen at `p` (across, away), and the size of a texel there.
    fn ground_point(&self, p: Point, texel: f32) -> (Point, f32) {
        let below = (p.y - self.horizon).max(0.0) + 0.06;
        let away = 0.5 / below;
        // A texel covers `away` across and `away²` lengthwise; detail is limited by something
        // between.
        (at(p.x * away, 1.4 * away), texel * away.powf(1.5))
    }

    fn noise(&self, p: Point, wavelength: f32, finest: f32, layer: u32) -> f32 {
        octaves(p, wavelength, finest, self.seed.wrapping_add(layer * 131))
    }

    fn sky(&self, p: Point, texel: f32) -> Color {
        let height = (self.horizon - p.y).max(0.0);
        let clear = blend([0.9, 0.91, 0.9], self.far, smoothstep(0.0, 0.6, height));
        let puff = self.noise(at(p.x * 0.7, p.y * 1.6 + 0.1 * p.x), 0.5, texel, 1);
        let white = smoothstep(0.05, 0.7, puff) * smoothstep(0.0, 0.25, height);
        let shaded =
            0.97 - 0.14 * self.noise(at(p.x * 0.7, p.y * 1.6 - 0.05), 0.3, texel, 1).max(0.0);
        blend(clear, [shaded, shaded, shaded + 0.01], 0.85 * white)
    }

    fn hills(&self, p: Point, texel: f32) -> Color {
        let mut color = self.sky(p, texel);
        for (layer, distance) in [(2_u32, 1.0), (3, 0.55), (4, 0.18)] {
            let rough = 0.05 * self.noise(at(p.x * 3.0, layer as f32), 0.25, texel, layer);
            let ridge = self.horizon
                - 0.02
                - distance
                    * 0.2
                    * (0.55 + self.noise(at(p.x, layer as f32 * 7.0), 1.1, 0.2, layer))
                - rough * (1.3 - distance);
            let inside = smoothstep(-texel, texel, p.y - ridge);
            if inside == 0.0 {
                continue;
            }
            let woods = foliage(p * (1.0 + distance), self.ground, texel, self.seed ^ layer);
            let haze = blend(woods, [0.68, 0.76, 0.84], 0.75 * distance);
            color = blend(color, haze, inside);
        }
        color
    }

    fn grass(&self, g: Point, finest: f32) -> Color {
        let tone = self.noise(g, 1.3, finest, 5);
        let blades = self.noise(at(g.x * 2.2, g.y * 0.6), 0.07, finest, 6);
        let dry = smoothstep(0.15, 0.8, self.noise(g, 0.7, finest, 7));
        let color = blend(self.ground, [0.66, 0.6, 0.34], 0.55 * dry);
        let flower = cells(g * 9.0, self.seed ^ 77);
        let petal = smoothstep(0.12, 0.06, flower.near) * f32::from(flower.value > 0.86);
        let color = scaled(color, 0.9 + 0.2 * tone + 0.42 * blades);
        blend(color, blend([0.95, 0.93, 0.8], self.accent, 0.5), petal)
    }

    fn facade(&self, p: Point, texel: f32) -> Color {
        let (bay, floor) = (0.46, 0.5);
        let place = at(p.x / bay + 40.0, (p.y - self.horizon) / floor + 40.0);
        let (column, row) = (place.x.floor() as i32, place.y.floor() as i32);
        let inside = at(place.x.fract() - 0.5, place.y.fract() - 0.42);
        let choice = cell_value(column, row, self.seed);
        let plinth = smoothstep(self.horizon - 0.07, self.horizon - 0.065, p.y);
        let color = self.bricks(p, texel);
        let color = if choice < 0.8 { self.window(color, inside, choice, p, texel) } else { color };
        let grime = 1.0 - 0.25 * smoothstep(self.horizon - 0.35, self.horizon, p.y);
        let stain = 1.0 + 0.12 * self.noise(at(p.x * 1.5, p.y * 0.5), 0.5, texel, 9);
        let stone = scaled([0.5, 0.49, 0.46], 1.0 + 0.15 * self.noise(p, 0.1, texel, 10));
        blend(scaled(color, grime * stain), stone, plinth)
    }

    fn bricks(&self, p: Point, texel: f32) -> Color {
        let course = (p.y / 0.027).floor();
        let along = p.x / 0.078 + if course as i32 & 1 == 0 { 0.0 } else { 0.5 };
        let own = cell_value(along.floor() as i32, course as i32, self.seed ^ 3);
        let edge = at(
            (along.fract().abs() - 0.5).abs() * 0.078,
            ((p.y / 0.027).rem_euclid(1.0) - 0.5).abs() * 0.027,
        );
        let joint = smoothstep(0.0364, 0.0384, edge.x).max(smoothstep(0.0108, 0.0128, edge.y));
        let brick = blend(self.far, self.accent, 0.25 * own);
        let brick = scaled(brick, 0.75 + 0.4 * own + 0.2 * self.noise(p, 0.05, texel, 11));
        blend(brick, [0.66, 0.63, 0.58], 0.8 * joint)
    }

    /// A window, or a door in the lowest row, centred at 0 of a bay with sides of about ±0.5.
    fn window(&self, wall: Color, q: Point, choice: f32, p: Point, texel: f32) -> Color {
        let half = at(0.24, 0.3);
        let beyond = (q.x.abs() - half.x).max(q.y.abs() - half.y);
        let frame = smoothstep(0.035, 0.03, beyond);
        let glass = smoothstep(-0.005, -0.012, beyond);
        let bar = smoothstep(0.02, 0.014, q.x.abs().min((q.y + 0.06).abs()));
        let sky = 0.5 + 0.4 * self.noise(at(p.x + p.y, p.y), 0.3, texel, 12);
        let pane = blend([0.14, 0.17, 0.2], [0.66, 0.74, 0.8], sky * (0.6 - q.y));
        let curtain = band(q.x * 9.0 + choice * 5.0, 0.6) * smoothstep(0.1, 0.16, q.x.abs());
        let pane = blend(pane, scaled(self.accent, 1.2), 0.6 * curtain * f32::from(choice > 0.35));
        let sill =
            smoothstep(0.35, 0.33, q.y) * smoothstep(0.3, 0.31, q.y) * f32::from(q.x.abs() < 0.3);
        let color = blend(wall, [0.84, 0.82, 0.77], frame);
        let color = blend(color, pane, glass * (1.0 - bar));
        blend(color, [0.6, 0.58, 0.54], sill)
    }

    fn pavement(&self, g: Point, finest: f32) -> Color {
        let rough = self.noise(g, 0.09, finest, 13);
        let wide = self.noise(g, 1.2, finest, 14);
        let kerb = 1.62;
        if g.y < kerb {
            // Asphalt with a dashed line.
            let line = smoothstep(0.05, 0.035, (g.y - 1.16).abs()) * band(g.x * 0.9, 0.55);
            let tar = scaled([0.33, 0.33, 0.345], 1.0 + 0.3 * rough + 0.15 * wide);
            let crack = smoothstep(0.03, 0.0, cells(g * 1.7, self.seed ^ 5).border);
            return blend(blend(tar, [0.16; 3], 0.6 * crack), [0.86, 0.85, 0.8], 0.85 * line);
        }
        let slab = at(g.x / 0.55, g.y / 0.5);
        let own = cell_value(slab.x.floor() as i32, slab.y.floor() as i32, self.seed ^ 6);
        let edge = (slab.x.rem_euclid(1.0) - 0.5).abs().max((slab.y.rem_euclid(1.0) - 0.5).abs());
        let joint = smoothstep(0.47, 0.49, edge);
        let stone = scaled(self.ground, 0.88 + 0.2 * own + 0.2 * rough + 0.1 * wide);
        let stone = blend(stone, [0.26, 0.25, 0.23], 0.7 * joint);
        blend([0.68, 0.67, 0.64], stone, smoothstep(kerb + 0.05, kerb + 0.07, g.y))
    }

    fn wall(&self, p: Point, texel: f32) -> Color {
        let stripe = band(p.x * 7.0, 0.5);
        let motif = cells(at(p.x * 9.0, p.y * 9.0), self.seed ^ 8);
        let print = smoothstep(0.2, 0.14, motif.near) * 0.35;
        let paper = blend(scaled(self.far, 0.9 + 0.12 * stripe), self.accent, print);
        let plaster = scaled(paper, 1.0 + 0.07 * self.noise(p, 0.3, texel, 15));
        let hung = self.pictures(plaster, p, texel);
        let board = smoothstep(self.horizon - 0.062, self.horizon - 0.058, p.y);
        let groove = 1.0 - 0.3 * smoothstep(0.006, 0.0, (p.y - self.horizon + 0.045).abs());
        blend(hung, scaled([0.82, 0.8, 0.75], groove), board)
    }

    /// Framed pictures and shelves of books, one to a bay of the wall.
    fn pictures(&self, wall: Color, p: Point, texel: f32) -> Color {
        let bay = (p.x / 0.55 + 40.0).floor();
        let choice = cell_value(bay as i32, 7, self.seed);
        let q = at(p.x - (bay - 39.5) * 0.55, p.y - self.horizon + 0.34);
        let half = at(0.13 + 0.09 * choice, 0.19 - 0.09 * choice);
        let beyond = (q.x.abs() - half.x).max(q.y.abs() - half.y);
        let shadow = smoothstep(0.05, 0.0, (q.x.abs() - half.x).max((q.y - 0.02).abs() - half.y));
        let wall = scaled(wall, 1.0 - 0.3 * shadow);
        if beyond > 0.0 {
            return wall;
        }
        if choice > 0.55 {
            return self.books(q, half, texel);
        }
        let frame = smoothstep(-0.022, -0.018, beyond);
        let sky = self.noise(at(q.x + bay, q.y), 0.2, texel, 16);
        let land = smoothstep(-0.01, 0.01, q.y - 0.08 * sky);
        let scene = blend(blend(self.far, [0.9; 3], 0.5 + sky), hue(choice, 0.5, 0.45), land);
        let wood =
            scaled([0.36, 0.24, 0.14], 1.0 + 0.5 * gradient(at(q.x * 30.0, q.y * 30.0), self.seed));
        blend(scene, wood, frame)
    }

    fn books(&self, q: Point, half: Point, texel: f32) -> Color {
        let shelf = (q.y + half.y) / (half.y * 0.999);
        let (row, height) = (shelf.floor() as i32, shelf.fract());
        let spine = (q.x / 0.024).floor() as i32;
        let own = cell_value(spine, row, self.seed ^ 21);
        let tall = 0.25 + 0.3 * cell_value(spine, row, self.seed ^ 22);
        let edge = 1.0 - 0.45 * smoothstep(0.3, 0.5, ((q.x / 0.024).rem_euclid(1.0) - 0.5).abs());
        let book = scaled(hue(own * 3.0, 0.5, 0.35 + 0.4 * own), edge);
        let title = band(height * 3.0 + own, 0.12);
        let book = blend(book, [0.85, 0.8, 0.65], 0.6 * title);
        let back = scaled([0.25, 0.18, 0.12], 1.0 + 0.2 * self.noise(q, 0.05, texel, 17));
        let color = blend(back, book, smoothstep(tall - 0.01, tall + 0.01, height));
        blend(color, [0.45, 0.31, 0.19], smoothstep(0.9, 0.92, height))
    }

    fn planks(&self, g: Point, finest: f32) -> Color {
        let row = (g.y / 0.22).floor();
        let along = g.x / 1.4 + cell_value(row as i32, 1, self.seed) * 3.0;
        let own = cell_value(along.floor() as i32, row as i32, self.seed ^ 9);
        let grain = self.noise(at(g.x * 0.35, g.y * 3.0 + own * 9.0), 0.22, finest, 18);
        let rings = (grain * 14.0 + g.y * 9.0).sin();
        let wood = scaled(self.ground, 0.8 + 0.35 * own + 0.1 * grain + 0.07 * rings);
        let edge = at(
            (along.rem_euclid(1.0) - 0.5).abs() * 1.4,
            ((g.y / 0.22).rem_euclid(1.0) - 0.5).abs(),
        );
        let joint = smoothstep(0.685, 0.695, edge.x).max(smoothstep(0.47, 0.49, edge.y));
        self.rug(scaled(wood, 1.0 - 0.55 * joint), g, finest)
    }

    fn rug(&self, floor: Color, g: Point, finest: f32) -> Color {
        let q = at(g.x / 1.15, (g.y - 1.75) / 0.5);
        let radius = q.length();
        let rings = band(radius * 4.0, 0.4);
        let petals = 0.5 + 0.5 * (12.0 * q.y.atan2(q.x)).cos();
        let pile = 1.0 + 0.3 * self.noise(g, 0.05, finest, 19);
        let cloth = blend(self.accent, blend(self.far, [0.9, 0.86, 0.75], petals), 0.75 * rings);
        blend(floor, scaled(cloth, pile), smoothstep(1.01, 0.99, radius))
    }

    fn sea(&self, p: Point, texel: f32) -> Color {
        let shore = self.horizon - 0.16;
        let below = ((p.y - shore) / 0.16).clamp(0.0, 1.0);
        let away = 1.0 / (below + 0.08);
        let swell = self.noise(at(p.x * away * 0.6, away * 3.0), 0.5, texel * away, 20);
        let deep = blend([0.16, 0.36, 0.5], [0.35, 0.62, 0.64], below);
        let water = scaled(deep, 1.0 + 0.3 * swell);
        let foam = smoothstep(0.35, 0.8, swell + 0.5 * below * below);
        let water = blend(water, [0.93, 0.95, 0.95], 0.8 * foam);
        blend(self.sky(at(p.x, p.y + 0.16), texel), water, smoothstep(-texel, texel, p.y - shore))
    }

    fn sand(&self, g: Point, finest: f32) -> Color {
        let ripple = (g.y * 34.0 + 5.0 * self.noise(g, 0.8, finest, 23)).sin();
        let grain = self.noise(g, 0.05, finest, 24);
        let wide = self.noise(g, 0.9, finest, 25);
        let wet = smoothstep(3.6, 5.5, g.y + 0.5 * wide);
        let sand = scaled(self.ground, 0.95 + 0.05 * ripple + 0.2 * grain + 0.14 * wide);
        let stone = cells(g * 5.0, self.seed ^ 31);
        let pebble = smoothstep(0.2, 0.15, stone.near) * f32::from(stone.value > 0.75);
        let color = blend(sand, scaled([0.48, 0.45, 0.42], 0.6 + stone.value), 0.85 * pebble);
        blend(color, [0.47, 0.42, 0.34], 0.6 * wet)
    }
}

/// Leaves and gaps between them.
pub(super) fn foliage(p: Point, green: Color, texel: f32, seed: u32) -> Color {
    let mass = octaves(p, 0.12, texel, seed ^ 41);
    let leaf = cells(p * 46.0 + at(mass, mass) * 2.0, seed ^ 43);
    let lit = mix(0.55, 1.25, leaf.value) * smoothstep(0.85, 0.2, leaf.near);
    scaled(green, (0.75 + 0.55 * mass) * (0.45 + 0.75 * lit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_a_sensible_color() {
        for scene in Scene::ALL {
            let look = Look::draw(&mut Draw::new(5, 1, 0, 0, 0), scene);
            for step in 0..400 {
                let p = at((step % 20) as f32 * 0.11 - 1.1, (step / 20) as f32 * 0.06 - 0.6);
                for color in [look.far_color(p, 0.004), look.near_color(p, 0.004)] {
                    let sensible = color.iter().all(|channel| (-0.3..2.0).contains(channel));
                    assert!(sensible, "{scene:?} {p:?} {color:?}");
                }
            }
        }
    }
}
