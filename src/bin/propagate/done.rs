//! What the outcomes of the three benchmarks have in common.

use anyhow::Result;
use cropmae::eval::vip::VipScores;
use cropmae::eval::{Outcome, Stages};
use cropmae::metric::davis::ClipScores;
use cropmae::metric::pck::JointDistances;
use cropmae::protocol::Protocol;
use cropmae::report::{self, Summary};

use crate::common::flags::flagged;

/// An outcome without its kind of scores; what it says names settings by the flags that were typed,
/// on the terminal and in files.
#[derive(Clone)]
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
            record.notes.iter().map(|note| (record.clip.clone(), flagged(note))).collect::<Vec<_>>()
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
                .map(|failure| (failure.clip.clone(), flagged(&failure.problem)))
                .collect(),
        })
    }

    /// What several settings share: clips that all have done, and all that was said of any, once.
    pub(crate) fn together(all: &[Self]) -> Self {
        let fewest = all.iter().min_by_key(|done| done.clips);
        let (clips, frames) = fewest.map_or((0, 0), |done| (done.clips, done.frames));
        let mut stages = Stages::default();
        all.iter().for_each(|done| stages += done.stages);
        let once = |said: fn(&Self) -> &Vec<(String, String)>| {
            let mut kept = Vec::new();
            for line in all.iter().flat_map(said) {
                if !kept.contains(line) {
                    kept.push(line.clone());
                }
            }
            kept
        };
        Self {
            summary: None,
            clips,
            frames,
            resumed: all.iter().map(|done| done.resumed).sum(),
            stages,
            notes: once(|done| &done.notes),
            failures: once(|done| &done.failures),
        }
    }

    /// Of DAVIS.
    pub(crate) fn davis(outcome: &Outcome<ClipScores>) -> Result<Self> {
        Self::new(outcome, |outcome| Ok(report::davis::summary(outcome)))
    }

    /// Of VIP.
    pub(crate) fn vip(outcome: &Outcome<VipScores>, protocol: &Protocol) -> Result<Self> {
        let exclude = protocol.exclude_first_frame;
        Self::new(outcome, |outcome| Ok(report::vip::summary(outcome, exclude)?))
    }

    /// Of JHMDB.
    pub(crate) fn jhmdb(outcome: &Outcome<JointDistances>) -> Result<Self> {
        Self::new(outcome, |outcome| Ok(report::jhmdb::summary(outcome)))
    }
}
