//! The arguments of `propagate trace`.

use std::path::PathBuf;

use clap::Args;
use cropmae::protocol::Benchmark;

use super::{ModelArgs, ProtocolArgs, RunArgs, benchmark_name};
use crate::common::numbers::whole;

/// In a line that fits a terminal.
pub(super) const TRACE_USAGE: &str =
    "propagate trace BENCHMARK --sequence NAME --frame T --point X,Y --out FILE.png [OPTIONS]";

pub(super) const TRACE_EXAMPLES: &str = "\
Examples:
  propagate trace davis --data sample --sequence sample-01 --frame 10 --point 420,240 --out t.png
  propagate trace davis --data DAVIS --weights w.pth --preset dino \\
      --sequence cows --frame 40 --point 310,220 --out trace.png
  propagate trace jhmdb --data JHMDB --weights w.pth \\
      --sequence wave/CLIP --frame 9 --point 150,80 --out trace.png --json
Protocol and encoder are set as for davis, vip and jhmdb.";

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The benchmark
    #[arg(value_parser = benchmark_name())]
    pub(crate) benchmark: Benchmark,
    /// The dataset's folder, as released (see datasets.md), or `sample` for rendered clips
    /// [default: DAVIS_ROOT, VIP_ROOT or JHMDB_ROOT from the environment]
    #[arg(long, value_name = "ROOT|sample", help_heading = "Query")]
    pub(crate) data: Option<PathBuf>,
    /// Which clips: val (JHMDB: test split 1), train, or a file with one clip name a line
    #[arg(long, default_value = "val", value_name = "val|train|FILE", help_heading = "Query")]
    pub(crate) split: String,
    /// The clip, by name
    #[arg(long, value_name = "NAME", help_heading = "Query")]
    pub(crate) sequence: String,
    /// The frame, counted from 0; the clip is propagated up to it
    #[arg(long, value_name = "T", value_parser = whole::<usize>(0..), help_heading = "Query")]
    pub(crate) frame: usize,
    /// A pixel of the frame as released, counted from 0: the patch that holds it is traced
    #[arg(long, value_name = "X,Y", value_parser = parse_point, allow_hyphen_values = true, help_heading = "Query")]
    pub(crate) point: (usize, usize),
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) protocol: ProtocolArgs,
    /// The picture to write: the query, and each context frame that holds neighbours
    #[arg(long, value_name = "FILE.png", help_heading = "Output")]
    pub(crate) out: PathBuf,
    /// Width of each frame in it, in pixels
    #[arg(long, value_name = "W", default_value_t = 480, value_parser = whole::<u16>(64..=4096), help_heading = "Output")]
    pub(crate) width: u16,
    /// Print JSON instead of the table
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
    /// No notes: the result and errors only
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

fn parse_point(text: &str) -> Result<(usize, usize), String> {
    let point = text.split_once(',').and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
    point.ok_or_else(|| {
        format!(
            "{text:?} is not a pixel; write X,Y, whole numbers counted from 0, for example 310,220"
        )
    })
}
