//! `propagate score`: predictions of any program.

use candle_core::{Device, Tensor};
use cropmae::files::Occupied;
use cropmae::image::LabelImage;
use serde_json::Value;

use super::place::{BENCHMARKS, FRAMES, Place, QUICK, assert_same};

/// A place where the benchmark has been run into `out`.
fn predicted(benchmark: &str) -> Place {
    let place = Place::with(&[benchmark]);
    place.run(&format!("{benchmark} --data {benchmark} {QUICK} --out out -q")).exits(0);
    place
}

fn score(benchmark: &str, more: &str) -> String {
    format!("score {benchmark} --data {benchmark} --predictions out/predictions {more}")
}

/// Where the benchmark keeps its frames.
fn frames(benchmark: &str) -> String {
    let folder = match benchmark {
        "davis" => "JPEGImages",
        "vip" => "Images",
        _ => "Rename_Images",
    };
    format!("{benchmark}/{folder}")
}

#[test]
fn scores_are_those_of_the_run_and_need_no_frames() {
    for (benchmark, _) in BENCHMARKS {
        let place = predicted(benchmark);
        let run = place.json("out/results.json");
        let with = place.run(&score(benchmark, "--json --out scored")).exits(0);
        assert_eq!(with.err, "");
        place.remove(&frames(benchmark));
        let without = place.run(&score(benchmark, "--json")).exits(0).json();
        for json in [with.json(), without] {
            assert_eq!(json["metrics"], run["metrics"], "{benchmark}");
            assert_eq!(json["per_object"], run["per_object"], "{benchmark}");
            assert_eq!(json["dataset"]["labels_sha256"], run["dataset"]["labels_sha256"]);
            assert_eq!(json["dataset"]["frames"], run["dataset"]["frames"], "{benchmark}");
            assert_eq!(json["weights"], Value::Null);
        }
        for file in place.names("scored").iter().filter(|name| name.ends_with(".csv")) {
            assert_eq!(place.text(&format!("scored/{file}")), place.text(&format!("out/{file}")));
        }
        assert!(place.path("scored/results.md").exists());
    }
}

