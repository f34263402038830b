//! The arguments of the subcommands that draw what a network does.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use cropmae::pretrain::views::Strategy;

use super::{ImageArgs, ModelArgs, RunArgs};
use crate::common::numbers::{number, whole};
use crate::common::values::value_of;

pub(super) const RECONSTRUCT_EXAMPLES: &str = "\
Examples:
  propagate reconstruct --weights runs/tiny/checkpoint-00001950.safetensors \\
      --images photographs --out figure
  propagate reconstruct --weights mae.pth --images a.jpg b.jpg --out figure --views 4 --seed 7

Checkpoints of `pretrain` say how they were trained. For those of CropMAE, SiamMAE and MAE the
papers' values are taken for what no tensor tells; a note says which. Where patches of mean 0 and
variance 1 are reconstructed, they are shown with the mean and the deviation of the view's own
patches; visible patches are the view's own.";

pub(super) const ATTENTION_EXAMPLES: &str = "\
Examples:
  propagate attention --weights w.pth --images frames/ --out attention
  propagate attention --weights w.pth --images a.jpg --size 480x480 --mean --out attention

Each map is stretched from its least to its largest value, the highest half percent of the patches
alike; dark is least.";

#[derive(Debug, Args)]
pub(crate) struct ReconstructArgs {
    /// A checkpoint with its decoder: checkpoint-*.safetensors of `pretrain`, or one of CropMAE,
    /// SiamMAE or MAE (.pth or .safetensors with decoder_* keys)
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub(crate) weights: PathBuf,
    /// Which entry of a .pth holds the network [default: model, state_dict, …]
    #[arg(long, value_name = "KEY", help_heading = "Network")]
    pub(crate) checkpoint_key: Option<String>,
    /// Attention heads of the encoder [default: the usual number for the width]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..), help_heading = "Network")]
    pub(crate) heads: Option<usize>,
    /// Attention heads of the decoder [default: CropMAE, SiamMAE 8; MAE 16]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..), help_heading = "Network")]
    pub(crate) decoder_heads: Option<usize>,
    /// Whether it was trained to predict patches of mean 0 and variance 1 [default: yes]
    #[arg(long, value_name = "yes|no", help_heading = "Network")]
    pub(crate) normalize_target: Option<Answer>,

    /// Images, or folders of them
    #[arg(long, num_args = 1.., required = true, value_name = "DIR|FILES", help_heading = "Views")]
    pub(crate) images: Vec<PathBuf>,
    /// Pairs of views to draw from each image
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u16>(1..=64), help_heading = "Views")]
    pub(crate) views: u16,
    /// The share of patches that is masked [default: as trained; CropMAE, SiamMAE 0.985, MAE 0.75]
    #[arg(long, value_name = "R", value_parser = number, help_heading = "Views")]
    pub(crate) masking_ratio: Option<f64>,
    /// How the two views of an image relate [default: as trained; CropMAE, SiamMAE global-to-local]
    #[arg(long, value_parser = value_of::<Strategy>(), value_name = "STRATEGY", help_heading = "Views")]
    pub(crate) strategy: Option<Strategy>,
    /// Seed of crops and masks, which also depend on the image's name
    #[arg(long, value_name = "SEED", default_value_t = 0, value_parser = whole::<u64>(0..), help_heading = "Views")]
    pub(crate) seed: u64,

    /// Where <image>.png go, a row for each pair of views: view 1 (not for MAE), the visible part
    /// of view 2, its reconstruction, view 2; figure.png holds the rows of the first images
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out: PathBuf,
    /// No notes: errors only
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Yes or no, where leaving it out says neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Answer {
    Yes,
    No,
}

#[derive(Debug, Args)]
pub(crate) struct AttentionArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    /// Where <image>.png go: the image, then the attention of CLS over it; figure.png holds the
    /// rows of the first images
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// A map for each attention head (the default)
    #[arg(long, conflicts_with = "mean")]
    pub(crate) per_head: bool,
    /// One map: the mean over the heads
    #[arg(long)]
    pub(crate) mean: bool,
    /// No notes: errors only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
