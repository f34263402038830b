//! Tells the program which commit it was built from, for the provenance of results.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Sources unpacked inside somebody else's repository are not that repository's commit.
    let commit = (git(&["rev-parse", "--show-prefix"]).as_deref() == Some(""))
        .then(|| git(&["rev-parse", "--short=10", "HEAD"]))
        .flatten();
    if commit.is_some() {
        // A path that does not exist would make cargo build anew every time.
        for file in ["HEAD", "logs/HEAD"] {
            let path = git(&["rev-parse", "--git-path", file]).unwrap_or_default();
            if std::path::Path::new(&path).exists() {
                println!("cargo:rerun-if-changed={path}");
            }
        }
    }
    println!("cargo:rustc-env=GIT_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
