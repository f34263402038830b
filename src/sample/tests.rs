//! The samples as a whole: files, ground truth, motion, reproducibility.

use std::collections::BTreeMap;

use matfile::{MatFile, NumericData};
use rayon::ThreadPoolBuilder;
use strum::VariantArray;

use super::clip::{Actor, Clip, Format};
use super::geometry::{Point, at, mix};
use super::noise::Draw;
use super::render::{self, Labels};
use super::*;
use crate::image::{LabelImage, Rgb, indexed};

const FORMAT: Format = Format { height: 72, width: 128 };

fn small(clips: usize, frames: usize) -> Settings {
    let Format { height, width } = FORMAT;
    Settings { clips, frames, height, width, seed: 4, jpeg: false }
}

/// Every file below a folder, by its path from there.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn rendered(
    benchmark: Benchmark,
    settings: &Settings,
    threads: usize,
) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| render(folder.path(), benchmark, settings)).unwrap();
    assert!(is_complete(folder.path(), benchmark, settings));
    files(folder.path())
}

fn text<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> &'a str {
    std::str::from_utf8(&files[name]).unwrap()
}

#[test]
fn the_same_settings_give_the_same_bytes_on_any_number_of_threads() {
    for benchmark in Benchmark::VARIANTS.iter().copied() {
        let jpeg = benchmark == Benchmark::Vip;
        let settings = Settings { jpeg, ..small(2, 3) };
        assert_eq!(rendered(benchmark, &settings, 1), rendered(benchmark, &settings, 3));
    }
}

#[test]
fn more_clips_and_frames_leave_the_first_ones_as_they_are() {
    let few = rendered(Benchmark::Davis, &small(1, 2), 2);
    let many = rendered(Benchmark::Davis, &small(2, 3), 2);
    let pictures = few.iter().filter(|(name, _)| name.ends_with(".png"));
    assert_eq!(pictures.clone().count(), 4);
    pictures.for_each(|(name, bytes)| assert!(&many[name] == bytes, "{name} differs"));
    let other_seed = rendered(Benchmark::Davis, &Settings { seed: 5, ..small(1, 2) }, 2);
    let first = "JPEGImages/480p/sample-00/00000.png";
    assert!(other_seed[first] != few[first]);
}

#[test]
fn davis_has_the_official_layout() {
    let settings = Settings { jpeg: true, ..small(2, 2) };
    let files = rendered(Benchmark::Davis, &settings, 2);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let expected = [
        "Annotations/480p/sample-00/00000.png",
        "Annotations/480p/sample-00/00001.png",
        "Annotations/480p/sample-01/00000.png",
        "Annotations/480p/sample-01/00001.png",
        "ImageSets/2017/train.txt",
        "ImageSets/2017/val.txt",
        "JPEGImages/480p/sample-00/00000.jpg",
        "JPEGImages/480p/sample-00/00001.jpg",
        "JPEGImages/480p/sample-01/00000.jpg",
        "JPEGImages/480p/sample-01/00001.jpg",
        "sample.json",
    ];
    assert_eq!(names, expected);
    assert_eq!(text(&files, "ImageSets/2017/val.txt"), "sample-00\nsample-01\n");
    let picture = ::image::load_from_memory(&files[expected[6]]).unwrap();
    assert_eq!((picture.width(), picture.height()), (128, 72));
}

#[test]
fn vip_has_the_official_layout() {
    let files = rendered(Benchmark::Vip, &small(1, 2), 2);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let expected = [
        "Annotations/Category_ids/videos1/000000000001.png",
        "Annotations/Category_ids/videos1/000000000002.png",
        "Images/videos1/000000000001.png",
        "Images/videos1/000000000002.png",
        "lists/val_videos.txt",
        "sample.json",
    ];
    assert_eq!(names, expected);
    assert_eq!(text(&files, "lists/val_videos.txt"), "videos1\n");
}

