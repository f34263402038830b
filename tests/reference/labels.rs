//! Masks on their way in (the first annotation on the grid) and out (ids from soft labels).

use cropmae::image::indexed;
use cropmae::propagation::LabelMap;
use cropmae::propagation::labels::{FirstLabels, Readout, first_frame, hard_labels};

use super::common::values;
use super::{assert_near, bytes, expected, golden, pair};

#[test]
fn first_labels_by_both_rules() {
    let all = expected("labels");
    let annotation = indexed::read(&golden("clip/masks/00003.png")).unwrap();
    let mut compared = 0;
    for (key, theirs) in &all {
        // first.<rule>.<frame>.<grid>
        let parts: Vec<&str> = key.split('.').collect();
        let ["first", rule, frame, grid] = parts[..] else { continue };
        let rule = if rule == "bilinear" { FirstLabels::Bilinear } else { FirstLabels::Nearest };
        let ours = first_frame(&annotation, pair(frame), pair(grid), rule);
        assert_eq!(ours.ids, bytes(&all[&format!("{key}.ids")]), "{key}");
        // OpenCV sums four products of f32 weights in its own order.
        assert_near(key, &ours.labels.values, &values(theirs), 1e-6);
        compared += 1;
    }
    assert_eq!(compared, 6);
}

#[test]
fn masks_by_every_read_out() {
    let all = expected("labels");
    let mut compared = 0;
    for (key, theirs) in &all {
        // hard.<labels>.<patch>.<read-out>
        let parts: Vec<&str> = key.split('.').collect();
        let ["hard", channels, _, readout] = parts[..] else { continue };
        let soft = &all[&format!("soft.{channels}")];
        let (rows, columns, channels) = soft.dims3().unwrap();
        let soft = LabelMap { grid: (rows, columns), channels, values: values(soft) };
        let ids: Vec<u8> = (0..channels as u8).collect();
        let readout = match readout {
            "argmax" => Readout::Argmax,
            "min-max-argmax" => Readout::MinMaxArgmax,
            _ => Readout::CellMinMaxArgmax,
        };
        let ours = hard_labels(&soft, &ids, theirs.dims2().unwrap(), readout);
        let differing = ours.data.iter().zip(bytes(theirs)).filter(|(a, b)| **a != *b).count();
        // Random labels: no two of a pixel are so close that rounding could swap them.
        assert_eq!(differing, 0, "{key}: of {} pixels", ours.data.len());
        compared += 1;
    }
    assert_eq!(compared, 9);
}
