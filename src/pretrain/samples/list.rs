//! Lists of paths ([`crate::files::list`]). A path that occurs twice is two samples. The caller
//! knows what the paths are (pictures, shards, clips).

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::list;

/// The folder of a list and the paths in it, relative to that folder unless absolute.
///
/// # Errors
/// See [`list::entries`]; or nothing is where a path leads.
pub(super) fn read(list: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let folder = list.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut paths = Vec::new();
    for (number, line) in list::entries(list, "path", |_| false)? {
        if !list::beside(list, line.as_ref()).exists() {
            let problem = format!("line {number} names {line}, which is not there");
            let remedy = "write one path a line, relative to the list's folder";
            return Err(Error::data(list, problem, remedy));
        }
        paths.push(PathBuf::from(line));
    }
    Ok((folder, paths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_line_ends_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.png", "a.jpg"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let list = folder.path().join("list.txt");
        let absolute = folder.path().join("a.jpg");
        let text = format!("\u{feff}# two\r\nb.png\r\n\r\n  a.jpg \n{}\n", absolute.display());
        std::fs::write(&list, text).unwrap();
        let (root, paths) = read(&list).unwrap();
        assert_eq!(root, folder.path());
        assert_eq!(paths, [PathBuf::from("b.png"), PathBuf::from("a.jpg"), absolute]);
    }

    #[test]
    fn lines_that_lead_nowhere_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list.txt");
        let message = |text: &[u8]| {
            std::fs::write(&list, text).unwrap();
            read(&list).unwrap_err().to_string()
        };
        let missing = message(b"# one\n\ngone.jpg\n");
        assert!(missing.contains("list.txt: line 3 names gone.jpg"), "{missing}");
        assert!(message(b"# none\n").contains("lists no path"));
        assert!(message(&[0xFF, 0xFE, 0]).contains("UTF-8"));
    }
}
