//! Every command of README.md and datasets.md is run as it is written, or stands in a list with
//! what is done instead and why. One that is in neither fails: whoever writes a command into a
//! document sees here that it works. The names in it that stand for data or runs are made in
//! `stand_ins`.

use std::collections::BTreeSet;

use super::extract::{Block, blocks};
use super::stand_ins::Place;
use super::{DATASETS, README};

/// What is done with a command that is not run as it is written.
enum How {
    /// Nothing.
    Not,
    /// Run with more arguments.
    With(&'static str),
    /// Another command takes its place.
    Instead(&'static str),
}

/// A training run of seconds: a network of a few thousand values, for an epoch.
const SMALL: &str = "--epochs 1 --batch-size 4 --masking-ratio 0.5 --threads 2 --quiet \
    --set encoder.width=32 --set encoder.depth=1 --set encoder.heads=2 --set encoder.patch=16 \
    --set decoder.width=16 --set decoder.depth=1 --set decoder.heads=2 --set decoder.hidden=32 \
    --set views.size=32";

/// Commands of the README that are not run as they are written, and why.
const OF_README: [(&str, How, &str); 10] = [
    (
        "cargo run --release -- davis --data sample",
        How::Instead("propagate davis --data sample --dry-run"),
        "the program is built already; .ci/run runs the whole",
    ),
    ("cargo test --release", How::Not, "it runs this"),
    (
        "propagate trace davis --data DAVIS --weights w.pth --sequence cows --frame 40 --point 310,220 --out trace.png",
        How::Instead(
            "propagate trace davis --data DAVIS --weights w.pth --sequence sample-00 --frame 2 --point 31,22 --out trace.png",
        ),
        "the rendered clips have other names, fewer frames and fewer pixels",
    ),
    (
        "pretrain --preset tiny --data photographs --held-out others --out runs/tiny",
        How::With(SMALL),
        "it takes an hour",
    ),
    (
        "pretrain --preset cropmae-in --data imagenet/train --out runs/in --device cuda --dtype bf16",
        How::With("--show-config"),
        "it needs ImageNet and a GPU: its arguments are read",
    ),
    (
        "pretrain --preset siammae-k400 --data kinetics/train --frames-cache frames --out runs/siam",
        How::With(SMALL),
        "it takes days",
    ),
    (
        "pretrain --preset tiny --data photographs --out runs/seen --eval davis=DAVIS --eval-every 20",
        How::With(SMALL),
        "it takes an hour",
    ),
    (
        "pretrain --preset tiny --data photographs --out runs/next --init cropmae.pth --arch vits16",
        How::With("--show-config"),
        "it trains a ViT-S/16: its arguments are read, and tests/pretrain/start.rs runs its like",
    ),
    (
        "pretrain export runs/tiny/checkpoint-00001950.safetensors --out tiny-f16.safetensors --dtype f16",
        How::Instead(
            "pretrain export runs/tiny/checkpoint-00000003.safetensors --out tiny-f16.safetensors --dtype f16",
        ),
        "the run before it was shortened",
    ),
    (
        "propagate sample --out DIR --clips 10 --frames 200",
        How::With("--help"),
        "it renders for minutes: its arguments are read; tests/cli/sample.rs runs its like",
    ),
];

/// Why what is downloaded is not.
const DOWNLOAD: &str = "it downloads";

/// The same for datasets.md.
const OF_DATASETS: [(&str, How, &str); 7] = [
    (
        "curl -LO https://data.vision.ee.ethz.ch/csergi/share/davis/DAVIS-2017-trainval-480p.zip",
        How::Not,
        DOWNLOAD,
    ),
    ("unzip DAVIS-2017-trainval-480p.zip", How::Not, DOWNLOAD),
    ("curl -LO https://files.is.tue.mpg.de/jhmdb/Rename_Images.tar.gz", How::Not, DOWNLOAD),
    ("curl -LO https://files.is.tue.mpg.de/jhmdb/joint_positions.zip", How::Not, DOWNLOAD),
    ("curl -LO https://files.is.tue.mpg.de/jhmdb/splits.zip", How::Not, DOWNLOAD),
    (
        "tar xf Rename_Images.tar.gz && unzip joint_positions.zip && unzip splits.zip",
        How::Not,
        DOWNLOAD,
    ),
    (
        "ffmpeg -i cat.mp4 -vf scale=-2:480 -q:v 2 -start_number 0 my-clips/JPEGImages/480p/cat/%05d.jpg",
        How::Instead(
            "cp ROOT/JPEGImages/480p/sample-00/* my-clips/JPEGImages/480p/cat/ \
         && cp ROOT/Annotations/480p/sample-00/00000.png my-clips/Annotations/480p/cat/",
        ),
        "there is no film; the comment below it asks for the painted annotation",
    ),
];

/// What is run as it is written.
const OURS: [&str; 3] = ["propagate", "pretrain", "mkdir"];

/// The hash of the labels from a shell, which is run as a script.
const HASH: &str = "cd ROOT/Annotations/480p";

/// Runs a block's commands, and ticks off the exceptions that it meets.
fn run(
    place: &Place,
    (document, block): (&str, &Block),
    exceptions: &[(&'static str, How, &str)],
    met: &mut BTreeSet<&'static str>,
) {
    for command in block.commands() {
        let known = exceptions.iter().find(|(text, ..)| *text == command);
        let script = match known {
            Some((_, How::Not, _)) => None,
            Some((_, How::With(more), _)) => Some(format!("{command} {more}")),
            Some((_, How::Instead(other), _)) => Some((*other).to_owned()),
            None => {
                let program = command.split_whitespace().next().unwrap_or_default();
                assert!(
                    OURS.contains(&program),
                    "{document}:{}: {command:?} is new: run it, or say in this file why not",
                    block.line
                );
                Some(command.clone())
            }
        };
        met.extend(known.map(|(text, ..)| *text));
        if let Some(script) = script {
            place.done(&script);
        }
    }
}

/// Exceptions that no command needs any more.
fn unmet(exceptions: &[(&'static str, How, &str)], met: &BTreeSet<&'static str>) -> Vec<String> {
    let old = exceptions.iter().filter(|(text, ..)| !met.contains(text));
    old.map(|(text, ..)| (*text).to_owned()).collect()
}

#[test]
fn the_commands_of_the_readme_run() {
    let place = Place::of_readme();
    let mut met = BTreeSet::new();
    let found = blocks(README);
    assert!(found.len() >= 6, "{} blocks", found.len());
    for block in &found {
        run(&place, ("README.md", block), &OF_README, &mut met);
    }
    assert_eq!(unmet(&OF_README, &met), [""; 0]);
}

#[test]
fn the_commands_of_datasets_md_run() {
    let mut met = BTreeSet::new();
    let found = blocks(DATASETS);
    assert!(found.len() >= 6, "{} blocks", found.len());
    for block in &found {
        let place = Place::of_datasets(&block.section);
        match block.lines.first().is_some_and(|line| line == HASH) {
            true => the_hash_is_the_records(&place, block),
            false => run(&place, ("datasets.md", block), &OF_DATASETS, &mut met),
        }
    }
    assert_eq!(unmet(&OF_DATASETS, &met), [""; 0]);
}

/// The shell's hash of the labels is the one in `results.json`.
fn the_hash_is_the_records(place: &Place, block: &Block) {
    let by_hand = place.done(&block.script());
    let json = place.done("propagate davis --data ROOT --weights pixels --json -q");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let recorded = json["dataset"]["labels_sha256"].as_str().unwrap();
    assert_eq!(by_hand.split_whitespace().next(), Some(recorded));
}