/// Nobody knows how predictions were made: no setting of the propagation stands beside their score.
#[test]
fn only_what_decides_a_score_is_recorded() {
    let values = |benchmark: &str, more: &str| {
        let place = predicted(benchmark);
        let json = place.run(&score(benchmark, &format!("{more} --json"))).exits(0).json();
        assert_eq!(json["protocol"]["preset"], "score");
        json["protocol"]["values"].to_string()
    };
    assert_eq!(values("davis", ""), r#"{"score_size":"native"}"#);
    let vip = values("vip", "--exclude-first-frame --score-size 48x80");
    assert_eq!(vip, r#"{"exclude_first_frame":true,"score_size":{"fixed":"48x80"}}"#);
    assert_eq!(values("jhmdb", ""), r#"{"grid_of_arrays":"20x20"}"#);
    let place = predicted("jhmdb");
    place.run(&score("jhmdb", "--score-size 48x80")).exits(2).refuses(&["--score-size", "JHMDB"]);
    place.run(&score("jhmdb", "--exclude-first-frame")).exits(2).refuses(&["for vip"]);
}

/// It draws nothing, and takes no flag of what is drawn.
#[test]
fn nothing_is_drawn() {
    let place = predicted("davis");
    for flag in ["--overlays gif", "--overlay-errors", "--overlay-truth"] {
        place.run(&score("davis", flag)).exits(2).says(&["unexpected argument '--overlay"]);
    }
}

#[test]
fn missing_clips_are_listed_or_an_error() {
    let clips = [
        ("davis", "sample-01", "out/predictions/sample-01"),
        ("vip", "videos2", "out/predictions/videos2"),
        ("jhmdb", "walk/sample_walk_0", "out/predictions/walk"),
    ];
    for (benchmark, clip, folder) in clips {
        let place = predicted(benchmark);
        place.remove(folder);
        let ran = place.run(&score(benchmark, "--out scored")).exits(3);
        assert!(ran.err.starts_with(&format!("{clip}: not scored: {folder}")), "{}", ran.err);
        assert!(ran.out.contains("2 of 3 clips, 8 frames — PARTIAL"), "{}", ran.out);
        assert!(ran.out.contains(&format!("FAILED {clip}: ")), "{}", ran.out);
        let json = place.json("scored/results.json");
        assert_eq!((&json["partial"], &json["failures"][0]["clip"]), (&true.into(), &clip.into()));
        let before = place.files("scored");
        let strict = place.run(&score(benchmark, "--out scored --strict")).exits(1);
        strict.refuses(&["1 of 3 clips could not be scored"]);
        assert_same(&place.files("scored"), &before, "changed");
    }
}

#[test]
fn a_missing_frame_is_named() {
    for (benchmark, file) in [("davis", "sample-01/00002.png"), ("vip", "videos2/000000000003.png")]
    {
        let place = predicted(benchmark);
        place.remove(&format!("out/predictions/{file}"));
        let ran = place.run(&score(benchmark, "")).exits(3);
        ran.says(&[file, "this frame's prediction is missing", "named as the frames"]);
    }
}

/// A folder too deep or too shallow is answered with the right one, and a file by another name with
/// the rule for names.
#[test]
fn predictions_in_another_place_are_found() {
    let place = predicted("davis");
    let score = |folder: &str| {
        place.run(&format!("score davis --data davis --predictions {folder}")).exits(1)
    };
    score("out").says(&["; pass --predictions out/predictions"]);
    score("out/predictions/sample-00").says(&["; pass --predictions out/predictions"]);
    for clip in ["sample-00", "sample-01", "sample-02"] {
        let file = |name: &str| place.path(&format!("out/predictions/{clip}/{name}"));
        std::fs::rename(file("00001.png"), file("1.PNG")).unwrap();
        std::fs::remove_file(file("00000.png")).unwrap();
    }
    let ran = score("out/predictions");
    ran.says(&["sample-00/00001.png: this frame's prediction is missing; beside it lies 1.PNG"]);
    let place = predicted("jhmdb");
    let ran = place.run("score jhmdb --data jhmdb --predictions out").exits(1);
    ran.says(&["; pass --predictions out/predictions"]);
}

/// White is void where annotations hold ids, and would be scored as if nothing had been predicted.
#[test]
fn black_and_white_predictions_of_ids_are_refused() {
    let place = predicted("davis");
    for t in 0..FRAMES {
        let file = format!("out/predictions/sample-00/{t:05}.png");
        place.change_mask(&file, |id| if id == 0 { 0 } else { 255 });
    }
    let ran = place.run(&score("davis", "")).exits(3);
    ran.says(&["sample-00/00001.png: is black and white (0 and 255)", "in place of 255"]);
    // beside ids white is void, as the evaluator's masks have it
    let file = "out/predictions/sample-01/00001.png";
    place.change_mask(file, |id| if id == 0 { 255 } else { id });
    place.run(&score("davis", "--sequences sample-01")).exits(0);
}

#[test]
fn ids_above_the_objects_are_named() {
    let place = predicted("davis");
    place.change_mask("out/predictions/sample-00/00002.png", |id| if id == 0 { 9 } else { id });
    let ran = place.run(&score("davis", "")).exits(3);
    ran.says(&["sample-00/00002.png", "ids [9]", "objects 1 to ", "0 is background"]);
    let place = predicted("vip");
    place.change_mask(
        "out/predictions/videos1/000000000002.png",
        |id| if id == 0 { 20 } else { id },
    );
    let ran = place.run(&score("vip", "")).exits(3);
    ran.says(&["out/predictions/videos1/000000000002.png", "class 20", "0 to 19"]);
}

#[test]
fn pictures_that_are_no_masks_are_named() {
    let place = predicted("davis");
    let file = "out/predictions/sample-00/00001.png";
    let picture = image::RgbImage::from_pixel(160, 96, image::Rgb([128, 0, 0]));
    picture.save(place.path(file)).unwrap();
    place.run(&score("davis", "")).exits(3).says(&[file, "holds colours", "palette PNG"]);
    image::ImageBuffer::from_pixel(160, 96, image::Luma([257_u16])).save(place.path(file)).unwrap();
    place.run(&score("davis", "")).exits(3).says(&[file, "16 bits", "8-bit"]);
    place.write_mask(file, &LabelImage { width: 80, height: 48, data: vec![1; 80 * 48] });
    let ran = place.run(&score("davis", "")).exits(3);
    ran.says(&[
        file,
        "is 96x160 (height x width) and the prediction 48x80",
        "for another one use --score-size",
    ]);
    let ran = place.run(&score("davis", "--score-size 96x80")).exits(1);
    ran.says(&["must have the size of --score-size"]);
    place.cut("out/predictions/sample-01/00001.png", 0.5);
    place.run(&score("davis", "")).exits(3).says(&["sample-01/00001.png", "not a readable PNG"]);
}

/// Ids 2 and 5 alone: objects 1 to 5 count, as the official evaluator has it.
#[test]
fn ids_with_gaps() {
    let place = Place::with(&["davis"]);
    for clip in 0..3 {
        for t in 0..FRAMES {
            let file = format!("Annotations/480p/sample-{clip:02}/{t:05}.png");
            place.change_mask(&format!("davis/{file}"), |id| [0, 2, 5][usize::from(id.min(2))]);
        }
    }
    let line = "score davis --data davis --predictions davis/Annotations/480p --json";
    let json = place.run(line).exits(0).json();
    assert_eq!(json["metrics"]["J&F-Mean"], 1.0);
    assert_eq!(json["per_object"].as_object().unwrap().len(), 3 * 5);
    // Propagated, such ids come back as they are.
    let note = "sample-00: the first annotation holds the ids 2, 5, but objects 1 to 5 are scored";
    let ran = place.run(&format!("davis --data davis {QUICK} --out out")).exits(0);
    assert!(ran.out.contains(note), "{}", ran.out);
    let mut ids = place.mask("out/predictions/sample-00/00001.png").data;
    ids.sort_unstable();
    ids.dedup();
    assert!(ids.iter().all(|id| [0, 2, 5].contains(id)) && ids.len() > 1, "{ids:?}");
    let ran = place.run(&score("davis", "")).exits(0);
    assert!(ran.out.contains(note), "{}", ran.out);
}

/// Frames 0, 5, 10, 15 of a longer video, and a clip that is none of the list's.
#[test]
fn frames_with_gaps() {
    let place = Place::with(&["davis"]);
    for folder in ["JPEGImages/480p/sample-01", "Annotations/480p/sample-01"] {
        for t in (1..FRAMES).rev() {
            for extension in ["jpg", "png"] {
                let file = |t: usize| place.path(&format!("davis/{folder}/{t:05}.{extension}"));
                if file(t).exists() {
                    std::fs::rename(file(t), file(5 * t)).unwrap();
                }
            }
        }
    }
    place.run(&format!("davis --data davis {QUICK} --out out")).exits(0);
    assert!(place.path("out/predictions/sample-01/00015.png").exists());
    place.write("out/predictions/another-clip/00000.png", "no PNG at all");
    let run = place.json("out/results.json");
    assert_eq!(place.run(&score("davis", "--json")).exits(0).json()["metrics"], run["metrics"]);
}

/// DAVIS-2016: white is the object, in the annotations and in predictions of the same kind.
#[test]
fn black_and_white_masks() {
    let place = Place::with(&["davis"]);
    for clip in 0..3 {
        for t in 0..FRAMES {
            let file = format!("davis/Annotations/480p/sample-{clip:02}/{t:05}.png");
            place.change_mask(&file, |id| if id > 0 { 255 } else { 0 });
        }
    }
    place.run(&format!("davis --data davis {QUICK} --out out")).exits(0);
    let run = place.json("out/results.json");
    assert_eq!(run["per_object"].as_object().unwrap().len(), 3);
    let ours = place.run(&score("davis", "--json")).exits(0).json();
    assert_eq!(ours["metrics"], run["metrics"]);
    let line = "score davis --data davis --predictions davis/Annotations/480p --json";
    assert_eq!(place.run(line).exits(0).json()["metrics"]["J&F-Mean"], 1.0);
}

/// The joints of our JSON as the reference's array [2, 15, T] in cells.
fn array(place: &Place, clip: &str) -> Tensor {
    let json = place.json(&format!("out/predictions/{clip}/joints.json"));
    let frames = json["positions"].as_array().unwrap();
    let mut values = Vec::new();
    for axis in 0..2 {
        for joint in 0..15 {
            values.extend(frames.iter().map(|frame| frame[joint][axis].as_f64().unwrap_or(-1.0)));
        }
    }
    Tensor::from_vec(values, (2, 15, frames.len()), &Device::Cpu).unwrap()
}

#[test]
fn arrays_of_joints_score_like_our_json() {
    let place = predicted("jhmdb");
    let run = place.json("out/results.json");
    let clips = [
        "kick_ball/sample_kick_ball_3",
        "run/sample_run_2",
        "walk/sample_walk_0",
        "wave/sample_wave_1",
    ];
    let clips: Vec<&str> = clips
        .into_iter()
        .filter(|clip| place.path(&format!("out/predictions/{clip}")).exists())
        .collect();
    assert_eq!(clips.len(), 3);
    // The three names that are understood; the third is the clip's place in the list.
    let names = [format!("{}.npy", clips[0]), clips[1].replace('/', "__") + ".npy", "2.npy".into()];
    for (clip, name) in clips.iter().zip(names) {
        let path = place.path(&format!("arrays/{name}"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        array(&place, clip).write_npy(path).unwrap();
    }
    let line = "score jhmdb --data jhmdb --predictions arrays --grid 6x10 --json";
    let json = place.run(line).exits(0).json();
    assert_eq!(json["metrics"], run["metrics"]);
    assert_eq!(json["protocol"]["departures"][0]["used"], "6x10");
    // Without frames their size is a guess, which is said, for one clip as for all.
    place.remove(&format!("jhmdb/Rename_Images/{}", clips[1]));
    let json = place.run(line).exits(0).json();
    assert_eq!(json["notes"].as_array().unwrap().len(), 1, "{}", json["notes"]);
    place.remove("jhmdb/Rename_Images");
    let json = place.run(line).exits(0).json();
    assert_eq!(json["notes"].as_array().unwrap().len(), 3);
    assert!(json["notes"][0]["note"].as_str().unwrap().contains("240x320"), "{}", json["notes"]);
    // What is no such array is named.
    Tensor::zeros((15, 2, 4), candle_core::DType::F32, &Device::Cpu)
        .unwrap()
        .write_npy(place.path("arrays/2.npy"))
        .unwrap();
    place.run(line).exits(3).says(&["arrays/2.npy", "[15, 2, 4]", "2 x 15 x T"]);
    place.write("arrays/2.npy", "no array");
    place.run(line).exits(3).says(&["arrays/2.npy", "not a readable array", "numpy.save"]);
}

#[test]
fn a_folder_of_no_predictions() {
    let place = predicted("davis");
    place
        .run("score davis --data davis --predictions nowhere")
        .exits(1)
        .refuses(&["nowhere: no such folder"]);
    let ran = place.run("score davis --data davis --predictions out").exits(1);
    ran.refuses(&["0 of 3 clips", "pass --predictions out/predictions"]);
    let before = place.files("out");
    place.run(&score("davis", "--out out")).exits(1).refuses(&[
        "out: ",
        "results of a run",
        "--out",
    ]);
    assert_same(&place.files("out"), &before, "changed");
    for clip in 0..3 {
        (1..4).for_each(|t| {
            place.remove(&format!("davis/Annotations/480p/sample-{clip:02}/{t:05}.png"))
        });
    }
    place.run(&score("davis", "")).exits(1).refuses(&["nothing to score"]);
}

/// What is not an earlier scoring's stays as it is: a project with videos in a folder called clips.
#[test]
fn nobody_elses_files_are_touched() {
    let place = predicted("davis");
    place.write("clips/holiday.mp4", "a film");
    place.write("project/results.json", r#"{ "mine": 1 }"#);
    place.write("project/clips/holiday.mp4", "a film");
    place.write("films/clips/holiday.mp4", "a film");
    let before = place.files(".");
    for folder in [".", "project", "films"] {
        let ran = place.run(&score("davis", &format!("--out {folder}"))).exits(1);
        ran.refuses(&[&format!("{folder}: "), "no earlier results of score", "--out"]);
        assert_same(&place.files("."), &before, folder);
    }
}

#[test]
fn ones_own_scores_are_written_again() {
    let place = predicted("davis");
    place.run(&score("davis", "--out scored -q")).exits(0);
    let records = place.names("scored/clips");
    assert_eq!(records, ["sample-00.json", "sample-01.json", "sample-02.json"]);
    let again = |code: i32| place.run(&score("davis", "--out scored -q")).exits(code);
    // files of others among its own are kept, records of clips that are gone are not
    place.write("scored/clips/holiday.mp4", "a film");
    place.write("scored/clips/notes.json", r#"{ "clip": "holiday" }"#);
    place.write("scored/notes.txt", "mine");
    place.remove("out/predictions/sample-01");
    again(3);
    let left = ["holiday.mp4", "notes.json", "sample-00.json", "sample-02.json"];
    assert_eq!(place.names("scored/clips"), left);
    assert_eq!(place.json("scored/results.json")["dataset"]["done"], 2);
    assert_eq!(place.text("scored/notes.txt"), "mine");
    let other = Occupied::take(&place.path("scored")).unwrap();
    again(1).refuses(&["scored: another run is using this folder"]);
    drop(other);
    again(3);
    assert!(!place.path("scored/.lock").exists());
    // one that was killed before its results were there
    place.write("begun/.lock", "");
    place.write("begun/clips/sample-00.json", place.text("scored/clips/sample-00.json"));
    place.write("begun/clips/sample-02.json.partial", "{");
    place.run(&score("davis", "--out begun -q")).exits(3);
    assert_eq!(place.json("begun/results.json")["dataset"]["done"], 2);
}
