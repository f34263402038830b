//! What `open` finds, and what it says where it finds something else.

use std::fs;
use std::path::Path;

use cropmae::data::{Dataset, LabelClip, Need, Split, davis, jhmdb, vip};
use cropmae::image::indexed;

use crate::trees::{Tree, mat};

fn names(dataset: &Dataset<LabelClip>) -> Vec<&str> {
    dataset.clips.iter().map(|clip| clip.name.as_str()).collect()
}

fn davis_val(root: &Path) -> Dataset<LabelClip> {
    davis::open(root, &Split::Val, Need::Frames).unwrap()
}

/// The message that opening DAVIS there ends with, or that of the first broken clip.
fn davis_error(root: &Path, split: &Split, need: Need) -> String {
    match davis::open(root, split, need) {
        Ok(dataset) => dataset.broken[0].error.to_string(),
        Err(error) => error.to_string(),
    }
}

fn two_sequences() -> Tree {
    let tree = Tree::new();
    tree.sequence("", "dog", &[&[1], &[1]]);
    tree.sequence("", "bear", &[&[1, 2], &[1], &[2]]);
    tree
}

#[test]
fn sequences_come_in_the_order_of_the_list() {
    let tree = two_sequences();
    tree.text("ImageSets/2017/val.txt", "dog\r\n\r\n# the animal, not the market\r\nbear");
    let dataset = davis_val(tree.root());
    assert_eq!(names(&dataset), ["dog", "bear"]);
    assert_eq!(dataset.split, "val (ImageSets/2017/val.txt)");
    assert!(dataset.notices.is_empty(), "{:?}", dataset.notices);
    let frames: Vec<&str> = dataset.clips[1].frames.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(frames, ["00000", "00001", "00002"]);
    assert!(dataset.clips[1].frames[2].image.as_ref().unwrap().ends_with("bear/00002.jpg"));
}

#[test]
fn hidden_files_do_not_exist_and_ten_follows_nine() {
    let tree = Tree::new();
    for t in [9, 10, 8] {
        tree.frame(&format!("JPEGImages/480p/cat/{t}.jpg"), 8, 4);
    }
    tree.mask("Annotations/480p/cat/8.png", &[1]);
    for hidden in ["JPEGImages/480p/cat/._8.jpg", "Annotations/480p/cat/.DS_Store"] {
        tree.text(hidden, "");
    }
    tree.text("Annotations/480p/.ipynb_checkpoints/8.png", "");
    tree.text("Annotations/480p/__MACOSX/8.png", "");
    let dataset = davis_val(tree.root());
    assert_eq!(names(&dataset), ["cat"]);
    let frames: Vec<&str> = dataset.clips[0].frames.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(frames, ["8", "9", "10"]);
}

#[test]
fn a_root_on_the_wrong_level_is_answered_with_the_right_one() {
    let tree = Tree::new();
    tree.sequence("data/DAVIS/", "dog", &[&[1]]);
    let right = tree.root().join("data/DAVIS").canonicalize().unwrap();
    let right = format!("pass {}", right.display());
    for deep in ["JPEGImages", "JPEGImages/480p", "Annotations/480p/dog", "JPEGImages/480p/dog"] {
        let root = tree.root().join("data/DAVIS").join(deep);
        let message = davis_error(&root, &Split::Val, Need::Frames);
        assert!(message.contains(&right), "{message}");
    }
    for shallow in ["data", ""] {
        let message = davis_error(&tree.root().join(shallow), &Split::Val, Need::Frames);
        assert!(message.contains("data/DAVIS") && message.contains("; pass "), "{message}");
    }
}

#[test]
fn a_root_that_is_none_is_said_to_be_none() {
    let tree = Tree::new();
    let file = tree.text("DAVIS.zip", "PK");
    fs::create_dir(tree.root().join("empty")).unwrap();
    fs::create_dir_all(tree.root().join("bare/Annotations/480p")).unwrap();
    let cases = [
        (tree.root().join("nowhere"), "there is no such folder"),
        (file, "is a file, not a folder"),
        (tree.root().join("empty"), "is not the folder that holds JPEGImages and Annotations"),
        (tree.root().join("bare"), "holds no sequence"),
    ];
    for (root, words) in cases {
        let message = davis_error(&root, &Split::Val, Need::LabelsOnly);
        assert!(message.contains(words), "{message}");
    }
    let message = davis_error(&tree.root().join("bare"), &Split::Val, Need::Frames);
    assert!(message.contains("bare/JPEGImages: there is no such folder"), "{message}");
}

