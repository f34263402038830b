//! Animated GIFs, written frame by frame.

use std::path::Path;

use gif::{Encoder, Frame, Repeat};

use crate::error::{Error, Result};
use crate::files::Pending;
use crate::image::Rgb;

/// Frames a second of films: half of what DAVIS was filmed at, slow enough to follow a contour.
pub const RATE: u16 = 12;
/// How carefully a frame's 256 colours are chosen: 1 is best, 30 fastest.
const HASTE: i32 = 10;

/// Writes frames as a GIF that plays for ever; the file is there whole or not at all.
///
/// # Errors
/// There is no frame, one cannot be had, has another size than the first or is too large for a GIF,
/// or the file cannot be written.
pub fn gif(path: &Path, frames: impl IntoIterator<Item = Result<Rgb>>) -> Result<()> {
    let mut file = Pending::create(path)?;
    let mut encoder: Option<(Encoder<Vec<u8>>, _)> = None;
    let failed = |error: gif::EncodingError| {
        Error::data(path, format!("cannot be made ({error})"), "draw smaller frames")
    };
    for frame in frames {
        let mut frame = frame?;
        let (encoder, size) = match &mut encoder {
            Some(begun) => begun,
            None => {
                let size = size(path, &frame)?;
                let mut begun = Encoder::new(Vec::new(), size.0, size.1, &[]).map_err(failed)?;
                begun.set_repeat(Repeat::Infinite).map_err(failed)?;
                encoder.insert((begun, size))
            }
        };
        if (usize::from(size.0), usize::from(size.1)) != (frame.width, frame.height) {
            return Err(Error::data(path, "frames of two sizes", "extract the clip again"));
        }
        let mut reduced = Frame::from_rgb_speed(size.0, size.1, &frame.data, HASTE);
        reduced.delay = 100 / RATE;
        frame.data.clear();
        encoder.write_frame(&reduced).map_err(failed)?;
        file.append(&std::mem::take(encoder.get_mut()))?;
    }
    let Some((encoder, _)) = encoder else {
        return Err(Error::data(path, "no frame to show", "predict the clip again"));
    };
    let rest = encoder.into_inner().map_err(failed)?;
    file.append(&rest)?;
    file.finish()
}

fn size(path: &Path, frame: &Rgb) -> Result<(u16, u16)> {
    let side = |pixels: usize| u16::try_from(pixels).ok().filter(|side| *side > 0);
    side(frame.width).zip(side(frame.height)).ok_or_else(|| {
        let problem = format!("{}x{} is not a size of a GIF", frame.height, frame.width);
        Error::data(path, problem, "draw smaller frames")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::canvas::tests::plain;

    #[test]
    fn frames_come_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.gif");
        gif(&path, [10, 200, 90].map(|grey| Ok(plain(6, 4, grey)))).unwrap();
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!((decoder.width(), decoder.height()), (6, 4));
        let mut greys = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            assert_eq!(frame.delay, 100 / RATE);
            greys.push(frame.buffer[0]);
        }
        assert_eq!(greys, [10, 200, 90]);
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.gif");
        let message = |frames: Vec<Result<Rgb>>| gif(&path, frames).unwrap_err().to_string();
        assert!(message(Vec::new()).contains("no frame"));
        let two = vec![Ok(plain(6, 4, 1)), Ok(plain(4, 6, 1))];
        assert!(message(two).contains("two sizes"));
        assert!(message(vec![Ok(plain(70_000, 1, 1))]).contains("1x70000"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
