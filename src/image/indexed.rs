//! Palette PNGs: the ids themselves, not the colours they stand for.
//!
//! DAVIS and VIP store masks as PNGs whose pixel values are ids. Most readers expand the palette to
//! colours and lose the ids; here they are read and written as they are.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::Path;

use png::{BitDepth, ColorType, Transformations};

use super::LabelImage;
use super::decode::MOST_PIXELS;
use crate::error::{Error, Result};

/// Reads the ids of a mask: a palette or grey PNG of 1, 2, 4 or 8 bits.
///
/// # Errors
/// The file is missing, is no PNG, is cut short, holds colours instead of ids, has 16 bits, or
/// claims more pixels than any frame has.
pub fn read(path: &Path) -> Result<LabelImage> {
    let file = File::open(path).map_err(Error::reading(path))?;
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(Transformations::IDENTITY);
    let damaged = |error| unreadable(path, &error);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (color, depth) = reader.output_color_type();
    check_format(path, color, depth)?;
    check_size(path, reader.info())?;
    let size = reader.output_buffer_size().ok_or_else(|| too_large(path, reader.info()))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(damaged)?;
    let (width, height) = (frame.width as usize, frame.height as usize);
    let data = unpack(&bytes, width, height, frame.line_size, depth);
    Ok(LabelImage { width, height, data })
}

/// The width and height of a PNG, from its header alone.
///
/// # Errors
/// The file is missing, does not begin as a PNG does, or claims more pixels than any frame has.
pub fn size(path: &Path) -> Result<(usize, usize)> {
    let file = File::open(path).map_err(Error::reading(path))?;
    let reader = png::Decoder::new(BufReader::new(file)).read_info();
    let reader = reader.map_err(|error| unreadable(path, &error))?;
    let info = reader.info();
    check_size(path, info)?;
    Ok((info.width as usize, info.height as usize))
}

/// Why a file is no PNG that can be read: a mask that was saved as a JPEG has no ids any more.
fn unreadable(path: &Path, error: &png::DecodingError) -> Error {
    let mut start = [0; 2];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    if read.is_ok() && start == [0xFF, 0xD8] {
        let remedy = "save the mask as a PNG of ids; a JPEG does not keep them";
        return Error::data(path, "is a JPEG, whatever its name says", remedy);
    }
    Error::data(path, format!("not a readable PNG ({error})"), "copy or extract the file again")
}

fn check_format(path: &Path, color: ColorType, depth: BitDepth) -> Result<()> {
    if !matches!(color, ColorType::Indexed | ColorType::Grayscale) {
        return Err(Error::data(
            path,
            format!("holds {} where one id per pixel is needed", channels(color)),
            "use the dataset's palette PNGs, or convert the mask to a single-channel PNG of ids: 1 for the first object, 2 for the second (shades of grey are no ids)",
        ));
    }
    if depth == BitDepth::Sixteen {
        return Err(Error::data(
            path,
            "has 16 bits a pixel; ids are 8-bit",
            "convert it to an 8-bit palette or grey PNG",
        ));
    }
    Ok(())
}

/// What the pixels of a picture hold, for an error.
fn channels(color: ColorType) -> &'static str {
    match color {
        ColorType::Rgb | ColorType::Rgba => "colours",
        ColorType::GrayscaleAlpha => "grey values with transparency",
        ColorType::Grayscale | ColorType::Indexed => "ids",
    }
}

/// Refuses what a damaged header claims before memory is asked for.
fn check_size(path: &Path, info: &png::Info<'_>) -> Result<()> {
    match u64::from(info.width) * u64::from(info.height) > MOST_PIXELS {
        true => Err(too_large(path, info)),
        false => Ok(()),
    }
}

fn too_large(path: &Path, info: &png::Info<'_>) -> Error {
    let problem = format!("its header claims {}x{} pixels", info.width, info.height);
    Error::data(path, problem, "copy or extract the file again")
}

/// One byte a pixel from rows packed at `depth` bits.
fn unpack(bytes: &[u8], width: usize, height: usize, stride: usize, depth: BitDepth) -> Vec<u8> {
    let bits = depth as usize;
    let mask = ((1_u16 << bits) - 1) as u8;
    let mut ids = Vec::with_capacity(width * height);
    for row in bytes.chunks_exact(stride.max(1)).take(height) {
        if bits == 8 {
            ids.extend_from_slice(&row[..width]);
        } else {
            ids.extend((0..width).map(|x| {
                let bit = x * bits;
                (row[bit / 8] >> (8 - bits - bit % 8)) & mask
            }));
        }
    }
    ids
}

