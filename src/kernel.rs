//! Launching CUDA kernels of our own on candle's tensors. A leaf.
//!
//! `build.rs` turns every `.cu` file under `src` into PTX, a constant here by the file's name; the
//! driver makes machine code of it when one of its kernels is first asked for. Whoever has kernels
//! keeps them beside the code that calls them: training in `autoencoder/ops/gpu`, the optimiser in
//! `pretrain`, the encoder in `model/gpu`, frames in `image`, the affinity in `propagation/fused`;
//! what several of them include is beside this file. [`Operand`] opens a tensor, [`launch!`] runs a
//! kernel, [`wrapped`] makes a tensor of what it wrote.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::sys::CUfunction_attribute;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaView, DeviceRepr, LaunchConfig,
};
use candle_core::cuda_backend::{CudaDType, CudaDevice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, D, DType, InplaceOp2, Layout, Result, Shape, Storage, StorageRef,
    Tensor,
};
use half::bf16;

/// `launch!(device, MODULE, name, config, arguments…)`: runs the kernel `name` of a PTX constant.
///
/// Unsafe. The caller must guarantee that the arguments are those that the kernel declares, in
/// number, order and type, and that every buffer among them is as long as the sizes among them make
/// the kernel read or write.
macro_rules! launch {
    ($device:expr, $module:ident, $name:expr, $config:expr, $($argument:expr),+ $(,)?) => {{
        let module = (stringify!($module), $crate::kernel::$module);
        let function = $crate::kernel::function(&$device, $name, module)?;
        $crate::kernel::run!($device, function, $config, $($argument),+)
    }};
}
pub(crate) use launch;

/// `run!(device, function, config, arguments…)`: what [`launch!`] does with the kernel when it has
/// it; unsafe as that is.
macro_rules! run {
    ($device:expr, $function:expr, $config:expr, $($argument:expr),+) => {{
        use candle_core::cuda_backend::WrapErr;
        use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
        let stream = $device.cuda_stream();
        stream.launch_builder(&$function)$(.arg($argument))+.launch($config).w()?;
    }};
}
pub(crate) use run;

mod ptx {
    #![allow(unreachable_pub)] // written by the build's own crate
    include!(concat!(env!("OUT_DIR"), "/ptx.rs"));
}
pub(crate) use ptx::*;

/// Threads of a block, for kernels that do not mind.
pub(crate) const THREADS: u32 = 256;
/// Threads that work in step.
const WARP: u32 = 32;
/// The oldest compute capability, times ten, with the instructions of tensor cores that we use.
const TENSOR_CORES: i32 = 80;
/// Values that a thread moves at a time.
pub(crate) const PACK: usize = 8;
/// Blocks that fill any card several times over; kernels that go value by value loop over the rest.
const MOST_BLOCKS: usize = 1 << 16;

/// A number type of buffers on a device: any bits are a value of it.
pub(crate) trait AnyBits: DeviceRepr {}

impl AnyBits for f32 {}
impl AnyBits for f64 {}
impl AnyBits for bf16 {}
impl AnyBits for u32 {}

/// A number type that kernels are there for.
pub(crate) trait Number: CudaDType + AnyBits {
    /// What the names of its kernels end with.
    const SUFFIX: &'static str;
}

impl Number for f32 {
    const SUFFIX: &'static str = "f32";
}

impl Number for bf16 {
    const SUFFIX: &'static str = "bf16";
}

/// The kernel `name` of a PTX constant, `module` being what that is called and what it holds.
///
/// # Errors
/// The driver cannot make machine code of the PTX, or has no such kernel in it.
pub(crate) fn function(
    device: &CudaDevice,
    name: &str,
    (module, ptx): (&str, &str),
) -> Result<CudaFunction> {
    // One thread at a time: of two that find a module missing, candle lets both load it and forgets
    // the first, with what was set of its kernels.
    static LOADING: Mutex<()> = Mutex::new(());
    let _alone = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    // What is asked of a kernel, unlike its launch, does not make the device this thread's.
    device.cuda_stream().context().bind_to_thread().w()?;
    Ok(device.get_or_load_custom_func(name, module, ptx)?.into_cuda_function())
}

