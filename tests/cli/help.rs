//! `--help` that teaches, and completion scripts.

use super::place::Place;

#[test]
fn the_first_screen() {
    let ran = Place::new().run("--help").exits(0);
    assert_eq!(ran.err, "");
    insta::assert_snapshot!(ran.out, @r"
    Evaluates image encoders by video label propagation.

    The labels of a clip's first frame are carried through the clip by the k-nearest-neighbour affinity
    of patch features, and scored: object masks on DAVIS-2017 (J&F), body parts on VIP (mIoU), joints on
    JHMDB (PCK).

    Usage: propagate <COMMAND>

    Commands:
      davis        Object masks on DAVIS-2017 (or any folder laid out like it): J&F
      vip          Body parts on VIP: mIoU
      jhmdb        Joints on JHMDB: PCK
      score        Score predictions that any program wrote; needs neither frames nor weights
      compare      Finished runs side by side: differences, and which of them are real
      explain      Where a run's number comes from, and how much each choice changes it
      report       Write a run's report.html again
      check        Check a dataset or a checkpoint before a long run
      features     Store patch features of images for other programs
      reconstruct  Draw what a pre-trained network makes of masked images; needs its decoder
      attention    Draw what CLS attends to in the last block, head by head
      trace        Draw where a patch takes its labels from: its neighbours and their weights
      overlays     Draw the predictions of a finished run: contact sheets, films, a figure
      sample       Render sample clips with exact ground truth in the three official layouts
      completions  Print a completion script for a shell
      man          Write manual pages, one a command
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Examples:
      propagate davis --data sample                         rendered clips, no download
      propagate check davis --data DAVIS                    is the dataset whole?
      propagate davis --data DAVIS --weights cropmae.pth    the published protocol
      propagate davis --data DAVIS --weights dino.pth --preset dino
      propagate score davis --data DAVIS --predictions runs/mine/predictions

    Exit status: 0 success, 1 failure (no clip could be done), 2 wrong usage, 3 done, except for some
    clips, pictures or the page (check: errors found), 130 stopped by Ctrl-C, 143 by SIGTERM: finished
    clips are kept, and the same command continues.
    ");
}

#[test]
fn every_verb_has_a_short_and_a_long_help() {
    let place = Place::new();
    let verbs = [
        "davis",
        "vip",
        "jhmdb",
        "score",
        "report",
        "compare",
        "explain",
        "check",
        "check davis",
        "check vip",
        "check jhmdb",
        "check weights",
        "features",
        "reconstruct",
        "attention",
        "trace",
        "overlays",
        "sample",
        "completions",
        "man",
    ];
    for verb in verbs {
        let short = place.run(&format!("{verb} -h")).exits(0);
        let long = place.run(&format!("{verb} --help")).exits(0);
        assert!(short.out.contains("Usage: propagate"), "{verb}: {}", short.out);
        // in lines: the columns of a short help are padded
        assert!(short.out.lines().count() <= long.out.lines().count(), "{verb}");
        let widest = long.out.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{verb}: a line of {widest:?} columns");
    }
    let taught = [
        "davis",
        "score",
        "report",
        "compare",
        "explain",
        "check",
        "features",
        "reconstruct",
        "attention",
        "trace",
        "overlays",
        "completions",
        "man",
    ];
    for verb in taught {
        let help = place.run(&format!("{verb} --help")).out;
        assert!(help.contains(&format!("  propagate {verb} ")), "{verb} shows no example");
    }
}

/// Every default stands in the help, with the preset that it comes from.
#[test]
fn defaults_come_with_their_origin() {
    let help = Place::new().run("davis --help").out;
    let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "[cropmae, rsp: 7, VIP 10; crw: 10; dino, dinov3: 5]",
        "[cropmae: 20; rsp: 30; crw, dino, dinov3: 12]",
        "[cropmae: 0.7; crw: 0.05; dino, rsp: 0.1; dinov3: 0.2]",
        "[cropmae, crw: 20; rsp: 30; dino, dinov3: 7]",
        "[cropmae: DAVIS 480x880, JHMDB 320x320; crw: native]",
        "[default: cropmae]",
        "[default: auto]",
        "[default: f32]",
        "[default: read from the checkpoint]",
        "DAVIS_ROOT",
        "PROPAGATE_DEVICE",
    ] {
        assert!(flat.contains(part), "{part:?} is not in {flat}");
    }
    // Old spellings work without taking room.
    assert!(!help.contains("n_last_frames"));
}

#[test]
fn wrong_words_are_usage_errors() {
    let place = Place::new();
    for line in ["", "devis", "davis --topk many", "davis --device tpu", "davis --size 480"] {
        let ran = place.run(line).exits(2);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{line}");
    }
    place.run("davis --short-side 480 --size 480x880").exits(2).says(&["cannot be used with"]);
    place.run("davis --queue 18446744073709551615").exits(2).says(&["from 0 to 1000000"]);
    place.run("davis --weights random:vitx16@0").exits(2).says(&["vitx16", "vits16"]);
}

#[test]
fn completions() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = place.run(&format!("completions {shell}")).exits(0);
        assert!(ran.out.contains("save-soft-labels") && ran.err.is_empty(), "{shell}");
    }
    let version = place.run("--version").exits(0).out;
    assert_eq!(version, format!("propagate {}\n", env!("CARGO_PKG_VERSION")));
}
