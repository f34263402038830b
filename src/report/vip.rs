//! The VIP tables: mIoU, and each class behind it.

use serde_json::{Map, Value, json};

use super::{Cell, Summary, Table, number};
use crate::eval::Outcome;
use crate::eval::vip::{VipScores, pooled};
use crate::metric::ScoreError;
use crate::metric::miou::{SemanticScores, VIP_CLASSES};

/// Scores over all frames of all videos.
///
/// # Errors
/// The stored matrices are not of VIP's classes.
pub fn summary(
    outcome: &Outcome<VipScores>,
    exclude_first_frame: bool,
) -> Result<Summary, ScoreError> {
    let of = |exclude| pooled(outcome.scores(), exclude).map(|matrix| matrix.finish());
    let (with, without) = (of(false)?, of(true)?);
    let scores = if exclude_first_frame { &without } else { &with };
    let mut headline =
        Table::new(["mIoU", "mean accuracy", "overall accuracy", "frequency-weighted IoU"]);
    headline.push(
        [
            scores.mean_iou,
            scores.mean_accuracy,
            scores.overall_accuracy,
            scores.frequency_weighted_iou,
        ]
        .map(Cell::Score)
        .to_vec(),
    );
    let mut items = Table::new(["class", "IoU", "accuracy"]);
    let unknown = |value: Option<f64>| Cell::Score(value.unwrap_or(f64::NAN));
    for ((name, iou), accuracy) in VIP_CLASSES.iter().zip(&scores.iou).zip(&scores.accuracy) {
        items.push(vec![Cell::from(*name), unknown(*iou), unknown(*accuracy)]);
    }
    let percent = |score: f64| format!("{:.1}", 100.0 * score);
    Ok(Summary {
        files: vec![("global_results-val.csv", headline.clone()), ("per-class.csv", items.clone())],
        headline,
        items,
        metrics: metrics(scores, &with, &without),
        per_object: per_class(scores),
        remarks: vec![format!(
            "mIoU is {} with the given first frames counted (as published) and {} without them",
            percent(with.mean_iou),
            percent(without.mean_iou)
        )],
    })
}

fn per_class(scores: &SemanticScores) -> Map<String, Value> {
    let rows = VIP_CLASSES.iter().zip(&scores.iou).zip(&scores.accuracy);
    rows.map(|((name, iou), accuracy)| {
        ((*name).to_owned(), json!({ "IoU": iou, "accuracy": accuracy }))
    })
    .collect()
}

fn metrics(
    scores: &SemanticScores,
    with: &SemanticScores,
    without: &SemanticScores,
) -> Map<String, Value> {
    let metrics = json!({
        "mIoU": number(scores.mean_iou),
        "mean_accuracy": number(scores.mean_accuracy),
        "overall_accuracy": number(scores.overall_accuracy),
        "frequency_weighted_IoU": number(scores.frequency_weighted_iou),
        "per_class_IoU": scores.iou,
        "per_class_accuracy": scores.accuracy,
        "classes": VIP_CLASSES,
        "mIoU_with_first_frame": number(with.mean_iou),
        "mIoU_without_first_frame": number(without.mean_iou),
    });
    match metrics {
        Value::Object(metrics) => metrics,
        _ => Map::new(),
    }
}
