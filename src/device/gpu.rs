//! Opens a GPU such that a machine without one gets an error instead of a panic.
//!
//! candle's driver crate loads CUDA's libraries when they are first needed and panics if one is
//! missing, so this module looks for them first. A card that opens may still refuse this program's
//! kernels because the card or its driver is too old, so one kernel is run as a test.

#![allow(unsafe_code)] // loading libraries, memory and a setting of the driver that candle has not

mod pieces;

use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::{CudaDevice, DType, Device, Tensor};
use libloading::Library;

pub(super) use self::pieces::Pieces;

/// What opening a device calls, each under names that the driver crate tries too.
const LIBRARIES: [(&str, &[&str]); 3] = [
    ("the NVIDIA driver", &["libcuda.so", "libcuda.so.1"]),
    ("cuBLAS", &["libcublas.so", "libcublas.so.13", "libcublas.so.12"]),
    ("cuRAND", &["libcurand.so", "libcurand.so.10"]),
];

/// Opens a GPU; says why where that fails, and what may help.
pub(super) fn open(index: usize) -> Result<Device, String> {
    if cfg!(target_os = "linux") {
        find_libraries()?;
    }
    // A stream of its own: on candle's default, each thread of the program has another one, and
    // what two threads do is in no order.
    let device = CudaDevice::new_with_stream(index).map_err(|error| first_line(&error))?;
    keep_freed_memory(&device);
    // SAFETY: without events, what is used on several streams must be ordered by hand. Everything
    // here, from whatever thread, goes through this device's one stream, which keeps its order.
    unsafe { device.disable_event_tracking() };
    let device = Device::Cuda(device);
    try_kernel(&device)?;
    Ok(device)
}

fn find_libraries() -> Result<(), String> {
    for (library, names) in LIBRARIES {
        // SAFETY: loading a library runs its initialisers, which must not break this program's
        // assumptions. These are the libraries that the driver crate loads by the same names in the
        // next step, made to be loaded by any program at any time. Nothing of theirs is used here:
        // no symbol is taken that could be of a wrong type or outlive its library.
        let found = names.iter().find_map(|name| unsafe { Library::new(*name) }.ok());
        let Some(found) = found else {
            let names = names.join(", ");
            return Err(format!(
                "{library} was not found ({names}); install it, or name its folder in LD_LIBRARY_PATH"
            ));
        };
        // It stays loaded: unloading would run its finalisers only to load it again.
        std::mem::forget(found);
    }
    Ok(())
}

/// Lets the driver keep the memory that tensors free. By default it takes all of it back whenever
/// the program waits for a result, which is once a frame.
fn keep_freed_memory(device: &CudaDevice) {
    let mut threshold = u64::MAX;
    let value = std::ptr::from_mut(&mut threshold).cast();
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let stream = device.cuda_stream();
    // SAFETY: the device is one that the driver handed out, kept open by `stream`; the pool is that
    // device's own, which lives as long as the driver; the value of this attribute is a u64, and
    // `threshold` outlives the call, which only reads it.
    // A card without such pools is slower, no more: what came of it does not matter.
    let _ = unsafe {
        result::device::get_default_mem_pool(stream.context().cu_device())
            .and_then(|pool| result::mem_pool::set_attribute(pool, attribute, value))
    };
}

/// What the driver calls free, in bytes.
pub(super) fn free_memory(device: &CudaDevice) -> Option<u64> {
    device.cuda_stream().context().bind_to_thread().ok()?;
    result::mem_get_info().ok().map(|(free, _)| free as u64)
}

/// Runs one kernel and looks at its result.
fn try_kernel(device: &Device) -> Result<(), String> {
    let run = || Tensor::zeros(1, DType::F32, device)?.affine(1.0, 2.0)?.to_vec1();
    let result: candle_core::Result<Vec<f32>> = run();
    let why = match result {
        Ok(values) if values == [2.0] => return Ok(()),
        Ok(values) => format!("0 + 2 came out as {values:?}"),
        Err(error) => first_line(&error),
    };
    Err(format!(
        "it does not run this program's kernels ({why}); update the NVIDIA driver, or build with \
         CUDA_COMPUTE_CAP set to this card's compute capability (see README, \"Which machine?\")"
    ))
}

/// Errors of candle may carry a backtrace in the lines below.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_opens_or_says_why_not() {
        match open(0) {
            Ok(device) => assert!(device.is_cuda()),
            Err(why) => {
                eprintln!("skipped: no GPU ({why})");
                assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
            }
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error() {
        assert!(open(999).is_err());
    }
}
