//! Gradients put behind one another in one buffer (`gather.cu`).

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use candle_core::{DType, Result, Tensor};

use super::named;
use crate::autoencoder::spans::{GRAIN, Span, Spans};
use crate::kernel::{self, Number, Operand, PACK, by_pack, launch, wrapped};

/// Tensors of a launch: what its arguments, 4096 bytes, have room for.
const MOST: usize = 240;

// buffers are whole packs, and every tensor begins with one
const _: () = assert!(GRAIN.is_multiple_of(PACK));

/// A tensor on its way; `Part` of `gather.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    address: u64,
    start: u32,
    count: u32,
}

/// `Parts` of `gather.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Parts([Part; MOST]);

// SAFETY: numbers, the first of them an address on the device, in the order and the layout of C, as the
// kernels declare them.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Parts {}

/// The buffer of `tensors`, all on one GPU, laid out as `spans` says, in f32; zero between them.
pub(in crate::autoencoder) fn gather(spans: &Spans, tensors: &[Tensor]) -> Result<Tensor> {
    match tensors.iter().all(|tensor| tensor.dtype() == DType::BF16) {
        true => gathered::<half::bf16>(spans, tensors),
        false => {
            let tensors = tensors.iter().map(|tensor| tensor.to_dtype(DType::F32));
            gathered::<f32>(spans, &tensors.collect::<Result<Vec<_>>>()?)
        }
    }
}

fn gathered<T: Number>(spans: &Spans, tensors: &[Tensor]) -> Result<Tensor> {
    let tensors = tensors.iter().map(Tensor::contiguous).collect::<Result<Vec<_>>>()?;
    let Some(first) = tensors.first() else { candle_core::bail!("a buffer of nothing") };
    let first = Operand::open(first);
    let device = first.device()?;
    let spans_of: Vec<&Span> = spans.iter().collect();
    if tensors.len() != spans_of.len() {
        candle_core::bail!("{} gradients of {} parameters", tensors.len(), spans_of.len())
    }
    let mut buffer = kernel::room::<f32>(device, spans.len())?;
    for (launch, tensors) in tensors.chunks(MOST).enumerate() {
        let here = &spans_of[launch * MOST..][..tensors.len()];
        let end = spans_of.get((launch + 1) * MOST).map_or(spans.len(), |next| next.start);
        put::<T>((here, end), tensors, &mut buffer, device)?;
    }
    Ok(wrapped(buffer, spans.len(), device))
}

/// One launch: the buffer from where the first of the tensors begins up to `end`.
fn put<T: Number>(
    (spans, end): (&[&Span], usize),
    tensors: &[Tensor],
    buffer: &mut CudaSlice<f32>,
    device: &CudaDevice,
) -> Result<()> {
    let operands: Vec<Operand<'_>> = tensors.iter().map(Operand::open).collect();
    let stream = device.cuda_stream();
    let mut parts = Parts([Part::default(); MOST]);
    for ((part, operand), span) in parts.0.iter_mut().zip(&operands).zip(spans) {
        let values = operand.values::<T>()?;
        if values.len() != span.count() {
            candle_core::bail!("a gradient of {} values for {}", values.len(), span.name)
        }
        // the operands stay open until the launch is queued, and what frees them queues behind it
        let (address, _) = values.device_ptr(&stream);
        *part = Part { address, start: span.start as u32, count: span.count() as u32 };
    }
    let count = end - spans.first().map_or(end, |first| first.start);
    launch!(
        device,
        GATHER,
        &named::<T>("gather"),
        by_pack(count),
        &parts,
        &(spans.len() as u32),
        buffer,
        &(end as u32),
    );
    Ok(())
}
