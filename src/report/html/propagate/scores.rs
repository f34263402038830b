//! The table of all clips with their scores, and their order from best to worst.

use super::Evaluation;
use crate::eval::Record;
use crate::eval::vip::pooled;
use crate::metric::davis::{ClipScores, global};
use crate::report::stored::Clips;
use crate::report::{Cell, Table};

/// The score that clips are ranked by.
pub(super) fn name(clips: &Clips) -> &'static str {
    match clips {
        Clips::Davis(_) => "J&F",
        Clips::Vip(_) => "mIoU",
        Clips::Jhmdb(_) => "PCK@0.1",
    }
}

/// What the pictures of a clip show.
pub(super) fn legend(clips: &Clips) -> &'static str {
    match clips {
        Clips::Davis(_) => {
            "Predicted masks in the colours of their ids; white contours are the true ones."
        }
        Clips::Vip(_) => {
            "Predicted parts in the colours of their classes; white contours are the true ones."
        }
        Clips::Jhmdb(_) => "Predicted joints in colour, the true ones in white.",
    }
}

/// How the scores of single clips come about.
pub(super) fn means(clips: &Clips) -> &'static str {
    match clips {
        Clips::Davis(_) => {
            "A clip's scores are means over its objects. The headline is the mean over all objects, \
             so that clips with more objects weigh more in it."
        }
        Clips::Vip(_) => {
            "A clip's mIoU is the mean over the classes that occur in it. The headline pools the \
             pixels of all clips first, so it is not the mean of these."
        }
        Clips::Jhmdb(_) => {
            "A clip's PCK is the mean over its joints. The headline pools the frames of all clips \
             joint by joint first, so it is not quite the mean of these."
        }
    }
}

/// Whether VIP's given first frames are left out of scores.
pub(super) fn excludes_first_frame(evaluation: &Evaluation) -> bool {
    evaluation.record.protocol.values["exclude_first_frame"] == true
}

/// A row for every clip.
pub(super) fn table(evaluation: &Evaluation) -> Table {
    let exclude = excludes_first_frame(evaluation);
    match &evaluation.clips {
        Clips::Davis(records) => {
            let names = ["clip", "frames", "J&F", "J", "F", "J-Decay", "F-Decay", "objects"];
            rows(&names, records, |scores| {
                let of = global([scores]);
                let scores_of = [of.j_and_f_mean, of.j_mean, of.f_mean, of.j_decay, of.f_decay];
                let mut cells = scores_of.map(Cell::Score).to_vec();
                cells.push(Cell::Count(scores.objects.len() as u64));
                cells
            })
        }
        Clips::Vip(records) => {
            let names = ["clip", "frames", "mIoU", "mean accuracy", "overall accuracy", "classes"];
            rows(&names, records, |scores| {
                let Ok(of) = pooled([scores], exclude).map(|matrix| matrix.finish()) else {
                    return Vec::new();
                };
                let shares = [of.mean_iou, of.mean_accuracy, of.overall_accuracy];
                let mut cells = shares.map(Cell::Score).to_vec();
                cells.push(Cell::Count(of.iou.iter().flatten().count() as u64));
                cells
            })
        }
        Clips::Jhmdb(records) => {
            let names = [
                "clip", "frames", "PCK@0.1", "PCK@0.2", "PCK@0.3", "PCK@0.4", "PCK@0.5", "left out",
            ];
            rows(&names, records, |scores| {
                let of = scores.finish();
                let shares = of.at.iter().map(|at| at.mean).chain([of.left_out]);
                shares.map(Cell::Score).collect()
            })
        }
    }
}

/// Clip, frames, scores, seconds.
fn rows<S>(names: &[&str], records: &[Record<S>], cells: impl Fn(&S) -> Vec<Cell>) -> Table {
    let mut table = Table::new(names.iter().copied().chain(["seconds"]));
    for record in records {
        let stages = &record.stages;
        let seconds =
            stages.encode + stages.propagate + stages.read_out + stages.write + stages.score;
        let mut row = vec![record.clip.as_str().into(), Cell::Count(record.frames as u64)];
        row.extend(record.scores.as_ref().map(&cells).unwrap_or_default());
        row.resize(names.len(), Cell::Score(f64::NAN));
        row.push(format!("{seconds:.1}").into());
        table.push(row);
    }
    table
}

/// The clips that have a score, best first; the names decide among equals.
pub(super) fn ranked(evaluation: &Evaluation) -> Vec<(String, f64)> {
    let exclude = excludes_first_frame(evaluation);
    let mut ranked = match &evaluation.clips {
        Clips::Davis(records) => {
            scored(records, |scores: &ClipScores| global([scores]).j_and_f_mean)
        }
        Clips::Vip(records) => scored(records, |scores| {
            pooled([scores], exclude).map_or(f64::NAN, |matrix| matrix.finish().mean_iou)
        }),
        Clips::Jhmdb(records) => scored(records, |scores| scores.at(0.1).mean),
    };
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    ranked
}

fn scored<S>(records: &[Record<S>], score: impl Fn(&S) -> f64) -> Vec<(String, f64)> {
    let scored = records.iter().filter_map(|record| {
        let score = score(record.scores.as_ref()?);
        (!score.is_nan()).then(|| (record.clip.clone(), score))
    });
    scored.collect()
}
