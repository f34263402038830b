//! What both programs need: threads and memory at their start, the place of the sample clips, the
//! command line for the record, messages to the user ([`streams`], with flags where the library
//! names settings: [`flags`]), wrong usage told apart from failure ([`usage`]), signals that ask to
//! stop ([`interrupt`]), what must not be written over ([`targets`]), numbers and the
//! library's enums as arguments ([`numbers`], [`values`]), and manual pages ([`pages`]).

pub(crate) mod flags;
pub(crate) mod interrupt;
pub(crate) mod numbers;
pub(crate) mod pages;
pub(crate) mod streams;
pub(crate) mod targets;
pub(crate) mod usage;
pub(crate) mod values;

use std::path::{Path, PathBuf};

use anyhow::Context;
use cropmae::protocol::Benchmark;
use cropmae::sample;

/// The most of `--threads` and `--workers`: more than any machine has cores would only take its
/// memory.
pub(crate) const MOST_THREADS: u64 = 1024;

/// Has this many threads compute on the CPU; candle's own count by the environment.
#[allow(unsafe_code)]
pub(crate) fn use_threads(threads: usize) {
    // SAFETY: called at the beginning of `main`, while no other thread runs that could read the
    // environment.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
}

/// Whether a dataset's folder stands for the rendered clips; a folder of that name is `./sample`.
pub(crate) fn is_sample(root: &Path) -> bool {
    root == Path::new("sample")
}

/// Where a benchmark's sample clips are, or will be.
pub(crate) fn sample_folder(benchmark: Benchmark) -> PathBuf {
    PathBuf::from("runs/sample").join(benchmark.name())
}

/// The folder of a benchmark's sample clips, rendered now where they are not there yet; `say` is
/// told of that before it is done.
///
/// # Errors
/// The folder holds something else, or cannot be written to.
pub(crate) fn sample_root(benchmark: Benchmark, say: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
    let settings = sample::default_settings(benchmark);
    let root = sample_folder(benchmark);
    if !sample::is_complete(&root, benchmark, &settings) {
        say(&format!("rendering {} sample clips in {}", settings.clips, root.display()));
    }
    sample::render(&root, benchmark, &settings).context("cannot render the sample clips")?;
    Ok(root)
}

/// The command as it was typed, the program by its name alone.
pub(crate) fn command(program: &str) -> String {
    let typed = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    std::iter::once(program.to_owned()).chain(typed).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:=@+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_change_them() {
        assert_eq!(quoted("--size=480x880"), "--size=480x880");
        assert_eq!(quoted("my clips/*.png"), "'my clips/*.png'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
