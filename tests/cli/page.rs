//! `report.html`: what every run leaves for a browser, and `propagate report`, which makes it
//! again.

use super::place::{BENCHMARKS, FRAMES, Place, QUICK, assert_same};

/// Elements without an end tag.
const VOID: [&str; 5] = ["meta", "link", "img", "input", "br"];

/// The elements' names in order, with their attributes; panics where one is not closed in its turn.
fn elements(html: &str) -> Vec<(String, String)> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while let Some(at) = rest.find('<') {
        let tag = &rest[at + 1..];
        let end = tag.find('>').expect("an end of the tag");
        rest = &tag[end + 1..];
        let tag = &tag[..end];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "</{name}> closes another element");
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        assert_eq!(attributes.matches('"').count() % 2, 0, "<{tag}>");
        all.push((name.to_owned(), attributes.to_owned()));
        if name == "script" || name == "style" {
            let end = format!("</{name}>");
            rest = &rest[rest.find(&end).expect("its end") + end.len()..];
        } else if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?} are open at the end");
    all
}

/// What the page shows, its tags left out.
fn text(html: &str) -> String {
    let body = html.split("<body>").nth(1).unwrap();
    let parts = body.split('<').map(|part| part.split_once('>').map_or("", |(_, text)| text));
    parts.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_run_leaves_a_whole_page() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        place
            .run(&format!("{benchmark} --data {benchmark} {QUICK} --out out"))
            .exits(0)
            .says(&["report in out/report.html\n"]);
        let html = place.text("out/report.html");
        assert!(html.len() < 5_000_000, "{} bytes", html.len());
        let elements = elements(&html);
        for (name, attributes) in &elements {
            let loads = ["src=\"", "href=\"", "data=\"", "action=\""];
            for place in loads.iter().filter_map(|loads| attributes.split(loads).nth(1)) {
                let inside = place.starts_with("data:") || place.starts_with('#');
                assert!(inside, "<{name} {attributes}> loads something");
            }
        }
        let count = |wanted: &str| elements.iter().filter(|(name, _)| name == wanted).count();
        assert!(count("img") >= 3 * 3, "{benchmark}: {} pictures", count("img"));
        assert_eq!(count("caption"), count("table"), "{benchmark}: a table without a caption");
        assert!(count("path") > 0, "{benchmark}: no curve");
        let json = place.json("out/results.json");
        let main =
            ["J&F-Mean", "mIoU", "PCK@0.1"].iter().find_map(|main| json["metrics"][*main].as_f64());
        let shown = text(&html);
        let parts = [
            format!("{:.1}", 100.0 * main.unwrap()),
            json["protocol"]["hash"].as_str().unwrap().to_owned(),
            json["weights"]["sha256"].as_str().unwrap().to_owned(),
            "CropMAE paper".to_owned(),
            "Not comparable with the published rows".to_owned(),
        ];
        for part in &parts {
            assert!(shown.contains(part), "{benchmark}: {part:?} is not in the page");
        }
        let rows = json["per_object"].as_object().unwrap().keys();
        rows.for_each(|row| assert!(shown.contains(row.as_str()), "{benchmark}: no row of {row}"));
    }
}

#[test]
fn the_same_page_again() {
    for (benchmark, _) in BENCHMARKS {
        let place = Place::with(&[benchmark]);
        place.run(&format!("{benchmark} --data {benchmark} {QUICK} --out out")).exits(0);
        let before = place.files("out");
        place.remove("out/report.html");
        let ran = place.run(&format!("report out --data {benchmark}")).exits(0);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "report in out/report.html\n"));
        assert_same(&place.files("out"), &before, benchmark);
        place.run("report out").exits(0).says(&["without --data ROOT", "no pictures"]);
        let html = place.text("out/report.html");
        elements(&html);
        assert!(!html.contains("<img"), "{benchmark}");
    }
}

