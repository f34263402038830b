//! Datasets with something wrong in them: the message names the file and the remedy, what is good
//! is done, and what was good stays.

use cropmae::image::LabelImage;

use super::place::{Place, QUICK, assert_same};

/// Damages one clip of three and runs: the others are done, the bad one is listed, status 3. An
/// earlier result in another folder would not be touched anyway; one in the same folder is whole.
fn one_bad_clip(benchmark: &str, clip: &str, damage: impl Fn(&Place), words: &[&str]) {
    let place = Place::with(&[benchmark]);
    damage(&place);
    let ran = place.run(&format!("{benchmark} --data {benchmark} {QUICK} --out out")).exits(3);
    assert!(ran.err.contains("/3] ") && !ran.err.contains("panicked"), "{}", ran.err);
    let line = ran.err.lines().find(|line| line.contains(&format!("{clip}: failed: ")));
    let line = line.unwrap_or_else(|| panic!("{clip} is not listed in {}", ran.err));
    let failed = ran.out.lines().find(|line| line.contains(&format!("FAILED {clip}: "))).unwrap();
    for word in words {
        assert!(line.contains(word) && failed.contains(word), "{word:?} is not in {line:?}");
    }
    assert!(ran.out.contains("2 of 3 clips, 8 frames — PARTIAL"), "{}", ran.out);
    let json = place.json("out/results.json");
    assert_eq!(json["partial"], true);
    assert_eq!(json["failures"].as_array().unwrap().len(), 1);
    assert!(place.text("out/results.md").contains("PARTIAL"));
    assert!(!place.path(&format!("out/predictions/{clip}")).exists(), "half a clip is there");
    assert!(!place.path("out/.unfinished").exists());
    // Said under --quiet too, once.
    let quiet = place.run(&format!("{benchmark} --data {benchmark} {QUICK} --out out -q")).exits(3);
    assert_eq!(quiet.err.matches(": failed: ").count(), 1, "{}", quiet.err);
}

/// Makes all clips fail: no result, status 1, and what an earlier run left stays byte for byte.
fn all_bad(benchmark: &str, damage: impl Fn(&Place), words: &[&str]) {
    let place = Place::with(&[benchmark]);
    let line = format!("{benchmark} --data {benchmark} {QUICK} --out out");
    place.run(&line).exits(0);
    let before = place.files("out");
    damage(&place);
    place.run(&line).exits(1).refuses(words);
    assert_same(&place.files("out"), &before, "an earlier result was changed");
}

const FRAME: &str = "davis/JPEGImages/480p/sample-01/00002.jpg";
const FIRST: &str = "davis/Annotations/480p/sample-01/00000.png";
const MAT: &str = "jhmdb/joint_positions/walk/sample_walk_0/joint_positions.mat";

#[test]
fn no_dataset_there() {
    let place = Place::with(&["davis"]);
    std::fs::create_dir(place.path("empty")).unwrap();
    for benchmark in ["davis", "vip", "jhmdb"] {
        let run = |data: &str| {
            place.run(&format!("{benchmark} --data {data} {QUICK} --out out")).exits(1)
        };
        run("nowhere").refuses(&["nowhere: there is no such folder; pass the folder of "]);
        run("empty").refuses(&["empty: is not the folder that holds ", "; pass the folder of "]);
    }
    let inside = place.run(&format!("davis --data davis/Annotations {QUICK} --out out")).exits(1);
    inside.refuses(&["davis/Annotations: is not the folder", "; pass "]);
    // where several would do, none is taken for certain
    let copies = ["x/a/Annotations", "x/b/Annotations", "x/b/JPEGImages", "x/c/d/Annotations"];
    copies.iter().for_each(|name| std::fs::create_dir_all(place.path(name)).unwrap());
    let run = || place.run(&format!("davis --data x {QUICK} --out out")).exits(1);
    run().refuses(&["x: is not the folder", "; pass x/b"]);
    place.remove("x/b/JPEGImages");
    run().refuses(&["; pass the one that is meant: x/a, x/b, x/c/d"]);
    std::fs::create_dir_all(place.path("x/e/Annotations")).unwrap();
    run().refuses(&["; pass the one that is meant: x/a, x/b, x/e, …"]);
    place.run(&format!("davis --data davis {QUICK} --split no.txt --out out")).exits(2).refuses(&[
        "--split",
        "no.txt",
        "neither val nor train nor a file",
    ]);
    place.write("blank.txt", "\n# nothing\n");
    let blank =
        place.run(&format!("davis --data davis {QUICK} --split blank.txt --out out")).exits(1);
    blank.refuses(&["blank.txt: lists no clip; write one clip a line"]);
    place.run("davis --data davis --out out").exits(2).refuses(&["--weights FILE", "pixels"]);
    assert!(!place.path("out").exists());
}

