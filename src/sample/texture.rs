//! What surfaces look like: fur, cloth, leather, bark, painted once a clip into small tiles.
//!
//! A tile is painted in the coordinates of the resting object, so that when the object moves and
//! bends the pattern goes with it. Next: [`super::figure`] looks tiles up while drawing.

use rayon::prelude::*;

use super::geometry::{Point, at, mix, smoothstep};
use super::noise::{Draw, cells, gradient, octaves};

/// Red, green and blue, each 0 to 1 in the brightness steps of a screen.
pub(super) type Color = [f32; 3];

/// The colour between `a` and `b` at share `t`.
pub(super) fn blend(a: Color, b: Color, t: f32) -> Color {
    [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)]
}

/// The colour made brighter or darker.
pub(super) fn scaled(color: Color, factor: f32) -> Color {
    color.map(|channel| channel * factor)
}

/// The colour of a hue (in turns), saturation and brightness.
pub(super) fn hue(hue: f32, saturation: f32, brightness: f32) -> Color {
    [0.0, 2.0 / 3.0, 1.0 / 3.0].map(|shift| {
        let ramp = ((hue + shift).rem_euclid(1.0) * 6.0 - 3.0).abs() - 1.0;
        brightness * mix(1.0, ramp.clamp(0.0, 1.0), saturation)
    })
}

/// A square tile of colour that covers the plane by mirrored repetition.
#[derive(Debug)]
pub(super) struct Texture {
    side: usize,
    corner: Point,
    per_unit: f32,
    data: Vec<Color>,
}

impl Texture {
    /// A tile of `side`² texels over `span`² units from `corner` on, painted by
    /// `paint(point, size of a texel)`.
    pub(super) fn paint(
        side: usize,
        corner: Point,
        span: f32,
        paint: impl Fn(Point, f32) -> Color + Sync,
    ) -> Self {
        let texel = span / (side - 1) as f32;
        let point = |i: usize| corner + at((i % side) as f32, (i / side) as f32) * texel;
        let data = (0..side * side).into_par_iter().map(|i| paint(point(i), texel)).collect();
        Self { side, corner, per_unit: 1.0 / texel, data }
    }

    /// The colour at `p`, interpolated between four texels.
    pub(super) fn color(&self, p: Point) -> Color {
        let (left, dx) = self.texel(p.x - self.corner.x);
        let (top, dy) = self.texel(p.y - self.corner.y);
        let row = top * self.side + left;
        let above = blend(self.data[row], self.data[row + 1], dx);
        let below = blend(self.data[row + self.side], self.data[row + self.side + 1], dx);
        blend(above, below, dy)
    }

    /// The texel at or before a coordinate, never the last one of its row, and the share of the
    /// next.
    fn texel(&self, coordinate: f32) -> (usize, f32) {
        let last = (self.side - 1) as f32;
        let turn = (coordinate * self.per_unit).abs() % (2.0 * last);
        let position = if turn > last { 2.0 * last - turn } else { turn };
        let index = (position as usize).min(self.side - 2);
        (index, position - index as f32)
    }
}

/// The kinds of surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Plain cloth with folds.
    Cloth,
    /// Cloth with stripes across.
    Stripes,
    /// Cloth with two sets of bands crossing.
    Plaid,
    /// Cloth with scattered dots.
    Dots,
    /// Blue-jeans twill, worn in places.
    Denim,
    /// Knitted rows.
    Knit,
    /// Smooth leather or rubber, scuffed.
    Leather,
    /// Skin.
    Skin,
    /// Strands of hair.
    Hair,
    /// Short fur of one colour.
    Fur,
    /// Fur in large patches, as a cow's.
    Patches,
    /// Fur with dark spots.
    Spots,
    /// Fur with wavering dark bands.
    Bands,
    /// Overlapping scales or feathers.
    Scales,
    /// Painted metal with dirt.
    Enamel,
}

/// Three colours that a pattern mixes, and the seed of its noise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dye {
    pub(super) colors: [Color; 3],
    pub(super) seed: u32,
}

impl Dye {
    /// Shades around one hue: `brightness` as given, an accent of another hue for the rest.
    pub(super) fn draw(draw: &mut Draw, turn: f32, saturation: f32, brightness: f32) -> Self {
        let base = hue(turn, saturation, brightness);
        let second = hue(turn + draw.range(-0.06, 0.06), saturation * 0.8, brightness * 0.55);
        let accent = hue(turn + draw.range(0.25, 0.6), draw.range(0.1, 0.7), draw.range(0.6, 0.95));
        Self { colors: [base, second, accent], seed: draw.bits() }
    }
}

