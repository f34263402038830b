//! Tests the page with logs made by hand; tests/pretrain/outputs.rs tests it with a real run.

use super::*;
use crate::pretrain::checkpoint::Place;
use crate::pretrain::record::{Measure, StepRecord};

fn step(steps: u64) -> Entry {
    Entry::Step(StepRecord {
        steps,
        epoch: (steps - 1) / 4,
        loss: 1.0 / steps as f64,
        learning_rate: 1e-4,
        gradient_norm: 2.0,
        images_per_second: 30.0,
    })
}

fn measure(epochs: u64, name: &str, value: f64) -> Entry {
    Entry::Measure(Measure { steps: 4 * epochs, epochs, name: name.into(), value })
}

fn session(steps: u64, command: &str) -> Entry {
    Entry::Session(SessionRecord {
        steps,
        command: command.into(),
        version: "0.1.0".into(),
        git_commit: "abc".into(),
        device: "cpu".into(),
        dtype: "f32".into(),
        threads: 2,
        workers: 3,
    })
}

fn html(log: &[Entry], epochs: u64) -> String {
    let config = Config { epochs: 3, ..Preset::Tiny.config() };
    let place = Place { epoch: epochs, ..Place::default() };
    let state = State::new(place, config.clone(), "hash".into());
    page(&config, log, Some(&state), None).unwrap().html()
}

#[test]
fn what_was_logged_is_told() {
    let mut log = vec![session(0, "pretrain --data 'a <b>'")];
    log.extend((1..=12).map(step));
    log.extend([measure(1, HELD_OUT, 0.98765), measure(1, MEAN_PATCH, 1.25)]);
    log.extend([measure(3, HELD_OUT, 0.5), measure(3, "davis J&F", 64.666)]);
    log.push(session(8, "pretrain --again"));
    let html = html(&log, 3);
    for part in [
        "CropMAE, vit-192x6-3heads-p16",
        "3 of 3 epochs",
        "12 steps of 64 images",
        ">finished<",
        "95.0 % masked",
        "Learning rate",
        "in units of 1e-4",
        "davis J&amp;F",
        "64.7",
        "0.9877",
        "has the loss 1.2500",
        // of 1/9, 1/10, 1/11 and 1/12, above and in the legend
        "training loss (mean of epoch 3) <b>0.0963</b>",
        "<b>0.0963 (mean of epoch 3)</b>",
        "baseline: predicting the mean patch",
        "base_learning_rate",
        "pretrain --data 'a &lt;b&gt;'",
        "From step 9 on",
        "cropmae 0.1.0 (abc)",
        "2 CPU threads; 3 to decode and crop",
        "hash",
    ] {
        assert!(html.contains(part), "{part:?} is not in\n{html}");
    }
    let begun = self::html(&log[..2], 1);
    assert!(begun.contains("1 step of 64 images"), "{begun}");
    // the mean of 1, 1/2, 1/3 and 1/4
    assert!(html.contains(">0.5208<"), "the training loss of epoch 1");
    let lines = html.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next());
    assert!(lines.clone().count() > 6);
    assert!(lines.clone().all(|line| !line.contains("inf") && !line.contains("NaN")));
}

#[test]
fn runs_that_have_hardly_begun() {
    let none = html(&[], 0);
    assert!(none.contains("No step was logged yet") && none.contains("not finished"), "{none}");
    let one = html(&[step(1)], 0);
    assert!(one.contains("0 of 3 epochs") && one.contains("Nothing was measured"), "{one}");
    assert!(one.contains("training loss (mean of epoch 1 so far) <b>1.0000</b>"), "{one}");
    let nan = Entry::Step(StepRecord { loss: f64::NAN, ..*step(1).step().unwrap() });
    assert!(html(&[nan], 0).contains("<svg"));
}

#[test]
fn a_page_stays_small_however_long_the_run() {
    let mut log: Vec<Entry> = (1..=400_000).map(step).collect();
    log.extend((1..=1000).map(|epochs| measure(epochs, HELD_OUT, 0.7)));
    let html = html(&log, 3);
    assert!(html.len() < 1 << 19, "{} bytes", html.len());
    assert!(html.matches("<tr>").count() <= 2 + MOST_ROWS);
}

#[test]
fn counts_are_grouped() {
    let shown: Vec<String> = [0, 12, 123, 1234, 1_234_567].map(grouped).to_vec();
    assert_eq!(shown, ["0", "12", "123", "1,234", "1,234,567"]);
}
