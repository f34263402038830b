//! Several `--weights`: as many runs, one table, best first; a broken one does not lose the others.

use super::place::{CLIPS, FRAMES, Place, assert_same};
use super::resume::essence;

const DAVIS: &str = "davis --data davis --size 96x160";

#[test]
fn every_encoder_is_what_its_own_run_is() {
    let place = Place::with(&["davis"]);
    let ran =
        place.run(&format!("{DAVIS} --weights pixels random:vitti16@0 --out out")).exits(0).says(
            &["encoder 1 of 2: pixels", "encoder 2 of 2: random-vitti16@0", "the table is in out"],
        );
    for (weights, name) in [("pixels", "pixels"), ("random:vitti16@0", "random-vitti16@0")] {
        place.run(&format!("{DAVIS} --weights {weights} --out alone/{name}")).exits(0);
        let (ours, alone) = (format!("out/{name}"), format!("alone/{name}"));
        assert_same(&essence(&place, &ours), &essence(&place, &alone), name);
    }
    let json = place.json("out/weights.json");
    let rows = json["rows"].as_array().unwrap();
    let score = |row: usize| rows[row]["metrics"]["J&F-Mean"].as_f64().unwrap();
    assert!(score(0) >= score(1), "best first");
    assert_eq!((&rows[0]["best"], rows.len()), (&true.into(), 2));
    let first = ran.out.lines().nth(3).unwrap();
    assert!(first.trim_start().starts_with(rows[0]["name"].as_str().unwrap()), "{}", ran.out);
    assert!(first.ends_with('*'), "{}", ran.out);
    assert!(place.text("out/weights.md").contains("J-Decay ↓"));
    // The same again takes up what is there.
    let again = place.run(&format!("{DAVIS} --weights pixels random:vitti16@0 --out out")).exits(0);
    assert_eq!(again.err.matches("done by an earlier run").count(), 2 * CLIPS, "{}", again.err);
    // Without --out each goes where its own run would.
    place.run(&format!("{DAVIS} --weights pixels")).exits(0);
    let ran = place.run(&format!("{DAVIS} --weights pixels pixels random:vitti16@1")).exits(0);
    assert_eq!(ran.err.matches("done by an earlier run").count(), CLIPS, "{}", ran.err);
    assert!(ran.err.contains("encoder 2 of 2"), "each encoder once: {}", ran.err);
}

/// Clips of which only the first frame is annotated, as one's own mostly are, and clips that are
/// not to be scored: all is done, nothing is missing, and no page is asked for.
#[test]
fn clips_without_scores() {
    let place = Place::with(&["davis"]);
    place
        .run(&format!(
            "{DAVIS} --weights pixels pixels random:vitti16@0 --predict-only --out asked"
        ))
        .exits(0)
        .says(&["nothing was scored, as asked for"]);
    for clip in 0..CLIPS {
        for t in 1..FRAMES {
            place.remove(&format!("davis/Annotations/480p/sample-{clip:02}/{t:05}.png"));
        }
    }
    let ran = place.run(&format!("{DAVIS} --weights pixels random:vitti16@0 --out out")).exits(0);
    assert!(!ran.err.contains("no report"), "{}", ran.err);
    ran.says(&["nothing was scored: no frame but the given first ones has a truth"]);
    let sweep = place.run(&format!("{DAVIS} --weights pixels --sweep topk=2,3 --out sw")).exits(0);
    assert!(!sweep.err.contains("no report"), "{}", sweep.err);
    sweep.says(&["nothing was scored: no frame but"]);
    for command in ["report out/pixels", "explain sw/topk-2", "compare out/pixels sw/topk-2"] {
        let words = ["has no score", "`propagate overlays` shows what was predicted"];
        place.run(command).exits(1).refuses(&words);
    }
    place.run("overlays out/pixels --data davis --figure f.png").exits(0);
}

