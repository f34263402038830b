//! The pixels of one object as bits, 64 to a word, and the runs of pixels that they are made from.
//!
//! A label image is mostly long runs of one id. They are found 32 bytes at a time and set as ranges
//! of bits, so that everything after it ([`super::jaccard`], [`super::boundary`]) works on words.
//! Each row stores which of its words can hold a bit, so the cost of an object depends on its
//! extent, not on the size of the frame.

use std::ops::Range;

use super::VOID;
use crate::image::LabelImage;

/// Pixels in a word.
pub(super) const BITS: usize = u64::BITS as usize;

/// A yes or no per pixel; pixel x of a row is bit `x % 64` of word `x / 64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mask {
    width: usize,
    /// Words in a row.
    words: usize,
    bits: Vec<u64>,
    spans: Vec<Span>,
}

/// The words of a row outside of which all are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    from: usize,
    to: usize,
}

impl Span {
    const EMPTY: Self = Self { from: usize::MAX, to: 0 };

    fn is_empty(self) -> bool {
        self.from >= self.to
    }

    /// The words of both and those between.
    pub(super) fn join(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to) }
    }

    /// The words, with `by` more on both sides but none beyond a row of `words`.
    pub(super) fn widened(self, by: usize, words: usize) -> Range<usize> {
        if self.is_empty() {
            return 0..0;
        }
        self.from.saturating_sub(by)..(self.to + by).min(words)
    }

    /// The words of `self` that lie in `window`.
    pub(super) fn within(self, window: &Range<usize>) -> Range<usize> {
        let from = self.from.clamp(window.start, window.end);
        from..self.to.min(window.end).max(from)
    }
}

impl Mask {
    /// No pixel set.
    pub(super) fn empty(width: usize, height: usize) -> Self {
        let words = width.div_ceil(BITS);
        Self { width, words, bits: vec![0; words * height], spans: vec![Span::EMPTY; height] }
    }

    /// The masks of objects 1 to `objects`; void pixels and higher ids belong to none.
    pub(super) fn of_objects(labels: &LabelImage, objects: usize) -> Vec<Self> {
        let mut masks = vec![Self::empty(labels.width, labels.height); objects];
        let rows = labels.data.chunks_exact(labels.width.max(1));
        for (y, row) in rows.take(labels.height).enumerate() {
            for (id, run) in runs(row) {
                let object = usize::from(id).checked_sub(1).filter(|_| id != VOID);
                if let Some(mask) = object.and_then(|object| masks.get_mut(object)) {
                    mask.set(y, run);
                }
            }
        }
        masks
    }

    /// Sets the pixels of row `y` from `run.start` to before `run.end`.
    fn set(&mut self, y: usize, run: Range<usize>) {
        if run.is_empty() {
            return;
        }
        let span = Span { from: run.start / BITS, to: (run.end - 1) / BITS + 1 };
        self.spans[y] = self.spans[y].join(span);
        let row = &mut self.bits[y * self.words..][..self.words];
        for (word, bits) in row.iter_mut().enumerate().take(span.to).skip(span.from) {
            let first = run.start.saturating_sub(word * BITS);
            let unused = ((word + 1) * BITS).saturating_sub(run.end);
            *bits |= (u64::MAX << first) & (u64::MAX >> unused);
        }
    }

    /// Stores a word of row `y` of a mask that is filled word by word.
    pub(super) fn put(&mut self, y: usize, word: usize, bits: u64) {
        if bits != 0 {
            self.bits[y * self.words + word] = bits;
            self.spans[y] = self.spans[y].join(Span { from: word, to: word + 1 });
        }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn height(&self) -> usize {
        self.spans.len()
    }

    /// Words in a row.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// All words of row `y`.
    pub(super) fn row(&self, y: usize) -> &[u64] {
        &self.bits[y * self.words..][..self.words]
    }

    /// Which words of row `y` can hold a bit.
    pub(super) fn span(&self, y: usize) -> Span {
        self.spans[y]
    }

    /// The rows that hold a bit.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> {
        let spans = self.spans.iter().enumerate();
        spans.filter(|(_, span)| !span.is_empty()).map(|(y, _)| y)
    }

