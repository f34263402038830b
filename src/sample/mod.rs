//! stub
use crate::error::Result;
use crate::protocol::Benchmark;
use std::path::Path;
/// stub
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// s
    pub clips: usize,
    /// s
    pub frames: usize,
    /// s
    pub height: usize,
    /// s
    pub width: usize,
    /// s
    pub seed: u64,
    /// s
    pub jpeg: bool,
}
/// s
pub fn default_settings(_: Benchmark) -> Settings {
    Settings { clips: 3, frames: 20, height: 480, width: 854, seed: 0, jpeg: false }
}
/// s
pub fn render(_: &Path, _: Benchmark, _: &Settings) -> Result<()> {
    Ok(())
}
