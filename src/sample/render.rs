//! From a clip and a frame number to pixels and labels.
//!
//! Backdrop, cast shadows, then the actors from back to front with soft edges, then light and
//! sensor noise. Labels are exact: a pixel carries the label of the topmost actor at its centre.
//! Next: [`super::layout`] writes both where each benchmark expects them.

use super::backdrop::Backdrop;
use super::clip::{Clip, Format, Light};
use super::figure::{Figure, Layer, Region};
use super::geometry::{Point, View, at, smoothstep};
use super::noise::Draw;
use super::texture::{Color, blend, scaled};
use crate::image::{LabelImage, Rgb};

/// What the labels of a frame stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Labels {
    /// Actors, counted from 1 from back to front.
    Actors,
    /// The classes of the parts that people consist of.
    Parts,
}

/// A frame in the making.
struct Canvas {
    format: Format,
    view: View,
    color: Vec<Color>,
    label: Vec<u8>,
    owner: Vec<u8>,
}

/// Renders frame `t`; `sensor` is drawn from for the noise.
pub(super) fn frame(
    clip: &Clip,
    backdrop: &Backdrop,
    format: Format,
    t: usize,
    labels: Labels,
    sensor: &mut Draw,
) -> (Rgb, LabelImage) {
    let time = t as f32;
    let mut canvas = Canvas::new(format, clip.camera.view(time));
    let figures: Vec<_> = clip.cast.iter().map(|actor| actor.figure(time)).collect();
    canvas.paint_backdrop(backdrop);
    for figure in &figures {
        canvas.cast_shadow(figure, clip);
    }
    canvas.paint_figures(&figures, &clip.light, labels);
    let picture = canvas.developed(clip.light.tint(time), sensor);
    (picture, LabelImage { width: format.width, height: format.height, data: canvas.label })
}

/// The labels of frame `t` alone.
pub(super) fn labels_only(clip: &Clip, format: Format, t: usize, labels: Labels) -> LabelImage {
    let time = t as f32;
    let mut canvas = Canvas::new(format, clip.camera.view(time));
    let figures: Vec<_> = clip.cast.iter().map(|actor| actor.figure(time)).collect();
    canvas.paint_figures(&figures, &clip.light, labels);
    LabelImage { width: format.width, height: format.height, data: canvas.label }
}

/// A rectangle of pixels: columns and rows from the first to before the second.
struct Window {
    columns: [usize; 2],
    rows: [usize; 2],
}

impl Canvas {
    fn new(format: Format, view: View) -> Self {
        let pixels = format.height * format.width;
        Self {
            format,
            view,
            color: vec![[0.0; 3]; pixels],
            label: vec![0; pixels],
            owner: vec![0; pixels],
        }
    }

    /// The point of the scene at the centre of pixel (0, 0) and the steps to the next column and
    /// row.
    fn steps(&self, view: &View) -> (Point, Point, Point) {
        let scene_point = |x, y| view.scene_point(at(x, y), self.format.height, self.format.width);
        let first = scene_point(0.5, 0.5);
        (first, scene_point(1.5, 0.5) - first, scene_point(0.5, 1.5) - first)
    }

    fn paint_backdrop(&mut self, backdrop: &Backdrop) {
        let (near, right, down) = self.steps(&self.view);
        let (far, ..) = self.steps(&Backdrop::far_view(&self.view));
        for (y, row) in self.color.chunks_exact_mut(self.format.width).enumerate() {
            let below = down * y as f32;
            for (x, color) in row.iter_mut().enumerate() {
                let shift = below + right * x as f32;
                *color = backdrop.color(near + shift, far + shift);
            }
        }
    }

