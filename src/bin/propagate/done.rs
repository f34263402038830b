//! What the outcomes of the three benchmarks have in common.

use anyhow::Result;
use cropmae::eval::{Outcome, Stages};
use cropmae::report::Summary;

/// An outcome without its kind of scores.
pub(crate) struct Done {
    /// None where nothing was scored.
    pub(crate) summary: Option<Summary>,
    pub(crate) clips: usize,
    pub(crate) frames: usize,
    /// How many of the clips earlier runs had done.
    pub(crate) resumed: usize,
    pub(crate) stages: Stages,
    /// What is to be known about clips: (clip, note).
    pub(crate) notes: Vec<(String, String)>,
    /// Clips that could not be done: (clip, why).
    pub(crate) failures: Vec<(String, String)>,
}

impl Done {
    /// `summarize` is asked only where there are scores.
    pub(crate) fn new<S>(
        outcome: &Outcome<S>,
        summarize: impl FnOnce(&Outcome<S>) -> Result<Summary>,
    ) -> Result<Self> {
        let scored = outcome.scores().next().is_some();
        let of_record = |record: &cropmae::eval::Record<S>| {
            record.notes.iter().map(|note| (record.clip.clone(), note.clone())).collect::<Vec<_>>()
        };
        Ok(Self {
            summary: scored.then(|| summarize(outcome)).transpose()?,
            clips: outcome.records.len(),
            frames: outcome.frames(),
            resumed: outcome.resumed,
            stages: outcome.stages(),
            notes: outcome.records.iter().flat_map(of_record).collect(),
            failures: outcome
                .failures
                .iter()
                .map(|failure| (failure.clip.clone(), failure.problem.clone()))
                .collect(),
        })
    }
}
