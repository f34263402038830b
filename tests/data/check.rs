//! What `check` reports.

use std::fs;
use std::path::Path;

use cropmae::data::Split;
use cropmae::data::check::{self, Depth, Finding, Report};

use crate::trees::Tree;

fn davis(tree: &Tree) -> Report {
    check::davis(tree.root(), &Split::Val, Depth::Headers).unwrap()
}

fn says(findings: &[Finding], clip: &str, words: &str) -> bool {
    findings.iter().any(|finding| finding.clip == clip && finding.problem.contains(words))
}

fn summary<'a>(report: &'a Report, name: &str) -> &'a str {
    &report.summary.iter().find(|(found, _)| found == name).unwrap().1
}

#[test]
fn a_sound_dataset_has_facts_and_no_errors() {
    let tree = Tree::new();
    tree.sequence("", "bear", &[&[1, 2], &[1, 255], &[2]]);
    tree.text("ImageSets/2017/val.txt", "bear");
    let report = davis(&tree);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let facts = &report.clips[0];
    assert_eq!((facts.frames, facts.annotations, facts.objects), (3, 3, 2));
    assert_eq!((facts.frame_size, facts.annotation_size), (Some((8, 4)), Some((8, 4))));
    assert_eq!((facts.ids.as_slice(), facts.void_frames), (&[1, 2][..], 1));
    assert_eq!(summary(&report, "clips"), "1 (DAVIS-2017 val has 30)");
    assert_eq!(summary(&report, "frames"), "3 (DAVIS-2017 val has 1999)");
    assert!(says(&report.warnings, "", "clips: 1, but DAVIS-2017 val has 30"));
    assert_eq!(summary(&report, "labels sha256").len(), 64);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["clips"][0]["ids"], serde_json::json!([1, 2]));
}

/// A list that is not where DAVIS has one is of one's own clips, and compared with nothing.
#[test]
fn only_official_lists_have_official_counts() {
    for (list, official) in [
        ("2016/val.txt", Some(20)),
        ("480p/val.txt", Some(20)),
        ("1080p/val.txt", Some(20)),
        ("val.txt", None),
    ] {
        let tree = Tree::new();
        tree.sequence("", "bear", &[&[255], &[255]]);
        tree.text(&format!("ImageSets/{list}"), "bear");
        let report = davis(&tree);
        let expected = official.map_or("1".into(), |all| format!("1 (DAVIS-2016 val has {all})"));
        assert_eq!(summary(&report, "clips"), expected, "{list}");
        let warned = says(&report.warnings, "", "but DAVIS-2016 val has 20");
        assert_eq!(warned, official.is_some(), "{list}");
    }
}

#[test]
fn one_report_names_everything_that_is_wrong() {
    let tree = Tree::new();
    for name in ["cut", "deep", "empty", "gap", "late", "sizes", "text", "whole"] {
        tree.sequence("", name, &[&[1], &[1], &[1], &[1]]);
    }
    let list = "cut\ndeep\nempty\ngap\nlate\nmissing\nsizes\ntext\nwhole\n";
    tree.text("ImageSets/2017/val.txt", list);
    let frame = |name: &str, t: usize| format!("JPEGImages/480p/{name}/{t:05}.jpg");
    let mask = |name: &str, t: usize| format!("Annotations/480p/{name}/{t:05}.png");
    let whole = fs::read(tree.root().join(frame("cut", 1))).unwrap();
    tree.bytes(&frame("cut", 1), &whole[..whole.len() - 2]);
    image::ImageBuffer::from_pixel(8, 4, image::Luma([9_u16]))
        .save(tree.path(&mask("deep", 0)))
        .unwrap();
    tree.mask(&mask("empty", 0), &[0]);
    tree.mask(&mask("gap", 0), &[1, 3]);
    fs::remove_file(tree.root().join(frame("gap", 1))).unwrap();
    fs::remove_file(tree.root().join(mask("gap", 1))).unwrap();
    tree.mask(&mask("late", 2), &[1, 7]);
    tree.mask_of_size(&mask("late", 3), &[1], 4, 4);
    tree.frame(&frame("sizes", 2), 16, 4);
    tree.text(&frame("text", 0), "<html>");
    tree.text(&frame("text", 3), "");
    tree.frame(&mask("text", 1), 8, 4);

    let report = davis(&tree);
    let errors = [
        ("deep", "16 bits"),
        ("empty", "nothing to propagate"),
        ("late", "is 4x4, but the first of the clip is 4x8 (1 of 4 annotations differ)"),
        ("missing", "there is no such folder"),
        ("sizes", "is 4x16, but the first of the clip is 4x8 (1 of 4 frames differ)"),
        ("text", "neither a JPEG nor a PNG, whatever its name says (and 1 more"),
        ("text", "holds colours"),
    ];
    for (clip, words) in errors {
        assert!(says(&report.errors, clip, words), "{clip}: {words}: {:#?}", report.errors);
    }
    assert_eq!(report.errors.len(), errors.len(), "{:#?}", report.errors);
    let warnings = [
        ("empty", "lacks the ids 1, which later annotations hold"),
        ("gap", "holds the ids 1, 3, but objects 1 to 3 are scored"),
        ("gap", "frame 00000 is followed by 00002 (gaps in all: 1)"),
        ("late", "lacks the ids 7"),
    ];
    for (clip, words) in warnings {
        assert!(says(&report.warnings, clip, words), "{clip}: {words}: {:#?}", report.warnings);
    }
    let order: Vec<&str> = report.errors.iter().map(|error| error.clip.as_str()).collect();
    assert!(order.is_sorted(), "errors are not in the order of the list: {order:?}");
    assert!(report.errors.iter().chain(&report.warnings).all(|f| f.path.starts_with(tree.root())));
    assert_eq!(report.clips.len(), 8);

    let pixels = check::davis(tree.root(), &Split::Val, Depth::Pixels).unwrap();
    assert!(says(&pixels.errors, "cut", "cut short"), "{:#?}", pixels.errors);
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one.install(|| davis(&tree)), report);
}