/// The colour of `pattern` at `p`, in units of the object (a person is 1 high); `texel` limits
/// detail.
pub(super) fn pattern_color(pattern: Pattern, dye: &Dye, p: Point, texel: f32) -> Color {
    let [base, second, accent] = dye.colors;
    let seed = dye.seed;
    let fine = |wavelength| octaves(p, wavelength, texel, seed);
    match pattern {
        Pattern::Cloth => folded(base, p, texel, seed),
        Pattern::Stripes => {
            let stripe = band((p.y + 0.006 * fine(0.1)) * 22.0, 0.35);
            folded(blend(base, accent, stripe), p, texel, seed)
        }
        Pattern::Plaid => plaid(&dye.colors, p, texel, seed),
        Pattern::Dots => {
            let dot = smoothstep(0.34, 0.26, cells(p * 26.0, seed).near);
            folded(blend(base, accent, dot), p, texel, seed)
        }
        Pattern::Denim => denim(base, p, texel, seed),
        Pattern::Knit => scaled(knit(base, accent, p), 1.0 + 0.12 * fine(0.12)),
        Pattern::Leather => {
            let grain = smoothstep(0.0, 0.3, cells(p * 60.0, seed).border);
            scaled(base, 0.9 + 0.15 * grain + 0.15 * fine(0.06))
        }
        Pattern::Skin => scaled(blend(base, accent, 0.12 * fine(0.08)), 1.0 + 0.04 * fine(0.02)),
        Pattern::Hair => {
            let strand = octaves(at(p.x * 8.0 + 0.02 * fine(0.08), p.y), 0.09, texel, seed);
            scaled(blend(base, accent, 0.15 + 0.2 * strand), 1.0 + 0.4 * strand)
        }
        Pattern::Fur => fur(base, second, p, texel, seed),
        Pattern::Patches | Pattern::Spots | Pattern::Bands => {
            let color = marking(pattern, dye, p, texel);
            fur(color, scaled(color, 0.72), p, texel, seed)
        }
        Pattern::Scales => scales(base, accent, p, seed, fine(0.15)),
        Pattern::Enamel => {
            let dirt = smoothstep(0.2, 1.0, fine(0.3));
            scaled(blend(base, [0.45, 0.4, 0.34], 0.4 * dirt), 1.0 + 0.05 * fine(0.05))
        }
    }
}

/// The colour of the hairs of a fur with markings.
fn marking(pattern: Pattern, dye: &Dye, p: Point, texel: f32) -> Color {
    let [base, second, accent] = dye.colors;
    let wide = |wavelength, layer| octaves(p, wavelength, texel, dye.seed ^ layer);
    match pattern {
        Pattern::Patches => blend(accent, base, smoothstep(-0.06, 0.06, wide(0.34, 7) + 0.02)),
        Pattern::Bands => blend(base, second, band((p.x + 0.05 * wide(0.2, 5)) * 12.0, 0.42)),
        _ => {
            let wobble = at(wide(0.05, 2), wide(0.05, 3)) * 0.25;
            let spot = cells(p * 11.0 + wobble, dye.seed);
            blend(second, base, smoothstep(0.24, 0.36, spot.near + 0.2 * spot.value))
        }
    }
}

/// Diagonal twill, worn pale in places.
fn denim(blue: Color, p: Point, texel: f32, seed: u32) -> Color {
    let twill = gradient(at((p.x + p.y) * 240.0, (p.x - p.y) * 60.0), seed);
    let worn = smoothstep(0.1, 0.9, octaves(p, 0.25, texel, seed));
    let color = blend(blue, [0.72, 0.77, 0.85], 0.45 * worn + 0.1 * twill);
    folded(color, p, texel, seed ^ 1)
}

/// Stitches in rows, with zigzag bands.
fn knit(base: Color, accent: Color, p: Point) -> Color {
    let stitch = (p.x * 420.0).sin() * (p.y * 260.0 + (p.x * 210.0).sin()).sin();
    let zigzag = band(p.y * 9.0 + 0.3 * (p.x * 130.0).sin(), 0.2);
    scaled(blend(base, accent, zigzag), 1.0 + 0.12 * stitch)
}

