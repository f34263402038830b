//! What the documents say holds: their commands run, their links lead somewhere, their flags exist,
//! and the table that the README shows is one that was measured.

// helpers of tests are tests, which the lints only see inside #[test]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod commands;
mod extract;
mod flags;
mod links;
mod pages;
mod stand_ins;

/// The README.
pub(crate) const README: &str = include_str!("../../README.md");
/// How datasets are laid out.
pub(crate) const DATASETS: &str = include_str!("../../datasets.md");

/// The table in the README is the record's.
#[test]
fn the_table_shown_was_measured() {
    let record = include_str!("../../results/runs/sample-davis-sample.md");
    let shown = README.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
    let shown: Vec<&str> = shown.lines().map(str::trim).collect();
    let cells =
        |line: &str| line.replace('|', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let recorded: Vec<String> = record.lines().map(cells).collect();
    for line in [shown[1], shown[3]] {
        assert!(recorded.contains(&cells(line)), "{line:?} is not in the record");
    }
    assert_eq!(shown.len(), 9, "seven values and what decided them");
    for line in &shown[5..] {
        assert!(record.contains(&format!("\n- {line}\n")), "{line:?} is not in the record");
    }
}
