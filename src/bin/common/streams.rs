//! Output for the user: results on stdout, everything else on stderr.

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

/// An error with what it was about, all its reasons, and what to do about it.
pub(crate) fn explained(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for reason in error.chain() {
        if let Some(ours) = reason.downcast_ref::<cropmae::Error>() {
            return text + &flags::explained(ours);
        }
        text += &format!("{reason}: ");
    }
    format!("{error:#}")
}

/// Whether the reader of stdout went away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use cropmae::Error;

    use super::*;

    #[test]
    fn an_error_keeps_what_it_was_about_and_what_to_do() {
        let ours = || Error::data("a.png".as_ref(), "is empty", "copy it again");
        assert_eq!(explained(&ours().into()), "a.png: is empty; copy it again");
        let about = anyhow::Error::from(ours()).context("frame 3").context("cows");
        assert_eq!(explained(&about), "cows: frame 3: a.png: is empty; copy it again");
        let other = anyhow::anyhow!("no such clip").context("cows");
        assert_eq!(explained(&other), "cows: no such clip");
        let full = Error::writing("a.png".as_ref())(std::io::ErrorKind::StorageFull.into());
        let told = explained(&anyhow::Error::from(full).context("cows"));
        assert!(told.starts_with("cows: cannot write a.png: "), "{told}");
        assert!(told.ends_with("what is finished is kept"), "{told}");
    }
}
