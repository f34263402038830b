//! `pretrain`: trains encoders.
//!
//! Arguments ([`args`]) and a preset become a configuration ([`plan`]), which the library runs;
//! [`progress`] shows the run on the terminal, and [`pictures`] stores images of it.

// Comments on arguments are help texts, not Markdown.
#![allow(rustdoc::invalid_html_tags, rustdoc::broken_intra_doc_links)]

mod args;
mod beginning;
#[path = "../common/mod.rs"]
mod common;
mod dry_run;
mod due;
mod evaluations;
mod export;
mod pictures;
mod plan;
mod progress;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use candle_core::Device;
use clap::CommandFactory;
use cropmae::device;
use cropmae::pretrain::samples::Samples;
use cropmae::pretrain::start::Start;
use cropmae::pretrain::train::Ended;
use cropmae::pretrain::{Config, Run, page, train};

use args::{Cli, Command};
use common::{interrupt, streams, usage};
use evaluations::Evaluations;
use pictures::Pictures;
use progress::{Bars, Opening};

/// Keeps freed buffers: candle frees and takes back large ones all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps them for good: by default the allocator gives memory back to the system after 10 ms, and
/// clearing it when it comes again costs a sixth of the time of a training step. (`propagate` would
/// win nothing: 0.3 s of system time in 22 s, for more memory.)
#[allow(unsafe_code)]
fn keep_memory() {
    /// `mi_option_purge_delay` in mimalloc's header; -1 means never.
    const PURGE_DELAY: i32 = 15;
    // SAFETY: sets a number in a table of the allocator, atomically; it has no other precondition
    // than an option that exists, which mimalloc checks itself.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

fn main() -> ExitCode {
    keep_memory();
    interrupt::fail_at_file_limits();
    let cli: Cli = common::flags::parse();
    if let Some(threads) = cli.threads {
        common::use_threads(threads);
    }
    let done = match &cli.command {
        Some(command) => instead(command).map(|()| ExitCode::SUCCESS),
        None => run(&cli),
    };
    match done {
        Ok(status) => status,
        Err(error) if streams::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // a signal to the whole group ends the programs that decode videos too
            beginning::end_if_asked();
            streams::error(&error);
            ExitCode::from(usage::status(&error))
        }
    }
}

/// What is done instead of training.
fn instead(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Export(args) => export::run(args),
        Command::Report { run } => report(run),
        Command::Completions { shell } => completions(*shell),
        Command::Man { folder } => manual(folder),
    }
}

/// Makes the page of a run again.
fn report(run: &Path) -> anyhow::Result<()> {
    page::write(run)?;
    streams::text(&format!("{}\n", run.join(page::NAME).display()))
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let script = common::pages::completions(Cli::command(), shell);
    streams::text(&String::from_utf8_lossy(&script))
}

fn manual(folder: &Path) -> anyhow::Result<()> {
    common::pages::manual(Cli::command(), folder)?;
    streams::text(&format!("{}\n", folder.display()))
}

/// Trains; the exit status: that of a signal where one has stopped it.
fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config = plan::config(cli)?;
    if cli.show_config {
        streams::text(&config.toml()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    beginning::listen();
    let say = |line: &str| {
        if !cli.quiet {
            streams::note(line);
        }
    };
    let device = device::open(cli.device, cli.dtype, &say)?;
    plan::check_memory(&config, &device)?;
    let data = cli.data.as_deref().ok_or_else(|| usage::usage!("--data is missing"))?;
    plan::check_out(&cli.out, data)?;
    let samples = plan::samples(cli, &config, data, cli.keep_decoded)?;
    if cli.dry_run {
        return dry_run::run(cli, &config, samples, &device).map(|()| ExitCode::SUCCESS);
    }
    let workers = cli.workers.unwrap_or_else(plan::cores);
    let held_out = plan::held_out(cli, &config, workers, &device)?;
    let pictures = Pictures::new(cli, &config, (held_out.is_none(), &samples), (workers, &device))?;
    let evaluations = Evaluations::open(cli, &config, &device)?;
    let start = plan::start(cli, &config)?;
    if let Some((_, notices)) = &start {
        notices.iter().for_each(|notice| say(notice));
    }
    let (start, command) = (start.map(|(start, _)| start), common::command("pretrain"));
    let run = run_of(cli, &config, (samples, &device), start, &command);
    let opening = Opening::new(&config, run.samples.len(), &cli.out)?;
    let bars =
        Bars::new(&config, opening, held_out, cli.measure_every, pictures, evaluations, cli.quiet);
    to_the_end(&run, &bars)
}

/// The run that was asked for.
fn run_of<'a>(
    cli: &'a Cli,
    config: &'a Config,
    (samples, device): (Arc<Samples>, &'a Device),
    start: Option<Start>,
    command: &'a str,
) -> Run<'a> {
    Run {
        config,
        samples,
        folder: &cli.out,
        start,
        device,
        dtype: cli.dtype,
        workers: cli.workers.unwrap_or_else(plan::cores),
        save_every: cli.save_every,
        checkpoint_every: cli.checkpoint_every,
        keep_last: cli.keep_last,
        keep_every: cli.keep_every,
        command,
    }
}

/// Trains until all is done or a signal asks to stop.
fn to_the_end(run: &Run<'_>, bars: &Bars) -> anyhow::Result<ExitCode> {
    let encoder = run.encoder();
    match train(run, bars)? {
        Ended::Finished(_) => {
            bars.finished();
            streams::text(&format!("{}\n", encoder.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        // nothing on stdout: whoever reads it there takes the encoder for finished
        Ended::Stopped(place) => {
            bars.stopped(place, &encoder)?;
            Ok(ExitCode::from(interrupt::status()))
        }
    }
}
