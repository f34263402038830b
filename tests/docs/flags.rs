//! Flags in the documents are flags of the programs.

use std::collections::BTreeSet;

use super::extract::{blocks, prose};
use super::stand_ins::Place;
use super::{DATASETS, README};

/// Flags of other programs.
const OTHERS: [&str; 5] = ["--release", "--features", "--path", "--open", "--locked"];

/// What looks like a long flag in a text.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '-'));
    let flag = |word: &&str| {
        word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_alphabetic()))
    };
    words.filter(flag).map(str::to_owned).collect()
}

/// The inline code of a document.
fn code(text: &str) -> String {
    let prose = prose(text);
    prose.split('`').skip(1).step_by(2).collect::<Vec<_>>().join("\n")
}

#[test]
fn flags_in_the_documents_exist() {
    let place = Place::new();
    place.done("propagate man pages && pretrain man pages");
    let pages = std::fs::read_dir(place.path("pages")).unwrap();
    let known: BTreeSet<String> = pages
        .flat_map(|page| {
            let page = std::fs::read_to_string(page.unwrap().path()).unwrap();
            // roff writes a hyphen that is no hyphenation as \-
            flags(&page.replace("\\-", "-").replace("\\fB", " "))
        })
        .collect();
    assert!(known.contains("--data") && known.contains("--masking-ratio"), "{known:?}");
    for (name, text) in [("README.md", README), ("datasets.md", DATASETS)] {
        let scripts: Vec<String> = blocks(text).iter().map(|block| block.script()).collect();
        let ours = scripts.join("\n");
        let ours = ours.lines().filter(|line| !line.starts_with("ffmpeg")).collect::<Vec<_>>();
        let mut used = flags(&code(text));
        used.extend(flags(&ours.join("\n")));
        let unknown: Vec<_> = used
            .iter()
            .filter(|flag| !known.contains(*flag) && !OTHERS.contains(&flag.as_str()))
            .collect();
        assert!(unknown.is_empty(), "{name}: no program has {unknown:?}");
    }
}

#[test]
fn flags_are_told_from_dashes() {
    assert_eq!(flags("a --b-c=1 -- --- x--y -d `--e`"), flags("--b-c --e"));
}
