//! The command line of `pretrain`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use cropmae::autoencoder::Method;
use cropmae::device::{Choice, Precision};
use cropmae::pretrain::config::Preset;
use cropmae::pretrain::samples::Kind;
use cropmae::pretrain::views::Strategy;
use cropmae::protocol::Benchmark;
use strum::VariantArray;

use crate::common::MOST_THREADS;
use crate::common::numbers::{number, whole};
use crate::common::values::value_of;

/// Pre-trains image encoders by siamese cropped masked autoencoding.
///
/// CropMAE takes two crops of an image and reconstructs one of them, almost completely masked, with
/// the help of the other. Also SiamMAE (two frames of a video) and MAE (one image). `propagate
/// --weights` takes the result, encoder.safetensors, as it is.
#[derive(Debug, Parser)]
#[command(
    name = "pretrain",
    version,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  \
    pretrain --preset tiny --data photographs --out runs/tiny\n  \
    pretrain --preset tiny --data photographs --out runs/tiny --dry-run\n  \
    pretrain --preset cropmae-in --data imagenet/train --out runs/in --device cuda --dtype bf16\n  \
    pretrain --preset tiny --set masking_ratio=0.9 --set 'views.global_area=[0.3,1.0]' --show-config\n\n\
    In --out: encoder.safetensors, checkpoint-*.safetensors, config.toml, log.jsonl, report.html\n  \
    (curves, reconstructions, measurements), loss.svg, pictures/epoch-*.png (view 1, view 2, its\n  \
    visible part, its reconstruction) and event files for TensorBoard (tensorboard --logdir runs).\n\
    Exit status: 0 success, 1 failure, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM: after the\n  \
    current step, with a checkpoint. A second signal ends the run at once. The same command again\n  \
    continues it."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

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
    /// The kind of data [default: the preset's: videos for the *-k400 presets, else images]
    #[arg(long, value_parser = value_of::<Kind>(), help_heading = "Data")]
    pub(crate) kind: Option<Kind>,
    /// Where to keep decoded frames of video files, as JPEG [default: they are not kept]
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    pub(crate) frames_cache: Option<PathBuf>,
    /// The program that decodes video files; `ffprobe` is looked for beside it
    #[arg(long, value_name = "PROGRAM", default_value = "ffmpeg", help_heading = "Data")]
    pub(crate) ffmpeg: PathBuf,
    /// Held-out data of the same kind: between epochs its loss is measured and its reconstructions
    /// are drawn
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub(crate) held_out: Option<PathBuf>,
    /// A benchmark to run during training: labels are propagated with the current encoder
    ///
    /// It uses the preset `cropmae` of `propagate`. J&F, mIoU or PCK@0.1 (in percent) goes to the
    /// log beside the loss, predictions go to OUT/evaluation. ROOT is the dataset's folder as
    /// released (see datasets.md), or `sample` for rendered clips (in runs/sample); `sample` alone
    /// means all three benchmarks. Clips that cannot be used are named and left out. Repeat the
    /// flag for more benchmarks, each once.
    #[arg(long = "eval", value_name = "davis|vip|jhmdb=ROOT", help_heading = "Data", value_parser = parse_evaluation)]
    pub(crate) evaluations: Vec<EvaluationArg>,
    /// MiB of decoded pictures to keep in memory; 0: none
    ///
    /// Later epochs need not decode them again. Pictures in shards and frames of clips are not
    /// kept. No result depends on it.
    #[arg(long, value_name = "MIB", value_parser = whole::<usize>(0..), default_value_t = 1024, help_heading = "Data")]
    pub(crate) keep_decoded: usize,
    /// Threads that decode and crop [default: the cores of this machine, at most 16]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MOST_THREADS), help_heading = "Data")]
    pub(crate) workers: Option<usize>,

    /// The configuration to start from
    #[arg(
        long,
        value_parser = value_of::<Preset>(),
        default_value = "cropmae-in",
        help_heading = "Configuration"
    )]
    pub(crate) preset: Preset,
    /// A TOML file whose values replace the preset's
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) config: Option<PathBuf>,
    /// One value that replaces the preset's and the file's; `--show-config` lists the keys. Quote
    /// brackets: --set 'views.global_area=[0.3,1.0]'
    #[arg(long = "set", value_name = "KEY=VALUE", help_heading = "Configuration")]
    pub(crate) settings: Vec<String>,
    /// Print the configuration as TOML and stop
    #[arg(long, help_heading = "Configuration")]
    pub(crate) show_config: bool,
    /// The training task: what is reconstructed from what
    #[arg(long, value_parser = value_of::<Method>(), help_heading = "Configuration")]
    pub(crate) method: Option<Method>,
    /// How the two views of an image relate
    #[arg(long, value_parser = value_of::<Strategy>(), help_heading = "Configuration")]
    pub(crate) strategy: Option<Strategy>,
    /// The encoder: vit{ti,s,b,l,h}{8,14,16}; views.size must be a multiple of its patch
    #[arg(long, value_name = "NAME", help_heading = "Configuration")]
    pub(crate) arch: Option<String>,
    /// Passes over the data; the preset's warm-up is scaled in proportion unless
    /// optimization.warmup_epochs is set
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..), help_heading = "Configuration")]
    pub(crate) epochs: Option<u64>,
    /// Images per step
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..), help_heading = "Configuration")]
    pub(crate) batch_size: Option<usize>,
    /// The share of a view's patches that is masked
    #[arg(long, value_name = "SHARE", value_parser = number, help_heading = "Configuration")]
    pub(crate) masking_ratio: Option<f64>,
    /// The peak learning rate for a batch of 256
    #[arg(long, value_name = "RATE", value_parser = number, help_heading = "Configuration")]
    pub(crate) base_learning_rate: Option<f64>,
    /// Set the learning rate after each step, as the reference's program does
    #[arg(long, help_heading = "Configuration")]
    pub(crate) lr_after_step: bool,
    /// The seed of all random numbers
    #[arg(long, value_name = "N", value_parser = whole::<u64>(0..), help_heading = "Configuration")]
    pub(crate) seed: Option<u64>,

    /// Begin with the weights of a checkpoint instead of random ones: those of the encoder, and of
    /// the decoder if the checkpoint has one that fits
    ///
    /// This program's own checkpoints are fine too. The number of attention heads, which tensors do
    /// not show, comes from the configuration. The position table is always the fixed one; if the
    /// checkpoint's was learnt, a line says that it is not used.
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(crate) init: Option<PathBuf>,
    /// Continue from a checkpoint that CropMAE's own program wrote: weights, optimiser and epoch
    ///
    /// The file's epoch is read as MAE's program writes it: the number, from 0, of the last
    /// finished epoch. Heads and position table are as with --init. Runs of this program need no
    /// flag: the same command continues them.
    #[arg(long, value_name = "FILE.pth", conflicts_with = "init", help_heading = "Configuration")]
    pub(crate) resume: Option<PathBuf>,

    /// Where everything is written; a stopped run in this folder is continued
    #[arg(long, value_name = "DIR", default_value = "runs/pretrain", help_heading = "Output")]
    pub(crate) out: PathBuf,
    /// Epochs between measurements of the held-out loss; the first and the last epoch are measured
    /// too
    #[arg(long, value_name = "N", value_parser = whole::<u64>(0..), default_value_t = 10, help_heading = "Output")]
    pub(crate) measure_every: u64,
    /// Epochs between runs of the benchmarks of `--eval`; 0: at the end only
    #[arg(long, value_name = "N", value_parser = whole::<u64>(0..), default_value_t = 50, help_heading = "Output")]
    pub(crate) eval_every: u64,
    /// Epochs between pictures of reconstructions, of held-out images if there are any; 0: none
    #[arg(long, value_name = "N", value_parser = whole::<u64>(0..), default_value_t = 10, help_heading = "Output")]
    pub(crate) pictures_every: u64,
    /// Epochs between checkpoints; with few images an epoch can be shorter than writing a
    /// checkpoint
    #[arg(long, value_name = "N", value_parser = whole::<u64>(0..), default_value_t = 1, help_heading = "Output")]
    pub(crate) save_every: u64,
    /// Steps between checkpoints within an epoch; 0: only at its end
    #[arg(long, value_name = "STEPS", value_parser = whole::<u64>(0..), default_value_t = 0, help_heading = "Output")]
    pub(crate) checkpoint_every: u64,
    /// How many of the newest checkpoints to keep
    #[arg(long, value_name = "N", value_parser = whole::<usize>(0..), default_value_t = 2, help_heading = "Output")]
    pub(crate) keep_last: usize,
    /// Always keep checkpoints whose steps are a multiple of this; 0: none
    #[arg(long, value_name = "STEPS", value_parser = whole::<u64>(0..), default_value_t = 0, help_heading = "Output")]
    pub(crate) keep_every: u64,
    /// Check everything that a start checks, print what would be done, and stop
    #[arg(long, help_heading = "Output", conflicts_with = "show_config")]
    pub(crate) dry_run: bool,
    /// No progress, only warnings and errors
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto", help_heading = "Run")]
    pub(crate) device: Choice,
    /// The number type of forward and backward pass; weights and optimiser are always f32
    #[arg(
        long,
        value_parser = value_of::<Precision>(),
        default_value = "f32",
        help_heading = "Run"
    )]
    pub(crate) dtype: Precision,
    /// Threads that compute on the CPU [default: the cores of this machine]
    #[arg(long, value_name = "N", help_heading = "Run", value_parser = whole::<usize>(1..=MOST_THREADS))]
    pub(crate) threads: Option<usize>,
}

