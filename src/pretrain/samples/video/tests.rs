use super::*;
use crate::pretrain::random::Purpose;
use crate::pretrain::samples::{Kind, Options, Pixels, Samples};

const TWO: Frames = Frames::Two { gap: [4, 47] };

fn stream(sample: u64) -> Stream {
    Stream::new(2, Purpose::Frames, 0, sample)
}

fn settings(ffmpeg: &Path, ffprobe: &Path) -> VideoSettings {
    let (ffmpeg, ffprobe) = (ffmpeg.to_path_buf(), ffprobe.to_path_buf());
    VideoSettings { ffmpeg, ffprobe, ..VideoSettings::default() }
}

fn options(frames: Frames, video: VideoSettings) -> Options {
    Options { kind: Kind::Video, frames, video, ..Options::default() }
}

/// `count` frames of 4x3 pixels whose grey is their number.
fn frames(folder: &Path, count: usize) {
    std::fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let image = image::RgbImage::from_pixel(4, 3, image::Rgb([number as u8; 3]));
        image.save(folder.join(format!("{number}.png"))).unwrap();
    }
}

/// The first greys of each sample of an epoch.
fn greys(samples: &Samples, epoch: u64) -> Vec<(usize, Result<Vec<u8>>)> {
    let read = |job: crate::pretrain::samples::Job| {
        let number = job.number;
        let greys = samples.read(job, 4).map(|pixels| match pixels {
            Pixels::One(frame) => vec![frame.data[0]],
            Pixels::Two(first, second) => vec![first.data[0], second.data[0]],
        });
        (number, greys)
    };
    samples.epoch(4, epoch, 0).map(read).collect()
}

#[test]
fn gaps_are_spread_and_fit_the_clip() {
    let mut seen = [0; 48];
    for sample in 0..4400 {
        let chosen = choose(300, TWO, &mut stream(sample)).unwrap();
        assert!(chosen[1] < 300);
        seen[chosen[1] - chosen[0]] += 1;
    }
    assert_eq!(seen[..4], [0; 4]);
    assert!(seen[4..].iter().all(|count| (55..150).contains(count)), "{seen:?}");
    for length in 0..60 {
        for sample in 0..100 {
            let pair = choose(length, TWO, &mut stream(sample));
            assert_eq!(pair.is_some(), length >= 5, "{length}");
            assert!(pair.is_none_or(|it| it[1] < length && it[1] - it[0] >= 4));
            let one = choose(length, Frames::One, &mut stream(sample));
            assert_eq!(one.map(|it| it[0] < length), (length > 0).then_some(true));
        }
    }
    assert_eq!(choose(5, TWO, &mut stream(0)).unwrap(), [0, 4]);
    assert_eq!(choose(9, Frames::Two { gap: [8, 8] }, &mut stream(0)).unwrap(), [0, 8]);
}

#[test]
fn folders_of_frames_are_clips() {
    let folder = tempfile::tempdir().unwrap();
    for (name, count) in [("a/long", 30), ("a/one", 1), ("b", 3), ("five", 5)] {
        frames(&folder.path().join(name), count);
    }
    let nowhere = settings(Path::new("no-such-ffmpeg"), Path::new("no-such-ffprobe"));
    let open = |frames| Samples::open(folder.path(), &options(frames, nowhere.clone())).unwrap();
    let (one, two) = (open(Frames::One), open(TWO));
    assert_eq!((one.len(), two.len()), (3, 3));
    assert_eq!(one.fingerprint(), two.fingerprint());
    let mut firsts = Vec::new();
    for epoch in 0..20 {
        for (number, greys) in greys(&one, epoch) {
            assert!(usize::from(greys.unwrap()[0]) < [30, 3, 5][number]);
        }
        for (number, greys) in greys(&two, epoch) {
            match (number, greys) {
                (0, Ok(greys)) => {
                    assert!((4..30).contains(&(greys[1] - greys[0])));
                    firsts.push(greys[0]);
                }
                (2, greys) => assert_eq!(greys.unwrap(), [0, 4]),
                (_, greys) => {
                    let message = greys.unwrap_err().to_string();
                    assert!(message.contains("has 3 frames, fewer than the 5"), "{message}");
                }
            }
        }
    }
    firsts.dedup();
    assert!(firsts.len() > 5, "{firsts:?}");
    std::fs::write(folder.path().join("list.txt"), "five\n# long\na/long\n").unwrap();
    let list = folder.path().join("list.txt");
    let listed = Samples::open(&list, &options(Frames::One, nowhere)).unwrap();
    assert_eq!((listed.len(), listed.epoch(0, 0, 0).count()), (2, 2));
}