#[test]
fn empty_or_missing_folders() {
    let empty = |folder: &'static str| {
        move |place: &Place| {
            place.remove(folder);
            std::fs::create_dir(place.path(folder)).unwrap();
        }
    };
    let frames = "davis/JPEGImages/480p/sample-01";
    one_bad_clip(
        "davis",
        "sample-01",
        |p| p.remove(frames),
        &[frames, "no such folder of frames", "extract"],
    );
    one_bad_clip("davis", "sample-01", empty(frames), &[frames, "extension jpg", "extract"]);
    let masks = "davis/Annotations/480p/sample-01";
    one_bad_clip("davis", "sample-01", |p| p.remove(masks), &[masks, "extract"]);
    one_bad_clip("davis", "sample-01", empty(masks), &[masks, "extension png", "extract"]);
    one_bad_clip(
        "vip",
        "videos2",
        |p| p.remove("vip/Images/videos2"),
        &["vip/Images/videos2", "extract"],
    );
    let pose = "walk/sample_walk_0";
    let frames = "jhmdb/Rename_Images/walk/sample_walk_0";
    one_bad_clip("jhmdb", pose, |p| p.remove(frames), &[frames, "Rename_Images.tar.gz"]);
    one_bad_clip("jhmdb", pose, empty(frames), &[frames, "holds no frame"]);
    one_bad_clip("jhmdb", pose, |p| p.remove(MAT), &[MAT, "joint_positions.zip"]);
    let (second, third) = (format!("{frames}/00002.png"), format!("{frames}/00003.png"));
    let words = [&*third, "follows 00001.png", "extract Rename_Images.tar.gz again"];
    one_bad_clip("jhmdb", pose, |p| p.remove(&second), &words);
    all_bad("davis", empty("davis/JPEGImages"), &["davis/JPEGImages/", "no such folder of frames"]);
    all_bad(
        "davis",
        |p| p.remove("davis/Annotations"),
        &["davis/Annotations", "extract the annotations"],
    );
}

#[test]
fn frames_that_do_not_decode() {
    let again = "copy or extract";
    one_bad_clip("davis", "sample-01", |p| p.cut(FRAME, 0.7), &[FRAME, "does not decode", again]);
    one_bad_clip(
        "davis",
        "sample-01",
        |p| p.write(FRAME, ""),
        &[FRAME, "the file is empty", again],
    );
    one_bad_clip(
        "davis",
        "sample-01",
        |p| p.write(FRAME, "<html>"),
        &[FRAME, "neither a JPEG nor a PNG"],
    );
    let frame = "jhmdb/Rename_Images/walk/sample_walk_0/00003.png";
    one_bad_clip(
        "jhmdb",
        "walk/sample_walk_0",
        |p| p.cut(frame, 0.5),
        &[frame, "does not decode", again],
    );
    let frame = "vip/Images/videos2/000000000004.jpg";
    one_bad_clip("vip", "videos2", |p| p.cut(frame, 0.2), &[frame, "does not decode", again]);
}

#[test]
fn sizes_that_change_inside_a_clip() {
    let small = |file: &'static str| {
        move |place: &Place| {
            image::RgbImage::from_pixel(80, 96, image::Rgb([9, 9, 9]))
                .save(place.path(file))
                .unwrap();
        }
    };
    let words = ["this frame is 96x80, the clip's first is 96x160", "one size"];
    one_bad_clip("davis", "sample-01", small(FRAME), &[&[FRAME], &words[..]].concat());
    let frame = "jhmdb/Rename_Images/walk/sample_walk_0/00002.png";
    one_bad_clip("jhmdb", "walk/sample_walk_0", small(frame), &[&[frame], &words[..]].concat());
    let shrink = |place: &Place| {
        place.write_mask(
            "davis/Annotations/480p/sample-01/00002.png",
            &LabelImage { width: 80, height: 48, data: vec![1; 80 * 48] },
        );
    };
    let words = ["sample-01/00002.png", "this annotation is 48x80, the clip's first is 96x160"];
    one_bad_clip("davis", "sample-01", shrink, &words);
}