#[test]
fn a_root_without_frames_is_checked_for_scoring() {
    let tree = Tree::new();
    tree.sequence("", "bear", &[&[255], &[255]]);
    fs::remove_dir_all(tree.root().join("JPEGImages")).unwrap();
    let report = davis(&tree);
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert!(says(&report.warnings, "", "annotations alone"));
    assert!(report.clips[0].binary && report.clips[0].ids == [1] && report.clips[0].frames == 2);
    assert!(summary(&report, "black and white masks").contains("1 of 1 clip"));
    assert!(check::davis(Path::new("/nowhere"), &Split::Val, Depth::Headers).is_err());
}

#[test]
fn vip_has_classes_instead_of_objects() {
    let tree = Tree::new();
    tree.video("", "videos1", &[1, 26, 51]);
    tree.mask("Annotations/Category_ids/videos1/000000000051.png", &[2, 20, 255]);
    let report = check::vip(tree.root(), &Split::Val, Depth::Pixels).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert_eq!((report.clips[0].objects, report.clips[0].later_ids.as_slice()), (2, &[2, 20][..]));
    assert!(says(&report.warnings, "videos1", "is followed by ids 20: VIP has 0 to 19"));
    tree.mask("Annotations/Category_ids/videos1/000000000001.png", &[1, 21]);
    let worse = check::vip(tree.root(), &Split::Val, Depth::Pixels).unwrap();
    assert!(says(&worse.errors, "videos1", "holds the ids 21: VIP has 0 to 19"));
    assert!(!says(&report.warnings, "videos1", "lacks the ids"), "parts come and go in VIP");
    assert!(says(&report.warnings, "", "clips: 1, but VIP val has 50"));
}

#[test]
fn joints_are_compared_with_the_frames() {
    let tree = Tree::new();
    tree.pose_clip("catch/a_0", 3, 2, [8.0, 4.0]);
    tree.pose_clip("catch/b_0", 2, 2, [8.5, 4.0]);
    tree.pose_clip("catch/c_0", 2, 2, [f64::NAN, 1.0]);
    tree.pose_clip("catch/d_0", 2, 2, [1.0, 1.0]);
    tree.pose_clip("catch/e_0", 1, 1, [1.0, 1.0]);
    tree.pose_clip("catch/f_0", 1, 1, [1.0, 0.9]);
    let cut = "joint_positions/catch/d_0/joint_positions.mat";
    let whole = fs::read(tree.root().join(cut)).unwrap();
    tree.bytes(cut, &whole[..whole.len() - 100]);
    let report = check::jhmdb(tree.root(), &Split::Val, Depth::Headers).unwrap();
    assert!(says(&report.warnings, "catch/a_0", "joints for 2 frames, but the clip has 3"));
    let outside: Vec<usize> = report.clips.iter().map(|clip| clip.joints_outside).collect();
    // (1, 1) and (8, 4) are the corner pixels of an 8x4 frame; the 15 joints of a frame lie
    // together.
    assert_eq!(outside, [0, 30, 0, 0, 0, 15]);
    assert!(says(&report.errors, "catch/c_0", "holds joints that are no finite numbers (30)"));
    assert!(says(&report.errors, "catch/d_0", "cut short"));
    assert_eq!(report.errors.len(), 2, "{:?}", report.errors);
    assert_eq!(summary(&report, "clips"), "6 (JHMDB has 928)");
}