#[test]
fn video_files_without_ffmpeg_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.MP4"), "").unwrap();
    let nowhere = settings(Path::new("no-such-ffmpeg"), Path::new("no-such-ffprobe"));
    let message =
        Samples::open(folder.path(), &options(Frames::One, nowhere)).unwrap_err().to_string();
    assert!(message.contains("the program no-such-ffmpeg, which does not start"), "{message}");
    assert!(message.ends_with("install ffmpeg, or pass folders of frames"), "{message}");
}

#[test]
fn piped_pictures_are_taken_apart() {
    let bytes = b"P6\n2 1\n255\nabcdefP6 1 1 255\nxyz";
    let mut rest = &bytes[..];
    let first = take_ppm(&mut rest).unwrap();
    assert_eq!((first.width, first.height, first.data.as_slice()), (2, 1, &b"abcdef"[..]));
    assert_eq!(take_ppm(&mut rest).unwrap().data, b"xyz");
    assert_eq!(take_ppm(&mut rest), None);
    for wrong in
        ["P5\n1 1\n255\nx", "P6\n2 2\n255\nxyz", "P6\n", "P6\n9999999999999 9999999999999 255\n"]
    {
        assert_eq!(take_ppm(&mut wrong.as_bytes()), None, "{wrong}");
    }
}

/// A clip of 20 frames of 64x48 pixels, each of a grey of its own, made by the real program; a key
/// frame every 8. `None`, said aloud, where the program or its encoder is not there.
fn encoded(folder: &Path, name: &str, encoder: &[&str]) -> Option<PathBuf> {
    let path = folder.join(name);
    let source = "color=black:s=64x48:r=30:d=0.6666,geq=lum=16+N*10:cb=128:cr=128";
    let Ok(known) = Command::new("ffmpeg").args(["-v", "error", "-encoders"]).output() else {
        eprintln!("skipped: ffmpeg is not there");
        return None;
    };
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    if !known.split_whitespace().any(|word| word == encoder[0]) {
        eprintln!("skipped: this ffmpeg has no {}", encoder[0]);
        return None;
    }
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", source, "-g", "8", "-pix_fmt", "yuv420p"])
        .arg("-c:v")
        .args(encoder)
        .arg("-y")
        .arg(as_file(&path))
        .output()
        .unwrap();
    assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
    Some(path)
}

fn clip(folder: &Path) -> Option<PathBuf> {
    encoded(folder, "100%d {clip}: a.mp4", &["mpeg4", "-q:v", "1"])
}

/// Luminance 16 + 10 n of a video is the grey (10 n) · 255 / 219.
fn number_of(grey: u8) -> usize {
    (f64::from(grey) * 219.0 / 2550.0).round() as usize
}

#[test]
fn ffmpeg_gives_the_frames_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = clip(folder.path()) else { return };
    let small = VideoSettings { short_side: 24, ..VideoSettings::default() };
    let index = list(&path, &small).unwrap();
    assert_eq!(index.length, 20);
    let chosen = [3, 19];
    let taken = grab(&path, &index, &chosen, &small).unwrap();
    for (frame, number) in taken.iter().zip(chosen) {
        assert_eq!((frame.width, frame.height), (32, 24));
        assert_eq!(number_of(frame.data[0]), number);
    }
    let whole = grab(&path, &index, &[0], &VideoSettings::default()).unwrap();
    assert_eq!((whole[0].width, whole[0].height), (64, 48), "nothing is enlarged");
    let message = grab(&path, &index, &[3, 25], &small).unwrap_err().to_string();
    assert!(message.contains("only 1 of the frames"), "{message}");
}

