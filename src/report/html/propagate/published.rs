//! Published rows, shown separately beside the measured score, each with its source.
//!
//! They hold only what the sources print. Rows of another patch size or backbone family are left
//! out, since they cannot be compared.

use maud::{Markup, html};

use super::{Evaluation, percent};
use crate::protocol::Benchmark;
use crate::report::html::page::{Tone, notice};
use crate::report::stored::Clips;
use crate::report::{RunRecord, Summary, official};

/// A row of a published table; scores in percent.
struct Published {
    method: &'static str,
    backbone: &'static str,
    /// Pre-training data and epochs.
    training: &'static str,
    /// J&F, J, F.
    davis: [Option<f64>; 3],
    /// mIoU.
    vip: [Option<f64>; 1],
    /// PCK at 0.1 and 0.2.
    jhmdb: [Option<f64>; 2],
    source: &'static str,
}

const CROPMAE: &str = "CropMAE paper (ECCV 2024, arXiv 2403.17823)";
const README: &str = "CropMAE project README";
const TOBO: &str = "ToBo paper, Table 5";

const ROWS: [Published; 14] = [
    row(
        "CropMAE",
        "ViT-S/16",
        "ImageNet subset, 400",
        [60.4, -1., -1.],
        33.3,
        [43.6, -1.],
        CROPMAE,
    ),
    row(
        "CropMAE",
        "ViT-B/16",
        "ImageNet subset, 400",
        [60.9, -1., -1.],
        32.8,
        [44.3, -1.],
        CROPMAE,
    ),
    row(
        "CropMAE, posted weights",
        "ViT-S/16",
        "ImageNet, 400",
        [60.1, -1., -1.],
        33.2,
        [43.5, -1.],
        README,
    ),
    row(
        "CropMAE",
        "ViT-S/16",
        "K400, 400",
        [58.6, 55.8, 61.4],
        33.7,
        [42.9, 71.1],
        "CropMAE project README, issue 13",
    ),
    row("SiamMAE", "ViT-S/16", "K400, 2000", [62.0, -1., -1.], 37.3, [47.0, -1.], "SiamMAE paper"),
    row("SiamMAE, re-run", "ViT-S/16", "K400, 400", [57.9, -1., -1.], 33.2, [46.1, -1.], CROPMAE),
    row("MAE", "ViT-B/16", "ImageNet, 1600", [53.5, -1., -1.], 28.1, [44.6, -1.], CROPMAE),
    row("VideoMAE", "ViT-S/16", "K400, 800", [39.3, -1., -1.], 23.3, [41.0, -1.], CROPMAE),
    row("DINO", "ViT-S/16", "K400, 400", [59.5, 56.5, 62.5], 33.4, [41.1, 70.3], TOBO),
    row("MAE", "ViT-S/16", "K400, 400", [53.5, 50.4, 56.7], 32.5, [43.0, 71.3], TOBO),
    row("RSP", "ViT-S/16", "K400, 400", [60.1, 57.4, 62.8], 33.8, [44.6, 73.4], TOBO),
    row("ToBo", "ViT-S/16", "K400, 400", [60.6, 58.4, 63.0], 34.0, [47.0, 74.8], TOBO),
    row(
        "T-CoRe",
        "ViT-S/16",
        "K400, 400",
        [64.7, -1., -1.],
        37.8,
        [47.0, -1.],
        "T-CoRe project README",
    ),
    row(
        "DINO, by its own protocol",
        "ViT-S/16",
        "ImageNet",
        [61.8, -1., -1.],
        -1.,
        [-1., -1.],
        "DINO paper; preset dino",
    ),
];

/// A row whose unknown scores are below 0.
const fn row(
    method: &'static str,
    backbone: &'static str,
    training: &'static str,
    davis: [f64; 3],
    vip: f64,
    jhmdb: [f64; 2],
    source: &'static str,
) -> Published {
    const fn known(score: f64) -> Option<f64> {
        if score < 0.0 { None } else { Some(score) }
    }
    Published {
        method,
        backbone,
        training,
        davis: [known(davis[0]), known(davis[1]), known(davis[2])],
        vip: [known(vip)],
        jhmdb: [known(jhmdb[0]), known(jhmdb[1])],
        source,
    }
}

impl Published {
    fn scores(&self, benchmark: Benchmark) -> &[Option<f64>] {
        match benchmark {
            Benchmark::Davis => &self.davis,
            Benchmark::Vip => &self.vip,
            Benchmark::Jhmdb => &self.jhmdb,
        }
    }
}

