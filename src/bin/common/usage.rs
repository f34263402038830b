//! Wrong usage, told apart from failure: what was typed makes no sense, whatever the files hold and
//! the machine can do. The programs end with [`WRONG`] then, as they do where the parser of the
//! command line refuses a word, and with [`FAILED`] otherwise.

use cropmae::Error;

/// The exit status of a failure: data, weights, a disk or a device.
pub(crate) const FAILED: u8 = 1;
/// The exit status of wrong usage.
pub(crate) const WRONG: u8 = 2;

/// What is wrong with what was typed, and what to type instead; [`usage!`] makes it.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// A [`Usage`] in these words, as `format!` takes them: for `bail!` and `ensure!`.
macro_rules! usage {
    ($($words:tt)*) => { $crate::common::usage::Usage(format!($($words)*)) };
}
pub(crate) use usage;

/// The exit status of an error. Settings that the library refuses were typed too.
pub(crate) fn status(error: &anyhow::Error) -> u8 {
    let wrong = error.chain().any(|reason| {
        reason.is::<Usage>() || matches!(reason.downcast_ref(), Some(Error::Setting { .. }))
    });
    if wrong { WRONG } else { FAILED }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn settings_and_flags_are_usage_and_files_are_not() {
        let typed = || anyhow!(usage!("--limit: {} is none", 0));
        assert_eq!(typed().to_string(), "--limit: 0 is none");
        let setting = || anyhow!(Error::setting("topk", "at least one neighbour is needed"));
        for wrong in [typed(), typed().context("cows"), setting(), setting().context("cows")] {
            assert_eq!(status(&wrong), WRONG, "{wrong:?}");
        }
        let file = Error::data("a.png".as_ref(), "is empty", "copy it again");
        assert_eq!(status(&anyhow!(file).context("cows")), FAILED);
        assert_eq!(status(&anyhow!("--limit: 0 is none")), FAILED, "words decide nothing");
    }
}
