//! Clips that play: their frames as JPEGs in the page, within a budget of bytes.
//!
//! The budget decides the number, width and quality of the frames: [`Player::of`] tries smaller
//! settings one after the other until the frames fit, so that a page stays small enough to be sent.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use maud::{Markup, html};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::image::Rgb;
use crate::image::figure::{evenly, scaled};
use crate::overlay::{Key, Overlay, Style};

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
/// How frames are drawn that are to be shown here: as wide as they are shown at most.
pub const STYLE: Style = Style { errors: false, truth: true, width: LADDER[0].1 };
/// Frames that are tried before all are.
const PROBES: usize = 3;
/// Milliseconds that a clip takes at least and at most a frame when it plays.
const PACE: (usize, usize) = (80, 250);
/// Milliseconds that a clip takes as a whole, where its pace allows.
const LENGTH: usize = 4000;

/// A clip that plays in the page.
#[derive(Debug, Clone)]
pub struct Player {
    /// The clip, for those who do not see it.
    pub name: String,
    /// How many frames the clip has.
    pub frames: usize,
    /// What the colours mean.
    pub keys: Vec<Key>,
    /// Some of them by their numbers, from 0, as JPEG files.
    stills: Vec<(usize, Vec<u8>)>,
    width: usize,
    height: usize,
}

impl Player {
    /// As many frames of a clip as fit into so many bytes of page, drawn as the overlay says.
    /// `None` where it has no frame, or not even the least setting fits.
    ///
    /// # Errors
    /// A frame, its prediction or its truth cannot be read.
    pub fn of(overlay: &Overlay<'_>, bytes: usize) -> Result<Option<Self>> {
        let numbers = evenly(LADDER[0].0, overlay.len());
        let draw = |number: usize| Ok((number, overlay.frame(number)?));
        let pictures = numbers.into_par_iter().map(draw).collect::<Result<Vec<_>>>()?;
        let player = Self::within(overlay.name(), overlay.len(), &pictures, bytes)?;
        Ok(player.map(|player| Self { keys: overlay.legend(), ..player }))
    }

    /// The frames (number, picture) that fit into so many bytes of page; all pictures have the size
    /// of the first. `None` where there is none, or not even the least setting fits.
    ///
    /// # Errors
    /// A picture has no pixels, or more than a JPEG can hold.
    fn within(
        name: &str,
        frames: usize,
        pictures: &[(usize, Rgb)],
        bytes: usize,
    ) -> Result<Option<Self>> {
        let Some((_, first)) = pictures.first() else { return Ok(None) };
        for (most, width, quality) in LADDER {
            let width = width.min(first.width);
            let kept: Vec<&(usize, Rgb)> = evenly(most, pictures.len())
                .into_iter()
                .filter_map(|index| pictures.get(index))
                .collect();
            let encode = |(number, picture): &(usize, Rgb)| {
                Ok((*number, jpeg(&scaled(picture.clone(), width), quality)?))
            };
            // a few frames tell whether all could fit
            let few =
                evenly(PROBES, kept.len()).into_iter().filter_map(|index| kept.get(index).copied());
            let few = few.map(encode).collect::<Result<Vec<_>>>()?;
            if taken(&few) * kept.len() > bytes * few.len() {
                continue;
            }
            let stills = kept.into_par_iter().map(encode).collect::<Result<Vec<_>>>()?;
            if taken(&stills) <= bytes {
                let (name, keys) = (name.to_owned(), Vec::new());
                let height = (first.height * width + first.width / 2) / first.width.max(1);
                return Ok(Some(Self { name, frames, keys, stills, width, height }));
            }
        }
        Ok(None)
    }

    /// The bytes that it takes in a page, but for a few around each frame.
    pub fn bytes(&self) -> usize {
        taken(&self.stills)
    }

    /// The film with its controls; shows its middle frame where there is no script.
    pub fn markup(&self) -> Markup {
        let count = self.stills.len();
        let every = (LENGTH / count.max(1)).clamp(PACE.0, PACE.1);
        html! {
            div.film data-last=(self.frames.saturating_sub(1)) data-every=(every) role="group"
                aria-label=(self.name) {
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

    /// What the colours mean.
    pub fn legend(&self) -> Markup {
        html! {
            ul.legend {
                @for key in &self.keys {
                    @let [red, green, blue] = key.color;
                    li {
                        span.swatch style={ "--color:rgb(" (red) "," (green) "," (blue) ")" } {}
                        (key.name)
                    }
                }
            }
        }
    }
}

/// What files take as text in base 64.
fn taken(stills: &[(usize, Vec<u8>)]) -> usize {
    stills.iter().map(|(_, still)| 4 * still.len().div_ceil(3)).sum()
}

/// A picture as a JPEG file of a quality up to 100.
///
/// # Errors
/// The picture has no pixels, or more than a JPEG can hold.
pub fn jpeg(picture: &Rgb, quality: u8) -> Result<Vec<u8>> {
    let wrong =
        |what: String| Error::failed("report", format!("a picture cannot be shown: {what}"));
    let side = |side: usize| u16::try_from(side).map_err(|error| wrong(error.to_string()));
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_optimized_huffman_tables(true);
    let (width, height) = (side(picture.width)?, side(picture.height)?);
    let encoded = encoder.encode(&picture.data, width, height, ColorType::Rgb);
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
    fn the_budget_holds_whatever_the_pictures() {
        let pictures = clip(60, 300, 170);
        let mut before = usize::MAX;
        for budget in [3_000_000, 1_000_000, 400_000] {
            let film = Player::within("noise", 120, &pictures, budget).unwrap().unwrap();
            assert!(film.bytes() <= budget, "{} of {budget}", film.bytes());
            assert!(film.bytes() < before);
            before = film.bytes();
            let html = film.markup().into_string();
            assert!(html.len() < budget + 300 * film.stills.len() + 1000, "{}", html.len());
            assert_eq!(film.stills.last().unwrap().0, 118, "the last frame is there");
        }
        assert!(Player::within("noise", 120, &pictures, 1000).unwrap().is_none());
        assert!(Player::within("none", 0, &[], 1000).unwrap().is_none());
    }

    #[test]
    fn small_pictures_are_not_blown_up_and_pages_escape_their_names() {
        let film = Player::within("a<b>", 3, &clip(3, 40, 30), 1 << 20).unwrap().unwrap();
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