/// Whether a tensor is on a GPU in a number type of [`Number`].
pub(crate) fn takes(xs: &Tensor) -> bool {
    xs.device().is_cuda() && matches!(xs.dtype(), DType::F32 | DType::BF16)
}

/// Whether a kernel was compiled with the instructions of tensor cores; without them it does
/// nothing.
pub(crate) fn has_tensor_cores(function: &CudaFunction) -> bool {
    let compiled_for = CUfunction_attribute::CU_FUNC_ATTRIBUTE_PTX_VERSION;
    function.get_attribute(compiled_for).is_ok_and(|version| version >= TENSOR_CORES)
}

/// `name_f32` or `name_bf16`.
pub(crate) fn named<T: Number>(name: &str) -> String {
    format!("{name}_{}", T::SUFFIX)
}

/// Calls a function of a number type by that of a tensor, one of those that [`takes`] takes.
macro_rules! by_type {
    ($tensor:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $tensor.dtype() {
            candle_core::DType::BF16 => $function::<half::bf16>($($argument),*),
            _ => $function::<f32>($($argument),*),
        }
    };
}
pub(crate) use by_type;

/// Rows and columns of a tensor whose last dimension is a row.
pub(crate) fn rows_of(xs: &Tensor) -> Result<(usize, usize)> {
    let columns = xs.dim(D::Minus1)?;
    Ok((xs.elem_count() / columns.max(1), columns))
}

/// A contiguous tensor on a GPU, open for reading.
pub(crate) struct Operand<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

impl<'a> Operand<'a> {
    /// Opens a tensor.
    pub(crate) fn open(xs: &'a Tensor) -> Self {
        let (storage, layout) = xs.storage_and_layout();
        Self { storage, layout }
    }

    fn on_gpu(&self) -> Result<&CudaStorage> {
        match &*self.storage {
            Storage::Cuda(storage) => Ok(storage),
            _ => candle_core::bail!("an operand that is not on a GPU"),
        }
    }

    /// Where it is.
    pub(crate) fn device(&self) -> Result<&CudaDevice> {
        Ok(self.on_gpu()?.device())
    }

    /// Its `count` values, as many as a kernel is going to read.
    ///
    /// # Errors
    /// It has another number of values or another type, or is not contiguous.
    pub(crate) fn values<T: CudaDType>(&self, count: usize) -> Result<CudaView<'_, T>> {
        values(self.on_gpu()?, self.layout, count)
    }
}

/// The `count` values of contiguous storage.
///
/// # Errors
/// It has another number of values or another type, or is not contiguous.
pub(crate) fn values<'a, T: CudaDType>(
    storage: &'a CudaStorage,
    layout: &Layout,
    count: usize,
) -> Result<CudaView<'a, T>> {
    match layout.contiguous_offsets() {
        Some((start, end)) if end - start == count => {
            Ok(storage.as_cuda_slice::<T>()?.slice(start..end))
        }
        Some((start, end)) => {
            candle_core::bail!("an operand of {} values where {count} are read", end - start)
        }
        None => candle_core::bail!("an operand that is not contiguous"),
    }
}

/// The tensor itself where it is contiguous and begins where a pack may, else a copy.
pub(crate) fn packed(xs: &Tensor) -> Result<Tensor> {
    match xs.layout().contiguous_offsets() {
        Some((start, _)) if start.is_multiple_of(PACK) => Ok(xs.clone()),
        _ => xs.force_contiguous(),
    }
}

