//! Frames from JPEG and PNG files to plain RGB bytes.
//!
//! The content decides, not the extension. The pixels are those OpenCV's `imread` gives: grey is
//! written to all three channels, palettes become colours, alpha is dropped, 16-bit samples keep
//! their high byte, the picture is rotated as its EXIF orientation says. Two differences: the
//! default JPEG decoder differs by up to 5 grey levels in a tenth of the samples (with the
//! `turbojpeg` feature it is the same decoder), and a truncated JPEG is an error here, where
//! OpenCV fills the rest with grey. Next stop of a frame: resizing.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageResult};

use super::Rgb;
use crate::error::{Error, Result};

/// How much of a file [`size`] reads at first: the headers of nearly every picture fit in.
const HEAD: usize = 64 * 1024;
/// More pixels than any video frame has: a header that claims more is damaged.
pub(super) const MOST_PIXELS: u64 = 1 << 28;

/// The JPEG decoder that this build uses, for the record of a run.
pub fn decoder_name() -> &'static str {
    if cfg!(feature = "turbojpeg") { "turbojpeg (libjpeg-turbo)" } else { "image (zune-jpeg)" }
}

/// Decodes a JPEG or PNG file, whatever its extension, to 8-bit RGB.
///
/// # Errors
/// The file is missing, empty, neither JPEG nor PNG, damaged or cut short.
pub fn read(path: &Path) -> Result<Rgb> {
    from_bytes(path, &std::fs::read(path).map_err(Error::reading(path))?)
}

/// Decodes the bytes of a JPEG or PNG file to 8-bit RGB; errors call it `name`.
///
/// # Errors
/// They are none at all, neither JPEG nor PNG, damaged or cut short.
pub fn from_bytes(name: &Path, bytes: &[u8]) -> Result<Rgb> {
    let format = Format::of(name, bytes)?;
    header(name, format, bytes)?;
    let image = match format {
        Format::Jpeg if !jpeg_is_whole(bytes) => return Err(damaged(name, "it is cut short")),
        Format::Jpeg => decode_jpeg(bytes),
        Format::Png => decode_png(bytes),
    };
    Ok(rgb(image.map_err(|error| damaged(name, error))?))
}

/// The width and height that [`read`] would give, from the header alone.
///
/// # Errors
/// The file is missing, empty, neither JPEG nor PNG, or its header is damaged.
pub fn size(path: &Path) -> Result<(usize, usize)> {
    let mut file = File::open(path).map_err(Error::reading(path))?;
    let mut bytes = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut bytes).map_err(Error::reading(path))?;
    let format = Format::of(path, &bytes)?;
    if bytes.len() == HEAD && header(path, format, &bytes).is_err() {
        file.read_to_end(&mut bytes).map_err(Error::reading(path))?;
    }
    header(path, format, &bytes)
}

#[derive(Clone, Copy)]
enum Format {
    Jpeg,
    Png,
}

impl Format {
    fn of(path: &Path, bytes: &[u8]) -> Result<Self> {
        match bytes {
            [0xFF, 0xD8, 0xFF, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Ok(Self::Png),
            [] => Err(Error::data(path, "the file is empty", "copy or extract it again")),
            _ => Err(Error::data(
                path,
                "neither a JPEG nor a PNG, whatever its name says",
                "copy or extract it again; other formats have to be converted first",
            )),
        }
    }
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    let what = what.to_string();
    let problem = format!("does not decode ({})", what.trim());
    Error::data(path, problem, "copy or extract the file again")
}

/// Width and height, as they are once the EXIF orientation is applied.
fn header(path: &Path, format: Format, bytes: &[u8]) -> Result<(usize, usize)> {
    let cursor = Cursor::new(bytes);
    let read = || -> ImageResult<((u32, u32), Orientation)> {
        Ok(match format {
            Format::Jpeg => {
                let mut decoder = JpegDecoder::new(cursor)?;
                (decoder.dimensions(), decoder.orientation()?)
            }
            Format::Png => {
                let mut decoder = PngDecoder::new(cursor)?;
                (decoder.dimensions(), decoder.orientation()?)
            }
        })
    };
    let ((width, height), orientation) = read().map_err(|error| damaged(path, error))?;
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(damaged(path, format!("its header claims {width}x{height} pixels")));
    }
    let (width, height) = (width as usize, height as usize);
    Ok(if is_on_its_side(orientation) { (height, width) } else { (width, height) })
}

fn is_on_its_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Whether the end marker follows the first scan: decoders fill what is missing with grey and say
/// nothing. Inside a scan the marker's two bytes cannot occur, so a later find is the real one.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            // A scan begins: all that is left is its data, further scans and the end.
            0xDA => return bytes[at..].windows(2).rev().any(|pair| pair == [0xFF, 0xD9]),
            // A fill byte before a marker.
            0xFF => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    false
}

fn decode_png(bytes: &[u8]) -> ImageResult<DynamicImage> {
    upright(PngDecoder::new(Cursor::new(bytes))?)
}

