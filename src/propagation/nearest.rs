//! The k nearest keys of one query, updated as tiles of scores arrive.
//!
//! Keys have a multiplicity (copies of frame 0), which counts towards k without being stored more
//! than once. The list stays sorted, best first; a later key never displaces one of equal score, so
//! the result does not depend on the tiling.

/// A key that made it among the k nearest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    /// Its cosine with the query.
    pub(super) score: f32,
    /// Which context frame it belongs to.
    pub(super) source: u32,
    /// Its cell in that frame.
    pub(super) cell: u32,
    /// How often it counts.
    pub(super) copies: u32,
}

/// Places made beforehand: every published k fits, and one of a million costs nothing before there
/// are so many keys.
const USUAL: usize = 32;

/// The running list.
#[derive(Debug, Clone)]
pub(super) struct Nearest {
    topk: usize,
    keep_ties: bool,
    kept: Vec<Candidate>,
    /// Sum of the copies in `kept`.
    count: usize,
    /// A key has to score above this to matter: at least this where ties are kept.
    bar: f32,
}

impl Nearest {
    pub(super) fn new(topk: usize, keep_ties: bool) -> Self {
        Self {
            topk,
            keep_ties,
            kept: Vec::with_capacity(topk.min(USUAL) + 1),
            count: 0,
            bar: f32::NEG_INFINITY,
        }
    }

    /// What a key must score to be worth offering: more than this, or as much where ties are kept.
    pub(super) fn bar(&self) -> f32 {
        self.bar
    }

    /// Takes in a key. Those of one score must come in the order in which they are to be preferred.
    pub(super) fn offer(&mut self, key: Candidate) {
        let worthy = if self.keep_ties { key.score >= self.bar } else { key.score > self.bar };
        if !worthy {
            return;
        }
        let place = self.kept.partition_point(|other| other.score >= key.score);
        self.kept.insert(place, key);
        self.count += key.copies as usize;
        while let Some(surplus) = self.surplus() {
            let keep = self.kept.len() - surplus;
            self.count -= self.kept[keep..].iter().map(|n| n.copies as usize).sum::<usize>();
            self.kept.truncate(keep);
        }
        if self.count >= self.topk {
            self.bar = self.kept.last().map_or(f32::NEG_INFINITY, |last| last.score);
        }
    }

    /// How many entries at the end are not needed to make up k: one, or where ties are kept all
    /// those that score like the last.
    fn surplus(&self) -> Option<usize> {
        let last = self.kept.last()?;
        let entries = match self.keep_ties {
            true => self.kept.iter().rev().take_while(|n| n.score == last.score).count(),
            false => 1,
        };
        let tail = &self.kept[self.kept.len() - entries..];
        let copies: usize = tail.iter().map(|n| n.copies as usize).sum();
        (self.count - copies >= self.topk).then_some(entries)
    }

    /// Softmax weights over the k: neighbours with a weight that sums over their copies.
    pub(super) fn weights(&self, temperature: f32) -> impl Iterator<Item = (Candidate, f32)> + '_ {
        let best = self.kept.first().map_or(0.0, |first| first.score / temperature);
        let mut room = if self.keep_ties { usize::MAX } else { self.topk };
        let mut weigh = move |neighbor: &Candidate| {
            let copies = room.min(neighbor.copies as usize);
            room -= copies;
            copies as f32 * (neighbor.score / temperature - best).exp()
        };
        let total: f32 = self.kept.iter().map(&mut weigh.clone()).sum();
        self.kept.iter().map(move |neighbor| (*neighbor, weigh(neighbor) / total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers consecutive cells from `cell` on.
    fn scan(nearest: &mut Nearest, scores: &[f32], source: u32, cell: u32, copies: u32) {
        for (cell, &score) in (cell..).zip(scores) {
            nearest.offer(Candidate { score, source, cell, copies });
        }
    }

    fn kept(nearest: &Nearest) -> Vec<(u32, f32)> {
        nearest.weights(1.0).map(|(n, weight)| (n.cell, weight)).collect()
    }

    #[test]
    fn copies_take_places() {
        // k = 3: cell 0 scores 2 and stands there twice, cell 1 scores 1 and stands there twice.
        // The three best are 2, 2, 1: weights e^0, e^0, e^-1.
        let mut nearest = Nearest::new(3, false);
        scan(&mut nearest, &[2.0, 1.0, 0.5], 0, 0, 2);
        let total = 2.0 + (-1.0_f32).exp();
        assert_eq!(kept(&nearest), [(0, 2.0 / total), (1, (-1.0_f32).exp() / total)]);
    }

    #[test]
    fn ties_at_the_last_place() {
        let scores = [1.0, 3.0, 1.0, 1.0, 0.0];
        let mut first = Nearest::new(2, false);
        scan(&mut first, &scores, 0, 10, 1);
        assert_eq!(kept(&first).iter().map(|k| k.0).collect::<Vec<_>>(), [11, 10]);
        let mut all = Nearest::new(2, true);
        scan(&mut all, &scores, 0, 10, 1);
        assert_eq!(kept(&all).iter().map(|k| k.0).collect::<Vec<_>>(), [11, 10, 12, 13]);
        // A better key pushes all the tied ones out at once.
        scan(&mut all, &[2.0], 1, 0, 1);
        assert_eq!(kept(&all).iter().map(|k| k.0).collect::<Vec<_>>(), [11, 0]);
    }

    #[test]
    fn fewer_keys_than_k_are_all_kept() {
        let mut nearest = Nearest::new(7, false);
        scan(&mut nearest, &[0.5, 0.5], 0, 0, 1);
        assert_eq!(kept(&nearest), [(0, 0.5), (1, 0.5)]);
    }

    proptest::proptest! {
        /// The running list equals sorting everything, however the scores are cut into pieces.
        #[test]
        fn equals_a_full_sort(
            scores in proptest::collection::vec(0_u8..40, 1..200),
            cut in 1_usize..60,
            topk in 1_usize..12,
            keep_ties: bool,
        ) {
            let scores: Vec<f32> = scores.into_iter().map(|s| f32::from(s) / 8.0).collect();
            let mut nearest = Nearest::new(topk, keep_ties);
            for (part, piece) in scores.chunks(cut).enumerate() {
                scan(&mut nearest, piece, 0, (part * cut) as u32, 1);
            }
            let mut sorted: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1)); // stable: earlier cells first
            let last = sorted[topk.min(sorted.len()) - 1].1;
            let want: Vec<u32> = sorted
                .iter()
                .enumerate()
                .filter(|(rank, (_, score))| if keep_ties { *score >= last } else { *rank < topk })
                .map(|(_, (cell, _))| *cell as u32)
                .collect();
            let got: Vec<u32> = kept(&nearest).iter().map(|k| k.0).collect();
            proptest::prop_assert_eq!(got, want);
        }
    }
}
