//! The house's one-way streets: which module of the library may use which.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::Path;

/// Every module and what it may use; leaves first. What is not listed may not be used.
const MAY_USE: [(&str, &[&str]); 25] = [
    ("error", &[]),
    ("wording", &[]),
    ("digest", &[]),
    ("elementwise", &[]),
    ("host", &[]),
    ("kernel", &[]),
    ("nearest", &[]),
    ("product", &["elementwise"]),
    ("progress", &["error"]),
    ("trial", &["error"]),
    ("device", &["error"]),
    ("files", &["error"]),
    ("image", &["error", "kernel"]),
    ("metric", &["image"]),
    ("data", &["digest", "error", "files", "image", "metric", "wording"]),
    ("sample", &["data", "error", "files", "image"]),
    (
        "model",
        &[
            "device",
            "digest",
            "elementwise",
            "error",
            "files",
            "host",
            "kernel",
            "product",
            "trial",
        ],
    ),
    ("autoencoder", &["device", "elementwise", "error", "host", "kernel", "model", "product"]),
    ("propagation", &["elementwise", "error", "image", "kernel", "product", "trial"]),
    ("protocol", &["data", "digest", "error", "image", "nearest", "propagation"]),
    (
        "eval",
        &[
            "data",
            "device",
            "digest",
            "error",
            "files",
            "image",
            "metric",
            "model",
            "progress",
            "propagation",
            "protocol",
            "wording",
        ],
    ),
    ("overlay", &["data", "error", "eval", "files", "image", "metric", "propagation", "protocol"]),
    (
        "report",
        &[
            "data", "error", "eval", "files", "image", "metric", "model", "overlay", "protocol",
            "wording",
        ],
    ),
    (
        "pretrain",
        &[
            "autoencoder",
            "data",
            "device",
            "digest",
            "error",
            "eval",
            "files",
            "image",
            "kernel",
            "model",
            "nearest",
            "progress",
            "propagation",
            "protocol",
            "report",
            "trial",
            "wording",
        ],
    ),
    ("lib", &["error"]),
];

/// Modules named as `crate::<module>` in the code of a file; comments may point anywhere.
fn used(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .filter(|name: &String| name.chars().next().is_some_and(char::is_lowercase))
        .collect()
}

fn walk(path: &Path, visit: &mut dyn FnMut(&Path)) {
    if path.is_dir() {
        let mut entries: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| walk(entry, visit));
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        visit(path);
    }
}

#[test]
fn data_flows_one_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    walk(&source, &mut |file| {
        let inside = file.strip_prefix(&source).unwrap();
        let module = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = module.trim_end_matches(".rs");
        if module == "bin" {
            return;
        }
        let (_, allowed) = MAY_USE
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{module} is new: say in MAY_USE what it may use"));
        for name in used(&std::fs::read_to_string(file).unwrap()) {
            if name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {module} uses {name}", inside.display()));
            }
        }
    });
    assert!(wrong.is_empty(), "against the flow:\n{}", wrong.join("\n"));
}

#[test]
fn the_library_does_not_know_the_command_line() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    walk(&source, &mut |file| {
        let text = std::fs::read_to_string(file).unwrap();
        // Tests may say aloud what they skip.
        let text = text.split("#[cfg(test)]").next().unwrap();
        let tests = file.file_stem().is_some_and(|name| name.to_str().unwrap().ends_with("tests"));
        if !tests && !file.starts_with(source.join("bin")) {
            for word in
                ["clap::", "println!", "eprintln!", "process::exit", "env::args", "env::var"]
            {
                assert!(!text.contains(word), "{} has {word}", file.display());
            }
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                assert!(!has_flag(line), "{} names a flag: {}", file.display(), line.trim());
            }
        }
    });
}

/// Whether a line of code says `--name`; cargo's `--features` is none of ours, and `--name:` is a
/// variable of a style sheet.
fn has_flag(line: &str) -> bool {
    line.split("--").skip(1).any(|rest| {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_lowercase() || c == '-');
        let name = &rest[..rest.len() - after.len()];
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
        begins && name != "features" && !after.starts_with(':')
    })
}

#[test]
fn flags_are_told_from_what_looks_like_them() {
    for flag in ["\"--topk\"", "\"use --score-size N\"", "(--x)"] {
        assert!(has_flag(flag), "{flag}");
    }
    for none in ["\"--share:\"", "build it with `--features cuda`", "a -- b", "-----", "x - y"] {
        assert!(!has_flag(none), "{none}");
    }
}
