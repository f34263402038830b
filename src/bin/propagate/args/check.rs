//! The arguments of `check`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cropmae::model::source::Source;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(subcommand)]
    pub(crate) what: CheckWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckWhat {
    /// A DAVIS folder
    Davis(CheckDataArgs),
    /// A VIP folder
    Vip(CheckDataArgs),
    /// A JHMDB folder
    Jhmdb(CheckDataArgs),
    /// A checkpoint: family, architecture, keys found, missing and extra
    Weights {
        /// The checkpoint, or another encoder that --weights takes: `sample`, `random:ARCH@SEED`,
        /// `pixels`, `features:DIR`
        #[arg(value_name = "FILE|sample|random:ARCH@SEED|pixels|features:DIR")]
        weights: Source,
        /// Which entry of a .pth holds the encoder
        #[arg(long, value_name = "KEY")]
        checkpoint_key: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CheckDataArgs {
    /// The dataset's folder, as released (see datasets.md), or `sample` for rendered clips
    /// [default: DAVIS_ROOT, VIP_ROOT or JHMDB_ROOT from the environment]
    #[arg(long, value_name = "ROOT|sample")]
    pub(crate) data: Option<PathBuf>,
    /// Which clips: val (JHMDB: test split 1), train, or a file with one clip name a line
    #[arg(long, default_value = "val", value_name = "val|train|FILE")]
    pub(crate) split: String,
    /// Decode every frame, instead of reading its header
    #[arg(long)]
    pub(crate) deep: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
