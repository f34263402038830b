//! The JHMDB tables: PCK at five thresholds, and each joint behind them.

use serde_json::{Map, Value, json};

use super::{Cell, Summary, Table, number};
use crate::eval::Outcome;
use crate::eval::jhmdb::pooled;
use crate::metric::pck::{JOINTS, JointDistances, PckScores};

/// Scores over all clips.
pub fn summary(outcome: &Outcome<JointDistances>) -> Summary {
    let scores = pooled(outcome.scores()).finish();
    let names: Vec<String> = scores.at.iter().map(|at| format!("PCK@{}", at.threshold)).collect();
    let mut headline = Table::new(names.clone());
    headline.push(scores.at.iter().map(|at| Cell::Score(at.mean)).collect());
    let mut items = Table::new(std::iter::once("joint".to_owned()).chain(names.clone()));
    for (joint, name) in JOINTS.iter().enumerate() {
        let row = scores.at.iter().map(|at| Cell::Score(at.per_joint[joint].unwrap_or(f64::NAN)));
        items.push(std::iter::once(Cell::from(*name)).chain(row).collect());
    }
    Summary {
        files: vec![("global_results-val.csv", headline.clone()), ("per-joint.csv", items.clone())],
        headline,
        items,
        metrics: metrics(&scores, &names),
        per_object: per_joint(&scores, &names),
        remarks: vec![format!(
            "joints predicted invisible are left out of PCK, as published: {:.1} % of all",
            100.0 * scores.left_out
        )],
    }
}

fn per_joint(scores: &PckScores, names: &[String]) -> Map<String, Value> {
    let of = |joint: usize| -> Map<String, Value> {
        let at = scores.at.iter().map(|at| json!(at.per_joint[joint]));
        names.iter().cloned().zip(at).collect()
    };
    let rows = JOINTS.iter().enumerate();
    rows.map(|(joint, name)| ((*name).to_owned(), Value::Object(of(joint)))).collect()
}

fn metrics(scores: &PckScores, names: &[String]) -> Map<String, Value> {
    let mut metrics: Map<String, Value> =
        names.iter().cloned().zip(scores.at.iter().map(|at| number(at.mean))).collect();
    let per_joint: Map<String, Value> =
        scores.at.iter().map(|at| (at.threshold.to_string(), json!(at.per_joint))).collect();
    metrics.insert("per_joint".into(), Value::Object(per_joint));
    metrics.insert("joints".into(), json!(JOINTS));
    metrics.insert("left_out".into(), number(scores.left_out));
    metrics
}
