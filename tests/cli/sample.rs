//! `propagate sample`: rendered clips, and folders of others left alone.

use super::place::{Place, assert_same};

#[test]
fn three_layouts_by_default_one_on_request() {
    let place = Place::new();
    let ran = place.run("sample --out all --clips 1 --frames 2 --size 48x80").exits(0);
    assert!(ran.out.is_empty(), "{}", ran.out);
    assert_eq!(ran.err.lines().last(), Some("1 clip of 2 frames in all/jhmdb"));
    for file in [
        "davis/ImageSets/2017/val.txt",
        "davis/JPEGImages/480p/sample-00/00001.jpg",
        "vip/Annotations/Category_ids/videos1/000000000002.png",
        "jhmdb/joint_positions/walk/sample_walk_0/joint_positions.mat",
    ] {
        assert!(place.path("all").join(file).exists(), "{file}");
    }
    place.run("sample --out one --benchmark vip --clips 1 --frames 2 --size 48x80").exits(0);
    assert!(place.path("one/vip").exists() && !place.path("one/davis").exists());
    assert_same(&place.files("one/vip"), &place.files("all/vip"), "rendered");
    place
        .run("sample --out seed --benchmark vip --clips 1 --frames 2 --size 48x80 --seed 5")
        .exits(0);
    assert_ne!(place.files("seed/vip"), place.files("all/vip"));
}

#[test]
fn the_same_sample_is_kept_and_another_refused() {
    let place = Place::new();
    let line = "sample --out s --benchmark davis --clips 1 --frames 2 --size 48x80";
    place.run(line).exits(0);
    let frame = place.path("s/davis/JPEGImages/480p/sample-00/00000.jpg");
    let written = std::fs::metadata(&frame).unwrap().modified().unwrap();
    place.run(line).exits(0);
    assert_eq!(std::fs::metadata(&frame).unwrap().modified().unwrap(), written);
    let before = place.files("s");
    let ran = place.run(&format!("{line} --seed 9")).exits(1);
    ran.refuses(&["s/davis", "something else", "a new folder"]);
    assert_same(&place.files("s"), &before, "changed");
    place.write("mine/davis/thesis.tex", "...");
    place.run("sample --out mine --benchmark davis").exits(1).refuses(&["mine/davis"]);
    assert_eq!(place.names("mine"), ["davis/thesis.tex"]);
}

#[test]
fn sizes_that_cannot_be_rendered() {
    let place = Place::new();
    place.run("sample --out s --size 8x8").exits(2).refuses(&["height"]);
    for flag in ["--clips", "--frames"] {
        let told = format!("'0' for '{flag} <N>': a whole number from 1 is needed");
        place.run(&format!("sample --out s {flag} 0")).exits(2).says(&[&told]);
    }
    assert!(!place.path("s").exists());
}
