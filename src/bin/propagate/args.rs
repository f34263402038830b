//! The command line of `propagate`: the arguments as typed; the help says where each default comes
//! from.

mod check;
mod compare;
mod examples;
mod explain;
mod export;
mod looking;
mod overlays;
mod page;
mod protocol;
mod sweep;
mod trace;
mod work;

use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use cropmae::device::{Choice, Precision};
use cropmae::image::resize::FrameFilter;
use cropmae::model::config::PositionRule;
use cropmae::model::source::Source;
use cropmae::model::vit::{Implementation, Layer};
use cropmae::protocol::{Benchmark, ScoreSize, Size};
use strum::VariantArray;

use crate::common::MOST_THREADS;
use crate::common::numbers::whole;
use crate::common::values::value_of;
pub(crate) use check::{CheckArgs, CheckDataArgs, CheckWhat};
use compare::COMPARE_EXAMPLES;
pub(crate) use compare::CompareArgs;
use examples::{
    CHECK_EXAMPLES, COMPLETIONS_EXAMPLES, EVALUATE_EXAMPLES, EXAMPLES, FEATURES_EXAMPLES,
    MAN_EXAMPLES, SCORE_EXAMPLES,
};
use explain::EXPLAIN_EXAMPLES;
pub(crate) use explain::ExplainArgs;
pub(crate) use export::ExportArgs;
use looking::{ATTENTION_EXAMPLES, RECONSTRUCT_EXAMPLES};
pub(crate) use looking::{Answer, AttentionArgs, ReconstructArgs};
use overlays::OVERLAYS_EXAMPLES;
pub(crate) use overlays::{Kind, OverlayArgs, OverlaysArgs};
use page::REPORT_EXAMPLES;
pub(crate) use page::{Report, ReportArgs};
use protocol::parse_size;
pub(crate) use protocol::{AffinityArgs, PropagationArgs, ProtocolArgs, SizeArg};
pub(crate) use sweep::Axis;
pub(crate) use trace::TraceArgs;
use trace::{TRACE_EXAMPLES, TRACE_USAGE};
pub(crate) use work::{BatchArg, WorkArgs};

/// Evaluates image encoders by video label propagation.
///
/// The labels of a clip's first frame are carried through the clip by the k-nearest-neighbour
/// affinity of patch features, and scored: object masks on DAVIS-2017 (J&F), body parts on VIP
/// (mIoU), joints on JHMDB (PCK).
#[derive(Debug, Parser)]
#[command(name = "propagate", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Object masks on DAVIS-2017 (or any folder laid out like it): J&F
    #[command(after_help = EVALUATE_EXAMPLES)]
    Davis(EvaluateArgs),
    /// Body parts on VIP: mIoU
    #[command(after_help = EVALUATE_EXAMPLES)]
    Vip(EvaluateArgs),
    /// Joints on JHMDB: PCK
    #[command(after_help = EVALUATE_EXAMPLES)]
    Jhmdb(EvaluateArgs),
    /// Score predictions that any program wrote; needs neither frames nor weights
    #[command(after_help = SCORE_EXAMPLES)]
    Score(ScoreArgs),
    /// Finished runs side by side: differences, and which of them are real
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Where a run's number comes from, and how much each choice changes it
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(Box<ExplainArgs>),
    /// Write a run's report.html again
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Check a dataset or a checkpoint before a long run
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Store patch features of images for other programs
    #[command(after_help = FEATURES_EXAMPLES)]
    Features(FeaturesArgs),
    /// Draw what a pre-trained network makes of masked images; needs its decoder
    #[command(after_help = RECONSTRUCT_EXAMPLES)]
    Reconstruct(Box<ReconstructArgs>),
    /// Draw what CLS attends to in the last block, head by head
    #[command(after_help = ATTENTION_EXAMPLES)]
    Attention(AttentionArgs),
    /// Draw where a patch takes its labels from: its neighbours and their weights
    #[command(after_help = TRACE_EXAMPLES, override_usage = TRACE_USAGE)]
    Trace(Box<TraceArgs>),
    /// Draw the predictions of a finished run: contact sheets, films, a figure
    #[command(after_help = OVERLAYS_EXAMPLES)]
    Overlays(OverlaysArgs),
    /// Render sample clips with exact ground truth in the three official layouts
    Sample(SampleArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages, one a command
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// The folder they go to
        folder: PathBuf,
    },
}

