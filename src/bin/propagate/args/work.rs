//! How the work is done: these arguments change time and memory but (except `--affinity`) no
//! result.

use clap::Args;
use cropmae::propagation::Arithmetic;

use crate::common::numbers::whole;
use crate::common::values::value_of;

/// `--batch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchArg {
    Auto,
    Frames(usize),
}

fn parse_batch(text: &str) -> Result<BatchArg, String> {
    match text {
        "auto" => Ok(BatchArg::Auto),
        _ => whole(1..=4096)(text)
            .map(BatchArg::Frames)
            .map_err(|needed| format!("auto, or {needed}")),
    }
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct WorkArgs {
    /// Frames encoded at once: auto, or N
    ///
    /// auto is 1 on a CPU. On a GPU it is as many as fit into the free memory, up to 8, and it is
    /// halved if memory runs out; a number that you give is never changed.
    #[arg(long, default_value = "auto", value_name = "auto|N", value_parser = parse_batch)]
    pub(crate) batch: BatchArg,
    /// Clips processed at once on each device [default: 1 on a CPU, 2 on a GPU]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=64))]
    pub(crate) clips_at_once: Option<usize>,
    /// The arithmetic of the affinity's products on a GPU; published numbers are f32
    #[arg(long, value_parser = value_of::<Arithmetic>(), default_value = "f32")]
    pub(crate) affinity: Arithmetic,
}