#[test]
fn what_a_reader_must_know_stands_on_top() {
    let place = Place::with(&["davis"]);
    place.cut("davis/JPEGImages/480p/sample-01/00002.jpg", 0.1);
    place.run(&format!("davis --data davis {QUICK} --limit 2 --topk 5 --out out")).exits(3);
    let html = place.text("out/report.html");
    let shown = text(&html);
    let (top, rest) = shown.split_once("Scores are percentages").unwrap();
    for part in
        ["PARTIAL", "1 of the 3", "1 clip failed", "sample-01", "is cut short", "departures from"]
    {
        assert!(top.contains(part), "{part:?} is not on top: {top}");
    }
    assert!(rest.contains("propagation.topk is 5, cropmae has 7"), "{rest}");
}

/// Beside a clip's film and its curves stands the score of its row, with the first frame or
/// without.
#[test]
fn a_clip_has_one_score() {
    let place = Place::with(&["vip"]);
    let scores = |more: &str, out: &str| -> Vec<String> {
        place.run(&format!("vip --data vip {QUICK} {more} --out {out}")).exits(0);
        let shown = text(&place.text(&format!("{out}/report.html")));
        let words: Vec<&str> = shown.split_whitespace().collect();
        let after = |before: &str| -> Vec<String> {
            let found = words.windows(3).filter(|w| w[0] == "videos1" && w[1] == before);
            found.map(|w| w[2].to_owned()).collect()
        };
        let (beside, row) = (after("mIoU"), after(&FRAMES.to_string()));
        assert_eq!((beside.len(), row.len()), (2, 1), "{beside:?} {row:?}");
        [beside, row].concat()
    };
    let (with, without) = (scores("", "with"), scores("--exclude-first-frame", "without"));
    for scores in [&with, &without] {
        assert!(scores.iter().all(|score| *score == scores[0]), "{scores:?}");
    }
    assert_ne!(with[0], without[0]);
}

#[test]
fn names_of_clips_are_text() {
    let place = Place::with(&["davis"]);
    let odd = r#"a<img src=x>&"b'"#;
    for folder in ["JPEGImages", "Annotations"] {
        let clip = |name: &str| place.path(&format!("davis/{folder}/480p/{name}"));
        std::fs::rename(clip("sample-00"), clip(odd)).unwrap();
    }
    let list = "davis/ImageSets/2017/val.txt";
    let names = place.text(list).replace("sample-00", odd);
    place.write(list, names);
    place.run(&format!("davis --data davis {QUICK} --out out")).exits(0);
    let html = place.text("out/report.html");
    elements(&html);
    assert!(!html.contains("<img src=x>"));
    assert!(text(&html).contains("a&lt;img src=x&gt;&amp;&quot;b'"));
}

#[test]
fn no_page_where_none_is_wanted_or_can_be() {
    let place = Place::with(&["davis"]);
    let line = format!("davis --data davis {QUICK} --out out");
    place.run(&format!("{line} --report none")).exits(0);
    assert!(!place.path("out/report.html").exists());
    place.run("report nowhere").exits(1).refuses(&["nowhere: is not there", "pass a folder"]);
    place.remove("out/clips/sample-01.json");
    place.run("report out").exits(1).refuses(&["records of 2 clips", "results.json is of 3"]);
}

/// The results are worth more than the page.
#[cfg(target_os = "linux")]
#[test]
fn a_page_that_cannot_be_written_loses_nothing() {
    let place = Place::with(&["davis"]);
    std::fs::create_dir_all(place.path("out")).unwrap();
    let line = format!("davis --data davis {QUICK} --out out");
    place.run(&format!("{line} --report none")).exits(0);
    let before = place.files("out");
    std::os::unix::fs::symlink("/dev/full", place.path("out/report.html.partial")).unwrap();
    let ran = place.run(&line).exits(3);
    assert!(ran.out.contains("J&F-Mean"), "{}", ran.out);
    ran.says(&["no report: cannot write out/report.html: No space left", "results in out"]);
    assert_same(&place.files("out"), &before, "changed");
}
