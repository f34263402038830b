//! The arguments of `explain`.

use std::path::PathBuf;

use clap::Args;

use super::{DataArgs, ModelArgs, RunArgs, WorkArgs};

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  propagate explain runs/mine                          what was done, in words
  propagate explain runs/mine --data DAVIS             … and its predictions scored again
  propagate explain runs/mine --data DAVIS --ablate --limit 3
                                                       how much each choice changes the score

--ablate runs the encoder again with one choice changed at a time: every value that a preset has,
every preset, the rules of resizing and of the position table, the number types. Each is a folder in
RUN/ablation like any run's; the same command again goes on where the last one stopped.";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A folder of results, as davis, vip or jhmdb write it
    #[arg(value_name = "RUN")]
    pub(crate) folder: PathBuf,
    /// Repeat the run with each setting changed alone, and write RUN/explain.md and .json
    ///
    /// Without --weights it takes the run's own encoder: a file is looked for where it lay, then by
    /// its name in the current folder, and must still be the same.
    #[arg(long)]
    pub(crate) ablate: bool,
    /// Change only these settings, by their names in the table:
    /// frame_filter,propagation.topk,preset
    #[arg(long, value_delimiter = ',', requires = "ablate", value_name = "NAME,NAME")]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Print JSON instead of text
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// No progress, no notes: the result and errors only
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}
