//! Datasets on disk: small ones built here, right and wrong in every way, and real ones where they
//! lie beside the repository.

#![allow(clippy::unwrap_used)]

mod check;
mod layouts;
mod real;
#[path = "../common/shared.rs"]
mod shared;
mod trees;
