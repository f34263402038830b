//! How many frames are encoded at once, and what happens if the device runs out of memory.
//!
//! A batch that does not fit is halved and tried again, and all later batches keep the smaller
//! size. Only the encoder is run again: at that point nothing of the batch has been stored.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;

/// Frames encoded at once, shared by all clips of a run.
#[derive(Debug)]
pub struct Batch {
    frames: AtomicUsize,
    shrinks: bool,
}

impl Batch {
    /// This many, come what may.
    pub fn fixed(frames: usize) -> Self {
        Self { frames: AtomicUsize::new(frames.max(1)), shrinks: false }
    }

    /// At most this many: fewer once the device has had no room for them.
    pub fn fitting(frames: usize) -> Self {
        Self { shrinks: true, ..Self::fixed(frames) }
    }

    /// How many there are now.
    pub fn frames(&self) -> usize {
        self.frames.load(Ordering::Relaxed)
    }

    /// Goes down to half of `tried`, which did not fit; false where there is nothing to halve.
    fn shrink(&self, tried: usize) -> bool {
        let possible = self.shrinks && tried > 1;
        if possible {
            self.frames.fetch_min(tried / 2, Ordering::Relaxed);
        }
        possible
    }

    /// Calls `encode` on all items, as many at once as fit, and `shrunk` with the new size where
    /// they did not.
    ///
    /// # Errors
    /// `encode` fails for another reason than the lack of memory, or for that on a single frame or
    /// where the size is fixed.
    pub(super) fn each<T, U>(
        &self,
        mut items: &[T],
        mut encode: impl FnMut(&[T]) -> Result<Vec<U>>,
        mut shrunk: impl FnMut(usize),
    ) -> Result<Vec<U>> {
        let mut done = Vec::with_capacity(items.len());
        while !items.is_empty() {
            let (now, later) = items.split_at(self.frames().min(items.len()));
            match encode(now) {
                Ok(mut more) => {
                    done.append(&mut more);
                    items = later;
                }
                Err(error) if error.is_out_of_memory() && self.shrink(now.len()) => {
                    shrunk(self.frames());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn full() -> Error {
        let said = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        candle_core::Error::Msg(said.into()).into()
    }

    /// Doubles numbers on a device with room for three.
    fn double(numbers: &[u32]) -> Result<Vec<u32>> {
        if numbers.len() > 3 {
            return Err(full());
        }
        Ok(numbers.iter().map(|number| 2 * number).collect())
    }

    #[test]
    fn what_does_not_fit_is_halved_for_good() {
        let batch = Batch::fitting(8);
        let numbers: Vec<u32> = (0..11).collect();
        let mut sizes = Vec::new();
        let doubled = batch.each(&numbers, double, |size| sizes.push(size)).unwrap();
        assert_eq!(doubled, (0..11).map(|number| 2 * number).collect::<Vec<_>>());
        assert_eq!((sizes, batch.frames()), (vec![4, 2], 2));
        batch.each(&numbers, double, |_| panic!("it is known what fits")).unwrap();
    }

    #[test]
    fn what_cannot_be_halved_is_an_error() {
        let never = |_: &[u32]| -> Result<Vec<u32>> { Err(full()) };
        let error = Batch::fitting(4).each(&[1, 2], never, |_| ()).unwrap_err();
        assert!(error.is_out_of_memory());
        let asked = Batch::fixed(8);
        assert!(asked.each(&[1; 8], double, |_| panic!("8 were asked for")).is_err());
        assert_eq!(asked.frames(), 8);
        let other = |_: &[u32]| -> Result<Vec<u32>> { Err(Error::Device("gone".into())) };
        assert!(Batch::fitting(4).each(&[1, 2], other, |_| panic!("not for memory")).is_err());
    }
}