/// A kernel (values, row, count, columns) that changes a product [.., D] in its own memory, which
/// nobody else has seen yet, by a row \[D\].
pub(crate) struct InPlace {
    /// What it is called but for the product's number type.
    pub(crate) name: &'static str,
    /// Its PTX, and the constant that this is.
    pub(crate) module: (&'static str, &'static str),
    /// Whether the row is f32 whatever the product is, not of its type.
    pub(crate) f32_row: bool,
}

impl InPlace {
    fn run<T: Number, R: Number>(
        &self,
        values: &mut CudaStorage,
        count: usize,
        (row, layout): (&CudaStorage, &Layout),
    ) -> Result<()> {
        let device = row.device().clone();
        let function = function(&device, &named::<T>(self.name), self.module)?;
        let columns = layout.shape().elem_count() as u32;
        let row = self::values::<R>(row, layout, columns as usize)?;
        let values = T::as_cuda_slice_mut(values)?;
        // SAFETY: `values` begins with `count` values in one piece, as `cuda_fwd` has seen, and
        // `row` has `columns`; the kernels of an `InPlace` go over the former and take the latter
        // in turn.
        #[allow(unsafe_code)]
        unsafe {
            run!(device, function, by_pack(count), values, &row, &(count as u32), &columns);
        }
        Ok(())
    }
}

impl InplaceOp2 for InPlace {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("{}: the CPU's products end otherwise", self.name)
    }

    fn cuda_fwd(
        &self,
        values: &mut CudaStorage,
        layout: &Layout,
        row: &CudaStorage,
        row_layout: &Layout,
    ) -> Result<()> {
        let count = layout.shape().elem_count();
        // the kernel begins at the storage's first value
        if layout.contiguous_offsets() != Some((0, count)) {
            candle_core::bail!("a product that is not a tensor of its own")
        }
        let row = (row, row_layout);
        match (values.dtype(), self.f32_row) {
            (DType::BF16, true) => self.run::<bf16, f32>(values, count, row),
            (DType::BF16, false) => self.run::<bf16, bf16>(values, count, row),
            _ => self.run::<f32, f32>(values, count, row),
        }
    }
}

/// Memory for `count` values, holding anything: for a kernel that writes every one of them before
/// anything reads it.
///
/// # Errors
/// There is not so much, or kernels could not count it in 32 bits with steps to spare.
pub(crate) fn room<T: AnyBits>(device: &CudaDevice, count: usize) -> Result<CudaSlice<T>> {
    if i32::try_from(count).is_err() {
        candle_core::bail!("a tensor of {count} values: pass fewer images at a time")
    }
    // SAFETY: whatever lies there is a value of the type. A kernel that left one unwritten would
    // compute with a wrong number, nothing worse.
    #[allow(unsafe_code)]
    unsafe {
        device.alloc::<T>(count)
    }
}

/// A tensor of what a kernel wrote.
pub(crate) fn wrapped<T: CudaDType>(
    values: CudaSlice<T>,
    shape: impl Into<Shape>,
    device: &CudaDevice,
) -> Tensor {
    let storage = CudaStorage::wrap_cuda_slice(values, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// A launch for kernels that go over `count` values.
pub(crate) fn by_value(count: usize) -> LaunchConfig {
    let blocks = count.div_ceil(THREADS as usize).clamp(1, MOST_BLOCKS);
    grid((blocks, 1), THREADS)
}

/// A launch for kernels that go over `count` values pack by pack.
pub(crate) fn by_pack(count: usize) -> LaunchConfig {
    by_value(count.div_ceil(PACK))
}

/// A launch for kernels in which each warp takes one of `rows` rows.
pub(crate) fn by_row(rows: usize) -> LaunchConfig {
    grid((rows.div_ceil((THREADS / WARP) as usize).max(1), 1), THREADS)
}

/// A launch of so many blocks (x, y) of `threads`.
pub(crate) fn grid((x, y): (usize, usize), threads: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (x as u32, y as u32, 1),
        block_dim: (threads, 1, 1),
        shared_mem_bytes: 0,
    }
}