// Every frame by seeking, in files whose packets come in another order than their frames (h264,
// mpeg4 with B frames), whose key frames are overtaken by frames before them (open GOP), whose
// times do not begin at 0, are rounded to milliseconds (webm, mkv) or are none (avi).
#[test]
fn seeking_changes_no_frame() {
    let folder = tempfile::tempdir().unwrap();
    let x264 = ["libx264", "-crf", "4", "-bf", "3", "-x264-params", "scenecut=0:open-gop=1"];
    let closed = ["libx264", "-crf", "4", "-bf", "2", "-sc_threshold", "0"];
    let vp9 = ["libvpx-vp9", "-crf", "4", "-b:v", "0", "-deadline", "realtime"];
    let mpeg4 = ["mpeg4", "-q:v", "1", "-bf", "2", "-sc_threshold", "1000000000"];
    let late = ["-output_ts_offset", "1.4"];
    let settings = VideoSettings::default();
    for (name, encoder, seeks) in [
        ("h264.mp4", closed.to_vec(), true),
        ("open.mkv", x264.to_vec(), true),
        ("late.mp4", [&x264[..], &late].concat(), true),
        ("late.mkv", [&closed[..], &late].concat(), true),
        ("vp9.webm", vp9.to_vec(), true),
        ("mpeg4.mov", mpeg4.to_vec(), true),
        ("mpeg4.AVI", mpeg4.to_vec(), false),
        ("plain.avi", mpeg4[..3].to_vec(), false),
    ] {
        let Some(path) = encoded(folder.path(), name, &encoder) else { continue };
        let index = list(&path, &settings).unwrap();
        assert_eq!(index.length, 20, "{name}");
        assert_eq!(index.seek(19).is_some(), seeks, "{name}: {index:?}");
        let straight = decoded(&path, None, &Vec::from_iter(0..20), &settings).unwrap();
        for number in [7, 8, 9, 15, 16, 17, 19] {
            let sought = grab(&path, &index, &[number], &settings).unwrap();
            assert_eq!(sought, [straight[number].clone()], "{name}: frame {number}");
            assert_eq!(number_of(sought[0].data[0]), number, "{name}");
        }
        let two = grab(&path, &index, &[10, 18], &settings).unwrap();
        assert_eq!(two, [straight[10].clone(), straight[18].clone()], "{name}");
    }
}

#[test]
fn the_cache_holds_the_same_frames() {
    let folder = tempfile::tempdir().unwrap();
    if clip(folder.path()).is_none() {
        return;
    }
    std::fs::write(folder.path().join("broken.mkv"), "no video").unwrap();
    let cache = tempfile::tempdir().unwrap();
    let stored =
        VideoSettings { frames_cache: Some(cache.path().into()), ..VideoSettings::default() };
    let piped = Samples::open(folder.path(), &options(TWO, VideoSettings::default())).unwrap();
    let cached = Samples::open(folder.path(), &options(TWO, stored)).unwrap();
    assert_eq!(piped.fingerprint(), cached.fingerprint());
    for epoch in 0..3 {
        for ((number, piped), (same, cached)) in
            greys(&piped, epoch).into_iter().zip(greys(&cached, epoch))
        {
            assert_eq!(number, same);
            match (piped, cached) {
                (Ok(piped), Ok(cached)) => {
                    let numbers =
                        |greys: Vec<u8>| greys.into_iter().map(number_of).collect::<Vec<_>>();
                    assert_eq!(numbers(piped), numbers(cached));
                }
                (Err(piped), Err(cached)) => {
                    for message in [piped.to_string(), cached.to_string()] {
                        assert!(message.contains("broken.mkv: ff"), "{message}");
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(cache.path()).unwrap().map(|it| it.unwrap().path()).collect();
    let names = left.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let names: Vec<_> = names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() == 1 && !names[0].contains("partial"), "{names:?}");
}
