//! The two views that siamese masked autoencoding learns from: crops of one picture, or two frames.
//!
//! [`draw`] makes a [`Pair`] from a decoded picture: boxes from [`crop`], pixels from
//! [`crate::image::resample`], flips, and if asked for colours and blur from [`augment`]. The first view is the model's
//! unmasked input, the second its masked target. All random numbers come from the sample's own
//! stream, in a fixed order: the first box, the second box, the flip of the first view, the flip of
//! the second, colours, blur. From here pairs go through [`super::loader`] to the model.

pub mod augment;
pub mod crop;

use serde::{Deserialize, Serialize};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

use super::random::Stream;
use super::rule::{self, Rule};
use crate::error::Result;
use crate::image::Rgb;
use crate::image::resample::{CropBox, Filter, Order, resampled};

/// How the two views of a picture relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Strategy {
    /// The masked view is a crop of the unmasked one (the paper's choice)
    GlobalToLocal,
    /// The unmasked view is a crop of the masked one
    LocalToGlobal,
    /// Two independent crops, both of the global area
    RandomViews,
    /// One crop twice (what a plain MAE sees)
    SameViews,
}

/// How views are cut and changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSettings {
    /// How the two views relate; two frames of a video always share one crop.
    pub strategy: Strategy,
    /// Rows and columns of a view.
    pub size: usize,
    /// Share of the picture that a global crop covers: least and most.
    pub global_area: [f64; 2],
    /// Share of the resized global view that a local crop covers: least and most.
    pub local_area: [f64; 2],
    /// Width / height of a crop: least and most.
    pub aspect: [f64; 2],
    /// How a crop is brought to the size of a view.
    #[serde(default)]
    pub filter: Filter,
    /// Probability that a view is mirrored, drawn for each view by itself; for
    /// [`Strategy::SameViews`] and for two frames once.
    pub flip: f64,
    /// Strength of the colour jitter of the first view; 0 is off. See [`augment::jitter`].
    pub color_jitter: f64,
    /// Probability that the first view is blurred; 0 is off. See [`augment::blur`].
    pub blur: f64,
}

impl Default for ViewSettings {
    /// The recipe of CropMAE on ImageNet.
    fn default() -> Self {
        Self {
            strategy: Strategy::GlobalToLocal,
            size: 224,
            global_area: [0.1, 1.0],
            local_area: [0.3, 0.6],
            aspect: [3.0 / 4.0, 4.0 / 3.0],
            filter: Filter::Bilinear,
            flip: 0.5,
            color_jitter: 0.0,
            blur: 0.0,
        }
    }
}

impl ViewSettings {
    /// Checks that views can be drawn with these settings.
    ///
    /// # Errors
    /// A setting makes no sense; the message names it by its key in a configuration.
    pub fn check(&self) -> Result<()> {
        rule::check([
            Rule::at_least(1, "views.size", self.size),
            Rule::shares("views.global_area", self.global_area),
            Rule::shares("views.local_area", self.local_area),
            Rule::range("views.aspect", self.aspect),
            Rule::share("views.flip", self.flip),
            Rule::share("views.color_jitter", self.color_jitter),
            Rule::share("views.blur", self.blur),
        ])
    }
}

/// The two views of a sample, of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// `None` where it is the second view: nothing is kept, packed or encoded twice.
    first: Option<Rgb>,
    second: Rgb,
}

impl Pair {
    /// Two views.
    pub fn new(first: Rgb, second: Rgb) -> Self {
        Self { first: Some(first), second }
    }

    /// One view that is both, as for a plain MAE.
    pub fn same(view: Rgb) -> Self {
        Self { first: None, second: view }
    }

    /// The unmasked input.
    pub fn first(&self) -> &Rgb {
        self.first.as_ref().unwrap_or(&self.second)
    }

    /// The masked target.
    pub fn second(&self) -> &Rgb {
        &self.second
    }

    /// Whether one view is both.
    pub fn is_same(&self) -> bool {
        self.first.is_none()
    }
}

