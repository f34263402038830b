//! Decoding and cropping ahead of the model, in an order that does not depend on timing.
//!
//! A feeder thread sends job p to worker p mod W through a bounded channel. Each worker decodes and
//! crops its jobs in turn and sends the results through a bounded channel of its own, and
//! [`Loader::next`] takes from the workers round robin. So views arrive in the order of the epoch,
//! whatever W is, and memory is bounded, however slow the model is. Dropping the loader ends the
//! threads. Next stop: [`batch`], which packs pairs into the model's tensors; [`Unreadable`] counts
//! the samples that could not be read.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use candle_core::Tensor;
use rayon::prelude::*;

use super::random::{Purpose, Stream};
use super::samples::{Job, Pixels, Samples};
use super::views::{Pair, ViewSettings, draw, draw_frames};
use crate::device::Uploads;
use crate::error::{Error, Result};
use crate::files;
use crate::image::Rgb;
#[cfg(feature = "cuda")]
use crate::image::gpu;
use crate::protocol::presets::{MEAN, STD};

/// Jobs that wait for a worker.
const WAITING: usize = 2;

/// Where a run begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first epoch, from 0.
    pub epoch: u64,
    /// The place in that epoch's order to begin at.
    pub position: usize,
    /// The epoch before which to end.
    pub end: u64,
}

/// A sample's views, or why there are none.
#[derive(Debug)]
pub struct Loaded {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The place in the epoch's order, from 0.
    pub position: usize,
    /// The sample's number in the dataset.
    pub number: usize,
    /// The sample's name.
    pub name: String,
    /// The views.
    pub views: Result<Pair>,
}

/// Worker threads that load samples ahead.
#[derive(Debug)]
pub struct Loader {
    results: Vec<Receiver<Loaded>>,
    /// The worker whose turn it is.
    turn: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Starts `workers` threads (at least one) that keep about `ahead` pairs ready in all.
    ///
    /// # Errors
    /// The settings make no sense, or the system gives no threads.
    pub fn start(
        samples: Arc<Samples>,
        settings: &ViewSettings,
        seed: u64,
        workers: usize,
        ahead: usize,
        range: Range,
    ) -> Result<Self> {
        settings.check()?;
        let workers = workers.max(1);
        // from here on, whatever is dropped ends the threads that have been started
        let mut loader = Self { results: Vec::new(), turn: 0, threads: Vec::new() };
        let mut lines = Vec::with_capacity(workers);
        for _ in 0..workers {
            let (line, jobs) = sync_channel(WAITING);
            let (out, results) = sync_channel((ahead / workers).max(1));
            let work = Work { samples: Arc::clone(&samples), settings: settings.clone(), seed };
            loader.threads.push(spawn("load", move || work.run(&jobs, &out))?);
            loader.results.push(results);
            lines.push(line);
        }
        loader.threads.push(spawn("feed", move || feed(&samples, seed, range, &lines))?);
        Ok(loader)
    }
}

impl Iterator for Loader {
    type Item = Loaded;

    /// The next sample's views; `None` at the end of the last epoch.
    fn next(&mut self) -> Option<Loaded> {
        // Jobs are dealt round robin, so the first worker without a result marks the end.
        let loaded = self.results.get(self.turn)?.recv().ok()?;
        self.turn = (self.turn + 1) % self.results.len();
        Some(loaded)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Workers that wait to hand over fail now and end, then so does the feeder.
        self.results.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(body);
    thread.map_err(|error| Error::failed("workers", format!("the system gives no thread: {error}")))
}

/// Deals the jobs of all epochs to the workers.
fn feed(samples: &Samples, seed: u64, range: Range, lines: &[SyncSender<Job>]) {
    let epochs = (range.epoch..range.end).flat_map(|epoch| {
        let start = if epoch == range.epoch { range.position } else { 0 };
        samples.epoch(seed, epoch, start)
    });
    for (job, line) in epochs.zip(lines.iter().cycle()) {
        if line.send(job).is_err() {
            return;
        }
    }
}

/// What a worker needs.
struct Work {
    samples: Arc<Samples>,
    settings: ViewSettings,
    seed: u64,
}

impl Work {
    fn run(&self, jobs: &Receiver<Job>, out: &SyncSender<Loaded>) {
        for job in jobs {
            let (epoch, position, number) = (job.epoch, job.position, job.number);
            let name = job.name.clone();
            // A decoder that panics on a damaged picture costs that picture alone.
            let views = catch_unwind(AssertUnwindSafe(|| self.views(job))).unwrap_or_else(|_| {
                let path = Path::new(&name);
                Err(Error::data(path, "makes the decoder fail", "copy or extract the file again"))
            });
            if out.send(Loaded { epoch, position, number, name, views }).is_err() {
                return;
            }
        }
    }

