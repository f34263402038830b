//! Lists: text files with one entry a line, read by one rule wherever one is taken.
//!
//! UTF-8, with or without a byte-order mark, and any line ends. Blanks around an entry, blank lines
//! and lines that begin with `#` do not count; a `#` further on belongs to the entry. Paths are
//! relative to the list's folder ([`beside`]).

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The entries of a list, each after the number of its line, counted from 1; `what` they are stands
/// in errors. A line that begins with `#` is an entry where `is_entry` knows it: some clips of
/// JHMDB are called `#20_…`.
///
/// # Errors
/// The list cannot be read, is not UTF-8, or has no entry.
pub fn entries(
    list: &Path,
    what: &str,
    is_entry: impl Fn(&str) -> bool,
) -> Result<Vec<(usize, String)>> {
    let remedy = format!("write one {what} a line");
    let bytes = std::fs::read(list).map_err(Error::reading(list))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(Error::data(list, "is not a text file in UTF-8", remedy));
    };
    let lines = (1..).zip(text.trim_start_matches('\u{feff}').lines().map(str::trim));
    let counts = |line: &str| !line.is_empty() && (!line.starts_with('#') || is_entry(line));
    let entries: Vec<_> = lines
        .filter(|(_, line)| counts(line))
        .map(|(number, line)| (number, line.to_owned()))
        .collect();
    if entries.is_empty() {
        return Err(Error::data(list, format!("lists no {what}"), remedy));
    }
    Ok(entries)
}

/// Where a path in a list leads.
pub fn beside(list: &Path, path: &Path) -> PathBuf {
    list.parent().unwrap_or(Path::new("")).join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_other_editors() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("val.txt");
        let text = "\u{feff}# two\r\n\r\nblackswan\r\n  bmx #3 \n#dog\n#20_Rhythm\n\nlibby";
        std::fs::write(&list, text).unwrap();
        let found = entries(&list, "clip", |name| name == "#20_Rhythm").unwrap();
        let wanted = [(3, "blackswan"), (4, "bmx #3"), (6, "#20_Rhythm"), (8, "libby")];
        assert_eq!(found, wanted.map(|(number, name)| (number, name.to_owned())));
        let refused = |bytes: &[u8]| {
            std::fs::write(&list, bytes).unwrap();
            entries(&list, "clip", |_| false).unwrap_err().to_string()
        };
        assert!(
            refused(b"\n# nothing\n").contains("val.txt: lists no clip; write one clip a line")
        );
        assert!(refused(&[0xFF, 0xFE, 0]).contains("UTF-8"));
    }

    #[test]
    fn paths_begin_at_the_lists_folder() {
        assert_eq!(beside("a/list.txt".as_ref(), "b.png".as_ref()), Path::new("a/b.png"));
        assert_eq!(beside("list.txt".as_ref(), "b.png".as_ref()), Path::new("b.png"));
        assert_eq!(beside("a/list.txt".as_ref(), "/b.png".as_ref()), Path::new("/b.png"));
    }
}
