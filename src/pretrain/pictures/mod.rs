//! Pictures of a run: reconstructions ([`grid`]) and curves ([`curve`]).

pub mod curve;
pub mod grid;
