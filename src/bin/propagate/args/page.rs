//! The arguments of `propagate report`, and of the page that every run writes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

pub(super) const REPORT_EXAMPLES: &str = "\
Examples:
  propagate report runs/mine --data DAVIS    report.html again, of what that run has left
  propagate report runs/mine                 without pictures; needs no dataset";

/// `--report`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Report {
    /// report.html
    Html,
    /// None
    None,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The folder of a run: results.json, clips/, predictions/
    pub(crate) run: PathBuf,
    /// The dataset of the run, for the pictures [default: DAVIS_ROOT, VIP_ROOT or JHMDB_ROOT from
    /// the environment; without it there are none]
    #[arg(long, value_name = "ROOT|sample")]
    pub(crate) data: Option<PathBuf>,
    /// The run's list of clips: val, train, or a file
    #[arg(long, default_value = "val", value_name = "val|train|FILE")]
    pub(crate) split: String,
    /// No notes: errors only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