#[test]
fn jhmdb_has_the_official_layout() {
    let files = rendered(Benchmark::Jhmdb, &small(7, 1), 2);
    assert!(files.contains_key("Rename_Images/walk/sample_walk_0/00001.png"));
    assert!(files.contains_key("joint_positions/walk/sample_walk_6/joint_positions.mat"));
    let walks = text(&files, "splits/walk_test_split1.txt");
    assert_eq!(walks, "sample_walk_0.avi 2\nsample_walk_6.avi 2\n");
    let splits = files.keys().filter(|name| name.starts_with("splits/")).count();
    assert_eq!(splits, 6);
}

fn first_labels(clip: &Clip, labels: Labels) -> LabelImage {
    render::labels_only(clip, FORMAT, 0, labels)
}

#[test]
fn davis_ids_have_no_gaps_and_all_are_seen_at_first() {
    let settings = small(1, 1);
    for k in 0..16 {
        let clip = layout::davis_clip(&settings, k).clip;
        assert!((2..=4).contains(&clip.cast.len()), "clip {k}");
        let labels = first_labels(&clip, Labels::Actors);
        for id in 1..=clip.cast.len() {
            let area = labels.data.iter().filter(|&&label| usize::from(label) == id).count();
            // 0.8 % of 72 × 128 is 73 pixels.
            assert!(area >= 73, "clip {k}: id {id} has {area} pixels");
        }
        let most = labels.data.iter().max().copied();
        assert_eq!(most, Some(clip.cast.len() as u8), "clip {k}");
    }
}

#[test]
fn vip_clips_wear_different_classes() {
    let settings = small(1, 1);
    let classes = |k: usize| {
        let clip = layout::vip_clip(&settings, k).clip;
        let mut classes = first_labels(&clip, Labels::Parts).data;
        classes.sort_unstable();
        classes.dedup();
        classes
    };
    let all: Vec<_> = (0..10).map(classes).collect();
    for (k, classes) in all.iter().enumerate() {
        assert!(classes.len() >= 7, "clip {k} shows only {classes:?}");
        assert!(classes.iter().all(|&class| class < 20));
    }
    let mut together = all.concat();
    together.sort_unstable();
    together.dedup();
    // Ten clips show all but a few rare things.
    assert!(together.len() >= 17, "{together:?}");
    assert_ne!(all[0], all[1]);
}

#[test]
fn joints_lie_on_the_person() {
    let settings = small(1, 1);
    for k in 0..6 {
        let clip = layout::jhmdb_clip(&settings, k).clip;
        for t in [0, 5, 11] {
            let labels = render::labels_only(&clip, FORMAT, t, Labels::Parts);
            for (joint, p) in layout::joint_pixels(&clip, &settings, t).into_iter().enumerate() {
                let covered = (-1..=1).any(|dy| {
                    (-1..=1).any(|dx| {
                        let (x, y) = (p.x as i32 + dx, p.y as i32 + dy);
                        let index = y.max(0) as usize * FORMAT.width + x.max(0) as usize;
                        labels.data.get(index).is_some_and(|&label| label > 0)
                    })
                });
                assert!(covered, "clip {k}, frame {t}: joint {joint} at {p:?} is off the person");
            }
        }
    }
}

#[test]
fn joint_files_hold_the_joints() {
    let settings = small(1, 3);
    let files = rendered(Benchmark::Jhmdb, &settings, 2);
    let bytes = &files["joint_positions/walk/sample_walk_0/joint_positions.mat"];
    let file = MatFile::parse(&bytes[..]).unwrap();
    let array = file.find_by_name("pos_img").unwrap();
    assert_eq!(array.size(), &vec![2, 15, 3]);
    let NumericData::Double { real, .. } = array.data() else { panic!("no doubles") };
    let clip = layout::jhmdb_clip(&settings, 0).clip;
    let last = layout::joint_pixels(&clip, &settings, 2);
    // The left ankle is the last joint: x and y of frame 2 end the array. Centres of pixels are at
    // whole numbers from 1 on there, at halves from 0.5 on here.
    assert_eq!(real[88..], [f64::from(last[14].x) + 0.5, f64::from(last[14].y) + 0.5]);
    let world = file.find_by_name("pos_world").unwrap();
    assert_eq!(world.size(), &vec![2, 15, 3]);
}

