//! From a clip's files to patch features, one frame after the other.
//!
//! A thread of its own reads ahead of the encoder, never more than two batches: the frames of a
//! batch are decoded and resized side by side on the CPU's cores. What was encoded is handed on at
//! once. So memory is that of a few frames, however long the clip. Where [`super::Cache`] holds the
//! clip's features, or another program has made them ([`Encoder::Given`]), they are read instead.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use candle_core::{D, DType};
use rayon::prelude::*;

use super::cache::Found;
pub use super::input::input_planes;
use super::input::{self, Encoded, Pixels};
use super::{Setup, Stages};
use crate::device::Uploads;
use crate::error::{Error, Result};
use crate::image::decode;
use crate::model::encoder::normalized;
use crate::model::{Encoder, Given};
use crate::progress::Observer;
use crate::protocol::Size;
use crate::wording::counted;

/// A frame as the encoder takes it.
struct Prepared {
    pixels: Pixels,
    /// Its size as released.
    frame: Size,
    /// Its size now.
    input: Size,
    seconds: f64,
}

/// The frames of a clip.
#[derive(Clone, Copy)]
pub(super) struct Frames<'a> {
    /// The clip.
    pub(super) clip: &'a str,
    /// The pictures, in the order of time.
    pub(super) files: &'a [PathBuf],
    /// How many of them are wanted, from the first on.
    pub(super) wanted: usize,
    /// Who is told where kept features cannot be used.
    pub(super) observer: &'a dyn Observer,
}

impl<'a> Frames<'a> {
    /// All frames of a clip.
    pub(super) fn all(clip: &'a str, files: &'a [PathBuf], observer: &'a dyn Observer) -> Self {
        Self { clip, files, wanted: files.len(), observer }
    }
}

/// Calls `each` with the features of every frame, in order: kept ones, or made now, and kept where
/// there is a cache.
///
/// # Errors
/// A frame does not decode or has another size than the first, the device runs out of memory, the
/// cache cannot be written to, `each` fails, or the observer asks to stop.
pub(super) fn each_frame(
    frames: Frames<'_>,
    setup: &Setup<'_>,
    stages: &mut Stages,
    mut each: impl FnMut(usize, Encoded, &mut Stages) -> Result<()>,
) -> Result<()> {
    if let Encoder::Given(features) = setup.encoder {
        let next = given(frames, features, setup)?;
        return read_each(frames, stages, next, each);
    }
    let Some(cache) = setup.cache else {
        return encode_each(frames, setup, stages, each);
    };
    let start = Instant::now();
    let place = cache.place(frames.clip, frames.files)?;
    let found = place.find(setup.encoder.patch(), setup.encoder.width());
    stages.decode += start.elapsed().as_secs_f64();
    match found {
        Found::Features(mut features) => {
            let device = setup.encoder.device();
            return read_each(frames, stages, || features.next(device), each);
        }
        Found::Nothing => {}
        Found::Unfit(problem) => {
            let note = format!("its kept features are made again: {problem}");
            frames.observer.clip_noted(frames.clip, &note);
        }
    }
    let mut file = None;
    encode_each(frames, setup, stages, |index, encoded, stages| {
        let start = Instant::now();
        let file = match &mut file {
            Some(file) => file,
            None => file.insert(place.begin(&encoded)?),
        };
        file.append(&encoded.features)?;
        stages.write += start.elapsed().as_secs_f64();
        each(index, encoded, stages)
    })?;
    match file {
        Some(file) if frames.wanted == frames.files.len() => file.complete(),
        _ => Ok(()),
    }
}

