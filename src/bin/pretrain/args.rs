//! The command line of `pretrain`.

use std::path::PathBuf;

use clap::Parser;
use cropmae::autoencoder::Method;
use cropmae::device::{Choice, Precision};
use cropmae::pretrain::config::Preset;
use cropmae::pretrain::samples::Kind;
use cropmae::pretrain::views::Strategy;

/// Pre-trains image encoders by siamese cropped masked autoencoding.
///
/// Two crops of an image; one of them, almost wholly masked, is reconstructed with the help of the
/// other (CropMAE). Also SiamMAE (two frames of a video) and MAE (one image). What comes out,
/// encoder.safetensors, goes as it is into `propagate --weights`.
#[derive(Debug, Parser)]
#[command(
    name = "pretrain",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
    pretrain --preset tiny --data photographs --out runs/tiny\n  \
    pretrain --preset cropmae-in --data imagenet/train --out runs/in --device cuda --dtype bf16\n  \
    pretrain --preset tiny --set masking_ratio=0.9 --set views.flip=0 --show-config\n\n\
    In --out: encoder.safetensors, checkpoint-*.safetensors, config.toml, log.jsonl, loss.svg,\n  \
    pictures/epoch-*.png (view 1, view 2, what is left of it, its reconstruction) and event files for\n  \
    TensorBoard (tensorboard --logdir runs). The same command again goes on where the last one stopped."
)]
pub(crate) struct Cli {
    /// A folder of any depth, a list of files (.txt) or tar shards (shard-{000..147}.tar)
    ///
    /// Images are .jpg, .jpeg and .png files; videos are folders of frames and .mp4, .avi, .webm,
    /// .mkv and .mov files. datasets.md says how ImageNet and Kinetics are laid out.
    #[arg(
        long,
        value_name = "PATH",
        help_heading = "Data",
        required_unless_present = "show_config"
    )]
    pub(crate) data: Option<PathBuf>,
    /// What the data is made of [default: the preset's; images, but for the *-k400 presets]
    #[arg(long, value_enum, help_heading = "Data")]
    pub(crate) kind: Option<Kind>,
    /// Where the frames of video files are kept once they were decoded, as JPEG [default: nowhere]
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub(crate) frames_cache: Option<PathBuf>,
    /// The program that decodes video files; `ffprobe` must lie beside it
    #[arg(long, value_name = "PROGRAM", default_value = "ffmpeg", help_heading = "Data")]
    pub(crate) ffmpeg: PathBuf,
    /// Held-out data of the same kind: its loss is measured, and what the network makes of it drawn, between
    /// epochs
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub(crate) held_out: Option<PathBuf>,
    /// Threads that decode and crop [default: the cores of this machine, at most 16]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub(crate) workers: Option<usize>,

    /// The configuration to start from
    #[arg(long, value_enum, default_value = "cropmae-in", help_heading = "Configuration")]
    pub(crate) preset: Preset,
    /// A TOML file whose values take the place of the preset's
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,
    /// One value in place of the preset's and the file's; `--show-config` lists the keys
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Configuration")]
    pub(crate) settings: Vec<String>,
    /// Print the configuration as TOML and stop
    #[arg(long, help_heading = "Configuration")]
    pub(crate) show_config: bool,
    /// What is reconstructed from what
    #[arg(long, value_enum, help_heading = "Configuration")]
    pub(crate) method: Option<Method>,
    /// How the two views of an image relate
    #[arg(long, value_enum, help_heading = "Configuration")]
    pub(crate) strategy: Option<Strategy>,
    /// The encoder: vit{ti,s,b,l}{8,16}
    #[arg(long, value_name = "NAME", help_heading = "Configuration")]
    pub(crate) arch: Option<String>,
    /// Passes over the data
    #[arg(long, value_name = "N", help_heading = "Configuration")]
    pub(crate) epochs: Option<u64>,
    /// Images that a step averages over
    #[arg(long, value_name = "N", help_heading = "Configuration")]
    pub(crate) batch_size: Option<usize>,
    /// The share of a view's patches that is masked
    #[arg(long, value_name = "SHARE", help_heading = "Configuration")]
    pub(crate) masking_ratio: Option<f64>,
    /// The peak learning rate for a batch of 256
    #[arg(long, value_name = "RATE", help_heading = "Configuration")]
    pub(crate) base_learning_rate: Option<f64>,
    /// Set the learning rate after each step, as the reference's program does
    #[arg(long, help_heading = "Configuration")]
    pub(crate) lr_after_step: bool,
    /// Where all draws come from
    #[arg(long, value_name = "N", help_heading = "Configuration")]
    pub(crate) seed: Option<u64>,

    /// Where everything is written; what a stopped run left there is gone on with
    #[arg(long, value_name = "DIR", default_value = "runs/pretrain", help_heading = "Output")]
    pub(crate) out: PathBuf,
    /// Epochs between measurements of the held-out loss
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Output")]
    pub(crate) measure_every: u64,
    /// Epochs between pictures of reconstructions, of held-out images where there are any; 0: none
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Output")]
    pub(crate) pictures_every: u64,
    /// Steps between checkpoints within an epoch; 0: at its end only
    #[arg(long, value_name = "STEPS", default_value_t = 0, help_heading = "Output")]
    pub(crate) checkpoint_every: u64,
    /// The newest checkpoints to keep
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Output")]
    pub(crate) keep_last: usize,
    /// Steps whose multiples are kept whatever their age; 0: none
    #[arg(long, value_name = "STEPS", default_value_t = 0, help_heading = "Output")]
    pub(crate) keep_every: u64,
    /// No progress, only warnings and errors
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", help_heading = "Run")]
    pub(crate) device: Choice,
    /// The number type of the passes; weights and optimiser are f32 all the same
    #[arg(long, value_enum, default_value = "f32", help_heading = "Run")]
    pub(crate) dtype: Precision,
    /// Threads that compute on the CPU [default: the cores of this machine]
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub(crate) threads: Option<usize>,
}