/// 1 within the bands of a wave of period 1 that are `share` wide, 0 between, soft edges.
pub(super) fn band(position: f32, share: f32) -> f32 {
    let inside = share / 2.0 - (position - position.floor() - 0.5).abs();
    smoothstep(-0.06, 0.06, inside)
}

/// Cloth hangs in folds: long soft ridges, mostly downwards, and a faint weave.
fn folded(color: Color, p: Point, texel: f32, seed: u32) -> Color {
    let drift = gradient(p * 6.0, seed ^ 11) * 0.08;
    let ridge = octaves(at(p.x * 1.6 + drift, p.y * 0.6), 0.13, texel, seed ^ 13);
    let weave = octaves(p, 0.012, texel, seed ^ 17);
    scaled(color, 1.0 + 0.17 * ridge + 0.07 * weave)
}

fn plaid(colors: &[Color; 3], p: Point, texel: f32, seed: u32) -> Color {
    let across = 0.5 * band(p.y * 15.0, 0.4) + 0.35 * band(p.y * 15.0 + 0.45, 0.12);
    let along = 0.5 * band(p.x * 15.0, 0.4) + 0.35 * band(p.x * 15.0 + 0.45, 0.12);
    let dark = blend(colors[0], colors[1], across);
    folded(blend(dark, colors[2], 0.6 * along), p, texel, seed)
}

fn fur(color: Color, dark: Color, p: Point, texel: f32, seed: u32) -> Color {
    let lie =
        at(p.x + 0.04 * gradient(p * 7.0, seed ^ 19), p.y + 0.04 * gradient(p * 5.0, seed ^ 23));
    let tuft = octaves(at(lie.x * 0.45, lie.y * 1.5), 0.05, texel, seed ^ 29);
    let tone = octaves(p, 0.4, texel, seed ^ 31);
    scaled(blend(color, dark, (0.3 + 0.45 * tone).clamp(0.0, 1.0)), 1.0 + 0.3 * tuft)
}

fn scales(base: Color, accent: Color, p: Point, seed: u32, tone: f32) -> Color {
    let row = (p.y * 24.0).floor();
    let shift = if row as i32 % 2 == 0 { 0.0 } else { 0.5 };
    let place = at(p.x * 18.0 + shift, p.y * 24.0);
    let round = (at((place.x - place.x.floor() - 0.5) * 1.6, place.y - row)).length();
    let own = gradient(at(place.x.floor() * 0.37, row * 0.41), seed);
    let color = blend(base, accent, (0.35 + 0.7 * tone + 0.3 * own).clamp(0.0, 1.0));
    scaled(color, 1.1 - 0.4 * smoothstep(0.55, 1.0, round))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hues_are_the_primaries() {
        assert_eq!(hue(0.0, 1.0, 1.0), [1.0, 0.0, 0.0]);
        let green = hue(1.0 / 3.0, 1.0, 0.5);
        assert!((green[1] - 0.5).abs() < 1e-6 && green[0] < 1e-5 && green[2] < 1e-5, "{green:?}");
    }

    #[test]
    fn tiles_interpolate_and_mirror() {
        // A ramp in x over 1 unit with 5 texels: linear interpolation restores it anywhere.
        let ramp = Texture::paint(5, at(0.0, 0.0), 1.0, |p, _| [p.x, p.y, 0.0]);
        let color = ramp.color(at(0.3, 0.9));
        assert!((color[0] - 0.3).abs() < 1e-6 && (color[1] - 0.9).abs() < 1e-6);
        assert!((ramp.color(at(1.25, 0.0))[0] - 0.75).abs() < 1e-6);
        assert!((ramp.color(at(-0.25, 0.0))[0] - 0.25).abs() < 1e-6);
        assert!((ramp.color(at(2.25, 1.0))[0] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn patterns_stay_near_the_range_of_colors() {
        let dye = Dye::draw(&mut Draw::new(1, 1, 1, 0, 0), 0.3, 0.6, 0.7);
        for pattern in [Pattern::Plaid, Pattern::Spots, Pattern::Knit, Pattern::Scales] {
            let tile = Texture::paint(32, at(0.0, 0.0), 0.5, |p, texel| {
                pattern_color(pattern, &dye, p, texel)
            });
            let values = tile.data.iter().flatten();
            assert!(values.clone().all(|v| (-0.2..1.5).contains(v)), "{pattern:?}");
            let (low, high) = values.fold((9.0_f32, 0.0_f32), |(l, h), &v| (l.min(v), h.max(v)));
            assert!(high - low > 0.1, "{pattern:?} is flat");
        }
    }
}
