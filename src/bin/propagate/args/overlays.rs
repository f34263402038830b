//! The arguments of overlays: those of an evaluation, and of `propagate overlays` for a finished
//! run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::DataArgs;
use crate::common::numbers::whole;

pub(super) const OVERLAYS_EXAMPLES: &str = "\
Examples:
  propagate overlays runs/mine --data DAVIS                           a contact sheet of each clip
  propagate overlays runs/mine --data DAVIS --overlays mp4 --overlay-errors
  propagate overlays runs/mine --data DAVIS --figure figure.png --sequences cows,dogs-jump
Sheets and films that are newer than what they show are left as they are.";

/// What is drawn of each clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A contact sheet: eight frames, evenly spaced
    Png,
    /// A film of all frames, made with the program ffmpeg; without it, a GIF
    Mp4,
    /// A film of all frames
    Gif,
    /// Nothing
    None,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OverlayArgs {
    /// Draw each clip's predictions over its frames, as OUT/overlays/<clip>.png, .mp4 or .gif
    #[arg(long, value_enum, default_value_t = Kind::Png, value_name = "png|mp4|gif|none", hide_possible_values = true)]
    pub(crate) overlays: Kind,
    /// Mark errors in overlays: missed pixels in yellow, wrongly labelled ones in blue; from each
    /// joint a line to its true position
    #[arg(long)]
    pub(crate) overlay_errors: bool,
    /// Draw the truth into overlays, as white lines [JHMDB: always]
    #[arg(long)]
    pub(crate) overlay_truth: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OverlaysArgs {
    /// The folder of a run of davis, vip or jhmdb
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) overlay: OverlayArgs,
    /// Draw one figure instead: a row for each clip, its given labels and frames, white between
    /// them
    #[arg(long, value_name = "FILE.png", help_heading = "Figure")]
    pub(crate) figure: Option<PathBuf>,
    /// Frames per row of the figure, including the given one
    #[arg(long, value_name = "N", default_value_t = 5, requires = "figure", value_parser = whole::<u16>(1..=64), help_heading = "Figure")]
    pub(crate) frames: u16,
    /// Width of each frame in pixels [up to 360 in sheets, 480 in GIFs and figures, all in films]
    #[arg(long, value_name = "W", value_parser = whole::<u16>(32..=8192))]
    pub(crate) width: Option<u16>,
    /// No notes: errors only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