/// Draws the two views of a picture.
///
/// A local view is cropped from the *resized* global one, as the reference does, so its pixels have
/// been rounded twice. A plain MAE takes [`Strategy::SameViews`] and one of the two views.
pub fn draw(image: &Rgb, settings: &ViewSettings, stream: &mut Stream) -> Pair {
    let global = global_box(image, settings, stream);
    let (first, second) = match settings.strategy {
        Strategy::SameViews => return one_view(image, global, settings, stream),
        Strategy::RandomViews => {
            let other = global_box(image, settings, stream);
            (resized_crop(image, global, settings), resized_crop(image, other, settings))
        }
        Strategy::GlobalToLocal | Strategy::LocalToGlobal => {
            let size = settings.size;
            let local = crop::draw(size, size, settings.local_area, settings.aspect, stream);
            let global = resized_crop(image, global, settings);
            let local = resized_crop(&global, local, settings);
            match settings.strategy {
                Strategy::LocalToGlobal => (local, global),
                _ => (global, local),
            }
        }
    };
    let flips = [stream.chance(settings.flip), stream.chance(settings.flip)];
    finished(first, second, flips, settings, stream)
}

/// Draws the views of two frames of a video, the earlier one first: one box and one flip for both.
///
/// Frames of different sizes, which no video has but a folder may, get boxes of the same shares.
pub fn draw_frames(
    first: &Rgb,
    second: &Rgb,
    settings: &ViewSettings,
    stream: &mut Stream,
) -> Pair {
    let drawn = global_box(first, settings, stream);
    let flip = stream.chance(settings.flip);
    let other = if (first.height, first.width) == (second.height, second.width) {
        drawn
    } else {
        scaled(drawn, first, second)
    };
    let first = resized_crop(first, drawn, settings);
    let second = resized_crop(second, other, settings);
    finished(first, second, [flip, flip], settings, stream)
}

fn global_box(image: &Rgb, settings: &ViewSettings, stream: &mut Stream) -> CropBox {
    crop::draw(image.height, image.width, settings.global_area, settings.aspect, stream)
}

/// The pixels of a view, by the Pillow of today. (For frames of videos the references use torch's
/// resampling, whose pixels differ by a level or two.)
fn resized_crop(image: &Rgb, crop: CropBox, settings: &ViewSettings) -> Rgb {
    resampled(image, crop, (settings.size, settings.size), settings.filter, Order::Cheapest)
}

/// One crop with one flip for both views; only colours and blur can make the first another one.
fn one_view(image: &Rgb, crop: CropBox, settings: &ViewSettings, stream: &mut Stream) -> Pair {
    let mut view = resized_crop(image, crop, settings);
    if stream.chance(settings.flip) {
        mirror(&mut view);
    }
    if settings.color_jitter == 0.0 && settings.blur == 0.0 {
        return Pair::same(view);
    }
    finished(view.clone(), view, [false, false], settings, stream)
}

/// Flips, colours and blur.
fn finished(
    mut first: Rgb,
    mut second: Rgb,
    flips: [bool; 2],
    settings: &ViewSettings,
    stream: &mut Stream,
) -> Pair {
    if flips[0] {
        mirror(&mut first);
    }
    if flips[1] {
        mirror(&mut second);
    }
    if settings.color_jitter > 0.0 {
        augment::jitter(&mut first, settings.color_jitter, stream);
    }
    if settings.blur > 0.0 && stream.chance(settings.blur) {
        augment::blur(&mut first, stream);
    }
    Pair::new(first, second)
}

/// The box that covers the same shares of `to` as `crop` does of `from`.
fn scaled(crop: CropBox, from: &Rgb, to: &Rgb) -> CropBox {
    let along = |start: usize, length: usize, from: usize, to: usize| {
        let length = (length * to / from).clamp(1, to);
        ((start * to / from).min(to - length), length)
    };
    let (top, height) = along(crop.top, crop.height, from.height, to.height);
    let (left, width) = along(crop.left, crop.width, from.width, to.width);
    CropBox { top, left, height, width }
}

/// Left becomes right.
fn mirror(image: &mut Rgb) {
    for row in image.data.chunks_exact_mut(3 * image.width) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}

#[cfg(test)]
mod tests;
