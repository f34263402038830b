//! Page-locked memory, in pieces that are used in turn.

use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, DeviceRepr, PinnedHostSlice, ValidAsZeroBits,
};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Result, Storage, Tensor};

/// Pieces of one kind of values. So many copies may be under way; whoever wants one more waits for
/// the first of them. A step's two views are two: the program can be two steps ahead of the device.
const MOST: usize = 4;

/// Memory that a copy may be reading.
#[derive(Debug)]
struct Piece<T> {
    memory: PinnedHostSlice<T>,
    /// Stands behind the copy in the device's queue.
    copied: CudaEvent,
}

impl<T> Drop for Piece<T> {
    fn drop(&mut self) {
        // a device that fails will not read it either
        let _ = self.copied.synchronize();
    }
}

impl<T: DeviceRepr + ValidAsZeroBits> Piece<T> {
    fn new(device: &CudaDevice, count: usize) -> Result<Self> {
        let stream = device.cuda_stream();
        let copied = stream.context().new_event(None).w()?;
        // SAFETY: the memory is set before it is handed to anybody: zeros are values of these
        // types.
        let memory = unsafe {
            let mut memory = stream.context().alloc_pinned::<T>(count).w()?;
            memory.as_mut_ptr().w()?.write_bytes(0, count);
            memory
        };
        Ok(Self { memory, copied })
    }
}

/// Up to [`MOST`] pieces, and whose turn it is.
#[derive(Debug)]
pub(in crate::device) struct Pieces<T> {
    all: Vec<Piece<T>>,
    turn: usize,
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self { all: Vec::new(), turn: 0 }
    }
}

impl<T: CudaDType + DeviceRepr + ValidAsZeroBits> Pieces<T> {
    /// `count` values, which `fill` writes, as a tensor \[count\] of the device: it is there when
    /// what is queued after this call looks at it.
    pub(in crate::device) fn send(
        &mut self,
        device: &CudaDevice,
        count: usize,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<Tensor> {
        let piece = self.next(device, count)?;
        piece.copied.synchronize().w()?;
        let values = &mut piece.memory.as_mut_slice().w()?[..count];
        fill(values);
        // SAFETY: all of it is written by the copy, which is queued before anything can read it.
        let mut out = unsafe { device.alloc::<T>(count)? };
        let stream = device.cuda_stream();
        stream.memcpy_htod(&*values, &mut out).w()?;
        piece.copied.record(&stream).w()?;
        let storage = CudaStorage::wrap_cuda_slice(out, device.clone());
        Ok(Tensor::from_storage(Storage::Cuda(storage), count, BackpropOp::none(), false))
    }

    /// The piece whose turn it is, of at least `count` values.
    fn next(&mut self, device: &CudaDevice, count: usize) -> Result<&mut Piece<T>> {
        let turn = self.turn;
        match self.all.get(turn) {
            None => self.all.push(Piece::new(device, count)?),
            Some(piece) if piece.memory.len() < count => {
                self.all[turn] = Piece::new(device, count)?;
            }
            Some(_) => {}
        }
        self.turn = (turn + 1) % MOST;
        Ok(&mut self.all[turn])
    }
}