    /// How many pixels are set.
    pub(super) fn area(&self) -> usize {
        self.rows().map(|y| count(&self.row(y)[self.span(y).widened(0, self.words)])).sum()
    }

    /// How many pixels are set in both.
    pub(super) fn common(&self, other: &Self) -> usize {
        let shared = |y: usize| {
            let words = other.span(y).within(&self.span(y).widened(0, self.words));
            count_common(&self.row(y)[words.clone()], &other.row(y)[words])
        };
        self.rows().map(shared).sum()
    }
}

/// How many bits are set.
fn count(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}

/// How many bits are set in both.
pub(super) fn count_common(one: &[u64], other: &[u64]) -> usize {
    one.iter().zip(other).map(|(a, b)| (a & b).count_ones() as usize).sum()
}

/// The ids of `row` and where each begins and ends, from left to right.
pub(super) fn runs(row: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = row.get(start..)?;
        let id = *rest.first()?;
        let run = start..start + run_length(rest);
        start = run.end;
        Some((id, run))
    })
}

/// How many pixels from the first on have its id.
pub(super) fn run_length(row: &[u8]) -> usize {
    let Some(&id) = row.first() else { return 0 };
    let uniform =
        |chunk: &&[u8]| chunk.iter().fold(0, |differing, &pixel| differing | (pixel ^ id)) == 0;
    let length = 32 * row.chunks_exact(32).take_while(uniform).count();
    length + row[length..].iter().take_while(|&&pixel| pixel == id).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn masks_hold_the_pixels_of_their_object(
            (width, ids) in (1_usize..200, 1_usize..4).prop_flat_map(|(width, height)| {
                let id = prop_oneof![4 => Just(0_u8), 4 => Just(2), 1 => 0..4_u8, 1 => Just(VOID)];
                (Just(width), prop::collection::vec(id, width * height))
            })
        ) {
            let height = ids.len() / width;
            let labels = LabelImage { width, height, data: ids.clone() };
            let masks = Mask::of_objects(&labels, 2);
            prop_assert_eq!(masks.len(), 2);
            for (object, mask) in masks.iter().enumerate() {
                for (place, &id) in ids.iter().enumerate() {
                    let (y, x) = (place / width, place % width);
                    let set = mask.row(y)[x / BITS] >> (x % BITS) & 1 == 1;
                    prop_assert_eq!(set, usize::from(id) == object + 1);
                }
                let area = ids.iter().filter(|&&id| usize::from(id) == object + 1).count();
                prop_assert_eq!(mask.area(), area);
                prop_assert_eq!(mask.common(mask), area);
            }
            prop_assert_eq!(masks[0].common(&masks[1]), 0);
        }

        #[test]
        fn runs_cover_a_row_without_gap(row in prop::collection::vec(0..3_u8, 0..150)) {
            let cut: Vec<_> = runs(&row).collect();
            let joined: Vec<u8> =
                cut.iter().flat_map(|(id, run)| vec![*id; run.len()]).collect();
            prop_assert_eq!(&joined, &row);
            prop_assert!(cut.windows(2).all(|pair| pair[0].0 != pair[1].0));
            prop_assert!(cut.windows(2).all(|pair| pair[0].1.end == pair[1].1.start));
        }
    }

    #[test]
    fn a_long_run_is_one_run() {
        let mut row = vec![7; 1000];
        row[999] = 1;
        assert_eq!(runs(&row).collect::<Vec<_>>(), [(7, 0..999), (1, 999..1000)]);
    }

    #[test]
    fn a_run_over_three_words_sets_their_bits() {
        // Pixels 62 to 129: two bits of word 0, all of word 1, two of word 2.
        let mut mask = Mask::empty(140, 2);
        mask.set(1, 62..130);
        assert_eq!(mask.row(1), [3 << 62, u64::MAX, 3]);
        assert_eq!((mask.rows().collect::<Vec<_>>(), mask.area()), (vec![1], 68));
    }

    #[test]
    fn an_image_without_pixels_has_empty_masks() {
        let nothing = LabelImage { width: 0, height: 3, data: Vec::new() };
        assert_eq!(Mask::of_objects(&nothing, 1)[0].area(), 0);
    }
}
