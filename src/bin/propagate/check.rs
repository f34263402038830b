//! `propagate check`: what is there, what is missing or odd, before time is spent on it.
use anyhow::Result;
use crate::Outcome;
use crate::args::CheckArgs;
pub fn run(_: &CheckArgs) -> Result<Outcome> { anyhow::bail!("not yet") }