/// The scores that published tables have, by the names of the headline's columns.
fn columns(benchmark: Benchmark) -> &'static [&'static str] {
    match benchmark {
        Benchmark::Davis => &["J&F-Mean", "J-Mean", "F-Mean"],
        Benchmark::Vip => &["mIoU"],
        Benchmark::Jhmdb => &["PCK@0.1", "PCK@0.2"],
    }
}

/// Why published rows are not to be compared with this run; nothing where they are.
fn reasons(record: &RunRecord) -> Vec<String> {
    let RunRecord { protocol, dataset, .. } = record;
    let mut reasons = Vec::from_iter(official::lacking(protocol.benchmark, dataset));
    if !["cropmae", "cropmae-480x880"].contains(&&*protocol.preset) {
        let preset = &protocol.preset;
        reasons.push(format!("most were made by CropMAE's protocol or one near it (see their sources), this run by {preset}"));
    }
    if !protocol.departures.is_empty() {
        reasons.push("this run departs from its preset (see Protocol)".to_owned());
    }
    reasons
}

/// The measured row, and the published ones under it.
pub(super) fn beside(evaluation: &Evaluation) -> Markup {
    let Evaluation { record, summary, clips: of_clips } = evaluation;
    let benchmark = record.protocol.benchmark;
    let names = columns(benchmark);
    let rows = ROWS.iter().filter(|row| row.scores(benchmark).iter().any(Option::is_some));
    let caption = "This run, measured, and published rows from the sources named";
    html! {
        (caution(record, of_clips))
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { span { (caption) } }
                thead {
                    tr {
                        th scope="col" { "method" }
                        @for name in names { th.number scope="col" { (name.trim_end_matches("-Mean")) } }
                        th scope="col" { "backbone" } th scope="col" { "pre-training data, epochs" }
                        th scope="col" { "source" }
                    }
                }
                tbody {
                    (measured(record, summary, names))
                    tr.group { th colspan=(names.len() + 4) scope="rowgroup" { "Published" } }
                    @for row in rows { (self::published(row, row.scores(benchmark))) }
                }
            }
        }
    }
}

fn measured(record: &RunRecord, summary: &Summary, names: &[&str]) -> Markup {
    let score = |name: &&str| summary.metrics.get(*name).and_then(serde_json::Value::as_f64);
    let (file, arch) = match &record.weights {
        Some(weights) => (&*weights.file, weights.arch.clone() + &weights.choices()),
        None => ("predictions of another program", String::new()),
    };
    html! {
        tr.measured {
            th scope="row" { (file) }
            @for name in names { td.number { (percent(score(name).unwrap_or(f64::NAN))) } }
            td { (arch) } td {}
            td { "measured here: " (record.dataset.done) " of " (record.dataset.clips) " clips" }
        }
    }
}

fn published(row: &Published, scores: &[Option<f64>]) -> Markup {
    html! {
        tr {
            th scope="row" { (row.method) }
            @for score in scores {
                td.number { @if let Some(score) = score { (format!("{score:.1}")) } }
            }
            td { (row.backbone) } td { (row.training) }
            td { (row.source) }
        }
    }
}

/// What keeps published rows and this run apart.
fn caution(record: &RunRecord, clips: &Clips) -> Markup {
    let reasons = reasons(record);
    let (tone, first) = match reasons.is_empty() {
        true => (
            Tone::Plain,
            html! {
                "Published rows are facts from the sources named, not measured here. This run has as many \
                 clips as theirs and every value of its preset. "
            },
        ),
        false => (
            Tone::Warning,
            html! {
                b { "Not comparable with the published rows: " } (reasons.join("; ")) ". "
            },
        ),
    };
    let decoder = &record.provenance.jpeg_decoder;
    notice(
        tone,
        &html! {
            p { (first)
                @if let Clips::Davis(_) = clips {
                    "CropMAE's were scored at 480x880 on resized copies (preset cropmae-480x880), their \
                     frames decoded by libjpeg-turbo; this run's by " (decoder) "."
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_scores_are_percentages_and_add_up() {
        for row in &ROWS {
            let scores = row.davis.iter().chain(&row.vip).chain(&row.jhmdb).flatten();
            assert!(scores.clone().all(|score| (20.0..80.0).contains(score)), "{}", row.method);
            assert!(scores.count() > 0 && !row.source.is_empty());
            if let [Some(both), Some(j), Some(f)] = row.davis {
                assert!(
                    (both - (j + f) / 2.0).abs() < 0.11,
                    "{}: {both} of {j} and {f}",
                    row.method
                );
            }
        }
    }
}
