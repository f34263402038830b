//! Launches `affinity.cu`. The same on the CPU: `twin`.

use candle_core::Tensor;
use candle_core::cuda_backend::cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DeviceRepr, LaunchConfig};
use candle_core::cuda_backend::{CudaDevice, WrapErr};

use super::plan::Plan;
use super::{Arithmetic, LabelMap, MOST, Step, keys, queries};
use crate::error::Result;
use crate::kernel::{self, AFFINITY, AnyBits, Operand, by_value, launch, room};

/// Threads of a block that multiplies.
const THREADS: usize = 128;
/// Queries of a block that mixes labels, a warp each.
const MIXERS: usize = 8;

// SAFETY: a `repr(C)` structure of 32-bit numbers, as the kernels declare it.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Step {}

const _: () = assert!(size_of::<Step>() == 72 && align_of::<Step>() == 4);

/// The context's frames on a GPU, and what the kernels hand to one another.
pub(super) struct Ring {
    device: CudaDevice,
    arithmetic: Arithmetic,
    /// [slots, h·w, pieces] of 16 bytes
    features: CudaSlice<u32>,
    /// [tiles, width, queries]: in f32 the frame to be labelled, channel by channel
    laid: CudaSlice<f32>,
    /// [slots, h·w, C]
    labels: CudaSlice<f32>,
    plan: CudaSlice<u32>,
    /// [tiles + blocks, queries, kept]: what each block found for a tile
    scores: CudaSlice<f32>,
    keys: CudaSlice<u32>,
    /// [tiles, queries, 2]: the queries that have more ties than a list holds
    ties: CudaSlice<f32>,
    shared_bytes: usize,
    /// As many blocks of the search as the GPU holds at a time.
    most_blocks: usize,
}

impl Ring {
    /// Room for `slots` frames of a clip, and the labels of frame 0.
    pub(super) fn new(
        device: &CudaDevice,
        plan: &Plan,
        step: &Step,
        arithmetic: Arithmetic,
        labels: &LabelMap,
        slots: usize,
    ) -> Result<Self> {
        let shared_bytes = shared_bytes(arithmetic, step.kept as usize);
        let most_blocks = prepare(device, arithmetic, shared_bytes)?;
        let lists = (plan.tiles + most_blocks) * plan.queries * step.kept as usize;
        let laid = plan.tiles * plan.queries * step.pieces as usize * 4;
        let mut ring = Self {
            features: room(device, slots * step.cells() * step.pieces as usize * 4)?,
            laid: room(device, if arithmetic == Arithmetic::F32 { laid } else { 1 })?,
            labels: room(device, slots * labels.values.len())?,
            plan: device.clone_htod(&plan.words)?,
            scores: room(device, lists)?,
            keys: room(device, lists)?,
            ties: room(device, plan.tiles * plan.queries * 2)?,
            device: device.clone(),
            arithmetic,
            shared_bytes,
            most_blocks,
        };
        let mut first = ring.labels.slice_mut(step.labels(0));
        device.memcpy_htod(&labels.values, &mut first)?;
        Ok(ring)
    }

    /// Makes room for so many slots; what lies in them is copied there.
    pub(super) fn reserve(&mut self, step: &Step, slots: usize) -> Result<()> {
        let frame = step.cells() * step.pieces as usize * 4;
        self.features = grown(&self.device, &self.features, slots * frame)?;
        self.labels = grown(&self.device, &self.labels, slots * step.labels(0).len())?;
        Ok(())
    }

    pub(super) fn stow(&mut self, step: &Step, features: &Tensor) -> Result<()> {
        let width = features.dim(1)?;
        // SAFETY: `Ring::new` and `reserve` made every buffer as long as `step` says, for all slots
        // up to `step.query`; `features` holds a row of `width` values for each cell, which was
        // checked.
        #[allow(unsafe_code)]
        unsafe {
            launch!(
                self.device,
                AFFINITY,
                &self.named("stow"),
                by_value(step.cells() * step.pieces as usize * 4),
                step,
                &self.plan,
                &Operand::open(features).values::<f32>(step.cells() * width)?,
                &(width as u32),
                &mut self.features,
                &mut self.laid,
            );
        }
        Ok(())
    }

