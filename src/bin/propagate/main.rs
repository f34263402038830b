//! `propagate`: one command from a checkpoint to the table.
//!
//! Arguments ([`args`]) become clips ([`clips`]) and a plan ([`plan`]), for which all is made ready
//! ([`ready`]). [`evaluate`] runs it; for several settings [`sweep`] does, for several encoders
//! [`encoders`]. The results are shown ([`show`]) and exported ([`export`]). Each other subcommand
//! has a file of its own. Results go to stdout, everything else to stderr.

// Comments on arguments are help texts, not Markdown.
#![allow(rustdoc::invalid_html_tags, rustdoc::broken_intra_doc_links)]

mod ablate;
mod args;
mod attention;
mod check;
mod clips;
#[path = "../common/mod.rs"]
mod common;
mod compare;
mod done;
mod encoders;
mod evaluate;
mod explain;
mod export;
mod features;
mod images;
mod overlays;
mod page;
mod plan;
mod progress;
mod ready;
mod reconstruct;
mod room;
mod sample;
mod score;
mod show;
mod sweep;
mod targets;
mod trace;

use std::process::ExitCode;

use clap::CommandFactory;
use cropmae::protocol::Benchmark;

use args::{Cli, Command, EvaluateArgs};
use common::interrupt;

/// Keeps freed buffers: candle frees and takes back large ones all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the exit status says.
enum Outcome {
    /// 0: all done.
    Done,
    /// 3: done, but for some clips, or with errors found by a check.
    Partial,
    /// 130 or 143: stopped by Ctrl-C or SIGTERM; what is done is kept.
    Interrupted,
}

fn main() -> ExitCode {
    interrupt::fail_at_file_limits();
    let cli: Cli = common::flags::parse();
    if let Some(threads) = cli.command.threads() {
        common::use_threads(threads);
    }
    match run(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partial) => ExitCode::from(3),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::status()),
        Err(error) if show::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            show::error(&error);
            ExitCode::from(common::usage::status(&error))
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    match cli.command {
        Command::Davis(args) => evaluate(Benchmark::Davis, &args),
        Command::Vip(args) => evaluate(Benchmark::Vip, &args),
        Command::Jhmdb(args) => evaluate(Benchmark::Jhmdb, &args),
        Command::Score(args) => score::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Report(args) => page::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Features(args) => features::run(&args),
        Command::Reconstruct(args) => reconstruct::run(&args),
        Command::Attention(args) => attention::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Overlays(args) => overlays::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Completions { shell } => {
            let script = common::pages::completions(Cli::command(), shell);
            show::text(&String::from_utf8_lossy(&script))?;
            Ok(Outcome::Done)
        }
        Command::Man { folder } => {
            common::pages::manual(Cli::command(), &folder)?;
            show::text(&format!("{}\n", folder.display()))?;
            Ok(Outcome::Done)
        }
    }
}

/// One run, or one for each of several encoders or settings.
fn evaluate(benchmark: Benchmark, args: &EvaluateArgs) -> anyhow::Result<Outcome> {
    if encoders::asked_for(&args.model.weights) {
        encoders::run(benchmark, args)
    } else if args.propagation.sweep.is_empty() {
        evaluate::run(benchmark, args)
    } else {
        sweep::run(benchmark, args)
    }
}
