//! The affinity as one GPU kernel, and its twin on the CPU.
//!
//! A clip's context is a ring of frames on the device: frame 0, the queue, and one more place for
//! the frame that is being labelled, so that its features and labels need not be moved when it
//! joins the queue. There is room for a usual queue from the start; a longer one grows when the
//! clip has come that far. [`Plan`] says which keys are multiplied with which queries;
//! `affinity.cu` does it on a GPU and [`twin`] on the CPU, from the same [`Step`], the same plan
//! and the same ring. The twin exists for tests; the fast version on the CPU is `tiled`.

#[cfg(feature = "cuda")]
mod gpu;
mod plan;
mod twin;

use candle_core::{DType, Device, Tensor};

use super::context::Context;
use super::{Arithmetic, LabelMap, Settings};
use crate::error::Result;
use plan::Plan;

/// Most entries of a query's list: a lane of a warp each.
const MOST: usize = 32;
/// Entries of a list beyond k where ties are kept: with more ties, all keys are looked at again.
const TIES: usize = 4;
/// Frames that a ring has room for at first: more than most queues hold.
const AT_FIRST: usize = 64;
/// Bytes of a row of features that are multiplied at a time.
const SLICE: usize = 64;

/// A place in the ring.
#[derive(Debug, Clone, Copy)]
struct Slot(usize);

/// One frame to be labelled; `affinity.cu` has the same structure and says what the fields are.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Step {
    height: u32,
    width: u32,
    pieces: u32,
    tiles: u32,
    queries: u32,
    keys: u32,
    slots: u32,
    query: u32,
    oldest: u32,
    sources: u32,
    free: u32,
    near: u32,
    topk: u32,
    kept: u32,
    keep_ties: u32,
    channels: u32,
    blocks: u32,
    temperature: f32,
}

impl Step {
    /// The fields that stay the same all clip long.
    fn new(
        plan: &Plan,
        width: usize,
        labels: &LabelMap,
        settings: &Settings,
        of: Arithmetic,
    ) -> Self {
        Self {
            height: labels.grid.0 as u32,
            width: labels.grid.1 as u32,
            pieces: ((width * of.bytes()).div_ceil(SLICE) * SLICE / 16) as u32,
            tiles: plan.tiles as u32,
            queries: plan.queries as u32,
            keys: keys(of) as u32,
            slots: settings.queue as u32 + 1,
            query: 0,
            oldest: 0,
            sources: 1,
            free: 0,
            near: 0,
            topk: settings.topk as u32,
            kept: kept(settings) as u32,
            keep_ties: settings.keep_ties.into(),
            channels: labels.channels as u32,
            blocks: 0,
            temperature: settings.temperature as f32,
        }
    }

    /// Frames of a full ring: frame 0, the queue and the one to be labelled.
    fn places(&self) -> usize {
        self.slots as usize + 1
    }

    fn cells(&self) -> usize {
        (self.height * self.width) as usize
    }

    /// The values of a slot's labels in the ring.
    fn labels(&self, slot: u32) -> std::ops::Range<usize> {
        let values = self.cells() * self.channels as usize;
        slot as usize * values..(slot as usize + 1) * values
    }
}

/// Queries of a tile that is multiplied in one go. In f32 products are dear, so tiles are small,
/// that few keys are multiplied with queries that do not see them; tensor cores would then wait for
/// rows.
fn queries(arithmetic: Arithmetic) -> usize {
    if arithmetic == Arithmetic::F32 { 32 } else { 64 }
}

/// Keys of such a tile, of 8,192 products.
fn keys(arithmetic: Arithmetic) -> usize {
    8192 / queries(arithmetic)
}

enum Ring {
    Cpu(twin::Ring),
    #[cfg(feature = "cuda")]
    Gpu(Box<gpu::Ring>),
}

/// A clip's context and plan.
pub(super) struct Fused {
    /// Slots that the ring has room for.
    room: usize,
    plan: Plan,
    step: Step,
    context: Context<Slot>,
    ring: Ring,
}

