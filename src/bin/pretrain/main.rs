//! `pretrain`: the CropMAE loop that makes encoders. For now it only prints its help.

use clap::Parser;

/// Pre-trains image encoders by siamese cropped masked autoencoding (CropMAE, SiamMAE, MAE).
///
/// Not in this version yet: encoders trained elsewhere are evaluated with `propagate`.
#[derive(Debug, Parser)]
#[command(name = "pretrain", version, arg_required_else_help = true)]
struct Cli {}

fn main() {
    Cli::parse();
}