/// Writes ids as an 8-bit palette PNG with the DAVIS (Pascal VOC) colours.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, labels: &LabelImage) -> Result<()> {
    let file = File::create(path).map_err(Error::creating(path))?;
    let mut encoder =
        png::Encoder::new(BufWriter::new(file), labels.width as u32, labels.height as u32);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette(davis_palette().concat());
    encoder.set_compression(png::Compression::Fast);
    let failed = |error: png::EncodingError| {
        Error::writing(path)(match error {
            png::EncodingError::IoError(source) => source,
            other => std::io::Error::other(other),
        })
    };
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&labels.data).map_err(failed)?;
    writer.finish().map_err(failed)
}

/// The 256 colours that DAVIS masks carry, which are Pascal VOC's: the bits of the id are dealt
/// to red, green and blue in turn, from the highest bit of each down.
pub fn davis_palette() -> [[u8; 3]; 256] {
    std::array::from_fn(|id| {
        let mut color = [0_u8; 3];
        for bit in 0..8 {
            color[bit % 3] |= ((id >> bit & 1) as u8) << (7 - bit / 3);
        }
        color
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_raw(path: &Path, color: ColorType, depth: BitDepth, width: u32, rows: &[u8]) {
        let file = File::create(path).unwrap();
        let mut encoder = png::Encoder::new(file, width, 2);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(davis_palette()[..16].concat());
        }
        encoder.write_header().unwrap().write_image_data(rows).unwrap();
    }

    #[test]
    fn palette_starts_as_the_davis_masks_do() {
        let palette = davis_palette();
        assert_eq!(palette[..4], [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]);
        assert_eq!(palette[8], [64, 0, 0]);
        assert_eq!(palette[255], [224, 224, 192]);
    }

    #[test]
    fn ids_survive_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let data: Vec<u8> = (0..=255).collect();
        let labels = LabelImage { width: 32, height: 8, data };
        write(&path, &labels).unwrap();
        assert_eq!(read(&path).unwrap(), labels);
        assert_eq!(size(&path).unwrap(), (32, 8));
    }

    #[test]
    fn packed_rows_are_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        write_raw(&path, ColorType::Indexed, BitDepth::Four, 3, &[0x12, 0x30, 0x45, 0x60]);
        assert_eq!(read(&path).unwrap().data, [1, 2, 3, 4, 5, 6]);
        write_raw(&path, ColorType::Grayscale, BitDepth::One, 3, &[0b1010_0000, 0b0100_0000]);
        assert_eq!(read(&path).unwrap().data, [1, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn colors_and_deep_pixels_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rgb.png");
        write_raw(&path, ColorType::Rgb, BitDepth::Eight, 1, &[1, 2, 3, 4, 5, 6]);
        assert!(read(&path).unwrap_err().to_string().contains("holds colours where"));
        std::fs::write(&path, [0xFF, 0xD8, 0xFF, 0xE0, 0]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("is a JPEG"));
        assert!(size(&path).unwrap_err().to_string().contains("is a JPEG"));
        write_raw(&path, ColorType::GrayscaleAlpha, BitDepth::Eight, 1, &[1, 255, 2, 255]);
        assert!(read(&path).unwrap_err().to_string().contains("grey values with transparency"));
        write_raw(&path, ColorType::Grayscale, BitDepth::Sixteen, 1, &[0, 1, 0, 2]);
        assert!(read(&path).unwrap_err().to_string().contains("16 bits"));
    }

    /// A PNG of 1-bit greys whose header claims so many pixels, of which there are none.
    fn claiming(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::One);
        encoder.write_header().unwrap().write_chunk(png::chunk::IDAT, &[0]).unwrap();
        bytes
    }

    #[test]
    fn headers_that_claim_too_much_are_refused_before_memory_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge.png");
        for (width, height) in [(1 << 20, 0x7fff_ffff), (1 << 14, 1 << 15)] {
            std::fs::write(&path, claiming(width, height)).unwrap();
            for refused in [read(&path).map(drop), size(&path).map(drop)] {
                let message = refused.unwrap_err().to_string();
                let words = format!("its header claims {width}x{height} pixels");
                assert!(message.contains(&words), "{message}");
            }
        }
    }
}
