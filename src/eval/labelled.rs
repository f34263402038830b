//! A clip's soft labels, frame after frame: what masks and joints have in common.

use std::time::Instant;

use super::input::Encoded;
use super::soft::SoftLabelWriter;
use super::stream::{self, Frames};
use super::{Setup, Stages, Staging};
use crate::error::Result;
use crate::propagation::{LabelMap, Propagation};

/// Calls `hand` with every frame's number, its encoding and its soft labels, in order. `first`
/// returns frame 0's labels and a value passed to `hand` with every frame.
///
/// # Errors
/// See [`stream::each_frame`]; `hand` fails.
pub(super) fn each_labelled<G>(
    frames: Frames<'_>,
    setup: &Setup<'_>,
    stages: &mut Stages,
    first: impl Fn(&Encoded) -> (LabelMap, G),
    mut hand: impl FnMut(usize, &Encoded, LabelMap, &G) -> Result<()>,
) -> Result<()> {
    let mut clip: Option<(Propagation, G)> = None;
    stream::each_frame(frames, setup, stages, |index, encoded, stages| {
        let start = Instant::now();
        let (soft, given) = match &mut clip {
            Some((propagation, given)) => (propagation.step(&encoded.features)?, &*given),
            None => {
                let (labels, given) = first(&encoded);
                let (settings, features) = (&setup.protocol.propagation, &encoded.features);
                let begun = Propagation::start(settings, setup.engine, features, &labels)?;
                (labels, &clip.insert((begun, given)).1)
            }
        };
        stages.propagate += start.elapsed().as_secs_f64();
        hand(index, &encoded, soft, given)
    })
}

/// Appends a frame's soft labels to the file of its clip of `frames` frames, which the first one
/// begins; `names` are what the channels stand for.
///
/// # Errors
/// The file cannot be written.
pub(super) fn save(
    writer: &mut Option<SoftLabelWriter>,
    soft: &LabelMap,
    (staging, frames): (&Staging, usize),
    names: impl FnOnce() -> Vec<String>,
) -> Result<()> {
    let writer = match writer {
        Some(writer) => writer,
        None => {
            let path = staging.soft_labels();
            writer.insert(SoftLabelWriter::create(&path, frames, soft, &names())?)
        }
    };
    writer.append(soft)
}