#[test]
fn masks_that_are_none() {
    let rgb = |place: &Place| {
        image::RgbImage::from_pixel(160, 96, image::Rgb([128, 0, 0]))
            .save(place.path(FIRST))
            .unwrap();
    };
    one_bad_clip("davis", "sample-01", rgb, &[FIRST, "holds colours", "single-channel PNG of ids"]);
    let deep = |place: &Place| {
        image::ImageBuffer::from_pixel(160, 96, image::Luma([300_u16]))
            .save(place.path(FIRST))
            .unwrap();
    };
    one_bad_clip("davis", "sample-01", deep, &[FIRST, "16 bits", "8-bit palette or grey PNG"]);
    // what Pillow's convert("L") makes of the colours of objects 1 and 2
    let grey = |place: &Place| place.change_mask(FIRST, |id| [0, 38, 75][usize::from(id.min(2))]);
    one_bad_clip(
        "davis",
        "sample-01",
        grey,
        &[FIRST, "objects 1 to 75 are scored", "shades of grey are no ids"],
    );
    let sideways = |file: &'static str| {
        move |place: &Place| {
            let LabelImage { width, height, data } = place.mask(file);
            place.write_mask(file, &LabelImage { width: height, height: width, data });
        }
    };
    one_bad_clip("davis", "sample-01", sideways(FIRST), &[FIRST, "lies on its side", "EXIF"]);
    let first = "vip/Annotations/Category_ids/videos2/000000000001.png";
    one_bad_clip("vip", "videos2", sideways(first), &[first, "lies on its side"]);
    let nothing = |place: &Place| place.change_mask(FIRST, |_| 0);
    one_bad_clip(
        "davis",
        "sample-01",
        nothing,
        &[FIRST, "holds no object", "annotate the first frame"],
    );
    one_bad_clip(
        "davis",
        "sample-01",
        |p| p.cut(FIRST, 0.5),
        &[FIRST, "not a readable PNG", "extract"],
    );
    let later = "vip/Annotations/Category_ids/videos2/000000000003.png";
    one_bad_clip(
        "vip",
        "videos2",
        |p| p.cut(later, 0.5),
        &[later, "not a readable PNG", "extract"],
    );
    let first = "vip/Annotations/Category_ids/videos2/000000000001.png";
    let beyond = |place: &Place| place.change_mask(first, |id| if id == 0 { 20 } else { id });
    one_bad_clip("vip", "videos2", beyond, &["class 20", "0 to 19"]);
}

#[test]
fn the_first_annotation_missing() {
    let words = ["has no annotation 00000.png", "paint the first frame's mask as 00000.png"];
    one_bad_clip("davis", "sample-01", |p| p.remove(FIRST), &words);
}

/// Later annotations: the others are scored, and the table says that the number is not the
/// benchmark's.
#[test]
fn later_annotations_missing() {
    let place = Place::with(&["davis", "vip"]);
    let later = "davis/Annotations/480p/sample-01/00001.png";
    place.remove(later);
    let line = format!("davis --data davis {QUICK} --out out");
    let note = "sample-01: 1 of 2 frames to score without an annotation: the score is of the others, and not the benchmark's";
    let ran = place.run(&line).exits(0);
    assert!(ran.out.contains(note) && place.text("out/results.md").contains(note), "{}", ran.out);
    assert_eq!(place.json("out/results.json")["notes"][0]["clip"], "sample-01");
    // without the frames nothing but the prediction tells
    let ran = place.run("score davis --data davis --predictions out/predictions").exits(0);
    assert!(
        ran.out.contains("sample-01: 1 prediction of frames without an annotation"),
        "{}",
        ran.out
    );
    place.remove("vip/Annotations/Category_ids/videos2/000000000003.png");
    let ran = place.run(&format!("vip --data vip {QUICK} --out v")).exits(0);
    assert!(
        ran.out.contains("videos2: 1 of 4 frames without an annotation: not scored"),
        "{}",
        ran.out
    );
}

