//! Overlays: what an evaluation draws beside its results, and `propagate overlays` afterwards.

use cropmae::image::{Rgb, decode};

use super::place::{BENCHMARKS, Place, QUICK, SIZE, assert_same};

fn evaluate(place: &Place, benchmark: &str, more: &str) -> super::place::Ran {
    place.run(&format!("{benchmark} --data {benchmark} {QUICK} --out out {more}")).exits(0)
}

fn picture(place: &Place, file: &str) -> Rgb {
    decode::read(&place.path(file)).unwrap()
}

#[test]
fn every_benchmark_leaves_a_sheet_of_each_clip() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        let ran = evaluate(&place, benchmark, "");
        assert!(ran.err.contains("3 overlays in out/overlays, "), "{}", ran.err);
        assert!(ran.err.ends_with("results in out\n"), "{}", ran.err);
        let names = place.names("out/overlays");
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.contains(&"style.json".to_owned()));
        let first = names.iter().find(|name| name.ends_with(".png")).unwrap();
        let sheet = picture(&place, &format!("out/overlays/{first}"));
        // four frames in a row, white between and around them
        assert_eq!(sheet.width, 4 * SIZE.1 + 3 * 4 + 2 * 8, "{benchmark}");
        assert!(sheet.height > SIZE.0 + 32, "{benchmark}: words above and below");
        let at = |x: usize, y: usize| &sheet.data[3 * (y * sheet.width + x)..][..3];
        assert_eq!(at(2, 2), [255; 3], "{benchmark}: the margin");
        // the middle of the first frame, below the name
        assert_ne!(at(8 + SIZE.1 / 2, 32 + SIZE.0 / 2), [255; 3], "{benchmark}");
    }
}

#[test]
fn sheets_are_drawn_once_and_again_when_something_changed() {
    let place = Place::with(&["davis"]);
    evaluate(&place, "davis", "");
    let first = place.files("out/overlays");
    let again = evaluate(&place, "davis", "");
    assert!(again.err.contains("overlays in out/overlays, as they were"), "{}", again.err);
    place.remove("out/overlays/sample-01.png");
    let ran = evaluate(&place, "davis", "");
    assert!(
        ran.err.contains("1 overlay in out/overlays") && ran.err.contains("2 more as they were")
    );
    assert_same(&place.files("out/overlays"), &first, "drawn anew");
    // a clip that is done again is drawn again
    place.remove("out/clips/sample-01.json");
    place.write("out/overlays/sample-01.png", b"old");
    let old = std::fs::File::options().append(true).open(place.path("out/overlays/sample-01.png"));
    old.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    evaluate(&place, "davis", "");
    assert_same(&place.files("out/overlays"), &first, "done again");
    // another style replaces all
    let ran = evaluate(&place, "davis", "--overlay-errors");
    assert!(ran.err.contains("3 overlays in out/overlays"), "{}", ran.err);
    let marked = place.files("out/overlays");
    assert!(first.iter().all(|(name, bytes)| marked[name] != *bytes), "nothing is marked");
}

#[test]
fn none_draws_nothing_and_other_words_are_refused() {
    let place = Place::with(&["davis"]);
    let ran = evaluate(&place, "davis", "--overlays none");
    assert!(!ran.err.contains("overlays") && !place.path("out/overlays").exists());
    place.run(&format!("davis --data davis {QUICK} --overlays jpeg")).exits(2).says(&[
        "--overlays",
        "png",
        "mp4",
        "gif",
        "none",
    ]);
}

#[test]
fn gifs_hold_every_frame() {
    let place = Place::with(&["vip"]);
    evaluate(&place, "vip", "--overlays gif");
    let names = place.names("out/overlays");
    assert_eq!(names.iter().filter(|name| name.ends_with(".gif")).count(), 3, "{names:?}");
    let film = std::fs::File::open(place.path("out/overlays/videos1.gif")).unwrap();
    let mut film = gif::DecodeOptions::new().read_info(film).unwrap();
    assert_eq!(usize::from(film.width()), SIZE.1);
    assert!(usize::from(film.height()) > SIZE.0 + 16, "the legend of parts");
    let mut frames = 0;
    while film.next_frame_info().unwrap().is_some() {
        frames += 1;
    }
    assert_eq!(frames, super::place::FRAMES);
}