/// A run of its own in the folder of several would take it from them.
#[test]
fn a_single_run_has_a_folder_of_its_own() {
    let place = Place::with(&["davis"]);
    place.run(&format!("{DAVIS} --weights pixels random:vitti16@0 --out out")).exits(0);
    place.run(&format!("{DAVIS} --weights pixels --sweep topk=2,3 --out sw")).exits(0);
    for (folder, more) in [("out", ""), ("sw", ""), ("out", "--dry-run")] {
        let ran = place.run(&format!("{DAVIS} --weights pixels --out {folder} {more}")).exits(1);
        ran.refuses(&[folder, "holds the runs of a sweep or of several encoders", "for --out"]);
    }
    for (folder, words) in [("out", "of several encoders; pass"), ("sw", "of a sweep; pass")] {
        for command in ["overlays", "explain", "report"] {
            place.run(&format!("{command} {folder} --data davis")).exits(1).refuses(&[words]);
        }
    }
    // more of the same kind may join them
    place.run(&format!("{DAVIS} --weights pixels random:vitti16@1 --out out")).exits(0);
    place.run(&format!("{DAVIS} --weights pixels --sweep topk=2,3,4 --out sw")).exits(0);
}

#[test]
fn a_broken_one_is_a_row() {
    let place = Place::with(&["davis"]);
    place.write("w/a.safetensors", golden("mae.safetensors"));
    place.write("w/broken.pth", b"no checkpoint at all");
    place.write("w/notes.txt", b"not looked at");
    place.write("list.txt", "# the folder's, by name\nw/a.safetensors\n");
    let line = "davis --data davis --size 16x24";
    let ran = place.run(&format!("{line} --weights w --out out")).exits(3);
    assert!(ran.err.contains("broken: failed: w/broken.pth"), "{}", ran.err);
    assert!(ran.out.contains("2 encoders (1 failed)"), "{}", ran.out);
    // what went wrong stands under the table, which stays as wide as it was
    assert!(ran.out.contains("\n  [1] broken: w/broken.pth: "), "{}", ran.out);
    let table = ran.out.lines().take_while(|line| !line.starts_with("  [1]"));
    assert!(table.map(|line| line.chars().count()).max() < Some(100), "{}", ran.out);
    let pasted = place.run(&format!("{line} --weights w --out out --export-markdown -")).exits(3);
    assert!(pasted.out.contains("| [1]  |\n\n- [1] broken: w/broken.pth: "), "{}", pasted.out);
    let rows = &place.json("out/weights.json")["rows"];
    assert_eq!((&rows[0]["name"], &rows[1]["name"]), (&"a".into(), &"broken".into()));
    assert!(
        rows[1]["error"].as_str().unwrap().contains("broken.pth") && rows[1]["metrics"].is_null()
    );
    assert!(place.text("out/weights.csv").lines().last().unwrap().starts_with("broken,"));
    assert!(!place.path("out/broken").exists());
    let ran =
        place.run(&format!("{line} --weights @list.txt pixels --out listed --quiet")).exits(0);
    assert!(ran.err.is_empty(), "{}", ran.err);
    assert_eq!(place.json("listed/weights.json")["rows"].as_array().unwrap().len(), 2);
    let all = place.run(&format!("{line} --weights w/broken.pth w/none.pth --out none")).exits(1);
    all.refuses(&["0 of 2 encoders could be evaluated"]);
}

fn golden(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn several_encoders_where_they_make_no_sense() {
    let place = Place::with(&["davis"]);
    let run = |more: &str| place.run(&format!("{DAVIS} --weights pixels sample --out out {more}"));
    run("--sweep topk=2,3").exits(2).refuses(&["--sweep: takes one encoder"]);
    run("--per-item").exits(2).refuses(&["--per-item"]);
    let dry = run("--dry-run").exits(0);
    assert!(dry.out.contains("pixels (patches of 16): out/pixels"), "{}", dry.out);
    assert!(!place.path("out").exists());
    place.write("empty/readme.txt", "");
    let empty = place.run(&format!("{DAVIS} --weights empty")).exits(1);
    empty.refuses(&["empty: no checkpoint"]);
    let features = "features --weights pixels sample --images davis --out f.safetensors";
    place.run(features).exits(2).says(&["error: "]);
}
