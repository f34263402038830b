//! Pre-training against the reference program's numbers, and against itself: gradients, learning,
//! resuming.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../common/mod.rs"]
mod common;
mod data;
mod network;
mod outputs;
mod runs;
mod start;
#[cfg(unix)]
mod stopped;