/// What is done instead of training.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the encoder of a checkpoint alone, for `propagate --weights`
    Export(ExportArgs),
    /// Write the report.html of a run again, from the files in its folder
    #[command(after_help = "Examples:\n  pretrain report runs/tiny")]
    Report {
        /// The run's folder: what --out named
        #[arg(value_name = "RUN")]
        run: PathBuf,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  pretrain completions zsh > ~/.zfunc/_pretrain")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one a command
    #[command(
        after_help = "Examples:\n  pretrain man ~/.local/share/man/man1    then: man pretrain"
    )]
    Man {
        /// The folder they go to
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A checkpoint of a run: OUT/checkpoint-*.safetensors
    pub(crate) checkpoint: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The number type of the weights; f16 halves the file
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) dtype: ExportType,
    /// The averaged weights (of a run with optimization.average_decay) instead of the last ones
    #[arg(long)]
    pub(crate) average: bool,
}

/// Number types that an encoder can be stored in.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum ExportType {
    /// 32 bits
    F32,
    /// 16 bits
    F16,
}

/// One `--eval`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EvaluationArg {
    pub(crate) benchmarks: Vec<Benchmark>,
    /// The dataset's folder, or `sample`.
    pub(crate) root: PathBuf,
}

/// `davis=ROOT`, or `sample` for all three.
fn parse_evaluation(text: &str) -> Result<EvaluationArg, String> {
    if text == "sample" {
        return Ok(EvaluationArg {
            benchmarks: Benchmark::VARIANTS.to_vec(),
            root: PathBuf::from(text),
        });
    }
    let (name, root) = text.split_once('=').unwrap_or((text, ""));
    match name.parse() {
        Ok(benchmark) if !root.is_empty() => {
            Ok(EvaluationArg { benchmarks: vec![benchmark], root: PathBuf::from(root) })
        }
        _ => Err("write davis=ROOT, vip=ROOT, jhmdb=ROOT or sample".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn benchmarks_are_asked_for_one_by_one_or_as_the_sample() {
        let asked = |text| parse_evaluation(text).map(|it| (it.benchmarks.len(), it.root));
        assert_eq!(asked("sample"), Ok((3, "sample".into())));
        assert_eq!(asked("vip=sample"), Ok((1, "sample".into())));
        assert_eq!(asked("davis=a=b"), Ok((1, "a=b".into())));
        for wrong in ["davis", "davis=", "coco=x", ""] {
            assert!(asked(wrong).is_err(), "{wrong}");
        }
    }
}
