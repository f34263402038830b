//! Pictures that play: the frames of a clip as JPEGs in the page, within a budget of bytes.
//!
//! How many frames, how wide and how fine follows from the budget: [`Film::within`] goes down a
//! ladder of settings until the frames fit, so that a page stays fit to be sent whatever the clips.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::imageops::{self, FilterType};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use maud::{Markup, html};

use crate::error::{Error, Result};
use crate::image::Rgb;

/// Frames at most, width in pixels, JPEG quality; from the best to the least.
const LADDER: [(usize, usize, u8); 9] = [
    (48, 480, 82),
    (40, 480, 74),
    (40, 432, 68),
    (32, 400, 64),
    (28, 360, 60),
    (24, 320, 54),
    (20, 280, 48),
    (16, 240, 40),
    (12, 200, 34),
];
/// More frames than this are never shown.
pub const MOST_FRAMES: usize = LADDER[0].0;
/// Wider than this no frame is shown.
pub const WIDEST: usize = LADDER[0].1;
/// Milliseconds that a clip takes at least and at most a frame when it plays.
const PACE: (usize, usize) = (80, 250);
/// Milliseconds that a clip takes as a whole, where its pace allows.
const LENGTH: usize = 4000;

/// A clip that plays.
#[derive(Debug, Clone)]
pub struct Film {
    /// The clip, for those who do not see it.
    pub name: String,
    /// How many frames the clip has.
    pub frames: usize,
    /// Some of them by their numbers, from 0, as JPEG files.
    stills: Vec<(usize, Vec<u8>)>,
    width: usize,
    height: usize,
}

impl Film {
    /// The frames (number, picture) that fit into so many bytes of page; all pictures have the size of
    /// the first. `None` where there is none, or not even the least setting fits.
    ///
    /// # Errors
    /// A picture has no pixels, or more than a JPEG can hold.
    pub fn within(
        name: &str,
        frames: usize,
        pictures: &[(usize, Rgb)],
        bytes: usize,
    ) -> Result<Option<Self>> {
        let Some((_, first)) = pictures.first() else { return Ok(None) };
        for (most, width, quality) in LADDER {
            let width = width.min(first.width);
            let height = (first.height * width).div_ceil(first.width.max(1));
            let kept = spread(pictures.len(), most);
            let mut left = bytes;
            let mut stills = Vec::with_capacity(kept.len());
            for (number, picture) in kept.into_iter().filter_map(|index| pictures.get(index)) {
                let still = jpeg(picture, (width, height), quality)?;
                let Some(rest) = left.checked_sub(embedded(still.len())) else { break };
                left = rest;
                stills.push((*number, still));
            }
            if stills.len() == pictures.len().min(most) {
                return Ok(Some(Self { name: name.to_owned(), frames, stills, width, height }));
            }
        }
        Ok(None)
    }

    /// The bytes that it takes in a page, but for a few around each frame.
    pub fn bytes(&self) -> usize {
        self.stills.iter().map(|(_, still)| embedded(still.len())).sum()
    }

    /// The film with its controls; shows its middle frame where there is no script.
    pub fn markup(&self) -> Markup {
        let count = self.stills.len();
        let every = (LENGTH / count.max(1)).clamp(PACE.0, PACE.1);
        html! {
            div.film data-frames=(self.frames) data-every=(every) role="group" aria-label=(self.name) {
                div.stage {
                    @for (index, (frame, still)) in self.stills.iter().enumerate() {
                        img hidden[index != count / 2] data-frame=(frame) width=(self.width)
                            height=(self.height) alt={ (self.name) ", frame " (frame) }
                            src={ "data:image/jpeg;base64," (BASE64_STANDARD.encode(still)) };
                    }
                }
                div.controls {
                    button type="button" { "Play" }
                    input type="range" min="0" max=(count.saturating_sub(1)) value=(count / 2)
                        aria-label={ "Frame of " (self.name) };
                    output {}
                }
            }
        }
    }
}

/// What so many bytes take as text in base 64.
fn embedded(bytes: usize) -> usize {
    4 * bytes.div_ceil(3)
}

