//! Which frames a target frame is compared with: frame 0 always, and the L frames before it.
//!
//! CropMAE fills the queue with copies of frame 0 until L frames have passed, and those copies take
//! places in the top-k. They are not stored: a [`Source`] says how many times a frame is in the
//! context, separately for its two roles, the long-term frame (not limited by the radius) and the
//! queue (limited by it).

use std::collections::VecDeque;

/// A context frame and how often each of its keys counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source<'a, F> {
    /// The frame.
    pub frame: &'a F,
    /// Copies whose keys are seen from everywhere.
    pub free: usize,
    /// Copies whose keys are seen within the neighbourhood only.
    pub near: usize,
}

/// Frame 0 and the queue of the last frames.
#[derive(Debug)]
pub(crate) struct Context<F> {
    first: F,
    recent: VecDeque<F>,
    length: usize,
    padded: bool,
    first_is_free: bool,
}

impl<F> Context<F> {
    /// A context that holds `first` for ever and up to `length` frames beside it.
    pub(crate) fn new(first: F, length: usize, padded: bool, first_is_free: bool) -> Self {
        Self { first, recent: VecDeque::new(), length, padded, first_is_free }
    }

    /// The context of the next frame: frame 0, then the queue, oldest first.
    pub(crate) fn sources(&self) -> Vec<Source<'_, F>> {
        let copies = if self.padded { self.length - self.recent.len() } else { 0 };
        let first = match self.first_is_free {
            true => Source { frame: &self.first, free: 1, near: copies },
            false => Source { frame: &self.first, free: 0, near: 1 + copies },
        };
        let recent = self.recent.iter().map(|frame| Source { frame, free: 0, near: 1 });
        std::iter::once(first).chain(recent).collect()
    }

    /// Puts a labelled frame into the queue; the oldest leaves when it is full.
    pub(crate) fn push(&mut self, frame: F) {
        if self.recent.len() == self.length {
            self.recent.pop_front();
        }
        if self.length > 0 {
            self.recent.push_back(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The context of frame t as (frame, free, near), with frames called by their number.
    fn at(t: usize, length: usize, padded: bool, free: bool) -> Vec<(usize, usize, usize)> {
        let mut context = Context::new(0, length, padded, free);
        (1..t).for_each(|frame| context.push(frame));
        context.sources().iter().map(|s| (*s.frame, s.free, s.near)).collect()
    }

    #[test]
    fn padding_counts_frame_zero_as_often_as_the_reference_stores_it() {
        // L = 3. t = 1: slots 0 | 0 0 0; t = 3: 0 | 0 1 2; t = 4: 0 | 1 2 3; t = 6: 0 | 3 4 5.
        assert_eq!(at(1, 3, true, true), [(0, 1, 3)]);
        assert_eq!(at(3, 3, true, true), [(0, 1, 1), (1, 0, 1), (2, 0, 1)]);
        assert_eq!(at(4, 3, true, true), [(0, 1, 0), (1, 0, 1), (2, 0, 1), (3, 0, 1)]);
        assert_eq!(at(6, 3, true, true), [(0, 1, 0), (3, 0, 1), (4, 0, 1), (5, 0, 1)]);
    }

    #[test]
    fn a_growing_queue_has_no_copies() {
        assert_eq!(at(1, 2, false, false), [(0, 0, 1)]);
        assert_eq!(at(5, 2, false, false), [(0, 0, 1), (3, 0, 1), (4, 0, 1)]);
    }

    #[test]
    fn a_queue_of_none_leaves_frame_zero_alone() {
        assert_eq!(at(5, 0, true, true), [(0, 1, 0)]);
    }
}
