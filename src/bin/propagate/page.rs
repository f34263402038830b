//! `report.html` of a finished run, and `propagate report`, which writes it again.

use std::path::{Path, PathBuf};

use anyhow::Result;
use cropmae::data::{Need, Opened};
use cropmae::files;
use cropmae::overlay::Overlay;
use cropmae::report::html::player::{Player, STYLE};
use cropmae::report::html::propagate::Evaluation;

use crate::args::{DataArgs, Report, ReportArgs};
use crate::common::flags::explained;
use crate::show::{Notes, note};
use crate::{Outcome, clips};

/// Writes the page of a run whose results are stored; that it cannot be written loses nothing of
/// them, and is said whatever is quiet: whether all is well. `failures` are the clips that have
/// none.
pub(crate) fn after(
    kind: Report,
    out: &Path,
    clips: &Opened,
    failures: &[(String, String)],
    say: &Notes,
) -> bool {
    if kind == Report::None {
        return true;
    }
    let failed = |name: &str| failures.iter().any(|(clip, _)| clip == name);
    let overview = clips.overview();
    let names = overview.clips.iter().map(|clip| clip.name()).filter(|name| !failed(name));
    let names: Vec<String> = names.map(str::to_owned).collect();
    let written = Evaluation::read(out, Some(&names)).and_then(|of| write(out, &of, Some(clips)));
    match &written {
        Ok(path) => say.line(&format!("report in {}", path.display())),
        Err(error) => note(&format!("no report: {}", explained(error))),
    }
    written.is_ok()
}

/// `propagate report`.
pub(crate) fn run(args: &ReportArgs) -> Result<Outcome> {
    let say = Notes::new(args.quiet);
    let evaluation = Evaluation::read(&args.run, None)?;
    let benchmark = evaluation.record.protocol.benchmark;
    let clips = match clips::is_named(benchmark, args.data.as_deref()) {
        true => Some(clips::open(benchmark, &data(args), Need::Frames, &say)?),
        false => {
            say.line("without --data ROOT there are no frames to show: the page has no pictures");
            None
        }
    };
    let path = write(&args.run, &evaluation, clips.as_ref())?;
    say.line(&format!("report in {}", path.display()));
    Ok(Outcome::Done)
}

/// All clips of the list.
fn data(args: &ReportArgs) -> DataArgs {
    let (data, split) = (args.data.clone(), args.split.clone());
    DataArgs { data, split, sequences: Vec::new(), limit: None }
}

fn write(out: &Path, evaluation: &Evaluation, clips: Option<&Opened>) -> cropmae::Result<PathBuf> {
    let predictions = out.join("predictions");
    let mut play = |clip: &str, bytes: usize| -> cropmae::Result<Option<Player>> {
        let place = |clips: &Opened| clips.overview().clips.iter().position(|it| it.name() == clip);
        let overlay = clips
            .and_then(|clips| Overlay::of(clips, place(clips)?, &predictions, STYLE))
            .transpose()?;
        overlay.map_or(Ok(None), |overlay| Player::of(&overlay, bytes))
    };
    let path = out.join("report.html");
    files::write(&path, evaluation.page(&mut play).as_bytes())?;
    Ok(path)
}
