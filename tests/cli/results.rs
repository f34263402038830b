//! The files that a run leaves: official names and columns, palette PNGs, JSON, Markdown, tensors.

use serde_json::Value;

use super::place::{BENCHMARKS, CLIPS, FRAMES, Place, QUICK, SIZE};

/// A place where the benchmark has been run into `out`.
fn evaluated(benchmark: &str, more: &str) -> Place {
    let place = Place::with(&[benchmark]);
    place.run(&format!("{benchmark} --data {benchmark} {QUICK} --out out {more}")).exits(0);
    place
}

fn header(place: &Place, file: &str) -> String {
    place.text(file).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn davis_files_are_the_official_ones() {
    let place = evaluated("davis", "");
    let clips = ["sample-00", "sample-01", "sample-02"];
    let mut expected: Vec<String> = clips.map(|clip| format!("clips/{clip}.json")).to_vec();
    let tables = ["global_results-val.csv", "per-sequence_results-val.csv"];
    expected.extend(tables.map(String::from));
    let mut drawn = clips.map(|clip| format!("overlays/{clip}.png")).to_vec();
    drawn.push("overlays/style.json".into());
    // between the two tables by name
    let last = expected.len() - 1;
    expected.splice(last..last, drawn);
    for clip in clips {
        expected.extend((0..FRAMES).map(|t| format!("predictions/{clip}/{t:05}.png")));
    }
    expected.extend(["report.html", "results.json", "results.md", "run.json"].map(String::from));
    assert_eq!(place.names("out"), expected);
    let columns = "J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay";
    assert_eq!(header(&place, "out/global_results-val.csv"), columns);
    assert_eq!(header(&place, "out/per-sequence_results-val.csv"), "Sequence,J-Mean,F-Mean");
    for file in tables {
        let text = place.text(&format!("out/{file}"));
        let rows = text.lines().skip(1).flat_map(|row| row.split(','));
        let numbers: Vec<&str> = rows.filter(|cell| !cell.starts_with("sample")).collect();
        assert!(numbers.iter().all(|cell| cell.rsplit('.').next().unwrap().len() == 3), "{text}");
        assert!(numbers.iter().all(|cell| cell.parse::<f64>().is_ok()), "{text}");
    }
    let objects = place.json("out/results.json")["per_object"].as_object().unwrap().len();
    assert_eq!(place.text("out/per-sequence_results-val.csv").lines().count(), 1 + objects);
}

#[test]
fn predictions_are_palette_pngs_of_the_annotations_size() {
    for (benchmark, annotations) in
        [("davis", "davis/Annotations/480p"), ("vip", "vip/Annotations/Category_ids")]
    {
        let place = evaluated(benchmark, "");
        let predicted = place.files("out/predictions");
        assert_eq!(predicted.keys().cloned().collect::<Vec<_>>(), place.names(annotations));
        for (name, bytes) in predicted {
            let reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
            let info = reader.info();
            assert_eq!(info.color_type, png::ColorType::Indexed, "{name}");
            assert_eq!((info.height as usize, info.width as usize), SIZE, "{name}");
            let palette = info.palette.as_ref().unwrap();
            assert_eq!(palette[..9], [0, 0, 0, 128, 0, 0, 0, 128, 0], "{name}");
        }
    }
}

#[test]
fn vip_and_jhmdb_have_their_tables() {
    let place = evaluated("vip", "");
    assert_eq!(header(&place, "out/per-class.csv"), "class,IoU,accuracy");
    assert_eq!(place.text("out/per-class.csv").lines().count(), 1 + 20);
    let columns = "mIoU,mean accuracy,overall accuracy,frequency-weighted IoU";
    assert_eq!(header(&place, "out/global_results-val.csv"), columns);
    let place = evaluated("jhmdb", "");
    let columns = "PCK@0.1,PCK@0.2,PCK@0.3,PCK@0.4,PCK@0.5";
    assert_eq!(header(&place, "out/per-joint.csv"), format!("joint,{columns}"));
    assert_eq!(place.text("out/per-joint.csv").lines().count(), 1 + 15);
    assert_eq!(header(&place, "out/global_results-val.csv"), columns);
    let joints = place.json("out/predictions/walk/sample_walk_0/joints.json");
    assert_eq!((&joints["frame"], &joints["grid"]), (&vec![96, 160].into(), &vec![6, 10].into()));
    let positions = joints["positions"].as_array().unwrap();
    assert_eq!((positions.len(), positions[0].as_array().unwrap().len()), (FRAMES, 15));
}

/// A whole number in JSON.
fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

#[test]
fn results_json_has_all_that_decided_the_scores() {
    let metrics: [&[&str]; 3] = [
        &["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"],
        &["mIoU", "per_class_IoU", "mean_accuracy", "mIoU_without_first_frame"],
        &["PCK@0.1", "PCK@0.2", "PCK@0.3", "PCK@0.4", "PCK@0.5", "per_joint"],
    ];
    for ((benchmark, _), metrics) in BENCHMARKS.iter().zip(metrics) {
        let place = evaluated(benchmark, "--topk 5");
        let json = place.json("out/results.json");
        assert_eq!(json["benchmark"], *benchmark);
        for metric in metrics {
            let value = &json["metrics"][*metric];
            let fraction = value.as_f64().is_none_or(|score| (-1.0..=1.0).contains(&score));
            assert!(!value.is_null() && fraction, "{benchmark} {metric}: {value}");
        }
        assert!(!json["per_object"].as_object().unwrap().is_empty());
        let protocol = &json["protocol"];
        assert_eq!((&protocol["preset"], &protocol["version"]), (&"cropmae".into(), &1.into()));
        assert_eq!(protocol["hash"].as_str().unwrap().len(), 16);
        assert_eq!(protocol["values"]["propagation"]["topk"], 5);
        let departures = protocol["departures"].as_array().unwrap();
        let topk = departures.iter().find(|d| d["setting"] == "propagation.topk").unwrap();
        assert_eq!(topk["used"], 5);
        let weights = &json["weights"];
        assert_eq!(weights["file"], "pixels");
        assert_eq!(weights["sha256"].as_str().unwrap().len(), 64);
        assert!(weights["family"].is_string() && weights["arch"].is_string());
        let dataset = &json["dataset"];
        assert_eq!((count(&dataset["clips"]), count(&dataset["done"])), (CLIPS, CLIPS));
        assert_eq!(count(&dataset["frames"]), CLIPS * FRAMES);
        assert_eq!(dataset["labels_sha256"].as_str().unwrap().len(), 64);
        let provenance = &json["provenance"];
        for key in ["version", "git_commit", "device", "dtype", "jpeg_decoder", "command"] {
            assert!(provenance[key].is_string(), "{key}");
        }
        for stage in ["decode", "encode", "propagate", "read_out", "write", "score"] {
            assert!(provenance["seconds"][stage].is_number(), "{stage}");
        }
        assert!(provenance["wall_seconds"].as_f64().unwrap() > 0.0);
        assert!(cfg!(not(target_os = "linux")) || provenance["peak_memory_bytes"].is_u64());
        assert_eq!(json["partial"], false);
    }
}

/// Names of objects are the official ones, those of classes and joints the words of the tables.
#[test]
fn items_are_named() {
    let keys = |benchmark: &str| -> Vec<String> {
        let json = evaluated(benchmark, "").json("out/results.json");
        json["per_object"].as_object().unwrap().keys().cloned().collect()
    };
    let objects = keys("davis");
    assert!(objects.contains(&"sample-00_1".into()) && objects.contains(&"sample-02_2".into()));
    assert_eq!(keys("vip").len(), 20);
    assert!(keys("jhmdb").contains(&"left wrist".into()));
}

#[test]
fn results_md_tells_it_to_people() {
    for (benchmark, title) in [("davis", "Objects"), ("vip", "Classes"), ("jhmdb", "Joints")] {
        let place = evaluated(benchmark, "--radius 4");
        let text = place.text("out/results.md");
        // a few clips are not the benchmark, and do not bear its name
        assert!(text.starts_with(&format!("# {benchmark}, 3 clips in the layout of ")), "{text}");
        for part in [
            "- not comparable with published numbers: they are of the ".into(),
            format!("## {title}\n\n| "),
            "## Protocol\n\n| setting".into(),
            "- departure: propagation.neighborhood.radius is 4, the preset has 20\n".into(),
            format!(
                "```sh\npropagate {benchmark} --data {benchmark} {QUICK} --out out --radius 4\n"
            ),
            "| mean ".into(),
            " 0.485, 0.456, 0.406 ".into(),
        ] {
            assert!(text.contains(&part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("\n\n\n") && text.ends_with("|\n"), "{text:?}");
    }
}

#[test]
fn soft_labels_are_tensors_of_frames_rows_columns_labels() {
    let shape_and_first = |place: &Place, file: &str| -> (Vec<usize>, f32) {
        let bytes = std::fs::read(place.path(file)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("soft_labels").unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
        let channels = tensor.shape()[3];
        let cells =
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (tensor.shape().to_vec(), cells.take(channels).sum())
    };
    let place = evaluated("davis", "--save-soft-labels");
    let objects =
        *place.mask("davis/Annotations/480p/sample-00/00000.png").data.iter().max().unwrap();
    let (shape, first) = shape_and_first(&place, "out/soft_labels/sample-00.safetensors");
    assert_eq!(shape, [FRAMES, 6, 10, 1 + usize::from(objects)]);
    // one-hot, resized: every cell of frame 0 is a mix that sums to 1
    assert!((first - 1.0).abs() < 1e-6, "{first}");
    let place = evaluated("jhmdb", "--save-soft-labels");
    let (shape, _) = shape_and_first(&place, "out/soft_labels/walk__sample_walk_0.safetensors");
    assert_eq!(shape, [FRAMES, 6, 10, 1 + 15]);
    let place = evaluated("vip", "--save-soft-labels");
    let (shape, _) = shape_and_first(&place, "out/soft_labels/videos1.safetensors");
    assert_eq!(shape[..3], [FRAMES, 6, 10]);
}
