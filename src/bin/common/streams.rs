//! What the user sees: results on stdout, all else on stderr.

use std::io::Write;

use anyhow::{Context, Result};

use super::flags;

/// Writes a line to stderr; that nobody reads it any more stops no run.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", flags::flagged(line));
}

/// Writes to stdout; a reader that went away (`| head`) is an error that `main` takes for success.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Shows an error in one line.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("error: {}", explained(error)));
}

/// An error with all its reasons, and what to do about it.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    match error.downcast_ref::<cropmae::Error>() {
        Some(ours) => flags::explained(ours),
        None => format!("{error:#}"),
    }
}

/// Whether the reader of stdout went away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
