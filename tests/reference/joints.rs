//! Poses: the Gaussians of the first frame, and coordinates from label maps.

use cropmae::metric::pck::JOINT_COUNT;
use cropmae::propagation::LabelMap;
use cropmae::propagation::joints::{first_frame, read_out};
use serde_json::Value;

use super::{assert_near, bytes, expected, expected_json};

/// JHMDB's grid: 320 pixels by patches of 16.
const GRID: (usize, usize) = (20, 20);

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn coordinates(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().flat_map(numbers).map(|number| number as f32).collect()
}

#[test]
fn label_maps_and_their_read_out() {
    for (pose, theirs) in expected_json("joints")["poses"].as_array().unwrap().iter().enumerate() {
        let cells: Vec<[f64; 2]> = serde_json::from_value(theirs["cells"].clone()).unwrap();
        let ours = first_frame::<JOINT_COUNT>(&cells.try_into().unwrap(), GRID);
        let mut wanted = vec![0.0; GRID.0 * GRID.1 * JOINT_COUNT];
        for (place, value) in numbers(&theirs["places"]).iter().zip(numbers(&theirs["values"])) {
            wanted[*place as usize] = value as f32;
        }
        let cells = || ours.values.chunks_exact(1 + JOINT_COUNT);
        let gaussians: Vec<f32> = cells().flat_map(|cell| &cell[1..]).copied().collect();
        // The same f64 exponentials, rounded once: the last bit of values up to 1.
        assert_near(&format!("maps of pose {pose}"), &gaussians, &wanted, 6e-8);
        let background: f32 = cells().map(|cell| cell[0]).sum();
        assert_eq!(f64::from(background), theirs["background"].as_f64().unwrap());
        let read = read_out::<JOINT_COUNT>(&ours).concat();
        // Five products with places up to 19 in f32. Borders cut stamps, so some cells tie.
        assert_near(&format!("pose {pose}"), &read, &coordinates(&theirs["read"]), 5e-6);
    }
}

/// Labels of twelve values on 400 cells: which of the tied cells count is PyTorch's choice.
#[test]
fn ties_are_broken_as_pytorch_breaks_them() {
    let tied = &expected("joints")["tied"];
    let values = bytes(tied).into_iter().map(|level| f32::from(level) / 8.0).collect();
    let ours = read_out::<JOINT_COUNT>(&LabelMap { grid: GRID, channels: 1 + JOINT_COUNT, values })
        .concat();
    let theirs = coordinates(&expected_json("joints")["tied"]);
    assert!(ours.contains(&-1.0), "one joint is nowhere");
    // As above; another cell of a tie would move a joint by a tenth of a cell and more.
    assert_near("tied cells", &ours, &theirs, 5e-6);
}