/// Calls `each` with features that an earlier run has left, or another program: what `next` reads.
fn read_each(
    frames: Frames<'_>,
    stages: &mut Stages,
    mut next: impl FnMut() -> Result<Encoded>,
    mut each: impl FnMut(usize, Encoded, &mut Stages) -> Result<()>,
) -> Result<()> {
    for index in 0..frames.wanted {
        if frames.observer.stops() {
            return Err(Error::Stopped);
        }
        let start = Instant::now();
        let encoded = next()?;
        stages.decode += start.elapsed().as_secs_f64();
        each(index, encoded, stages)?;
    }
    Ok(())
}

/// Reads what another program has made of the frames, whose size the first one tells.
fn given<'a>(
    frames: Frames<'_>,
    given: &'a Given,
    setup: &Setup<'_>,
) -> Result<impl FnMut() -> Result<Encoded> + use<'a>> {
    let first = frames.files.first().ok_or_else(|| Error::failed(frames.clip, "has no frame"))?;
    let (width, height) = decode::size(first)?;
    let frame = Size { height, width };
    let input = setup.protocol.input(frame, given.patch())?;
    let grid = (input.height / given.patch(), input.width / given.patch());
    let mut clip = given.clip(frames.clip, frames.files.len(), grid)?;
    Ok(move || {
        let features = clip.next()?.to_device(given.device())?.unsqueeze(0)?;
        Ok(Encoded { features: normalized(&features)?.squeeze(0)?, frame, input })
    })
}