#[test]
fn a_listed_sequence_that_is_missing_is_named_with_its_list() {
    let tree = two_sequences();
    tree.text("ImageSets/2017/val.txt", "dog\ncow\nelk\n");
    for (need, kind) in [(Need::Frames, "annotations"), (Need::LabelsOnly, "annotations")] {
        let message = davis_error(tree.root(), &Split::Val, need);
        assert!(message.contains("Annotations/480p/cow: there is no such folder"), "{message}");
        assert!(message.contains(kind) && message.contains("ImageSets/2017/val.txt"), "{message}");
        let dataset = davis::open(tree.root(), &Split::Val, need).unwrap();
        assert_eq!(names(&dataset), ["dog"], "one broken clip does not lose the others");
        let broken: Vec<&str> = dataset.broken.iter().map(|broken| broken.name.as_str()).collect();
        assert_eq!(broken, ["cow", "elk"]);
    }
    fs::remove_dir_all(tree.root().join("JPEGImages/480p/dog")).unwrap();
    let own = tree.text("own.txt", "dog");
    let message = davis_error(tree.root(), &Split::File(own.clone()), Need::Frames);
    assert!(message.contains("480p/dog: there is no such folder of frames"), "{message}");
    assert!(message.contains("own.txt"), "{message}");
    assert!(davis::open(tree.root(), &Split::File(own), Need::LabelsOnly).is_ok());
}

#[test]
fn labels_alone_are_enough_to_score() {
    let tree = two_sequences();
    fs::remove_dir_all(tree.root().join("JPEGImages")).unwrap();
    let dataset = davis::open(tree.root(), &Split::Val, Need::LabelsOnly).unwrap();
    assert_eq!(names(&dataset), ["bear", "dog"]);
    assert!(dataset.clips[0].frames.iter().all(|f| f.image.is_none() && f.annotation.is_some()));
    let message = davis_error(tree.root(), &Split::Val, Need::Frames);
    assert!(message.contains("scoring alone does without them"), "{message}");
}

#[test]
fn lists_of_the_user_are_read_as_they_come() {
    let tree = two_sequences();
    let list = tree.text("own.txt", "\u{feff}bear\r\n#dog\r\nbear\r\n");
    let dataset = davis::open(tree.root(), &Split::File(list), Need::Frames).unwrap();
    assert_eq!(names(&dataset), ["bear"]);
    assert!(dataset.notices[0].contains("repeats names (1)"), "{:?}", dataset.notices);
    for (text, words) in [("", "lists no clip"), ("../dog\n..\n", "cannot be a clip")] {
        let list = tree.text("own.txt", text);
        let message = davis_error(tree.root(), &Split::File(list), Need::Frames);
        assert!(message.contains("own.txt") && message.contains(words), "{message}");
    }
    let missing = Split::File(tree.root().join("none.txt"));
    assert!(davis_error(tree.root(), &missing, Need::Frames).contains("cannot read"));
}

#[test]
fn without_a_list_all_sequences_are_taken_and_that_is_said() {
    let tree = two_sequences();
    let dataset = davis_val(tree.root());
    assert_eq!(names(&dataset), ["bear", "dog"]);
    assert!(dataset.notices[0].contains("every sequence found is taken (2)"));
    let message = davis_error(tree.root(), &Split::Train, Need::Frames);
    assert!(message.contains("2017/train.txt: there is no such list"), "{message}");
}