/// Without ffmpeg there are GIFs, and a line that says so.
#[test]
fn films_without_ffmpeg_are_gifs() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --out out --overlays mp4 --limit 1");
    let output = place.command().args(line.split_whitespace()).env("PATH", "").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("ffmpeg is not there: GIFs are made"), "{err}");
    assert_eq!(place.names("out/overlays"), ["sample-00.gif", "style.json"]);
}

/// What cannot be drawn is said, and the results are there all the same.
#[test]
fn overlays_that_fail_lose_no_result() {
    let place = Place::with(&["davis"]);
    evaluate(&place, "davis", "--overlays none");
    place.write("out/overlays", b"a file in the way");
    let line = format!("davis --data davis {QUICK} --out out --overlays png");
    let ran = place.run(&line).exits(3);
    assert!(ran.err.contains("no overlays: cannot create out/overlays"), "{}", ran.err);
    assert!(ran.out.contains("J&F-Mean") && place.path("out/results.json").exists());
    place.remove("out/overlays");
    place.remove("out/predictions/sample-01/00001.png");
    // the run would predict it again
    let ran = place.run("overlays out --data davis").exits(3);
    assert!(ran.err.contains("sample-01: no overlay: cannot read"), "{}", ran.err);
    assert!(ran.err.contains("2 overlays in"), "{}", ran.err);
}

#[test]
fn a_run_that_is_over_is_drawn_as_it_would_have_been() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        evaluate(&place, benchmark, "");
        let drawn = place.files("out/overlays");
        place.remove("out/overlays");
        let line = format!("overlays out --data {benchmark}");
        let ran = place.run(&line).exits(0).says(&["3 overlays in out/overlays"]);
        assert!(ran.out.is_empty());
        assert_same(&place.files("out/overlays"), &drawn, benchmark);
        let ran = place.run(&format!("{line} --overlays gif --width 64 -q")).exits(0);
        assert_eq!(ran.err, "");
        assert_eq!(place.names("out/overlays").len(), 7, "sheets stay beside films");
    }
}

#[test]
fn figures_have_a_row_for_each_clip() {
    let place = Place::with(&["davis"]);
    evaluate(&place, "davis", "--overlays none");
    let line = "overlays out --data davis --figure figure.png";
    place
        .run(&format!("{line} --frames 3 --sequences sample-00,sample-02 --width 100"))
        .exits(0)
        .says(&["figure in figure.png"]);
    let figure = picture(&place, "figure.png");
    // 100 columns of 160 make 60 rows of 96
    assert_eq!((figure.height, figure.width), (2 * 60 + 4, 3 * 100 + 2 * 4));
    assert!(!place.path("out/overlays").exists());
    place.run("overlays out --data davis --frames 3").exits(2);
    place.remove("out/clips/sample-01.json");
    place
        .run(&format!("{line} --sequences sample-01"))
        .exits(2)
        .refuses(&["sample-01", "not done"]);
}

#[test]
fn runs_that_cannot_be_drawn() {
    let place = Place::with(&["davis"]);
    evaluate(&place, "davis", "--overlays none");
    place.run("overlays nowhere --data davis").exits(1).refuses(&["nowhere: is not there"]);
    place.run("overlays out --data davis --overlays none").exits(2).refuses(&["--overlays"]);
    place.run("overlays out --data nothing").exits(1).refuses(&["nothing"]);
    // other labels under the same names
    place.change_mask("davis/Annotations/480p/sample-01/00000.png", |id| u8::from(id > 0));
    let ran = place.run("overlays out --data davis").exits(3);
    assert!(
        ran.err.contains("sample-01: no overlay: ") && ran.err.contains("another"),
        "{}",
        ran.err
    );
    // none at all: the reason stands in the last line too
    place.write("out/clips/sample-01.json", b"{");
    let ran = place.run("overlays out --data davis --sequences sample-01").exits(1);
    ran.refuses(&["0 of 1 clip could be drawn; sample-01: ", "damaged"]);
    place.remove("out/clips/sample-02.json");
    let ran = place.run("overlays out --data davis --sequences sample-02").exits(1);
    ran.refuses(&["could be drawn; sample-02: this run has not done it; pass its own --data"]);
    place.write("out/run.json", b"{");
    place.run("overlays out --data davis").exits(1).refuses(&["run.json", "damaged"]);
}
