//! `propagate trace`: the neighbours of a patch as a table, as JSON and as a picture.

use cropmae::image::decode;
use serde_json::Value;

use super::place::{BENCHMARKS, Place};

const RANDOM: &str = "--weights random:vitti16@0 --size 96x160";

/// The first clip of a sample.
fn clip(place: &Place, benchmark: &str) -> String {
    match benchmark {
        "vip" => "videos1".into(),
        "jhmdb" => {
            // action/clip/frame
            let frame = &place.names("jhmdb/Rename_Images")[0];
            frame.rsplit_once('/').unwrap().0.to_owned()
        }
        _ => "sample-00".into(),
    }
}

#[test]
fn what_neighbors_bring_is_what_the_propagation_gives() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        let clip = clip(&place, benchmark);
        let line = format!(
            "trace {benchmark} --data {benchmark} {RANDOM} --sequence {clip} --frame 3 --point 80,50 --out a.png"
        );
        let json = place.run(&format!("{line} --json")).exits(0).json();
        assert_eq!(json["grid"], serde_json::json!([6, 10]));
        assert_eq!((&json["row"], &json["column"]), (&3.into(), &5.into()));
        let neighbors = json["neighbours"].as_array().unwrap();
        assert!(!neighbors.is_empty());
        for (name, mass) in json["labels"].as_object().unwrap() {
            let of = |neighbor: &Value| neighbor["labels"][name].as_f64().unwrap();
            let brought: f64 = neighbors.iter().map(of).sum();
            // f32 sums of at most ten masses, in the same order
            assert!((brought - mass.as_f64().unwrap()).abs() <= 1e-6, "{benchmark} {name}");
        }
        let weights: f64 = neighbors.iter().map(|n| n["weight"].as_f64().unwrap()).sum();
        assert!((weights - 1.0).abs() < 1e-5, "{weights}");
        assert!(neighbors.iter().all(|n| n["frame"].as_u64().unwrap() < 3));

        let ran = place.run(&line).exits(0).says(&["picture in a.png"]);
        let columns = ran.out.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(columns[..5], ["frame", "row", "column", "cosine", "weight"]);
        assert!(ran.out.contains("patch: row 3, column 5 of 6x10"), "{}", ran.out);
        let rows = ran.out.lines().skip(3).take_while(|line| !line.starts_with('─')).count();
        assert_eq!(rows, neighbors.len());
        let frames: std::collections::BTreeSet<_> =
            neighbors.iter().map(|n| n["frame"].as_u64()).collect();
        let picture = decode::read(&place.path("a.png")).unwrap();
        let columns = (frames.len() + 1).min(3);
        assert_eq!(picture.width, columns * 480 + (columns - 1) * 4 + 16);
    }
}

/// The labels are those that a run stores.
#[test]
fn the_soft_labels_of_a_run_are_the_same() {
    let place = Place::with(&["davis"]);
    place.run(&format!("davis --data davis {RANDOM} --save-soft-labels --out out")).exits(0);
    let file = place.path("out/soft_labels/sample-00.safetensors");
    let stored = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
    let soft = &stored["soft_labels"]; // [T, h, w, C]
    let line = format!(
        "trace davis --data davis {RANDOM} --sequence sample-00 --frame 2 --point 70,40 --out a.png --json"
    );
    let json = place.run(&line).exits(0).json();
    let index = |name: &str| json[name].as_u64().unwrap() as usize;
    let cell = soft.get(2).unwrap().get(index("row")).unwrap().get(index("column")).unwrap();
    let stored = cell.to_vec1::<f32>().unwrap();
    let mut told: Vec<(usize, f64)> = Vec::new();
    for (name, mass) in json["labels"].as_object().unwrap() {
        let id = name.strip_prefix("object ").map_or(0, |id| id.parse().unwrap());
        told.push((id, mass.as_f64().unwrap()));
    }
    told.sort_by_key(|(id, _)| *id);
    assert_eq!(told.len(), stored.len());
    for ((_, told), stored) in told.iter().zip(stored) {
        assert!((told - f64::from(stored)).abs() <= 1e-6, "{told} {stored}");
    }
}

#[test]
fn queries_that_cannot_be_traced() {
    let place = Place::with(&["davis"]);
    let line = |rest: &str| format!("trace davis --data davis {RANDOM} --out a.png {rest}");
    let refused = |rest: &str, words: &[&str]| {
        place.run(&line(rest)).exits(2).refuses(words);
    };
    let clip = "--sequence sample-00";
    refused(&format!("{clip} --frame 1 --point 160,50"), &["--point", "X 0 to 159", "Y 0 to 95"]);
    refused(&format!("{clip} --frame 1 --point 5,96"), &["--point", "X 0 to 159", "Y 0 to 95"]);
    refused(&format!("{clip} --frame 0 --point 5,5"), &["--frame", "given", "1 to 3"]);
    refused(&format!("{clip} --frame 4 --point 5,5"), &["--frame", "1 to 3"]);
    refused("--sequence bear --frame 1 --point 5,5", &["bear", "such as sample-00"]);
    for point in ["5", "5;5", "-1,5", "5,5,5", "a,b"] {
        let ran = place.run(&line(&format!("{clip} --frame 1 --point {point}"))).exits(2);
        assert!(ran.err.contains("--point") && ran.err.contains("X,Y"), "{}", ran.err);
    }
    assert!(!place.path("a.png").exists());
    place
        .run(&format!("trace davis --data davis {clip} --frame 1 --point 5,5 --out a.png"))
        .exits(2)
        .refuses(&["--weights FILE"]);
}

/// Ctrl-C ends it without a word, and leaves nothing; so does SIGTERM, with a status of its own.
#[cfg(target_os = "linux")]
#[test]
fn interrupted_it_leaves_nothing() {
    let place = Place::new();
    place.sample("davis", 1, 200);
    let line = format!(
        "trace davis --data davis {RANDOM} --threads 1 --sequence sample-00 --frame 199 --point 5,5 --out a.png -q"
    );
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let (code, words) = interrupted(&place, &line, signal);
        assert_eq!((code, words), (Some(status), [String::new(), String::new()]));
        let left = place.path(".").read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["davis"]);
    }
}

/// Runs it until signals are questions, and sends one; the exit status and what it said.
#[cfg(target_os = "linux")]
fn interrupted(place: &Place, line: &str, signal: &str) -> (Option<i32>, [String; 2]) {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};
    let mut command = Command::new(env!("CARGO_BIN_EXE_propagate"));
    command.args(line.split_whitespace()).current_dir(place.path("."));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // from when on signals are questions: the bit of SIGTERM, which is registered last
    let listens = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        u64::from_str_radix(caught, 16).unwrap() & (1 << 14) != 0
    };
    let begin = Instant::now();
    while !listens() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it does not get there");
        std::thread::sleep(Duration::from_micros(200));
    }
    // it is caught by three in turn
    std::thread::sleep(Duration::from_millis(2));
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let words = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), words)
}
