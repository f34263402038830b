//! Words that depend on a number. A leaf: every module may use it.

use std::fmt::Display;

/// A count with its noun: `1 clip`, `3 clips`. For nouns that take an s.
///
/// ```
/// assert_eq!(cropmae::wording::counted(1, "clip"), "1 clip");
/// assert_eq!(cropmae::wording::counted(0, "frame"), "0 frames");
/// ```
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = if count == N::from(1) { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
