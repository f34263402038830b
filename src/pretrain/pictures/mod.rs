//! What a run looks like: reconstructions ([`grid`]) and its curves ([`curve`]).

pub mod curve;
pub mod grid;
