//! The arguments of `compare`.

use std::path::PathBuf;

use clap::Args;

use super::export::ExportArgs;
use crate::common::numbers::whole;

pub(super) const COMPARE_EXAMPLES: &str = "\
Examples:
  propagate compare runs/mine runs/dino runs/mae        differences to the first
  propagate compare runs/dino runs/mae runs/mine --baseline runs/dino --out compared
                                                        with a scatter plot of the clips
  propagate compare runs/a runs/b --export-markdown -   a table ready to paste

Exit status: 0 compared, 1 the runs cannot be compared (what differs is named).";

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Folders of results, as davis, vip, jhmdb or `score --out` write them
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// The run that the others are compared with, by folder or name [default: the first]
    #[arg(long, value_name = "RUN")]
    pub(crate) baseline: Option<PathBuf>,
    /// Compare even runs whose protocols or data differ; the tables and every file say so
    #[arg(long)]
    pub(crate) force: bool,
    /// Also show the score of every clip
    #[arg(long)]
    pub(crate) per_clip: bool,
    /// Number of bootstrap resamples for the intervals
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = whole::<usize>(100..=1_000_000))]
    pub(crate) resamples: usize,
    /// Seed of the resamples: the same seed gives the same intervals
    #[arg(long, default_value_t = 0, value_name = "SEED", value_parser = whole::<u64>(0..))]
    pub(crate) seed: u64,
    /// Write compare.md, compare.csv, compare.json, per-clip.csv and per-clip.svg here
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Print compare.json instead of the tables
    #[arg(long)]
    pub(crate) json: bool,
    /// No notes: the result and errors only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) export: ExportArgs,
}