impl Command {
    /// `--threads`, where the command has it.
    pub(crate) fn threads(&self) -> Option<usize> {
        match self {
            Self::Davis(args) | Self::Vip(args) | Self::Jhmdb(args) => args.run.threads,
            Self::Features(args) => args.run.threads,
            Self::Explain(args) => args.run.threads,
            Self::Reconstruct(args) => args.run.threads,
            Self::Attention(args) => args.run.threads,
            Self::Trace(args) => args.run.threads,
            Self::Score(_) | Self::Compare(_) | Self::Report(_) | Self::Check(_) => None,
            Self::Overlays(_) => None,
            Self::Sample(_) | Self::Completions { .. } | Self::Man { .. } => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) propagation: PropagationArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// The dataset's folder, as released (see datasets.md), or `sample` for rendered clips
    ///
    /// Without it, DAVIS_ROOT, VIP_ROOT or JHMDB_ROOT is taken from the environment. The sample
    /// goes to runs/sample; a folder of yours by that name is ./sample.
    #[arg(long, value_name = "ROOT|sample")]
    pub(crate) data: Option<PathBuf>,
    /// Which clips: val (JHMDB: test split 1), train, or a file with one clip name a line
    #[arg(long, default_value = "val", value_name = "val|train|FILE")]
    pub(crate) split: String,
    /// Only these clips, by name; results are marked partial
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    pub(crate) sequences: Vec<String>,
    /// Only the first N clips; results are marked partial
    #[arg(long, value_name = "N", value_parser = whole::<usize>(0..))]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Encoder")]
pub(crate) struct ModelArgs {
    /// A checkpoint (.safetensors, .pth, .pt), `sample`, `random:vits16@SEED`, `pixels` or
    /// `features:DIR`
    ///
    /// Tensor names of CropMAE, SiamMAE, MAE, DINO, iBOT, MoCo v3, DINOv2, DINOv3, timm and Hugging
    /// Face are understood, and the architecture is read from the tensors' shapes. `sample` is a
    /// small encoder that ships with the program, trained on 850 photographs. `random:ARCH@SEED` is
    /// a seeded initialisation without training; `pixels` uses the raw pixels of each patch, the
    /// baseline that every encoder must beat. Required, except with `--data sample`, where `sample`
    /// is the default.
    ///
    /// `features:DIR` takes what another program has made of the frames: for each clip a file
    /// DIR/<clip>.safetensors (JHMDB: DIR/<action>/<clip>.safetensors) with one tensor `features`
    /// [frames, rows, columns, width] in f32, f16 or bf16. `--dry-run` prints the input size and
    /// the grid that are expected; `--patch-size` says for what side of a patch (16).
    ///
    /// davis, vip and jhmdb take several, a folder (all checkpoints in it) or @LIST (a file with
    /// one per line, relative to its folder): each gets a folder of results, and one table shows
    /// all, best first.
    #[arg(long, num_args = 1.., value_name = "FILE|sample|random:ARCH@SEED|pixels|features:DIR")]
    pub(crate) weights: Vec<Source>,
    /// The architecture, vit{ti,s,b,l,h}{8,14,16} [default: read from the checkpoint]
    #[arg(long, value_name = "NAME")]
    pub(crate) arch: Option<String>,
    /// Side of a patch in pixels [default: the checkpoint's; 16 for `pixels` and
    /// `features:DIR`]
    #[arg(long, value_name = "P", value_parser = whole::<usize>(1..))]
    pub(crate) patch_size: Option<usize>,
    /// Attention heads, which tensors do not show [default: the usual number for the width]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..))]
    pub(crate) heads: Option<usize>,
    /// Which entry of a .pth holds the encoder [default: model, state_dict, teacher, student, …]
    #[arg(long, value_name = "KEY")]
    pub(crate) checkpoint_key: Option<String>,
    /// Which block gives the features: last, N (from 1) or mean-lastK
    #[arg(long, default_value_t = Layer::Last, value_name = "LAYER")]
    pub(crate) layer: Layer,
    /// How the position table is resized to the frame's grid [default: the family's own rule]
    #[arg(long, value_parser = value_of::<PositionRule>(), value_name = "RULE")]
    pub(crate) positions: Option<PositionRule>,
    /// Which code runs the encoder: ours, or candle's tensor operations
    #[arg(long, value_parser = value_of::<Implementation>(), default_value = "auto")]
    pub(crate) encoder: Implementation,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Where predictions and tables go [default: runs/<benchmark>-<preset>-<weights>-<settings>]
    ///
    /// A second run with the same settings continues an interrupted one; a folder with other
    /// settings is refused.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Keep features in this folder, and use those that earlier runs have kept
    ///
    /// A run with another top-k, radius, neighbourhood, temperature or queue then skips decoding
    /// and encoding. Features of other weights, layers, types, sizes or frames are never used;
    /// refresh:DIR computes all again. ViT-S/16 at 480x880 needs 2.4 MiB per frame [default: none
    /// are kept]
    #[arg(long, value_name = "DIR|refresh:DIR")]
    pub(crate) cache: Option<CacheArg>,
    #[command(flatten)]
    pub(crate) overlay: OverlayArgs,
    /// Also show a row for each object, class or joint
    #[arg(long)]
    pub(crate) per_item: bool,
    /// Print results.json instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress, no notes: the result and errors only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Store soft labels, [T, h, w, C] f32, as OUT/soft_labels/<clip>.safetensors
    #[arg(long)]
    pub(crate) save_soft_labels: bool,
    /// Predict without scoring
    #[arg(long, conflicts_with_all = ["export_markdown", "export_csv", "export_json"])]
    pub(crate) predict_only: bool,
    /// The page that shows the results in a browser, OUT/report.html
    #[arg(long, value_enum, default_value_t = Report::Html)]
    pub(crate) report: Report,
    /// Print what would be done, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) export: ExportArgs,
}

/// `--cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheArg {
    pub(crate) folder: PathBuf,
    pub(crate) refresh: bool,
}

impl FromStr for CacheArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refreshed = text.strip_prefix("refresh:");
        let folder = refreshed.unwrap_or(text);
        match folder {
            "" | "refresh" => Err("which folder? Write DIR or refresh:DIR".into()),
            _ => Ok(Self { folder: folder.into(), refresh: refreshed.is_some() }),
        }
    }
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub(crate) struct RunArgs {
    /// Where to compute: auto, cpu, cuda or cuda:N; davis, vip, jhmdb and explain take
    /// several (cuda:0,cuda:1) and distribute the clips over them
    #[arg(
        long,
        default_value = "auto",
        env = "PROPAGATE_DEVICE",
        value_delimiter = ',',
        value_name = "DEVICE"
    )]
    pub(crate) device: Vec<Choice>,
    /// The encoder's number type; published numbers are f32
    #[arg(long, value_parser = value_of::<Precision>(), default_value = "f32")]
    pub(crate) dtype: Precision,
    /// CPU threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MOST_THREADS))]
    pub(crate) threads: Option<usize>,
}

