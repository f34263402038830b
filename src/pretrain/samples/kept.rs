//! Decoded pictures that stay in memory, so that later epochs need not decode them again.
//!
//! The first pictures are kept until the memory limit is reached. They are the same as when decoded
//! again, so no result depends on this.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::image::Rgb;

/// The pictures of a dataset that are kept, by their numbers.
#[derive(Debug)]
pub(super) struct Kept {
    /// A place for each picture; none where none are kept.
    pictures: Vec<OnceLock<Arc<Rgb>>>,
    /// Bytes that are still free.
    room: AtomicUsize,
}

impl Kept {
    /// Room for `bytes` bytes of the pixels of `count` pictures.
    pub(super) fn new(count: usize, bytes: usize) -> Self {
        let places = if bytes == 0 { 0 } else { count };
        let pictures = (0..places).map(|_| OnceLock::new()).collect();
        Self { pictures, room: AtomicUsize::new(bytes) }
    }

    /// The picture `number`, decoded by `read` unless it is kept.
    ///
    /// # Errors
    /// Those of `read`, which is asked again the next time.
    pub(super) fn picture(
        &self,
        number: usize,
        read: impl FnOnce() -> Result<Rgb>,
    ) -> Result<Arc<Rgb>> {
        let Some(place) = self.pictures.get(number) else { return Ok(Arc::new(read()?)) };
        if let Some(picture) = place.get() {
            return Ok(Arc::clone(picture));
        }
        let picture = Arc::new(read()?);
        let size = picture.data.len();
        if self.take(size) && place.set(Arc::clone(&picture)).is_err() {
            // another thread was faster, with the same picture
            self.room.fetch_add(size, Ordering::Relaxed);
        }
        Ok(picture)
    }

    /// Takes so many bytes of the room, if they are there.
    fn take(&self, size: usize) -> bool {
        let less = |room: usize| room.checked_sub(size);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::error::Error;

    fn picture(number: usize) -> Rgb {
        Rgb { width: 2, height: 1, data: vec![number as u8; 6] }
    }

    /// Which of four pictures are decoded when they are read in turn, twice.
    fn decoded(bytes: usize) -> [Vec<usize>; 2] {
        let kept = Kept::new(4, bytes);
        [(); 2].map(|()| {
            let decoded = Cell::new(Vec::new());
            for number in 0..4 {
                let read = || {
                    decoded.set([decoded.take(), vec![number]].concat());
                    Ok(picture(number))
                };
                assert_eq!(*kept.picture(number, read).unwrap(), picture(number));
            }
            decoded.take()
        })
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        for (bytes, later) in [(0, 0), (5, 0), (6, 1), (17, 2), (24, 4), (usize::MAX, 4)] {
            let [first, second] = decoded(bytes);
            assert_eq!(first, [0, 1, 2, 3], "{bytes}");
            assert_eq!(second, (later..4).collect::<Vec<_>>(), "{bytes}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_tried_again_and_takes_no_room() {
        let kept = Kept::new(1, 6);
        for _ in 0..3 {
            let broken = || Err(Error::setting("picture", "is broken"));
            assert!(kept.picture(0, broken).is_err());
        }
        kept.picture(0, || Ok(picture(7))).unwrap();
        let again = kept.picture(0, || Err(Error::setting("picture", "is gone")));
        assert_eq!(*again.unwrap(), picture(7));
    }

    #[test]
    fn threads_that_meet_at_a_picture_keep_it_once() {
        let kept = Kept::new(1, 12);
        let all_have_read = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let read = || {
                        all_have_read.wait();
                        Ok(picture(3))
                    };
                    assert_eq!(*kept.picture(0, read).unwrap(), picture(3));
                });
            }
        });
        assert_eq!(kept.room.load(Ordering::Relaxed), 6);
    }
}
