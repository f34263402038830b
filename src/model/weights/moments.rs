//! Finds the state of an optimiser in a file before its tensors are read.

use std::collections::BTreeMap;

use super::element::Stored;

/// Where the moments of one parameter lie in a file.
pub(super) struct StoredMoments {
    pub(super) mean: Stored,
    pub(super) square: Stored,
    pub(super) steps: StoredSteps,
}

/// A step count: a number of the pickle, or a tensor of one value (PyTorch 1.12 and later).
pub(super) enum StoredSteps {
    Number(u64),
    Tensor(Stored),
}

/// The state of an optimiser before its tensors are read.
pub(super) struct StoredState {
    pub(super) groups: Vec<Vec<usize>>,
    pub(super) moments: BTreeMap<usize, StoredMoments>,
}