/// Entries of a query's list.
fn kept(settings: &Settings) -> usize {
    MOST.min(if settings.keep_ties { settings.topk + TIES } else { settings.topk })
}

/// Whether a clip is of a size that the kernel can do: k up to 32, and fewer rows and pairs of a
/// tile and a key than 32 bits count, which is a grid of some 280 × 280 cells. A GPU also needs 74
/// KB of shared memory for a block in f32 and 61 KB in the others, where k is 7, and for these
/// tensor cores.
pub(super) fn fits(
    settings: &Settings,
    (height, width): (usize, usize),
    arithmetic: Arithmetic,
    device: &Device,
) -> bool {
    let cells = height.saturating_mul(width);
    let tiles = cells / queries(arithmetic) + 1;
    let keys = cells.saturating_mul(settings.queue.saturating_add(2)).saturating_mul(tiles);
    let room = match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => gpu::takes(device, arithmetic, kept(settings)),
        _ => true,
    };
    settings.topk <= MOST && height.max(width) < 0xffff && keys < u32::MAX as usize && room
}

impl Fused {
    /// Begins a clip on the device of frame 0's features [h·w, D].
    pub(super) fn new(
        settings: &Settings,
        arithmetic: Arithmetic,
        features: &Tensor,
        labels: &LabelMap,
    ) -> Result<Self> {
        let plan = Plan::new(labels.grid, settings, queries(arithmetic));
        let step = Step::new(&plan, features.dim(1)?, labels, settings, arithmetic);
        let free = !settings.restrict_first;
        let context = Context::new(Slot(0), settings.queue, settings.padded, free);
        let room = AT_FIRST.min(step.places());
        let mut ring = match features.device() {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                Ring::Gpu(Box::new(gpu::Ring::new(device, &plan, &step, arithmetic, labels, room)?))
            }
            _ => Ring::Cpu(twin::Ring::new(arithmetic, labels, room)),
        };
        ring.stow(&step, features)?;
        Ok(Self { room, plan, step, context, ring })
    }

    /// Soft labels [h·w, C] of the next frame from its features [h·w, D].
    pub(super) fn step(&mut self, features: &Tensor) -> Result<Vec<f32>> {
        let slot = 1 + self.step.query % self.step.slots;
        if slot as usize >= self.room {
            let room = self.step.places().min(2 * self.room);
            self.ring.reserve(&self.step, room)?;
            self.room = room;
        }
        let sources = self.context.sources();
        self.step.query = slot;
        self.step.sources = sources.len() as u32;
        self.step.oldest = sources.get(1).map_or(0, |source| source.frame.0 as u32 - 1);
        // Frame 0 comes first; all others stand there once, within reach.
        if let Some(first) = sources.first() {
            (self.step.free, self.step.near) = (first.free as u32, first.near as u32);
        }
        self.ring.stow(&self.step, features)?;
        let labels = match &mut self.ring {
            Ring::Cpu(ring) => ring.propagate(&self.step, &self.plan),
            #[cfg(feature = "cuda")]
            Ring::Gpu(ring) => ring.propagate(&self.step, &self.plan)?,
        };
        self.context.push(Slot(slot as usize));
        Ok(labels)
    }
}

impl Ring {
    /// Makes room for so many slots; what lies in the ring stays.
    fn reserve(&mut self, step: &Step, room: usize) -> Result<()> {
        match self {
            Self::Cpu(ring) => ring.reserve(step, room),
            #[cfg(feature = "cuda")]
            Self::Gpu(ring) => ring.reserve(step, room)?,
        }
        Ok(())
    }

    /// Puts features [h·w, D] into the slot of the frame to be labelled.
    fn stow(&mut self, step: &Step, features: &Tensor) -> Result<()> {
        let features = features.to_dtype(DType::F32)?.contiguous()?;
        match self {
            Self::Cpu(ring) => ring.stow(step, &features),
            #[cfg(feature = "cuda")]
            Self::Gpu(ring) => ring.stow(step, &features),
        }
    }
}
