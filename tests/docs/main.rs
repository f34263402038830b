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

use std::path::Path;

use cropmae::data::{Clip, Need, Split, davis, jhmdb};
use sha2::{Digest, Sha256};

use stand_ins::Place;

/// The README.
pub(crate) const README: &str = include_str!("../../README.md");
/// How datasets are laid out.
pub(crate) const DATASETS: &str = include_str!("../../datasets.md");

/// The lines that the hash of the labels is made of are those that datasets.md shows.
#[test]
fn label_lines_are_as_documented() {
    let hash = |path: &Path| {
        let digest = Sha256::digest(std::fs::read(path).unwrap());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let shown = |template: &'static str| {
        assert!(DATASETS.contains(&format!("`{template}`")), "{template} is not in datasets.md");
        template
    };
    let place = Place::of_datasets("JHMDB");
    let set = jhmdb::open(&place.path("ROOT"), &Split::Val, Need::Frames).unwrap();
    let clip = &set.clips[0];
    let line = shown("<clip> <SHA-256 of joint_positions.mat>")
        .replace("<clip>", &clip.name)
        .replace("<SHA-256 of joint_positions.mat>", &hash(&clip.joints));
    assert_eq!(clip.label_line().unwrap(), line);
    let place = Place::of_datasets("DAVIS");
    let set = davis::open(&place.path("ROOT"), &Split::Val, Need::Frames).unwrap();
    let clip = &set.clips[0];
    let annotations = clip.frames.iter().filter_map(|frame| frame.annotation.as_deref());
    let line = shown("<clip> <frames> <SHA-256 of the first annotation's file>")
        .replace("<clip>", &clip.name)
        .replace("<frames>", &annotations.clone().count().to_string())
        .replace(
            "<SHA-256 of the first annotation's file>",
            &hash(annotations.clone().next().unwrap()),
        );
    assert_eq!(clip.label_line().unwrap(), line);
}

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
    assert_eq!(shown.len(), 10, "seven values and what decided them");
    for line in &shown[5..] {
        assert!(record.contains(&format!("\n- {line}\n")), "{line:?} is not in the record");
    }
}