    fn views(&self, job: Job) -> Result<Pair> {
        let mut stream = Stream::new(self.seed, Purpose::Views, job.epoch, job.number as u64);
        let pixels = self.samples.read(job, self.seed)?;
        Ok(match &pixels {
            Pixels::One(image) => draw(image, &self.settings, &mut stream),
            Pixels::Two(first, second) => draw_frames(first, second, &self.settings, &mut stream),
        })
    }
}

/// Packs pairs into the model's input: two tensors [pairs, 3, size, size] of (x / 255 − mean) / std
/// with ImageNet's mean and standard deviation, first views and second views. Where every pair is
/// one view, the two are one tensor. Does not wait for a GPU.
///
/// # Errors
/// There is no pair, their sizes differ, or the device has no room.
pub fn batch(pairs: &[&Pair], uploads: &mut Uploads) -> Result<(Tensor, Tensor)> {
    let seconds: Vec<&Rgb> = pairs.iter().map(|pair| pair.second()).collect();
    let second = normalized(&seconds, uploads)?;
    if pairs.iter().all(|pair| pair.is_same()) {
        return Ok((second.clone(), second));
    }
    let firsts: Vec<&Rgb> = pairs.iter().map(|pair| pair.first()).collect();
    Ok((normalized(&firsts, uploads)?, second))
}

/// Packs pictures of one size into [images, 3, height, width], normalised as for [`batch`]. To a
/// GPU they travel as bytes, a quarter of what planes would be.
fn normalized(images: &[&Rgb], uploads: &mut Uploads) -> Result<Tensor> {
    let Some(&Rgb { height, width, .. }) = images.first().copied() else {
        return Err(Error::setting("optimization.batch_size", "is 0: a batch needs pictures"));
    };
    let values = 3 * height * width;
    let fits =
        |image: &&Rgb| (image.height, image.width, image.data.len()) == (height, width, values);
    if !images.iter().all(fits) {
        return Err(Error::setting("views.size", "the pictures of a batch differ in size"));
    }
    #[cfg(feature = "cuda")]
    if uploads.device().is_cuda() {
        let images: Vec<&[u8]> = images.iter().map(|image| &*image.data).collect();
        let how = gpu::Normalization { mean: MEAN, std: STD };
        let images = uploads.pictures(&images, (height, width))?;
        return gpu::planes(&images, (height, width), how);
    }
    let tables = tables();
    let mut planes = vec![0.0_f32; images.len() * values];
    planes.par_chunks_mut(values.max(1)).zip(images).for_each(|(planes, image)| {
        for ((channel, plane), table) in
            planes.chunks_exact_mut(height * width).enumerate().zip(&tables)
        {
            for (out, rgb) in plane.iter_mut().zip(image.data.as_chunks::<3>().0) {
                *out = table[usize::from(rgb[channel])];
            }
        }
    });
    Ok(Tensor::from_vec(planes, (images.len(), 3, height, width), uploads.device())?)
}

/// What each byte of each channel becomes.
fn tables() -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        std::array::from_fn(|value| (value as f32 / 255.0 - MEAN[channel]) / STD[channel])
    })
}

