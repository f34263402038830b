//! Time and place of a run: seconds by stage, memory, versions and hashes.

use maud::{Markup, html};

use super::percent;
use crate::report::html::page::{copied, facts};
use crate::report::html::table::{Look, table};
use crate::report::record::words;
use crate::report::{Cell, RunRecord, Table};
use crate::wording::counted;

/// The stages with their seconds, in the order of a frame's way.
fn stages(record: &RunRecord) -> [(&'static str, f64); 6] {
    let seconds = &record.provenance.seconds;
    [
        ("decode and resize", seconds.decode),
        ("encoder", seconds.encode),
        ("affinity and propagation", seconds.propagate),
        ("read-out", seconds.read_out),
        ("write", seconds.write),
        ("score", seconds.score),
    ]
}

/// Seconds by stage as a bar and a table, frames a second, memory.
pub(super) fn time(record: &RunRecord) -> Markup {
    let by = &record.provenance;
    let frames = record.dataset.frames as f64;
    let whole: f64 = stages(record).iter().map(|(_, seconds)| seconds).sum();
    let rate = |seconds: f64| match seconds > 0.0 {
        true => format!("{:.1}", frames / seconds),
        false => String::new(),
    };
    let mut rows = Table::new(["stage", "seconds", "share", "frames/s"]);
    for (stage, seconds) in stages(record) {
        let share = Cell::Score(seconds / whole);
        rows.push(vec![stage.into(), format!("{seconds:.2}").into(), share, rate(seconds).into()]);
    }
    let memory = by.peak_memory_bytes.map(|bytes| format!("{:.0} MiB", bytes as f64 / 1048576.0));
    let seconds = by.wall_seconds;
    let wall = match by.resumed {
        0 => format!("{seconds:.1} s from start to table, {} frames/s", rate(seconds)),
        some => format!(
            "{seconds:.1} s of the last run; earlier runs had done {some} of {}",
            counted(record.dataset.done, "clip")
        ),
    };
    let mut lines = vec![("Whole run".to_owned(), html! { (wall) })];
    lines.extend(memory.map(|memory| ("Peak memory".to_owned(), html! { (memory) })));
    html! {
        (facts(&lines))
        div.parts role="img" aria-label=(in_words(record, whole)) {
            @for (index, (stage, seconds)) in stages(record).iter().enumerate() {
                @if *seconds > 0.0 {
                    span.{ "s" (index) } title=(stage)
                        style={ "--share:" (format!("{:.4}", seconds / whole)) } {}
                }
            }
        }
        ul.legend {
            @for (index, (stage, seconds)) in stages(record).iter().enumerate() {
                li { span.key.{ "s" (index) } {} (stage) " " b { (percent(seconds / whole)) " %" } }
            }
        }
        (table("Seconds spent in each stage, over all clips; stages overlap, so they need not add up to \
                the whole run", &rows, Look { sorted: true, bar: Some(2) }))
    }
}

fn in_words(record: &RunRecord, whole: f64) -> String {
    let parts =
        stages(record).map(|(stage, seconds)| format!("{stage} {} %", percent(seconds / whole)));
    format!("Shares of the time: {}", parts.join(", "))
}

/// Weights, data, program, machine, command.
pub(super) fn provenance(record: &RunRecord) -> Markup {
    let RunRecord { weights, dataset, provenance: by, protocol, .. } = record;
    let mut rows: Vec<(String, Markup)> = Vec::new();
    let mut row = |name: &str, value: Markup| rows.push((name.to_owned(), value));
    if let Some(weights) = weights {
        row("Weights", html! { (weights.file) });
        row("SHA-256 of the weights", html! { span.digest { (weights.sha256) } });
        row(
            "Encoder",
            html! {
                (weights.arch) ", " (weights.family) "; features of block " (weights.layer)
                @if weights.chosen.iter().any(|it| it.starts_with("heads ")) {
                    "; " (weights.heads.unwrap_or_default()) " heads, as given"
                }
                @for note in &weights.notes { "; " (note) }
                @if let Some(rule) = weights.positions {
                    "; positions resampled by the rule " (words(&serde_json::json!(rule)))
                }
                @if let Some(dictionary) = &weights.dictionary {
                    "; taken from the dict " code { (dictionary) }
                }
            },
        );
    }
    row(
        "Data",
        html! { (dataset.name) ", " (dataset.split) ": " (dataset.done) " of " (dataset.clips)
        " clips, " (dataset.frames) " frames" },
    );
    if let Some(labels) = &dataset.labels_sha256 {
        row("SHA-256 of the labels", html! { span.digest { (labels) } });
    }
    row("Protocol", html! { (protocol.preset) " v" (protocol.version) ", hash " (protocol.hash) });
    row("Program", html! { "cropmae " (by.version) ", commit " (by.git_commit) });
    row(
        "Device",
        html! { (by.device) ", " (by.threads) " threads"
        @if let Some(dtype) = &by.dtype { ", " (dtype) }
        @if let Some(affinity) = &by.affinity { ", affinity in " (affinity) } },
    );
    row("JPEG decoder", html! { (by.jpeg_decoder) });
    html! {
        (facts(&rows))
        p.quiet { "The command:" }
        (copied("command", &by.command))
    }
}
