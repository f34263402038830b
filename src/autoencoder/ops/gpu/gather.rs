//! Copies gradients one after another into one buffer (`gather.cu`).

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr};
use candle_core::{DType, Result, Tensor};

use super::named;
use crate::autoencoder::spans::{GRAIN, Span, Spans};
use crate::kernel::{self, Number, Operand, PACK, by_pack, launch, wrapped};

/// Tensors of a launch: what its arguments, 4096 bytes, have room for.
const MOST: usize = 160;

// buffers are whole packs, and every tensor begins with one
const _: () = assert!(GRAIN.is_multiple_of(PACK));

/// A tensor on its way; `Part` of `gather.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    values: u64,
    /// 0: nothing is added to it.
    more: u64,
    start: u32,
    count: u32,
}

/// `Parts` of `gather.cu`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Parts([Part; MOST]);

// SAFETY: numbers, the first two of them addresses on the device, in the order and the layout of C,
// as the kernels declare them.
#[allow(unsafe_code)]
unsafe impl DeviceRepr for Parts {}

const _: () = assert!(size_of::<Part>() == 24 && align_of::<Part>() == 8);
const _: () = assert!(size_of::<Parts>() == 3840);

/// The buffer of tensors that each are the sum of parts, all on one GPU, laid out as `spans` says,
/// in f32; zero between them.
pub(in crate::autoencoder) fn gather(spans: &Spans, found: Vec<Vec<Tensor>>) -> Result<Tensor> {
    let dtype = match found.iter().flatten().all(|part| part.dtype() == DType::BF16) {
        true => DType::BF16,
        false => DType::F32,
    };
    let pairs: Vec<Pair> =
        found.into_iter().map(|parts| Pair::of(parts, dtype)).collect::<Result<_>>()?;
    match dtype {
        DType::BF16 => gathered::<half::bf16>(spans, &pairs),
        _ => gathered::<f32>(spans, &pairs),
    }
}

/// A tensor and what is to be added to it.
struct Pair {
    first: Tensor,
    more: Option<Tensor>,
}

impl Pair {
    fn of(parts: Vec<Tensor>, dtype: DType) -> Result<Self> {
        let mut parts = parts.into_iter().map(|part| part.to_dtype(dtype)?.contiguous());
        let Some(first) = parts.next() else { candle_core::bail!("a sum of nothing") };
        // no parameter of ours is used more than twice in a pass
        let more = parts.reduce(|sum, part| sum? + part?);
        Ok(Self { first: first?, more: more.transpose()? })
    }
}

fn gathered<T: Number>(spans: &Spans, pairs: &[Pair]) -> Result<Tensor> {
    let Some(pair) = pairs.first() else { candle_core::bail!("a buffer of nothing") };
    let operand = Operand::open(&pair.first);
    let device = operand.device()?;
    let all: Vec<&Span> = spans.iter().collect();
    if pairs.len() != all.len() {
        candle_core::bail!("{} gradients of {} parameters", pairs.len(), all.len())
    }
    let mut buffer = kernel::room::<f32>(device, spans.len())?;
    for (launch, pairs) in pairs.chunks(MOST).enumerate() {
        let here = &all[launch * MOST..][..pairs.len()];
        let end = all.get((launch + 1) * MOST).map_or(spans.len(), |next| next.start);
        put::<T>((here, end), pairs, &mut buffer, device)?;
    }
    Ok(wrapped(buffer, spans.len(), device))
}

/// One launch: the buffer from where the first of the tensors begins up to `end`.
fn put<T: Number>(
    (spans, end): (&[&Span], usize),
    pairs: &[Pair],
    buffer: &mut CudaSlice<f32>,
    device: &CudaDevice,
) -> Result<()> {
    let mut parts = Parts([Part::default(); MOST]);
    for ((part, Pair { first, more }), span) in parts.0.iter_mut().zip(pairs).zip(spans) {
        let (start, count) = (span.start as u32, span.count());
        let values = address::<T>(first, count)?;
        let more = more.as_ref().map_or(Ok(0), |more| address::<T>(more, count))?;
        *part = Part { values, more, start, count: count as u32 };
    }
    let count = end - spans.first().map_or(end, |first| first.start);
    // SAFETY: every part's address is that of `count` values, as `address` has seen, and `pairs`
    // keeps the tensors until the launch is queued. The buffer is `spans.len()` values long, and
    // `end` is no more.
    #[allow(unsafe_code)]
    unsafe {
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
    }
    Ok(())
}

/// Where the `count` values of a tensor lie on the device: as long as the tensor is there, and what
/// frees it queues behind all that was launched before.
fn address<T: Number>(tensor: &Tensor, count: usize) -> Result<u64> {
    let operand = Operand::open(tensor);
    let values = operand.values::<T>(count)?;
    let stream = operand.device()?.cuda_stream();
    let (address, _) = values.device_ptr(&stream);
    Ok(address)
}