/// Keeps count of samples that cannot be read, names them in a file, and stops a run that has too
/// many.
#[derive(Debug)]
pub struct Unreadable {
    log: PathBuf,
    /// Samples of an epoch.
    len: usize,
    /// More of them in an epoch are an error.
    most: usize,
    epoch: u64,
    count: usize,
    total: u64,
}

impl Unreadable {
    /// Names them in the file `log`, which is created with the first one and added to by later
    /// runs. `max_unreadable` is the share of the `len` samples of an epoch that may be unreadable.
    pub fn new(log: PathBuf, max_unreadable: f64, len: usize) -> Self {
        let most = (max_unreadable.clamp(0.0, 1.0) * len as f64).floor() as usize;
        Self { log, len, most, epoch: 0, count: 0, total: 0 }
    }

    /// Goes on from a checkpoint: `count` unreadable ones so far in `epoch`, whose next sample is
    /// at `position`. What the file names from there on will come again, and is taken out.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn resumed(self, epoch: u64, position: usize, count: usize) -> Result<Self> {
        if self.log.exists() {
            let text = std::fs::read(&self.log).map_err(Error::reading(&self.log))?;
            let text = String::from_utf8_lossy(&text);
            let before = |line: &&str| place_of(line).is_some_and(|it| it < (epoch, position));
            let kept: String = text.split_inclusive('\n').filter(before).collect();
            files::write(&self.log, kept.as_bytes())?;
        }
        Ok(Self { epoch, count, total: count as u64, ..self })
    }

    /// How many there were in the current epoch: goes to checkpoints.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many there were in all since this program was started (from a checkpoint: with those of
    /// its epoch).
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Takes the views out of what was loaded; `None` for a sample to be skipped, now counted and
    /// named in the file.
    ///
    /// # Errors
    /// There are too many in this epoch, or the file cannot be written.
    pub fn views(&mut self, loaded: Loaded) -> Result<Option<Pair>> {
        let Loaded { epoch, position, name, views, .. } = loaded;
        if epoch != self.epoch {
            (self.epoch, self.count) = (epoch, 0);
        }
        let error = match views {
            Ok(pair) => return Ok(Some(pair)),
            Err(error) => error,
        };
        (self.count, self.total) = (self.count + 1, self.total + 1);
        self.write(&format!("epoch {epoch}\tplace {position}\t{name}\t{}", error.explained()))?;
        match self.count > self.most {
            true => Err(self.too_many(&error)),
            false => Ok(None),
        }
    }

    fn too_many(&self, last: &Error) -> Error {
        let Self { count, most, len, .. } = self;
        let problem = format!(
            "names the samples that cannot be read: {count} of the {len} of an epoch so far, more than the {most} allowed; the last one: {}",
            last.explained()
        );
        // twice as many as were found, in a round number
        let enough = |share: &f64| share * *len as f64 >= 2.0 * *count as f64;
        let share = [0.02, 0.05, 0.1, 0.2, 0.5].into_iter().find(enough).unwrap_or(1.0);
        let remedy = format!(
            "mend them, or leave them out: the same command with the setting `set = reading.max_unreadable={share}` continues"
        );
        Error::data(&self.log, problem, remedy)
    }

    fn write(&self, line: &str) -> Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(Error::writing(&self.log))?;
        writeln!(file, "{}", line.replace('\n', " ")).map_err(Error::writing(&self.log))
    }
}

/// Epoch and place of a line of the file; `None` where a crash cut it off.
fn place_of(line: &str) -> Option<(u64, usize)> {
    let mut parts = line.strip_suffix('\n')?.split('\t');
    let epoch = parts.next()?.strip_prefix("epoch ")?.parse().ok()?;
    let place = parts.next()?.strip_prefix("place ")?.parse().ok()?;
    Some((epoch, place))
}

#[cfg(test)]
mod tests;