/// A folder of another benchmark's names the command that reads it.
#[test]
fn another_benchmarks_folder() {
    let all = ["davis", "vip", "jhmdb"];
    let place = Place::with(&all);
    for data in all {
        for asked in all.into_iter().filter(|asked| *asked != data) {
            let words = format!("{data}: is laid out as {}, not as", data.to_uppercase());
            let reads = format!("`propagate {data}` reads it");
            for line in [format!("{asked} {QUICK}"), format!("check {asked}")] {
                let ran = place.run(&format!("{line} --data {data}")).exits(1);
                ran.refuses(&[&words, &reads]);
            }
        }
    }
}

/// A link that leads nowhere is found when the clip's turn comes; it costs that clip alone.
#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere() {
    let dangling = |file: &'static str| {
        move |place: &Place| {
            place.remove(file);
            std::os::unix::fs::symlink("nowhere", place.path(file)).unwrap();
        }
    };
    one_bad_clip("davis", "sample-01", dangling(FIRST), &[FIRST, "cannot read", "check the path"]);
    one_bad_clip("davis", "sample-01", dangling(FRAME), &[FRAME, "cannot read", "check the path"]);
}

#[test]
fn joints_that_cannot_be_read() {
    let clip = "walk/sample_walk_0";
    let again = "extract it again from joint_positions.zip";
    one_bad_clip("jhmdb", clip, |p| p.cut(MAT, 0.8), &[MAT, "cut short", again]);
    let broken = |place: &Place| {
        // x of the first joint is the first number after the name, as the sample's writer has it
        let mut bytes = std::fs::read(place.path(MAT)).unwrap();
        let name = bytes.windows(7).position(|window| window == b"pos_img").unwrap();
        bytes[name + 16..name + 24].copy_from_slice(&f64::NAN.to_le_bytes());
        place.write(MAT, bytes);
    };
    let words = [MAT, "holds joints that are no finite numbers (1)", again];
    one_bad_clip("jhmdb", clip, broken, &words);
    one_bad_clip("jhmdb", clip, |p| p.write(MAT, "not MATLAB"), &[MAT, "is no MATLAB file", again]);
    one_bad_clip("jhmdb", clip, |p| p.write(MAT, "MATLAB 7.3 MAT-file"), &[MAT, "v7.3", "-v7"]);
}

/// Clips that failed are done by the next run, once they are repaired; the others are kept.
#[test]
fn a_repaired_clip_completes_the_result() {
    let place = Place::with(&["davis"]);
    let whole = std::fs::read(place.path(FRAME)).unwrap();
    place.cut(FRAME, 0.5);
    let line = format!("davis --data davis {QUICK} --out out");
    place.run(&line).exits(3);
    place.write(FRAME, whole);
    let ran = place.run(&line).exits(0);
    assert_eq!(ran.err.matches("done by an earlier run").count(), 2, "{}", ran.err);
    assert!(!ran.out.contains("PARTIAL"), "{}", ran.out);
    place.run(&format!("davis --data davis {QUICK} --out fresh")).exits(0);
    assert_same(&place.files("out/predictions"), &place.files("fresh/predictions"), "predictions");
    let metrics = |out: &str| place.json(&format!("{out}/results.json"))["metrics"].clone();
    assert_eq!(metrics("out"), metrics("fresh"));
}

/// A clip whose given labels were corrected is done again, alone.
#[test]
fn changed_labels_are_done_again() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --out out");
    place.run(&line).exits(0);
    place.change_mask(FIRST, |id| id.min(1));
    let ran = place.run(&line).exits(0);
    assert_eq!(ran.err.matches("done by an earlier run").count(), 2, "{}", ran.err);
    assert!(ran.err.contains("[2/3] sample-01: ") && ran.err.contains(" frames/s"), "{}", ran.err);
    let objects = place.json("out/results.json")["per_object"].as_object().unwrap().len();
    let other = place.mask("davis/Annotations/480p/sample-00/00000.png").data.into_iter().max();
    let third = place.mask("davis/Annotations/480p/sample-02/00000.png").data.into_iter().max();
    assert_eq!(objects, usize::from(other.unwrap()) + 1 + usize::from(third.unwrap()));
}
