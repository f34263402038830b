//! Pictures as plain bytes: decoding, palette PNGs, and every resampling rule by its name.
//!
//! [`Rgb`] holds a decoded frame, [`LabelImage`] the ids of a mask. The rules that make results
//! comparable live here: which nearest neighbour (OpenCV's or Pillow's), which bilinear, which
//! decoder. Next stop of a frame: [`crate::model`], which turns it into patch features.

pub mod decode;
pub mod figure;
#[cfg(feature = "cuda")]
pub mod gpu;
pub mod heat;
pub mod indexed;
pub mod resample;
pub mod resize;

/// A colour picture: 8 bits a channel, rows top to bottom, `R G B` interleaved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub data: Vec<u8>,
}

/// One id per pixel: object ids (DAVIS), part classes (VIP); 0 is background, 255 void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelImage {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width` ids, row by row.
    pub data: Vec<u8>,
}

impl LabelImage {
    /// The ids that are in it, ascending.
    pub fn ids(&self) -> Vec<u8> {
        let mut seen = [false; 256];
        self.data.iter().for_each(|&id| seen[usize::from(id)] = true);
        (0..=255).filter(|&id| seen[usize::from(id)]).collect()
    }
}
