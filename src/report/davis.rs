//! The DAVIS tables, with the official evaluator's names.

use serde_json::{Map, json};

use super::{Cell, Summary, Table, number};
use crate::eval::Outcome;
use crate::metric::davis::{ClipScores, global};
use crate::metric::stats::Statistics;

/// Scores over all objects, and of each.
pub fn summary(outcome: &Outcome<ClipScores>) -> Summary {
    let scores = global(outcome.scores());
    let named = scores.named();
    let mut headline = Table::new(named.map(|(name, _)| name)).with_decimals(3);
    headline.push(named.map(|(_, score)| Cell::Score(score)).to_vec());
    let mut sequences = Table::new(["Sequence", "J-Mean", "F-Mean"]).with_decimals(3);
    let mut items = Table::new([
        "object", "J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay",
    ]);
    let mut per_object = Map::new();
    for (name, j, f) in objects(outcome) {
        let score = |value| Cell::Score(value);
        sequences.push(vec![name.clone().into(), score(j.mean), score(f.mean)]);
        let mut row = vec![Cell::from(name.clone()), score((j.mean + f.mean) / 2.0)];
        row.extend([j.mean, j.recall, j.decay, f.mean, f.recall, f.decay].map(score));
        items.push(row);
        per_object.insert(
            name,
            json!({
                "J&F-Mean": number((j.mean + f.mean) / 2.0),
                "J-Mean": number(j.mean), "J-Recall": number(j.recall), "J-Decay": number(j.decay),
                "F-Mean": number(f.mean), "F-Recall": number(f.recall), "F-Decay": number(f.decay),
            }),
        );
    }
    Summary {
        files: vec![
            ("global_results-val.csv", headline.clone()),
            ("per-sequence_results-val.csv", sequences),
        ],
        headline,
        items,
        metrics: named.map(|(name, score)| (name.to_owned(), number(score))).into_iter().collect(),
        per_object,
        remarks: Vec::new(),
    }
}

/// Every object as the official tables call it, `<sequence>_<id>`.
fn objects(outcome: &Outcome<ClipScores>) -> Vec<(String, Statistics, Statistics)> {
    let mut objects = Vec::new();
    for record in &outcome.records {
        let statistics = record.scores.iter().flat_map(ClipScores::statistics);
        for (index, of) in statistics.enumerate() {
            objects.push((format!("{}_{}", record.clip, index + 1), of.j, of.f));
        }
    }
    objects
}