    /// The pixels that show the box between two points of the scene, and `margin` more.
    fn window(&self, low: Point, high: Point, margin: f32) -> Window {
        let corners = [low, at(high.x, low.y), at(low.x, high.y), high]
            .map(|p| self.view.pixel(p, self.format.height, self.format.width));
        let reach = margin * self.format.height as f32 * self.view.zoom + 1.0;
        let span = |values: [f32; 4], most: usize| {
            let first = values.into_iter().fold(f32::MAX, f32::min) - reach;
            let last = values.into_iter().fold(f32::MIN, f32::max) + reach;
            // Casting to an unsigned number takes what lies left of the picture to 0.
            [(first as usize).min(most), (last.ceil() as usize).min(most)]
        };
        Window {
            columns: span(corners.map(|corner| corner.x), self.format.width),
            rows: span(corners.map(|corner| corner.y), self.format.height),
        }
    }

    /// Darkens the ground where a figure stands in the light: the figure laid down and sheared.
    fn cast_shadow(&mut self, figure: &Figure, clip: &Clip) {
        let fall = clip.light.fall;
        let lean = -0.8 * clip.light.direction[0];
        let (low, high) = bounds(figure);
        // A point `up` above the ground throws its shadow to (lean, fall) times `up`.
        let shadow = |x: f32, y: f32| {
            let up = figure.ground - y;
            at(x + lean * up, figure.ground + fall * up)
        };
        let ends = [
            shadow(low.x, low.y),
            shadow(high.x, low.y),
            shadow(low.x, high.y),
            shadow(high.x, high.y),
        ];
        let (from, to) = ends.iter().fold((ends[0], ends[0]), |(from, to), end| {
            (at(from.x.min(end.x), from.y.min(end.y)), at(to.x.max(end.x), to.y.max(end.y)))
        });
        let window = self.window(from, to, 0.05);
        let (first, right, down) = self.steps(&self.view);
        for y in (window.rows[0]..window.rows[1]).step_by(2) {
            for x in (window.columns[0]..window.columns[1]).step_by(2) {
                let p = first + right * (x as f32 + 0.5) + down * (y as f32 + 0.5);
                let up = (p.y - figure.ground) / fall;
                let thrower = at(p.x - lean * up, figure.ground - up);
                let near_ground = smoothstep(clip.horizon() - 0.01, clip.horizon() + 0.02, p.y);
                let penumbra = (0.012 + 0.05 * up.max(0.0)) * (0.5 + figure.scale);
                let distance = figure
                    .layers
                    .iter()
                    .map(|layer| layer.distance(thrower, figure.scale))
                    .fold(f32::MAX, f32::min);
                let dark = 0.42 * near_ground * smoothstep(penumbra, -penumbra, distance);
                self.darken_block(x, y, 1.0 - dark);
            }
        }
    }

    /// Darkens the 2×2 pixels from (x, y) on, those within the picture.
    fn darken_block(&mut self, x: usize, y: usize, factor: f32) {
        if factor >= 1.0 {
            return;
        }
        for y in y..(y + 2).min(self.format.height) {
            for x in x..(x + 2).min(self.format.width) {
                let color = &mut self.color[y * self.format.width + x];
                *color = scaled(*color, factor);
            }
        }
    }

    fn paint_figures(&mut self, figures: &[Figure], light: &Light, labels: Labels) {
        for (figure, owner) in figures.iter().zip(1_u8..) {
            for layer in &figure.layers {
                let label = (labels == Labels::Actors).then_some(owner);
                self.paint_layer(layer, figure.scale, owner, label, light);
            }
        }
    }

    fn paint_layer(
        &mut self,
        layer: &Layer,
        scale: f32,
        owner: u8,
        label: Option<u8>,
        light: &Light,
    ) {
        let (low, high) = layer.body.bounds();
        // Around a limb the parts of the same figure behind it lie in its shade.
        let shade_reach = 0.035 * scale;
        let window = self.window(low, high, shade_reach);
        let (first, right, down) = self.steps(&self.view);
        let pixel = right.length();
        for y in window.rows[0]..window.rows[1] {
            for x in window.columns[0]..window.columns[1] {
                let p = first + right * x as f32 + down * y as f32;
                let distance = layer.distance(p, scale);
                let index = y * self.format.width + x;
                if distance > 0.0 && self.owner[index] == owner {
                    let shade = smoothstep(shade_reach, 0.0, distance);
                    self.color[index] = scaled(self.color[index], 1.0 - 0.3 * shade);
                }
                let cover = 0.5 - distance / pixel;
                if cover > 0.0 {
                    let (color, class) = seen(layer, p, pixel / scale, light);
                    self.color[index] = blend(self.color[index], color, cover.min(1.0));
                    if distance < 0.0 {
                        self.label[index] = label.unwrap_or(class);
                        self.owner[index] = owner;
                    }
                }
            }
        }
    }

