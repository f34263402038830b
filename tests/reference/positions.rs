//! Position tables: MAE's fixed one, and trained ones on other grids by every rule.

use cropmae::model::config::PositionRule;
use cropmae::model::pos_embed::{interpolate, sincos_table};
use strum::VariantArray;

use super::common::values;
use super::{assert_near, expected, pair};

#[test]
fn the_fixed_table() {
    for (key, theirs) in &expected("positions") {
        if let Some(sizes) = key.strip_prefix("sincos.") {
            let (width, side) = pair(sizes);
            // Both are f64 rounded once: where two sines differ in their last bit, an ulp of 1.
            assert_near(key, &sincos_table(width, side), &values(theirs), 6e-8);
        }
    }
}

#[test]
fn trained_tables_on_other_grids() {
    let all = expected("positions");
    let mut compared = 0;
    for rule in PositionRule::VARIANTS {
        let prefix = format!("{}.", rule.name());
        for (key, theirs) in &all {
            let Some(sizes) = key.strip_prefix(&prefix) else { continue };
            let (side, grid) = sizes.split_once('.').unwrap();
            let table = values(&all[&format!("table.{side}")]);
            let ours = interpolate(&table, side.parse().unwrap(), 1, pair(grid), *rule);
            // PyTorch's kernels fuse other products on other machines: some ulps of a weight near 1
            // times values up to 3.
            assert_near(key, &ours, &values(theirs), 2e-6);
            compared += 1;
        }
    }
    assert_eq!(compared, 18);
}
