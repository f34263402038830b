//! `--dry-run`: everything that a start checks, and what it would do. Nothing is trained and nothing
//! is written: sample clips that are not rendered yet stay so, and what is held out is listed, not
//! read.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use cropmae::pretrain::Config;
use cropmae::pretrain::checkpoint::Place;
use cropmae::pretrain::samples::Samples;
use cropmae::pretrain::train::plan as planned;
use cropmae::wording::counted;

use crate::args::Cli;
use crate::common::streams;
use crate::evaluations::Evaluations;
use crate::progress::Opening;
use crate::{plan, run_of};

/// Prints what the run would be.
pub(crate) fn run(
    cli: &Cli,
    config: &Config,
    samples: Arc<Samples>,
    device: &Device,
) -> anyhow::Result<()> {
    let count = samples.len();
    let held_out = cli.held_out.as_deref().map(|path| plan::samples(cli, config, path, 0));
    let held_out = held_out.transpose()?;
    Evaluations::open(cli, config, device)?;
    let start = plan::start(cli, config)?;
    let notices = start.as_ref().map_or(&[][..], |(_, notices)| notices);
    notices.iter().for_each(|notice| streams::note(notice));
    let opening = Opening::new(config, count, &cli.out)?;
    let begins = begins(cli.init.as_deref());
    let run = run_of(cli, config, (samples, device), start.map(|(start, _)| start), "");
    let (place, steps_per_epoch) = planned(&run)?;
    let mut lines = vec![opening.line(steps_per_epoch)];
    lines.push(match place {
        Place { epoch, .. } if epoch >= config.epochs => "nothing is left to do".to_owned(),
        Place { steps: 0, .. } => begins,
        Place { steps, epoch, .. } => format!("continues after step {steps} (epoch {})", epoch + 1),
    });
    lines
        .extend(held_out.map(|held_out| format!("{} held out", counted(held_out.len(), "sample"))));
    lines.push(format!(
        "computes on {} in {}, {} decode",
        cropmae::device::name(device),
        cli.dtype.name(),
        counted(run.workers, "thread")
    ));
    streams::text(&(lines.join("\n") + "\n"))
}

fn begins(init: Option<&Path>) -> String {
    match init {
        Some(path) => format!("begins with the weights of {}", path.display()),
        None => "starts from the beginning".to_owned(),
    }
}
