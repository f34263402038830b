//! The command line as a user meets it: every verb end to end on small rendered samples, what
//! stands on which stream, what is refused and how, and what a kill in mid-run leaves behind.

// helpers of tests are tests, which the lints only see inside #[test]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_data;
mod bad_weights;
mod cache;
mod check;
mod compare;
mod encoders;
mod evaluate;
mod explain;
mod features;
mod given;
mod help;
mod looking;
mod overlays;
mod page;
mod place;
mod results;
mod resume;
mod room;
mod sample;
mod score;
mod settings;
mod status;
mod streams;
mod sweep;
mod targets;
mod trace;
