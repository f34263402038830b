//! stub
use super::VitConfig;
use candle_core::Tensor;
use std::collections::HashMap;
use std::path::PathBuf;
/// stub
pub struct Checkpoint {
    /// stub
    pub config: VitConfig,
    /// stub
    pub tensors: HashMap<String, Tensor>,
    /// stub
    pub path: PathBuf,
}
