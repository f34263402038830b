//! Decides after which epochs a measurement is due.

/// After which epochs something is due: the last one always.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    /// Every so many epochs; 0: at the ends only.
    pub(crate) every: u64,
    /// After the first one too.
    pub(crate) first: bool,
    /// How many epochs the run has.
    pub(crate) last: u64,
}

impl Due {
    /// Whether it is due when so many epochs are done.
    pub(crate) fn after(self, epochs: u64) -> bool {
        let regular = self.every > 0 && epochs.is_multiple_of(self.every);
        regular || epochs == self.last || self.first && epochs == 1
    }
}

#[cfg(test)]
mod tests {
    use super::Due;

    #[test]
    fn ends_and_multiples() {
        let epochs = |every, first| {
            let due = Due { every, first, last: 7 };
            (1..=7).filter(|epochs| due.after(*epochs)).collect::<Vec<u64>>()
        };
        assert_eq!(epochs(3, false), [3, 6, 7]);
        assert_eq!(epochs(3, true), [1, 3, 6, 7]);
        assert_eq!(epochs(0, false), [7]);
        assert_eq!(epochs(0, true), [1, 7]);
        assert_eq!(epochs(1, false).len(), 7);
    }
}