/// At most `most` of the numbers 0 to `count - 1`, evenly spread, both ends among them.
pub fn spread(count: usize, most: usize) -> Vec<usize> {
    let kept = count.min(most);
    match kept {
        0 | 1 => (0..kept).collect(),
        _ => (0..kept).map(|n| (n * (count - 1) + (kept - 1) / 2) / (kept - 1)).collect(),
    }
}

/// A picture brought to a size, as a JPEG file.
fn jpeg(picture: &Rgb, (width, height): (usize, usize), quality: u8) -> Result<Vec<u8>> {
    let wrong =
        |what: String| Error::setting("report", format!("a picture cannot be shown: {what}"));
    let side = |side: usize| u16::try_from(side).map_err(|error| wrong(error.to_string()));
    let (to_width, to_height) = (side(width)?, side(height)?);
    let (from_width, from_height) =
        (u32::from(side(picture.width)?), u32::from(side(picture.height)?));
    let pixels = image::ImageBuffer::<image::Rgb<u8>, _>::from_raw(
        from_width,
        from_height,
        picture.data.as_slice(),
    );
    let pixels = pixels.ok_or_else(|| wrong("it is not as large as it says".into()))?;
    let small;
    let data = match (picture.width, picture.height) == (width, height) {
        true => &picture.data,
        false => {
            let (width, height) = (u32::from(to_width), u32::from(to_height));
            small = imageops::resize(&pixels, width, height, FilterType::Triangle);
            small.as_raw()
        }
    };
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_optimized_huffman_tables(true);
    let encoded = encoder.encode(data, to_width, to_height, ColorType::Rgb);
    encoded.map_err(|error| wrong(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise, which no JPEG makes small.
    fn noise(width: usize, height: usize, seed: usize) -> Rgb {
        let value = |n: usize| (n.wrapping_mul(2_654_435_761).wrapping_add(seed * 977) >> 13) as u8;
        Rgb { width, height, data: (0..3 * width * height).map(value).collect() }
    }

    fn clip(frames: usize, width: usize, height: usize) -> Vec<(usize, Rgb)> {
        (0..frames).map(|n| (2 * n, noise(width, height, n))).collect()
    }

    #[test]
    fn frames_are_spread_over_a_clip() {
        assert_eq!(spread(3, 48), [0, 1, 2]);
        assert_eq!(spread(100, 4), [0, 33, 66, 99]);
        assert_eq!(spread(5, 4), [0, 1, 3, 4]);
        assert!(spread(0, 4).is_empty() && spread(9, 1) == [0]);
    }

    #[test]
    fn the_budget_holds_whatever_the_pictures() {
        let pictures = clip(60, 300, 170);
        let mut before = usize::MAX;
        for budget in [3_000_000, 1_000_000, 400_000] {
            let film = Film::within("noise", 120, &pictures, budget).unwrap().unwrap();
            assert!(film.bytes() <= budget, "{} of {budget}", film.bytes());
            assert!(film.bytes() < before);
            before = film.bytes();
            let html = film.markup().into_string();
            assert!(html.len() < budget + 300 * film.stills.len() + 1000, "{}", html.len());
            assert_eq!(film.stills.last().unwrap().0, 118, "the last frame is there");
        }
        assert!(Film::within("noise", 120, &pictures, 1000).unwrap().is_none());
        assert!(Film::within("none", 0, &[], 1000).unwrap().is_none());
    }

    #[test]
    fn small_pictures_are_not_blown_up_and_pages_escape_their_names() {
        let film = Film::within("a<b>", 3, &clip(3, 40, 30), 1 << 20).unwrap().unwrap();
        assert_eq!((film.width, film.height, film.stills.len()), (40, 30, 3));
        let html = film.markup().into_string();
        assert!(html.contains(r#"aria-label="a&lt;b&gt;""#) && !html.contains("a<b>"));
        assert_eq!(html.matches("<img hidden ").count(), 2, "one frame shows without a script");
        let text = html.split("base64,").nth(1).unwrap().split('"').next().unwrap();
        let bytes = BASE64_STANDARD.decode(text).unwrap();
        let back = crate::image::decode::from_bytes(std::path::Path::new("a.jpg"), &bytes).unwrap();
        assert_eq!((back.width, back.height), (40, 30));
    }
}
