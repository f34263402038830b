//! Rotary positions: turning the queries and keys of patches (DINOv3).

use super::attention::Sequences;

/// What patches are turned by, for sequences whose first tokens are no patches.
#[derive(Clone, Copy)]
pub(super) struct Turns<'a> {
    /// [patches, head width]: cosines, then sines; see [`crate::model::pos_embed::turns`].
    pub(super) values: &'a [f32],
    pub(super) sizes: Sequences,
}

impl Turns<'_> {
    /// Turns the queries and keys in some rows of `qkv` [n, 3·D], the first of which is row `first`
    /// of the batch.
    pub(super) fn apply(self, first: usize, qkv: &mut [f32]) {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || self.turn(first, qkv),
        );
    }

    #[inline(always)]
    fn turn(self, first: usize, qkv: &mut [f32]) {
        let Sequences { tokens, heads, head_width, .. } = self.sizes;
        let width = heads * head_width;
        let before = tokens - self.values.len() / head_width;
        for (row, qkv) in qkv.chunks_exact_mut(3 * width).enumerate() {
            let Some(patch) = ((first + row) % tokens).checked_sub(before) else { continue };
            let turns = &self.values[patch * head_width..][..head_width];
            let (cosines, sines) = turns.split_at(head_width / 2);
            for head in qkv[..2 * width].chunks_exact_mut(head_width) {
                let (ones, others) = head.split_at_mut(head_width / 2);
                let pairs = ones.iter_mut().zip(others);
                for ((one, other), (cosine, sine)) in pairs.zip(cosines.iter().zip(sines)) {
                    let (x, y) = (*one, *other);
                    *one = x * cosine - y * sine;
                    *other = y * cosine + x * sine;
                }
            }
        }
    }
}
