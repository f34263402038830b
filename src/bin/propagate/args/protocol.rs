//! The arguments that decide the scores: a preset, and changes to it.

use clap::Args;
use cropmae::image::resize::FrameFilter;
use cropmae::propagation::Shape;
use cropmae::protocol::{Preset, ScoreSize, Size};

use super::Axis;
use crate::common::numbers::{number, whole};
use crate::common::values::value_of;

/// The most of what is counted here: more cannot be meant.
const MOST: u64 = 1_000_000;

/// What a sweep can change: the features stay what they are.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct AffinityArgs {
    /// Neighbours kept per patch [cropmae, rsp: 7, VIP 10; crw: 10; dino, dinov3: 5]
    #[arg(long, alias = "knn-k", value_name = "K", value_parser = whole::<usize>(1..=MOST))]
    pub(crate) topk: Option<usize>,
    /// Extent of the neighbourhood in patches [cropmae: 20; rsp: 30; crw, dino, dinov3: 12]
    #[arg(long, aliases = ["size-mask-neighborhood", "size_mask_neighborhood"], value_name = "R", value_parser = number, allow_negative_numbers = true)]
    pub(crate) radius: Option<f64>,
    /// Outline of the neighbourhood [cropmae, crw: circle; dino, rsp: square; dinov3:
    /// circle-inclusive]
    #[arg(long, value_parser = value_of::<Shape>(), value_name = "SHAPE")]
    pub(crate) neighborhood: Option<Shape>,
    /// Divisor of the cosines before the softmax [cropmae: 0.7; crw: 0.05; dino, rsp: 0.1; dinov3:
    /// 0.2]
    #[arg(long, value_name = "T", value_parser = number, allow_negative_numbers = true)]
    pub(crate) temperature: Option<f64>,
    /// Recent frames in the context, beside frame 0 [cropmae, crw: 20; rsp: 30; dino, dinov3: 7]
    #[arg(long, aliases = ["video-len", "videoLen", "n-last-frames", "n_last_frames"], value_name = "L", value_parser = whole::<usize>(0..=MOST))]
    pub(crate) queue: Option<usize>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Protocol")]
pub(crate) struct PropagationArgs {
    #[command(flatten)]
    pub(crate) protocol: ProtocolArgs,
    /// Every combination of these values, in one table with the best marked
    ///
    /// NAME is topk, radius, neighborhood, temperature or queue, as the flags above. Each clip is
    /// encoded once, and each combination keeps a folder of results of its own.
    #[arg(long, num_args = 1.., value_name = "NAME=V,V", conflicts_with_all = ["per_item", "predict_only"])]
    pub(crate) sweep: Vec<Axis>,
}

/// What decides the numbers.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Protocol")]
pub(crate) struct ProtocolArgs {
    /// The published protocol; values below that differ from it are reported as departures. vip
    /// and jhmdb have cropmae alone
    #[arg(long, value_parser = value_of::<Preset>(), default_value = "cropmae")]
    pub(crate) preset: Preset,
    #[command(flatten)]
    pub(crate) affinity: AffinityArgs,
    /// The encoder's input size [cropmae: DAVIS 480x880, JHMDB 320x320; crw: native]
    #[arg(long, value_name = "HxW|native", value_parser = parse_size)]
    pub(crate) size: Option<SizeArg>,
    /// Resize the shorter side to N, the longer one in proportion, cut to a multiple of 64 [dino,
    /// rsp: 480; dinov3: 960, both rounded up to whole patches]
    #[arg(long, conflicts_with_all = ["size", "long_side"], value_name = "N", value_parser = whole::<usize>(16..=32_768))]
    pub(crate) short_side: Option<usize>,
    /// Resize the longer side to N, the shorter one in proportion, cut to a multiple of 64
    /// [cropmae: VIP 880]
    #[arg(long, conflicts_with = "size", value_name = "N", value_parser = whole::<usize>(16..=32_768))]
    pub(crate) long_side: Option<usize>,
    /// The size masks are scored at [native; cropmae-480x880 and rsp: 480x880]
    #[arg(long, value_name = "native|HxW")]
    pub(crate) score_size: Option<ScoreSize>,
    /// How frames are resized [cropmae, crw: bilinear; dino, rsp: bilinear-8bit; dinov3: bicubic]
    #[arg(long, value_parser = value_of::<FrameFilter>(), value_name = "FILTER")]
    pub(crate) frame_filter: Option<FrameFilter>,
    /// VIP: leave the given first frames out of mIoU (published numbers count them)
    #[arg(long)]
    pub(crate) exclude_first_frame: bool,
    /// Any value by its name in the results, also those without a flag: --set keep_ties=true --set
    /// mean=0.5,0.5,0.5
    ///
    /// Without a flag are first_labels, readout, output_nearest, copy_size, mean, std and, of
    /// propagation, keep_ties, restrict_first and padded. Flags win over --set.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
}

/// `--size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SizeArg {
    Exact(Size),
    Native,
}

pub(super) fn parse_size(text: &str) -> Result<SizeArg, String> {
    match text {
        "native" => Ok(SizeArg::Native),
        _ => text.parse().map(SizeArg::Exact),
    }
}