#[cfg(not(feature = "turbojpeg"))]
fn decode_jpeg(bytes: &[u8]) -> ImageResult<DynamicImage> {
    upright(JpegDecoder::new(Cursor::new(bytes))?)
}

#[cfg(feature = "turbojpeg")]
fn decode_jpeg(bytes: &[u8]) -> ImageResult<DynamicImage> {
    use image::error::{DecodingError, ImageError, ImageFormatHint};
    let format = ImageFormatHint::Exact(image::ImageFormat::Jpeg);
    let orientation = JpegDecoder::new(Cursor::new(bytes))?.orientation()?;
    let picture = turbojpeg::decompress(bytes, turbojpeg::PixelFormat::RGB)
        .map_err(|error| ImageError::Decoding(DecodingError::new(format.clone(), error)))?;
    let (width, height) = (picture.width as u32, picture.height as u32);
    let buffer = image::RgbImage::from_raw(width, height, picture.pixels)
        .ok_or_else(|| ImageError::Decoding(DecodingError::new(format, "too few bytes")))?;
    let mut image = DynamicImage::ImageRgb8(buffer);
    image.apply_orientation(orientation);
    Ok(image)
}

fn upright(mut decoder: impl ImageDecoder) -> ImageResult<DynamicImage> {
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn rgb(image: DynamicImage) -> Rgb {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let deep = matches!(
        image.color(),
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16
    );
    let data = if deep {
        image.into_rgb16().into_raw().into_iter().map(|sample| (sample >> 8) as u8).collect()
    } else {
        image.into_rgb8().into_raw()
    };
    Rgb { width, height, data }
}

#[cfg(test)]
mod tests {
    use png::{BitDepth, ColorType as PngColor};
    use proptest::prelude::*;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, name: &str, bytes: &[u8]) -> std::path::PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        }
    }

    /// One row of pixels.
    fn png(color: PngColor, depth: BitDepth, width: u32, row: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == PngColor::Indexed {
            encoder.set_palette(vec![9, 8, 7, 100, 150, 200]);
            encoder.set_trns(vec![0, 128]);
        }
        encoder.write_header().unwrap().write_image_data(row).unwrap();
        bytes
    }

    /// 16x8, red on the left and blue on the right: whole 8x8 blocks, so no colour bleeds.
    fn red_and_blue() -> Vec<u8> {
        let row = [[254, 0, 0].repeat(8), [0, 0, 254].repeat(8)].concat();
        let mut bytes = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100)
            .encode(&row.repeat(8), 16, 8, image::ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    }

    /// The picture with a segment put behind its first marker.
    fn with_segment(jpeg: &[u8], marker: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u16 + 2).to_be_bytes();
        [&jpeg[..2], &[0xFF, marker], &length, payload, &jpeg[2..]].concat()
    }

    fn exif(orientation: u8) -> Vec<u8> {
        let entry = [0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
        [b"Exif\0\0II*\0\x08\0\0\0\x01\0", &entry[..], &[0; 4]].concat()
    }

    #[test]
    fn every_kind_of_png_becomes_8_bit_rgb() {
        let folder = Folder::new();
        type Case<'a> = (PngColor, BitDepth, u32, &'a [u8], &'a [u8]);
        let cases: [Case; 7] = [
            (PngColor::Rgb, BitDepth::Eight, 1, &[1, 2, 3], &[1, 2, 3]),
            (PngColor::Rgba, BitDepth::Eight, 2, &[1, 2, 3, 0, 4, 5, 6, 9], &[1, 2, 3, 4, 5, 6]),
            (PngColor::GrayscaleAlpha, BitDepth::Eight, 1, &[77, 0], &[77, 77, 77]),
            // Two bits: 0, 1, 2, 3 of 3 become 0, 85, 170, 255.
            (
                PngColor::Grayscale,
                BitDepth::Two,
                4,
                &[0b00_01_10_11],
                &[0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255],
            ),
            (PngColor::Indexed, BitDepth::Eight, 2, &[1, 0], &[100, 150, 200, 9, 8, 7]),
            // The low byte is cut off, not rounded: 0x12FF is 0x12.
            (PngColor::Grayscale, BitDepth::Sixteen, 1, &[0x12, 0xFF], &[0x12; 3]),
            (PngColor::Rgb, BitDepth::Sixteen, 1, &[0, 255, 1, 128, 255, 0], &[0, 1, 255]),
        ];
        for (color, depth, width, row, expected) in cases {
            let path = folder.write("frame.png", &png(color, depth, width, row));
            assert_eq!(read(&path).unwrap().data, expected, "{color:?} {depth:?}");
            assert_eq!(size(&path).unwrap(), (width as usize, 1));
        }
    }

    #[test]
    fn every_grey_is_kept() {
        let folder = Folder::new();
        let row: Vec<u8> = (0..=255).collect();
        let path = folder.write("f", &png(PngColor::Grayscale, BitDepth::Eight, 256, &row));
        let expected: Vec<u8> = row.iter().flat_map(|grey| [*grey; 3]).collect();
        assert_eq!(read(&path).unwrap().data, expected);
    }

    #[test]
    fn the_content_decides_not_the_name() {
        let folder = Folder::new();
        for name in ["0.JPG", "0.jpeg", "0.png", "0"] {
            let path = folder.write(name, &red_and_blue());
            let frame = read(&path).unwrap();
            assert_eq!((frame.width, frame.height), (16, 8));
            // Quality 100 leaves rounding of the colour transform: a level or two.
            assert!(frame.data[0] > 250 && frame.data[2] < 5, "{:?}", &frame.data[..3]);
            assert!(frame.data[3 * 15] < 5 && frame.data[3 * 15 + 2] > 250);
        }
    }

    #[test]
    fn the_picture_is_turned_as_its_exif_data_says() {
        let folder = Folder::new();
        // 6: to be turned a quarter clockwise, so the red left half comes to the top.
        let path = folder.write("0.jpg", &with_segment(&red_and_blue(), 0xE1, &exif(6)));
        let frame = read(&path).unwrap();
        assert_eq!((frame.width, frame.height), (8, 16));
        assert_eq!(size(&path).unwrap(), (8, 16));
        assert!(frame.data[3 * 7] > 250, "the top right is red");
        assert!(frame.data[3 * 8 * 15 + 2] > 250, "the bottom left is blue");
        let path = folder.write("0.jpg", &with_segment(&red_and_blue(), 0xE1, &exif(3)));
        assert!(read(&path).unwrap().data[2] > 250, "upside down: blue comes first");
    }

    #[test]
    fn headers_behind_long_segments_are_found() {
        let folder = Folder::new();
        let once = with_segment(&red_and_blue(), 0xE5, &[0; 60_000]);
        let path = folder.write("0.jpg", &with_segment(&once, 0xE5, &[0; 60_000]));
        assert_eq!(size(&path).unwrap(), (16, 8));
    }

    #[test]
    fn files_that_are_cut_short_are_refused() {
        let folder = Folder::new();
        let jpeg = red_and_blue();
        // An end marker inside a thumbnail is not the picture's own.
        let thumbnail = with_segment(&jpeg, 0xE1, &[0xFF, 0xD8, 0xFF, 0xD9]);
        for whole in [&jpeg, &thumbnail] {
            assert!(read(&folder.write("0.jpg", whole)).is_ok());
            for length in [whole.len() - 1, whole.len() - 20, whole.len() / 2, 30, 3] {
                let path = folder.write("0.jpg", &whole[..length]);
                let message = read(&path).unwrap_err().to_string();
                assert!(message.contains("0.jpg: does not decode"), "{message}");
            }
        }
        let padded = [&jpeg[..], &[0; 9]].concat();
        assert!(read(&folder.write("0.jpg", &padded)).is_ok());
        let whole = png(PngColor::Rgb, BitDepth::Eight, 64, &[7; 192]);
        for length in [whole.len() - 20, whole.len() / 2, 8] {
            assert!(read(&folder.write("0.png", &whole[..length])).is_err());
        }
    }

    #[test]
    fn other_files_are_named() {
        let folder = Folder::new();
        for (bytes, words) in [(&b""[..], "empty"), (b"<html>", "neither a JPEG nor a PNG")] {
            let path = folder.write("00000.jpg", bytes);
            for message in [read(&path).unwrap_err(), size(&path).unwrap_err()] {
                let message = message.to_string();
                assert!(message.contains("00000.jpg") && message.contains(words), "{message}");
            }
        }
        let missing = folder.0.path().join("00001.jpg");
        assert!(matches!(read(&missing), Err(Error::Io { .. })));
        assert!(matches!(size(&missing), Err(Error::Io { .. })));
    }

    #[test]
    fn a_header_that_claims_the_earth_is_refused() {
        let folder = Folder::new();
        let mut jpeg = red_and_blue();
        let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        jpeg[frame + 5..frame + 9].fill(0xFF);
        let message = read(&folder.write("0.jpg", &jpeg)).unwrap_err().to_string();
        assert!(message.contains("65535x65535"), "{message}");
    }

    proptest! {
        #[test]
        fn damage_never_panics(at: prop::sample::Index, value: u8, as_png: bool) {
            let folder = Folder::new();
            let mut bytes =
                if as_png { png(PngColor::Rgb, BitDepth::Eight, 4, &[7; 12]) } else { red_and_blue() };
            let at = at.index(bytes.len());
            bytes[at] = value;
            let path = folder.write("0", &bytes);
            if let Ok(frame) = read(&path) {
                prop_assert_eq!(frame.data.len(), frame.width * frame.height * 3);
                prop_assert_eq!(size(&path).unwrap(), (frame.width, frame.height));
            }
        }
    }
}
