//! Where the reference program's files are; unit tests of the library read this file too.

use std::path::{Path, PathBuf};

/// A file or folder among what the reference program computed, in `shared` beside the checkout.
/// Where it is missing, `None`, said aloud, or with `REQUIRE_FIXTURES` a failure.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let found = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")).join(path);
    if found.exists() {
        return Some(found);
    }
    let missing = format!("{} is not there", found.display());
    assert!(std::env::var_os("REQUIRE_FIXTURES").is_none(), "{missing}");
    eprintln!("skipped: {missing}");
    None
}