/// Calls `each` with features made now.
fn encode_each(
    frames: Frames<'_>,
    setup: &Setup<'_>,
    stages: &mut Stages,
    mut each: impl FnMut(usize, Encoded, &mut Stages) -> Result<()>,
) -> Result<()> {
    let size = setup.batch.frames();
    let wanted = &frames.files[..frames.wanted.min(frames.files.len())];
    let smaller = |size: usize| {
        let note = format!("out of memory: from now on {} at once", counted(size, "frame"));
        frames.observer.clip_noted(frames.clip, &note);
    };
    std::thread::scope(|scope| {
        // One batch is encoded, one waits here, one is being prepared.
        let (sender, receiver) = sync_channel(0);
        scope.spawn(move || {
            let mut first = None;
            for paths in wanted.chunks(size) {
                let batch = prepare_batch(paths, setup, &mut first);
                let failed = batch.is_err();
                // A closed channel means that the other side has failed and says why.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        });
        let (mut index, mut uploads) = (0, Uploads::new(setup.encoder.device()));
        for batch in receiver {
            let batch = batch?;
            stages.decode += batch.iter().map(|prepared| prepared.seconds).sum::<f64>();
            let start = Instant::now();
            let encode = |frames: &[Prepared]| encode(frames, setup, &mut uploads);
            let encoded = setup.batch.each(&batch, encode, smaller)?;
            stages.encode += start.elapsed().as_secs_f64();
            drop(batch);
            for encoded in encoded {
                if frames.observer.stops() {
                    return Err(Error::Stopped);
                }
                each(index, encoded, stages)?;
                index += 1;
            }
        }
        Ok(())
    })
}

/// Reads the frames of a batch, side by side; `first` is the size of the clip's first frame.
fn prepare_batch(
    paths: &[PathBuf],
    setup: &Setup<'_>,
    first: &mut Option<Size>,
) -> Result<Vec<Prepared>> {
    let prepared = paths.par_iter().map(|path| prepare(path, setup));
    let batch: Vec<Prepared> = prepared.collect::<Result<_>>()?;
    for (path, Prepared { frame, .. }) in paths.iter().zip(&batch) {
        let first = first.get_or_insert(*frame);
        if frame != first {
            return Err(Error::data(
                path,
                format!("this frame is {frame}, the clip's first is {first}"),
                "all frames of a clip must have one size: extract the clip again",
            ));
        }
    }
    Ok(batch)
}

/// Reads a frame and brings it to the encoder's input: decoded, resized where its size differs, and
/// normalised, as `VOSDataset.__getitem__` of CropMAE's `data/vos.py` does it.
fn prepare(path: &Path, setup: &Setup<'_>) -> Result<Prepared> {
    let start = Instant::now();
    let rgb = decode::read(path)?;
    let frame = Size { height: rgb.height, width: rgb.width };
    let (pixels, input) = Pixels::prepare(rgb, setup.protocol, setup.encoder)?;
    Ok(Prepared { pixels, frame, input, seconds: start.elapsed().as_secs_f64() })
}

fn encode(batch: &[Prepared], setup: &Setup<'_>, uploads: &mut Uploads) -> Result<Vec<Encoded>> {
    let Some(&Prepared { frame, input, .. }) = batch.first() else { return Ok(Vec::new()) };
    let count = batch.len();
    let pixels: Vec<&Pixels> = batch.iter().map(|prepared| &prepared.pixels).collect();
    let frames = input::tensor(&pixels, input, setup.protocol, uploads)?;
    let features = setup.encoder.features(&frames)?;
    // Row by row first: a GPU sums up a whole tensor by a single block.
    if !features.sum(D::Minus1)?.sum_all()?.to_scalar::<f32>()?.is_finite() {
        return Err(match setup.encoder.dtype() {
            DType::F32 => Error::failed(
                "features",
                "the encoder made NaN or infinite values of these frames: its weights are broken",
            ),
            _ => Error::setting(
                "dtype",
                "the encoder made NaN or infinite values: they leave this type's range; use f32",
            ),
        });
    }
    (0..count).map(|index| Ok(Encoded { features: features.get(index)?, frame, input })).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use candle_core::Device;

    use super::*;
    use crate::data::Benchmark;
    use crate::eval::{Batch, Cache, Kept};
    use crate::image::{Rgb, figure};
    use crate::propagation::Engine;
    use crate::protocol::Preset;

    /// Asks to stop once the first frame is done.
    #[derive(Default)]
    struct Hasty(AtomicBool);

    impl Observer for Hasty {
        fn stops(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    /// The frames that are handed on until it is asked to stop.
    fn handed_on(files: &[PathBuf], setup: &Setup<'_>) -> usize {
        let (hasty, mut count) = (Hasty::default(), 0);
        let frames = Frames::all("a", files, &hasty);
        let ended = each_frame(frames, setup, &mut Stages::default(), |_, _, _| {
            count += 1;
            hasty.0.store(true, Ordering::Relaxed);
            Ok(())
        });
        assert!(matches!(ended, Err(Error::Stopped)), "{ended:?}");
        count
    }

    #[test]
    fn it_stops_after_any_frame_made_or_kept() {
        let folder = tempfile::tempdir().unwrap();
        let picture = Rgb { width: 32, height: 32, data: vec![7; 32 * 32 * 3] };
        let files: Vec<PathBuf> = (0..3).map(|t| folder.path().join(format!("{t}.png"))).collect();
        files.iter().for_each(|file| std::fs::write(file, figure::png(&picture).unwrap()).unwrap());
        let mut protocol = Preset::Cropmae.protocol(Benchmark::Davis).unwrap();
        protocol.input_size = crate::protocol::InputSize::Native;
        let encoder = Encoder::Pixels { patch: 16, device: Device::Cpu };
        let batch = Batch::fixed(1);
        let cache = folder.path().join("cache");
        let cache = Cache::open(&cache, &serde_json::json!({}), Kept::Always).unwrap();
        let plain = Setup::new(&protocol, &encoder, Engine::Tiled, &batch);
        let setup = Setup { cache: Some(&cache), ..plain };
        assert_eq!(handed_on(&files, &setup), 1);
        let silent = Frames::all("a", &files, &crate::progress::Silent);
        each_frame(silent, &setup, &mut Stages::default(), |_, _, _| Ok(())).unwrap();
        let place = cache.place("a", &files).unwrap();
        assert!(matches!(place.find(16, encoder.width()), Found::Features(_)));
        assert_eq!(handed_on(&files, &setup), 1);
    }
}
