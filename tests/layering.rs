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

/// Modules that the code of a file names, a file whose own module is `depth` below the root: as
/// `crate::<module>`, in a list `crate::{…}`, or by as many `super::` as lead to the root. Comments
/// may point anywhere, and `fixtures` is of tests alone.
fn used(text: &str, depth: usize) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut names = Vec::new();
    let (mut inner, mut code) = (0, String::new());
    for line in lines {
        // modules within a file begin and end at its margin
        match line {
            "}" => inner = 0,
            _ if line.starts_with("mod ") && line.ends_with('{') => inner = 1,
            _ => {}
        }
        code += &match depth + inner {
            0 => line.to_owned(),
            below => line.replace(&"super::".repeat(below), "crate::"),
        };
        code.push('\n');
    }
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => names.extend(listed(list)),
            None => names.push(word(rest)),
        }
    }
    names.retain(|name| name.starts_with(char::is_lowercase) && name != "fixtures");
    names
}

/// The word that a text begins with.
fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first words of a list's entries, up to the brace that ends it.
fn listed(list: &str) -> Vec<String> {
    let (mut open, mut names) = (0_usize, vec![word(list)]);
    for (at, c) in list.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => break,
            '}' => open -= 1,
            ',' if open == 0 => names.push(word(&list[at + 1..])),
            _ => {}
        }
    }
    names
}

/// How far below the root the module of a file lies: `src/a.rs` and `src/a/mod.rs` one below it.
fn depth(inside: &Path) -> usize {
    let folders = inside.components().count() - 1;
    match inside.file_stem().unwrap().to_str().unwrap() {
        "mod" => folders,
        "lib" => 0,
        _ => folders + 1,
    }
}

#[test]
fn uses_are_found_however_they_are_written() {
    let one = "use crate::eval::{Run, trace};\n// crate::report\nuse crate::{Error, Result};\n";
    assert_eq!(used(one, 1), ["eval"]);
    let list =
        "use crate::{\n    error::{Error, Result},\n    eval,\n    report::{self, table},\n};\n";
    assert_eq!(used(list, 1), ["error", "eval", "report"]);
    assert_eq!(used("use super::super::eval::Run;\nuse super::own;\n", 2), ["eval"]);
    assert!(used("use super::super::own::Thing;\n", 3).is_empty());
    let tests =
        "use super::eval;\nmod tests {\n    use super::super::data;\n    use super::*;\n}\n";
    assert_eq!(used(tests, 1), ["eval", "data"]);
    let depths = ["lib.rs", "a.rs", "a/mod.rs", "a/b.rs"].map(|file| depth(Path::new(file)));
    assert_eq!(depths, [0, 1, 1, 2]);
}

/// A file's text without its modules of tests: these may say aloud what they skip.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let module = |next: &&str| next.starts_with("mod ") || next.starts_with("pub(crate) mod ");
        if line == "#[cfg(test)]" && lines.peek().is_some_and(module) {
            let declared = lines.next().is_some_and(|next| next.ends_with(';'));
            if !declared {
                lines.by_ref().find(|line| *line == "}");
            }
            continue;
        }
        kept += line;
        kept.push('\n');
    }
    kept
}

#[test]
fn only_modules_of_tests_are_left_out() {
    let text = "a\n#[cfg(test)]\nfn b() {\n}\n#[cfg(test)]\nmod c;\n#[cfg(test)]\nmod tests {\n    d\n}\ne\n";
    assert_eq!(without_tests(text), "a\n#[cfg(test)]\nfn b() {\n}\ne\n");
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
        for name in used(&std::fs::read_to_string(file).unwrap(), depth(inside)) {
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
        let text = without_tests(&text);
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
