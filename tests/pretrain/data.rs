//! What a run learns from, through the program: clips as folders of frames, tar shards, and what is
//! refused.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::runs::{fail, losses, pictures, pretrain, results, succeed};

/// Clips of `frames` frames each, of a wave that moves.
fn clips(folder: &Path, count: u32, frames: u32) -> PathBuf {
    let root = folder.join("clips");
    for clip in 0..count {
        let place = root.join(format!("class-{}/clip{clip}", clip % 2));
        std::fs::create_dir_all(&place).unwrap();
        for frame in 0..frames {
            let picture = image::RgbImage::from_fn(48, 40, |x, y| {
                let wave = |by: f32| {
                    (127.0 + 120.0 * ((x + 2 * frame) as f32 * by + y as f32 * 0.2).sin()) as u8
                };
                image::Rgb([wave(0.1), wave(0.1 + clip as f32 * 0.02), wave(0.3)])
            });
            picture.save(place.join(format!("{frame:05}.png"))).unwrap();
        }
    }
    root
}

/// A tar file of the pictures below `root`.
fn shard(root: &Path, shard: &Path, only: impl Fn(usize) -> bool) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join("deep/er"))
        .unwrap()
        .chain(std::fs::read_dir(root).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let mut builder = tar::Builder::new(File::create(shard).unwrap());
    for (_, file) in files.iter().enumerate().filter(|(index, _)| only(*index)) {
        builder.append_path_with_name(file, file.file_name().unwrap()).unwrap();
    }
    builder.finish().unwrap();
}

#[test]
fn frames_of_clips_are_learnt_from_by_every_method() {
    let folder = tempfile::tempdir().unwrap();
    let data = clips(folder.path(), 8, 9);
    let mut seen = Vec::new();
    for (name, more) in [
        ("siammae", vec!["--method", "siammae", "--kind", "video"]),
        (
            "nearer",
            vec!["--method", "siammae", "--kind", "video", "--set", "reading.frame_gap=[1, 1]"],
        ),
        ("cropmae", vec!["--kind", "video"]),
        ("mae", vec!["--method", "mae"]), // every frame is a picture of its own
    ] {
        let out = folder.path().join(name);
        succeed(&mut pretrain(&data, &out, &[more, vec!["--epochs", "3"]].concat()));
        let losses = losses(&out);
        assert_eq!(losses.len(), if name == "mae" { 54 } else { 6 }, "{name}");
        seen.push(losses[0]);
    }
    seen.sort_by(f64::total_cmp);
    seen.dedup();
    assert_eq!(seen.len(), 4, "two of them saw the same: {seen:?}");
    let out = folder.path().join("far");
    let more = ["--method", "siammae", "--kind", "video", "--set", "reading.frame_gap=[9, 20]"];
    let error = fail(&mut pretrain(&data, &out, &more));
    assert!(error.contains("has 9 frames, fewer than the 10"), "{error}");
}

#[test]
fn siammae_needs_videos() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path(), 8), folder.path().join("out"));
    let error = fail(&mut pretrain(&data, &out, &["--method", "siammae"]));
    assert!(error.contains("two frames of a clip") && error.contains("--kind video"), "{error}");
    let data = folder.path().join("pictures/none");
    std::fs::create_dir_all(&data).unwrap();
    let error = fail(&mut pretrain(&data, &out, &["--method", "siammae", "--kind", "video"]));
    assert!(error.contains("no folder with two or more frames"), "{error}");
    std::fs::write(data.join("clip.mp4"), "").unwrap();
    let more = ["--kind", "video", "--ffmpeg", "no/such-ffmpeg"];
    let error = fail(&mut pretrain(&data, &out, &more));
    assert!(error.contains("no/such-ffmpeg, which does not start"), "{error}");
}

#[test]
fn shards_give_the_same_run_however_often_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let root = pictures(folder.path(), 13);
    let data = folder.path().join("shards");
    std::fs::create_dir(&data).unwrap();
    for number in 0..3 {
        shard(&root, &data.join(format!("s-{number}.tar")), |index| index % 3 == number);
    }
    let more = ["--epochs", "120", "--checkpoint-every", "1", "--set", "reading.shuffle_buffer=5"];
    let (straight, killed) = (folder.path().join("straight"), folder.path().join("killed"));
    succeed(&mut pretrain(&data, &straight, &more));
    assert_eq!(losses(&straight).len(), 360);
    let mut interrupted = 0;
    for round in 0..4_u64 {
        let mut child = pretrain(&data.join("s-{0..2}.tar"), &killed, &more).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(80 + round * 97));
        child.kill().unwrap();
        interrupted += usize::from(!child.wait().unwrap().success());
    }
    assert!(interrupted >= 2, "the run is too short to be killed: {interrupted}");
    succeed(&mut pretrain(&data, &killed, &more));
    assert_eq!(results(&killed, 360), results(&straight, 360));
    let single = folder.path().join("single");
    succeed(&mut pretrain(&data.join("s-0.tar"), &single, &["--epochs", "1"]));
    assert_eq!(losses(&single).len(), 1, "five pictures, batches of four");
}
