//! Real files, where a folder of them lies beside the repository. Without it these tests pass
//! unseen, unless `REQUIRE_FIXTURES` is set.

use cropmae::data::check::{self, Depth};
use cropmae::data::{Need, Split, davis, jhmdb, joints, vip};

use crate::shared::shared;

#[test]
fn seven_sequences_of_davis() {
    let Some(root) = shared("data/davis16") else { return };
    let dataset = davis::open(&root, &Split::Val, Need::Frames).unwrap();
    let names: Vec<&str> = dataset.clips.iter().map(|clip| clip.name.as_str()).collect();
    let expected =
        ["blackswan", "bmx-trees", "car-shadow", "dog", "drift-chicane", "libby", "scooter-black"];
    assert_eq!(names, expected);
    // By `sha256sum`, as datasets.md shows.
    let hash = "afd962ecc5919ab260c586c833d80f940c04c3c8866ed03e49f4de8316f81375";
    assert_eq!(dataset.label_hash().unwrap(), hash);
    let report = check::davis(&root, &Split::Val, Depth::Pixels).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let frames: Vec<usize> = report.clips.iter().map(|clip| clip.frames).collect();
    assert_eq!(frames, [50, 80, 40, 60, 52, 49, 43]);
    assert!(report.clips.iter().all(|clip| clip.frame_size == Some((854, 480))));
    assert!(report.clips.iter().all(|clip| clip.objects == 1 && clip.later_ids.is_empty()));
}

#[test]
fn thirty_sequences_of_labels_alone() {
    let Some(root) = shared("fixtures/metrics/osvos") else { return };
    let report = check::davis(&root, &Split::Val, Depth::Headers).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    let value = |name: &str| &report.summary.iter().find(|(found, _)| found == name).unwrap().1;
    assert_eq!(value("clips"), "30 (DAVIS-2017 val has 30)");
    assert_eq!(value("frames"), "1999 (DAVIS-2017 val has 1999)");
    let hash = "ea1d8341d0cd24e29fef0566ee59c06370406e72667fa60d5a70045083cfeca8";
    assert_eq!(value("labels sha256"), hash);
    let size =
        |name: &str| report.clips.iter().find(|clip| clip.name == name).unwrap().annotation_size;
    assert_eq!((size("bike-packing"), size("shooting")), (Some((910, 480)), Some((1152, 480))));
}

#[test]
fn the_joints_of_a_real_clip() {
    let Some(root) = shared("data/jhmdb") else { return };
    let dataset = jhmdb::open(&root, &Split::Val, Need::Frames).unwrap();
    assert_eq!(dataset.clips.len(), 1);
    assert_eq!(dataset.clips[0].name, "catch/Goal_Keeping_Tips_catch_f_cm_np1_fr_med_2");
    let joints = joints::read(&dataset.clips[0].joints).unwrap();
    assert_eq!((joints.frames, dataset.clips[0].frames.len()), (40, 40));
    // Read with another program: the neck of the first frame, the left ankle of the last.
    assert_eq!(joints.positions[0][0], [286.5, 106.5]);
    assert_eq!(joints.positions[39][14], [178.41439478102467, 225.57242713262156]);
    let report = check::jhmdb(&root, &Split::Val, Depth::Pixels).unwrap();
    assert!(report.errors.is_empty(), "{:?}", report.errors);
    assert_eq!(report.clips[0].frame_size, Some((320, 240)));
}

#[test]
fn the_small_datasets_of_the_fixtures() {
    let Some(root) = shared("fixtures/data") else { return };
    let clip = davis::open(&root.join("DAVIS"), &Split::Val, Need::Frames).unwrap().clips.remove(0);
    assert_eq!((clip.name.as_str(), clip.frames.len()), ("bmx-trees", 28));
    let video = vip::open(&root.join("VIP"), &Split::Val, Need::Frames).unwrap();
    assert_eq!(video.split, "val (vip_vallist.txt)");
    let clip = &video.clips[0];
    assert_eq!((clip.name.as_str(), clip.frames.len()), ("videos1", 27));
    assert_eq!(clip.frames[1].name, "000000000004");
    let list = Split::File(root.join("JHMDB/jhmdb_vallist.txt"));
    let poses = jhmdb::open(&root.join("JHMDB"), &list, Need::Frames).unwrap();
    let clip = &poses.clips[0];
    assert_eq!((clip.name.as_str(), clip.frames.len()), ("ride_bike/bmx_trees_ride_bike_0", 26));
    assert_eq!(joints::read(&clip.joints).unwrap().frames, 26);
    for report in [
        check::davis(&root.join("DAVIS"), &Split::Val, Depth::Pixels).unwrap(),
        check::vip(&root.join("VIP"), &Split::Val, Depth::Pixels).unwrap(),
        check::jhmdb(&root.join("JHMDB"), &list, Depth::Pixels).unwrap(),
    ] {
        assert!(report.errors.is_empty(), "{:?}", report.errors);
    }
}