/// Takes a benchmark's name; the names need no explanation.
fn benchmark_name() -> impl TypedValueParser<Value = Benchmark> {
    let names = Benchmark::VARIANTS.iter().map(|benchmark| benchmark.name());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Benchmark>())
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// The benchmark
    #[arg(value_parser = benchmark_name())]
    pub(crate) benchmark: Benchmark,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Folder of predictions: <clip>/<frame>.png (JHMDB: <clip>/joints.json or <clip>.npy)
    #[arg(long, value_name = "DIR")]
    pub(crate) predictions: PathBuf,
    /// The size masks are scored at; annotations are resized to it by Pillow's nearest rule
    /// [default: native]
    #[arg(long, value_name = "native|HxW")]
    pub(crate) score_size: Option<ScoreSize>,
    /// JHMDB arrays: rows and columns of the grid that their cells count [default: 20x20, which is
    /// 320x320 in patches of 16]
    #[arg(long, value_name = "HxW")]
    pub(crate) grid: Option<Size>,
    /// VIP: leave the given first frames out of mIoU (published numbers count them)
    #[arg(long)]
    pub(crate) exclude_first_frame: bool,
    /// Fail when a clip has no predictions, instead of listing it
    #[arg(long)]
    pub(crate) strict: bool,
    /// Also write the tables and results.json here: a new folder, or one that score wrote before
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Also show a row for each object, class or joint
    #[arg(long)]
    pub(crate) per_item: bool,
    /// Print results.json instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// No notes: the result, what could not be scored, and errors only
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Single images, and how they are prepared.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Images, or folders of them
    #[arg(long = "images", num_args = 1.., required = true, value_name = "DIR|FILES")]
    pub(crate) paths: Vec<PathBuf>,
    /// The encoder's input size; native resizes each side down to whole patches
    #[arg(long, default_value = "native", value_name = "HxW|native", value_parser = parse_size)]
    pub(crate) size: SizeArg,
    /// How images are resized
    #[arg(long, value_parser = value_of::<FrameFilter>(), default_value = "bilinear", value_name = "FILTER")]
    pub(crate) frame_filter: FrameFilter,
}

#[derive(Debug, Args)]
pub(crate) struct FeaturesArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    /// The file to write: `<image>.patches` [h, w, D] and `<image>.cls` [D] for every image
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) out: PathBuf,
    /// Scale every patch feature to length 1
    #[arg(long)]
    pub(crate) normalize: bool,
    /// No notes: errors only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SampleArgs {
    /// Where the datasets go: DIR/davis, DIR/vip, DIR/jhmdb
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Only this one [default: all three]
    #[arg(long, value_parser = benchmark_name())]
    pub(crate) benchmark: Option<Benchmark>,
    /// Clips [default: 3; JHMDB 6]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..))]
    pub(crate) clips: Option<usize>,
    /// Frames of each clip [default: DAVIS 20, VIP 16, JHMDB 24]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..))]
    pub(crate) frames: Option<usize>,
    /// Size of the frames [default: 480x854; JHMDB 240x320]
    #[arg(long, value_name = "HxW")]
    pub(crate) size: Option<Size>,
    /// Seed: another one renders other clips [default: 4]
    #[arg(long, value_name = "SEED", value_parser = whole::<u64>(0..))]
    pub(crate) seed: Option<u64>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    /// What is longer is wrapped again, in the middle of an example.
    #[test]
    fn examples_fit_the_width_of_a_help() {
        let of = |command: &clap::Command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let long = help.lines().find(|line| line.chars().count() > 100).map(str::to_owned);
            assert_eq!(long, None, "{}", command.get_name());
        };
        let command = super::Cli::command();
        of(&command);
        command.get_subcommands().for_each(of);
    }
}