    /// Labels the frame in slot `step.query`.
    pub(super) fn propagate(&mut self, step: &Step, plan: &Plan) -> Result<Vec<f32>> {
        let keys = plan.keys(step.sources as usize, step.free > 0);
        // A share is no less than a tile of keys.
        let most = (keys / step.keys as usize).max(1);
        let step = Step { blocks: self.most_blocks.min(most) as u32, ..*step };
        let searching = self.multiplying(step.blocks as usize);
        let looking_again = self.multiplying(plan.tiles);
        // SAFETY: `Ring::new` and `reserve` made every buffer as long as `step` says, for all slots
        // up to `step.query`; a block writes the lists of its tiles, of which there are no more
        // than tiles and blocks together, and `step.blocks` is at most `most_blocks`.
        #[allow(unsafe_code)]
        unsafe {
            launch!(
                self.device,
                AFFINITY,
                &self.named("search"),
                searching,
                &step,
                &self.plan,
                &self.features,
                &self.laid,
                &mut self.scores,
                &mut self.keys,
            );
        }
        // SAFETY: `Ring::new` and `reserve` made every buffer as long as `step` says, for all slots
        // up to `step.query`; a warp writes one query's labels, those of the plan's tiles alone.
        #[allow(unsafe_code)]
        unsafe {
            launch!(
                self.device,
                AFFINITY,
                "affinity_mix",
                kernel::grid((plan.tiles * plan.queries / MIXERS, 1), (MIXERS * 32) as u32),
                &step,
                &self.plan,
                &self.scores,
                &self.keys,
                &mut self.labels,
                &mut self.ties,
            );
        }
        if step.keep_ties != 0 {
            // SAFETY: `Ring::new` and `reserve` made every buffer as long as `step` says, for all
            // slots up to `step.query`; a block looks at one tile's queries again.
            #[allow(unsafe_code)]
            unsafe {
                launch!(
                    self.device,
                    AFFINITY,
                    &self.named("ties"),
                    looking_again,
                    &step,
                    &self.plan,
                    &self.features,
                    &self.laid,
                    &self.ties,
                    &mut self.labels,
                );
            }
        }
        let labels = self.device.clone_dtoh(&self.labels.slice(step.labels(step.query)))?;
        // CUDA does not promise that a copy into ordinary memory has arrived.
        self.device.cuda_stream().synchronize().w()?;
        Ok(labels)
    }

    fn named(&self, kernel: &str) -> String {
        named(kernel, self.arithmetic)
    }

    /// A launch of blocks that multiply.
    fn multiplying(&self, blocks: usize) -> LaunchConfig {
        let shared_mem_bytes = self.shared_bytes as u32;
        LaunchConfig { shared_mem_bytes, ..kernel::grid((blocks, 1), THREADS as u32) }
    }
}

/// A longer place that begins with these values.
fn grown<T: AnyBits>(
    device: &CudaDevice,
    values: &CudaSlice<T>,
    count: usize,
) -> Result<CudaSlice<T>> {
    let mut longer = room(device, count)?;
    let mut begin = longer.slice_mut(..values.len());
    device.memcpy_dtod(values, &mut begin)?;
    Ok(longer)
}

/// `affinity_search_f32` and so on.
fn named(kernel: &str, arithmetic: Arithmetic) -> String {
    format!("affinity_{kernel}_{}", arithmetic.name())
}

/// Shared memory of a block that multiplies, as `search.cuh` lays it out: the slices of a tile's
/// rows and, in the place of all but the first, its scores with a byte for each; then its queries,
/// which warps are needed, its keys and the next tile's, and the lists.
fn shared_bytes(arithmetic: Arithmetic, kept: usize) -> usize {
    let (queries, keys) = (queries(arithmetic), keys(arithmetic));
    // f32 keeps rows apart by four words, for the banks' sake; the others by none, and have more
    // slices in flight.
    let (row, padding, stages) =
        if arithmetic == Arithmetic::F32 { (20, 2, 3) } else { (16, 8, 4) };
    let stage = queries * 16 + keys * row;
    let scores = queries * (keys + padding) + queries * keys / 4;
    let tile = (stages * stage).max(stage + scores);
    4 * (tile + queries + THREADS / 32 + 4 * keys + 2 * queries * kept)
}

/// The shared memory that a block may have.
fn most_shared_bytes(device: &CudaDevice) -> candle_core::Result<usize> {
    let most = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    Ok(device.cuda_stream().context().attribute(most).w()? as usize)
}

/// Whether a block's shared memory suffices for lists of so many entries, and the card has the
/// instructions for this arithmetic.
pub(super) fn takes(device: &CudaDevice, arithmetic: Arithmetic, kept: usize) -> bool {
    let multiplies = || {
        let name = named("search", arithmetic);
        let function = kernel::function(device, &name, ("AFFINITY", AFFINITY));
        function.is_ok_and(|function| kernel::has_tensor_cores(&function))
    };
    most_shared_bytes(device).is_ok_and(|most| shared_bytes(arithmetic, kept) <= most)
        && (arithmetic == Arithmetic::F32 || multiplies())
}

/// Allows the kernels as much shared memory as the longest lists take: what is allowed holds for
/// all clips at work, those with shorter lists among them. Returns how many blocks of the search,
/// each with `shared_bytes`, the GPU holds.
fn prepare(device: &CudaDevice, arithmetic: Arithmetic, shared_bytes: usize) -> Result<usize> {
    let mut at_once = 1;
    let allowed = self::shared_bytes(arithmetic, MOST).min(most_shared_bytes(device)?);
    for kernel in ["ties", "search"] {
        let function =
            kernel::function(device, &named(kernel, arithmetic), ("AFFINITY", AFFINITY))?;
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function.set_attribute(attribute, allowed as i32).w()?;
        at_once = function
            .occupancy_max_active_blocks_per_multiprocessor(THREADS as u32, shared_bytes, None)
            .w()?;
    }
    let count = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
    let multiprocessors = device.cuda_stream().context().attribute(count).w()?;
    Ok((at_once as usize * multiprocessors as usize).max(1))
}