fn overlap(a: &LabelImage, b: &LabelImage, id: u8) -> f32 {
    let pairs = || a.data.iter().zip(&b.data).map(|(&a, &b)| (a == id, b == id));
    let both = pairs().filter(|&(a, b)| a && b).count();
    let either = pairs().filter(|&(a, b)| a || b).count();
    both as f32 / either.max(1) as f32
}

#[test]
fn objects_move_little_by_little() {
    let settings = small(1, 1);
    for k in 0..4 {
        let clip = layout::davis_clip(&settings, k).clip;
        let at_frame = |t| render::labels_only(&clip, FORMAT, t, Labels::Actors);
        let (first, second, later) = (at_frame(0), at_frame(1), at_frame(12));
        for id in 1..=clip.cast.len() as u8 {
            let near = overlap(&first, &second, id);
            assert!(near > 0.35, "clip {k}: object {id} leaps, {near}");
            let far = overlap(&first, &later, id);
            assert!(far < 0.95, "clip {k}: object {id} stands still, {far}");
        }
    }
}

/// The colour at a position, interpolated between the four pixel centres around it.
fn color_at(picture: &Rgb, p: Point) -> [f32; 3] {
    let clamped = |value: f32, size: usize| (value - 0.5).clamp(0.0, size as f32 - 1.001);
    let (x, y) = (clamped(p.x, picture.width), clamped(p.y, picture.height));
    let first = 3 * (y as usize * picture.width + x as usize);
    [0, 1, 2].map(|channel| {
        let level = |offset: usize| f32::from(picture.data[first + offset + channel]);
        let row = |offset: usize| mix(level(offset), level(offset + 3), x.fract());
        mix(row(0), row(3 * picture.width), y.fract())
    })
}

/// The mean difference between the colours at pairs of pixel positions, in grey levels.
fn difference(a: &Rgb, b: &Rgb, pairs: &[(Point, Point)]) -> f32 {
    let total: f32 = pairs
        .iter()
        .map(|&(p, q)| {
            let (a, b) = (color_at(a, p), color_at(b, q));
            (0..3).map(|channel| (a[channel] - b[channel]).abs() / 3.0).sum::<f32>()
        })
        .sum();
    total / pairs.len() as f32
}

#[test]
fn textures_stick_to_what_moves() {
    let format = Format { height: 240, width: 428 };
    let Format { height, width } = format;
    let clip = layout::davis_clip(&Settings { height, width, ..small(1, 1) }, 1).clip;
    let car = clip.cast.iter().position(|actor| matches!(actor, Actor::Car(_))).unwrap();
    let Actor::Car(ref path_of_car) = clip.cast[car] else { panic!("no car") };
    let path = path_of_car.path;
    let backdrop = clip.paint_backdrop(format);
    let frame = |t| {
        let mut sensor = Draw::new(1, 2, 3, 0, t as u64);
        render::frame(&clip, &backdrop, format, t, Labels::Actors, &mut sensor)
    };
    let ((before, labels), (after, later_labels)) = (frame(0), frame(4));
    let (view, later) = (clip.camera.view(0.0), clip.camera.view(4.0));
    let (place, moved) = (path.place(0.0), path.place(4.0));
    let (mut on_car, mut on_ground) = (Vec::new(), Vec::new());
    for index in 0..height * width {
        let p = at((index % width) as f32 + 0.5, (index / width) as f32 + 0.5);
        let scene = view.scene_point(p, height, width);
        let on = usize::from(labels.data[index]) == car + 1;
        let follows = (scene - place.foot) * (moved.scale / place.scale) + moved.foot;
        let q = later.pixel(if on { follows } else { scene }, height, width);
        let inside = q.x >= 0.0 && q.y >= 0.0 && q.x < width as f32 && q.y < height as f32;
        if !inside {
            continue;
        }
        let there = later_labels.data[q.y as usize * width + q.x as usize];
        if on && there == labels.data[index] {
            on_car.push((p, q));
        } else if labels.data[index] == 0 && there == 0 && scene.y > clip.horizon() + 0.02 {
            on_ground.push((p, q));
        }
    }
    for (name, pairs) in [("car", on_car), ("ground", on_ground)] {
        assert!(pairs.len() > 1000, "{name}: {} pairs", pairs.len());
        let still: Vec<_> = pairs.iter().map(|&(p, _)| (p, p)).collect();
        let (followed, unfollowed) =
            (difference(&before, &after, &pairs), difference(&before, &after, &still));
        // What is left is noise (about 3 levels), light, and the car's springs and turning wheels.
        assert!(followed < 0.5 * unfollowed, "{name}: {followed} against {unfollowed}");
        assert!(followed < 12.0, "{name}: {followed}");
    }
}

