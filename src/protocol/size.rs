//! Sizes, always height first, and the rules that derive an encoder's input size from a frame's.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// Height × width in pixels, written `480x880`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// Rows and columns of whole patches of this side, at least 1; what is left of them counts for
    /// none.
    pub fn grid(self, patch: usize) -> (usize, usize) {
        (self.height / patch, self.width / patch)
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

/// The most pixels of a side.
const LONGEST: usize = 1 << 15;

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits =
            |side: &str| !side.is_empty() && side.bytes().all(|byte| byte.is_ascii_digit());
        let sides = text.split_once(['x', 'X', '×']);
        let Some((height, width)) = sides.filter(|(a, b)| digits(a) && digits(b)) else {
            return Err(format!("{text:?} is not a size; write HEIGHTxWIDTH, for example 480x880"));
        };
        let side = |side: &str| side.parse().ok().filter(|side| (1..=LONGEST).contains(side));
        match (side(height), side(width)) {
            (Some(height), Some(width)) => Ok(Self { height, width }),
            _ => Err(format!("{text}: a side has 1 to {LONGEST} pixels")),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How an encoder's input size follows from a frame's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputSize {
    /// This size, whatever the frame's aspect (CropMAE: DAVIS 480×880, JHMDB 320×320).
    Exact(Size),
    /// The longer side becomes this, the other keeps the ratio, cut to a whole number and then
    /// to a multiple of 64 (CropMAE: VIP 880). The sides of a square count as height the longer.
    LongSide(usize),
    /// The shorter side becomes this, the other keeps the ratio, cut to a multiple of 64 (DINO).
    ShortSide(usize),
    /// The shorter side becomes this, the other keeps the ratio, both rounded up to multiples of
    /// the patch (DINOv3).
    ShortSideUp(usize),
    /// The frame's own size, each side resized down to a multiple of the patch. (videowalk's network
    /// has no patches and takes the size as it is.)
    Native,
}

/// What longer or shorter sides are cut to a multiple of.
const STEP: usize = 64;

impl InputSize {
    /// The input size for a frame, for an encoder with this patch.
    ///
    /// # Errors
    /// Nothing is left of the frame.
    pub fn resolve(self, frame: Size, patch: usize) -> Result<Size> {
        let Size { height, width } = frame;
        let cut = |side: usize, step: usize| side / step * step;
        let size = match self {
            Self::Exact(size) => size,
            Self::LongSide(side) if width > height => {
                Size { height: cut(height * side / width, STEP), width: side }
            }
            Self::LongSide(side) => Size { height: side, width: cut(width * side / height, STEP) },
            Self::ShortSide(side) if height > width => {
                Size { height: cut(side * height / width, STEP), width: side }
            }
            Self::ShortSide(side) => Size { height: side, width: cut(side * width / height, STEP) },
            Self::ShortSideUp(side) => up(side.next_multiple_of(patch), frame, patch),
            Self::Native => Size { height: cut(height, patch), width: cut(width, patch) },
        };
        if size.height < patch || size.width < patch {
            return Err(Error::setting(
                "size",
                format!(
                    "{self} makes {size} of a frame of {frame}: less than one patch of {patch}"
                ),
            ));
        }
        Ok(size)
    }
}

/// The shorter side becomes `side`, the longer is rounded up to a multiple of the patch.
fn up(side: usize, Size { height, width }: Size, patch: usize) -> Size {
    let long = |long: usize, short: usize| (long * side).div_ceil(short).next_multiple_of(patch);
    match width > height {
        true => Size { height: side, width: long(width, height) },
        false => Size { height: long(height, width), width: side },
    }
}

impl std::fmt::Display for InputSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(size) => size.fmt(f),
            Self::LongSide(side) => write!(f, "long side {side}"),
            Self::ShortSide(side) => write!(f, "short side {side}"),
            Self::ShortSideUp(side) => write!(f, "short side {side}, rounded up to patches"),
            Self::Native => f.write_str("native"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(rule: InputSize, height: usize, width: usize) -> String {
        rule.resolve(Size { height, width }, 16).unwrap().to_string()
    }

    #[test]
    fn rules_of_the_reference_programs() {
        // 854 -> 880: 480 * 880 / 854 = 494.6, cut to 494 and then to 448.
        assert_eq!(resolved(InputSize::LongSide(880), 480, 854), "448x880");
        assert_eq!(resolved(InputSize::LongSide(880), 480, 270), "880x448");
        assert_eq!(resolved(InputSize::LongSide(880), 500, 500), "880x832");
        // 480 * 854 / 480 = 854 -> 832; 1152 stays.
        assert_eq!(resolved(InputSize::ShortSide(480), 480, 854), "480x832");
        assert_eq!(resolved(InputSize::ShortSide(480), 480, 1152), "480x1152");
        assert_eq!(resolved(InputSize::ShortSide(480), 854, 480), "832x480");
        assert_eq!(resolved(InputSize::ShortSideUp(480), 480, 854), "480x864");
        assert_eq!(resolved(InputSize::Native, 480, 854), "480x848");
    }

    #[test]
    fn nothing_smaller_than_a_patch() {
        let thin = Size { height: 10, width: 1000 };
        assert!(InputSize::LongSide(880).resolve(thin, 16).is_err());
        assert!(InputSize::Native.resolve(thin, 16).is_err());
    }

    #[test]
    fn sizes_are_height_first() {
        assert_eq!("480x880".parse(), Ok(Size { height: 480, width: 880 }));
        for bad in ["480", "x", "0x5", "480x", "-1x5", "1e3x5"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
