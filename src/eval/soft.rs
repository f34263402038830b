//! Soft labels on disk (the setting `save_soft_labels`): a safetensors file written frame by frame,
//! so that a long clip needs no more memory than a short one.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::DType;
use serde_json::json;

use crate::error::{Error, Result};
use crate::files::safetensors;
use crate::propagation::LabelMap;

/// Writes the tensor `soft_labels` [T, h, w, C].
pub(super) struct SoftLabelWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl SoftLabelWriter {
    /// Begins a file for `frames` maps shaped like `first`; `ids` are what the channels stand for.
    pub(super) fn create(
        path: &Path,
        frames: usize,
        first: &LabelMap,
        ids: &[String],
    ) -> Result<Self> {
        let shape = [frames, first.grid.0, first.grid.1, first.channels];
        let about = json!({ "labels": ids.join(","), "axes": "frame,row,column,label" });
        let header = safetensors::header(&about, [("soft_labels", DType::F32, &shape[..])])?;
        let file = File::create(path).map_err(Error::creating(path))?;
        let mut writer = Self { file: BufWriter::new(file), path: path.to_path_buf() };
        writer.write(&header)?;
        Ok(writer)
    }

    /// Appends a frame.
    pub(super) fn append(&mut self, labels: &LabelMap) -> Result<()> {
        let bytes: Vec<u8> = labels.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.write(&bytes)
    }

    /// Completes the file.
    pub(super) fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(Error::writing(&self.path))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::writing(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_a_safetensors_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.safetensors");
        let map = |value: f32| LabelMap { grid: (1, 2), channels: 3, values: vec![value; 6] };
        let ids = ["0", "1", "5"].map(String::from);
        let mut writer = SoftLabelWriter::create(&path, 2, &map(0.0), &ids).unwrap();
        writer.append(&map(0.25)).unwrap();
        writer.append(&map(0.5)).unwrap();
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("soft_labels").unwrap();
        assert_eq!(tensor.shape(), [2, 1, 2, 3]);
        assert_eq!(tensor.data()[..4], 0.25_f32.to_le_bytes());
        assert_eq!(tensor.data()[44..], 0.5_f32.to_le_bytes());
    }
}