#[test]
fn lists_and_masks_of_davis_2016_are_understood() {
    let tree = Tree::new();
    tree.sequence("", "blackswan", &[&[255, 255], &[255]]);
    tree.sequence("", "bear", &[&[255], &[255]]);
    let line = |name: &str, t: usize| {
        format!("/JPEGImages/480p/{name}/{t:05}.jpg /Annotations/480p/{name}/{t:05}.png \n")
    };
    let lines = [line("blackswan", 0), line("blackswan", 1), line("bear", 0), line("bear", 1)];
    tree.text("ImageSets/480p/val.txt", &lines.concat());
    let dataset = davis_val(tree.root());
    assert_eq!(names(&dataset), ["blackswan", "bear"]);
    assert!(dataset.notices.is_empty(), "{:?}", dataset.notices);
    let (first, kind) = davis::first_mask(&dataset.clips[0]).unwrap();
    assert_eq!(kind, davis::MaskKind::Binary);
    assert_eq!(first.data[..3], [1, 1, 0]);
    let later = dataset.clips[0].frames[1].annotation.as_ref().unwrap();
    assert_eq!(davis::read_mask(later, kind).unwrap().data[..3], [1, 0, 0]);
}

#[test]
fn other_resolutions_and_none_at_all() {
    let tree = Tree::new();
    tree.frame("JPEGImages/Full-Resolution/cat/00000.jpg", 16, 8);
    tree.mask("Annotations/cat/00000.png", &[1]);
    let dataset = davis_val(tree.root());
    assert_eq!(names(&dataset), ["cat"]);
    assert!(dataset.notices[0].contains("JPEGImages has no 480p"), "{:?}", dataset.notices);
}

#[test]
fn a_first_annotation_has_to_be_there_the_others_not() {
    let tree = two_sequences();
    fs::remove_file(tree.root().join("Annotations/480p/bear/00001.png")).unwrap();
    assert!(davis_val(tree.root()).clips[0].frames[1].annotation.is_none());
    fs::remove_file(tree.root().join("Annotations/480p/bear/00000.png")).unwrap();
    let message = davis_error(tree.root(), &Split::Val, Need::Frames);
    assert!(message.contains("has no annotation 00000.png"), "{message}");
}

#[test]
fn vip_is_found_from_the_release_or_its_parent() {
    let tree = Tree::new();
    for name in ["videos10", "videos2", "videos3"] {
        tree.video("VIP_Fine/", name, &[1, 26]);
    }
    tree.text("VIP_Fine/lists/train_videos.txt", "videos3\n");
    tree.text("VIP_Fine/lists/val_videos.txt", "VIP/Images/videos10\nVIP/Images/videos2\n");
    for root in [tree.root().to_path_buf(), tree.root().join("VIP_Fine")] {
        let dataset = vip::open(&root, &Split::Val, Need::Frames).unwrap();
        assert_eq!(names(&dataset), ["videos10", "videos2"]);
        assert_eq!(dataset.split, "val (lists/val_videos.txt)");
        assert_eq!(names(&vip::open(&root, &Split::Train, Need::Frames).unwrap()), ["videos3"]);
    }
    fs::remove_dir_all(tree.root().join("VIP_Fine/lists")).unwrap();
    tree.text("VIP_Fine/evaluation.txt", "no list");
    let dataset = vip::open(tree.root(), &Split::Val, Need::LabelsOnly).unwrap();
    assert_eq!(names(&dataset), ["videos2", "videos3", "videos10"]);
    assert!(dataset.notices[0].contains("every video found is taken (3)"), "{:?}", dataset.notices);
    let deep = tree.root().join("VIP_Fine/Images/videos2");
    let message = vip::open(&deep, &Split::Val, Need::Frames).unwrap_err().to_string();
    assert!(message.contains("VIP_Fine"), "{message}");
}