#[test]
fn a_complete_sample_is_kept_and_a_begun_one_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (root, settings) = (folder.path().join("sample"), small(1, 2));
    assert!(!is_complete(&root, Benchmark::Vip, &settings));
    render(&root, Benchmark::Vip, &settings).unwrap();
    assert!(is_complete(&root, Benchmark::Vip, &settings));
    assert!(!is_complete(&root, Benchmark::Davis, &settings));
    assert!(!is_complete(&root, Benchmark::Vip, &small(1, 3)));

    let frame = root.join("Images/videos1/000000000002.png");
    fs::remove_file(&frame).unwrap();
    render(&root, Benchmark::Vip, &settings).unwrap();
    assert!(!frame.exists(), "a complete sample was rendered again");

    fs::rename(root.join(COMPLETE), root.join(BEGUN)).unwrap();
    render(&root, Benchmark::Vip, &settings).unwrap();
    assert!(frame.exists() && is_complete(&root, Benchmark::Vip, &settings));
}

/// Two programs that want the same sample at once: one renders it, the other waits.
#[test]
fn a_sample_is_rendered_once_for_all_who_want_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(2, 3);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                render(folder.path(), Benchmark::Davis, &settings).unwrap();
                assert!(is_complete(folder.path(), Benchmark::Davis, &settings));
            });
        }
    });
    assert!(files(folder.path()) == rendered(Benchmark::Davis, &settings, 1), "other files");
}

#[test]
fn other_folders_are_never_written_into() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(1, 1);
    fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let message = render(folder.path(), Benchmark::Davis, &settings).unwrap_err().to_string();
    assert!(message.contains("something else") && message.contains("new folder"), "{message}");
    assert_eq!(files(folder.path()).len(), 1);

    let root = folder.path().join("sample");
    render(&root, Benchmark::Jhmdb, &settings).unwrap();
    let kept = files(&root);
    assert!(render(&root, Benchmark::Jhmdb, &small(2, 1)).is_err());
    assert!(render(&root, Benchmark::Davis, &settings).is_err());
    assert_eq!(files(&root), kept);
}

#[test]
fn senseless_settings_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("sample");
    for (wrong, name) in [
        (small(0, 1), "clips"),
        (small(1, 0), "frames"),
        (Settings { height: 10, ..small(1, 1) }, "height"),
        (Settings { width: 4000, ..small(1, 1) }, "width"),
    ] {
        assert!(render(&root, Benchmark::Davis, &wrong).unwrap_err().to_string().starts_with(name));
    }
    assert!(!root.exists());
}

#[test]
fn masks_are_palette_pictures_of_the_frames_size() {
    let folder = tempfile::tempdir().unwrap();
    render(folder.path(), Benchmark::Davis, &small(1, 1)).unwrap();
    let mask = indexed::read(&folder.path().join("Annotations/480p/sample-00/00000.png")).unwrap();
    assert_eq!((mask.width, mask.height), (128, 72));
    assert!(mask.data.contains(&1));
}