    /// The picture as a camera stores it: tinted, darker to the corners, noisy.
    fn developed(&self, tint: Color, sensor: &mut Draw) -> Rgb {
        let Format { height, width } = self.format;
        let mut data = vec![0; height * width * 3];
        let mut noise = vec![0; width * 4];
        for (y, (row, out)) in
            self.color.chunks_exact(width).zip(data.chunks_exact_mut(width * 3)).enumerate()
        {
            sensor.fill(&mut noise);
            let up = y as f32 / height as f32 - 0.5;
            for (x, (color, out)) in row.iter().zip(out.chunks_exact_mut(3)).enumerate() {
                let aside = (x as f32 - 0.5 * width as f32) / height as f32;
                let corner = 1.0 - 0.1 * (aside * aside + up * up);
                let grain = &noise[4 * x..4 * x + 4];
                // Two bytes make a triangular distribution: ±4 levels of grey, ±1.5 of colour.
                let grey = (f32::from(grain[0]) + f32::from(grain[1]) - 255.0) / 64.0;
                let hue = (f32::from(grain[2]) - 127.5) / 85.0;
                let off = [grey + hue, grey, grey - hue + (f32::from(grain[3]) - 127.5) / 128.0];
                for channel in 0..3 {
                    let value = 255.0 * color[channel] * tint[channel] * corner + off[channel];
                    out[channel] = (value + 0.5) as u8;
                }
            }
        }
        Rgb { width, height, data }
    }
}

/// A box around all layers of a figure: least x and y, greatest x and y.
pub(super) fn bounds(figure: &Figure) -> (Point, Point) {
    figure.layers.iter().map(|layer| layer.body.bounds()).fold(
        (at(f32::MAX, f32::MAX), at(f32::MIN, f32::MIN)),
        |(low, high), (l, h)| {
            (at(low.x.min(l.x), low.y.min(l.y)), at(high.x.max(h.x), high.y.max(h.y)))
        },
    )
}

/// The lit colour and the class of a layer at a point of the scene; `pixel` is the size of a pixel
/// in units of the resting body.
fn seen(layer: &Layer, p: Point, pixel: f32, light: &Light) -> (Color, u8) {
    let relief = layer.body.relief(p);
    let (mut color, mut class, mut gloss) = ([0.0; 3], 0, 0.0);
    for Region { shape, paint } in &layer.surface {
        let distance = shape.distance(relief.rest);
        let cover = (0.5 - distance / pixel).clamp(0.0, 1.0);
        if cover > 0.0 {
            color = blend(color, paint.color(relief.rest), cover);
            gloss = gloss + (paint.gloss - gloss) * cover;
        }
        if distance < 0.0 {
            class = paint.class;
        }
    }
    let lean = relief.lean * 0.92;
    let facing = (1.0 - lean.dot(lean)).max(0.0).sqrt();
    let [x, y, z] = light.direction;
    let lit = (lean.x * x + lean.y * y + facing * z).max(0.0);
    let shade = light.ambient + (1.12 - light.ambient) * lit;
    // Highlight where the surface halves the angle between light and viewer.
    let half = (2.0 + 2.0 * z).sqrt();
    let glint = ((lean.x * x + lean.y * y + facing * (z + 1.0)) / half).max(0.0).powi(24);
    let color = scaled(color, shade * layer.light);
    (color.map(|channel| channel + 0.55 * gloss * glint), class)
}