#[test]
fn clips_of_jhmdb_are_those_marked_2() {
    let tree = Tree::new();
    let odd = "pick/Pick_Up_[Your]_Trash!_@18_(x) y_0";
    for name in [odd, "pick/b_0", "catch/a_0", "catch/a_1", "catch/.AppleDouble"] {
        tree.pose_clip(name, 2, 2, [1.0, 1.0]);
    }
    let file = odd.strip_prefix("pick/").unwrap();
    tree.text("splits/pick_test_split1.txt", &format!("{file}.avi 2\r\nb_0.avi 1\r\n"));
    tree.text("splits/pick_test_split2.txt", "b_0.avi 2\n");
    tree.text("splits/catch_test_split1.txt", "a_1.avi 2 \na_0.avi 0 \n");
    tree.text("splits/._catch_test_split1.txt", "");
    let open = |split: &Split| jhmdb::open(tree.root(), split, Need::Frames).unwrap();
    let names = |split| open(&split).clips.into_iter().map(|clip| clip.name).collect::<Vec<_>>();
    assert_eq!(names(Split::Val), ["catch/a_1", odd]);
    assert_eq!(names(Split::Train), ["pick/b_0"]);
    assert!(open(&Split::Val).clips[0].joints.ends_with("catch/a_1/joint_positions.mat"));
    let lines = format!("# mine\n{odd}\na_0\nb_0.avi 2\na_1.avi 1\nx Rename_Images/catch/a_1/\n");
    let own = tree.text("own.txt", &lines);
    assert_eq!(names(Split::File(own)), [odd, "catch/a_0", "pick/b_0", "catch/a_1"]);
    // lists that mark no clip are no reason to take all
    tree.text("splits/pick_test_split1.txt", "b_0.avi 1\n");
    tree.text("splits/catch_test_split1.txt", "a_0.avi 0\n");
    let message = jhmdb::open(tree.root(), &Split::Val, Need::Frames).unwrap_err().to_string();
    assert!(message.contains("marks no clip as test clip, by a 2 behind its name"), "{message}");
    fs::remove_dir_all(tree.root().join("splits")).unwrap();
    assert_eq!(names(Split::Val), ["catch/a_0", "catch/a_1", odd, "pick/b_0"]);
    assert!(open(&Split::Val).notices[0].contains("every clip found is taken (4)"));
    assert!(jhmdb::open(tree.root(), &Split::Train, Need::Frames).is_err());
}

#[test]
fn clips_of_jhmdb_that_are_incomplete_are_named() {
    let tree = Tree::new();
    tree.pose_clip("catch/a_0", 2, 2, [1.0, 1.0]);
    tree.bytes("joint_positions/catch/b_0/joint_positions.mat", &mat(2, [1.0, 1.0]));
    let fails = |list: &str| {
        let own = Split::File(tree.text("own.txt", list));
        jhmdb::open(tree.root(), &own, Need::Frames).unwrap_err().to_string()
    };
    let message = fails("catch/b_0");
    assert!(message.contains("Rename_Images/catch/b_0: is missing"), "{message}");
    assert!(message.contains("own.txt"), "{message}");
    assert!(fails("nobody_0").contains("nobody_0: is missing"));
    tree.bytes("joint_positions/pour/a_0/joint_positions.mat", &mat(2, [1.0, 1.0]));
    assert!(fails("a_0").contains("several actions: catch, pour; write action/clip"));
    let message = jhmdb::open(&tree.root().join("Rename_Images/catch"), &Split::Val, Need::Frames)
        .unwrap_err();
    assert!(message.to_string().contains("; pass "), "{message}");
}

#[test]
fn the_label_hash_is_what_its_documentation_says() {
    use sha2::{Digest, Sha256};
    let hex = |bytes: &[u8]| {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let tree = two_sequences();
    let first = |name: &str| {
        hex(&fs::read(tree.root().join(format!("Annotations/480p/{name}/00000.png"))).unwrap())
    };
    let expected = hex(format!("bear 3 {}\ndog 2 {}\n", first("bear"), first("dog")).as_bytes());
    assert_eq!(davis_val(tree.root()).label_hash().unwrap(), expected);
    let labels = davis::open(tree.root(), &Split::Val, Need::LabelsOnly).unwrap();
    assert_eq!(labels.label_hash().unwrap(), expected);
    let mut turned = davis_val(tree.root());
    turned.clips.reverse();
    assert_ne!(turned.label_hash().unwrap(), expected);
    let mask = tree.root().join("Annotations/480p/dog/00000.png");
    let mut changed = indexed::read(&mask).unwrap();
    changed.data[31] = 1;
    indexed::write(&mask, &changed).unwrap();
    assert_ne!(davis_val(tree.root()).label_hash().unwrap(), expected);
}
