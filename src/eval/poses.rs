//! Predicted joints as files: our JSON, and the arrays that the reference program stores.

use std::path::{Path, PathBuf};

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use super::folder::flat_name;
use crate::error::{Error, Result};
use crate::files::write_json;
use crate::metric::pck::{JOINT_COUNT, JOINTS};
use crate::protocol::Size;

/// The joints of a clip's frames, in cells of the feature grid.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Poses {
    /// The clip.
    pub clip: String,
    /// The size of its frames in pixels.
    pub frame: Size,
    /// Rows and columns of the grid.
    pub grid: (usize, usize),
    positions: Vec<[[f32; 2]; JOINT_COUNT]>,
}

impl Poses {
    /// No frame yet.
    pub(crate) fn new(clip: &str, frame: Size, grid: (usize, usize)) -> Self {
        Self { clip: clip.to_owned(), frame, grid, positions: Vec::new() }
    }

    /// Appends a frame's joints, (x, y) in cells; (-1, -1) where a joint was lost.
    pub(crate) fn push(&mut self, joints: [[f32; 2]; JOINT_COUNT]) {
        self.positions.push(joints);
    }

    /// Frames.
    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// As an array: x and y, joint, frame (2 × 15 × T).
    pub(crate) fn coordinates(&self) -> Array3<f64> {
        Array3::from_shape_fn((2, JOINT_COUNT, self.len()), |(axis, joint, t)| {
            f64::from(self.positions[t][joint][axis])
        })
    }
}

/// `joints.json`.
#[derive(Serialize, Deserialize)]
struct File {
    format: String,
    clip: String,
    /// Height and width in pixels.
    frame: [usize; 2],
    /// Rows and columns; what `positions` count in.
    grid: [usize; 2],
    joints: Vec<String>,
    /// By frame and joint: (x, y) in cells, `null` where a joint was lost.
    positions: Vec<Vec<Option<[f32; 2]>>>,
}

const FORMAT: &str = "joints in cells, 1";

/// Writes `joints.json`.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(path: &Path, poses: &Poses) -> Result<()> {
    let position = |joint: &[f32; 2]| (joint[0] >= 0.0).then_some(*joint);
    let file = File {
        format: FORMAT.into(),
        clip: poses.clip.clone(),
        frame: [poses.frame.height, poses.frame.width],
        grid: [poses.grid.0, poses.grid.1],
        joints: JOINTS.map(String::from).to_vec(),
        positions: poses.positions.iter().map(|f| f.iter().map(position).collect()).collect(),
    };
    write_json(path, &file)
}

/// Finds and reads a clip's joints in a folder of predictions.
///
/// `frame` is asked for the frames' size where the file does not tell.
///
/// # Errors
/// There is no file for the clip, or it is not what it should be.
pub(crate) fn find(
    predictions: &Path,
    clip: &str,
    index: usize,
    grid: (usize, usize),
    frame: impl FnOnce() -> Result<Size>,
) -> Result<Poses> {
    let json = predictions.join(clip).join("joints.json");
    if json.exists() {
        return read_json(&json);
    }
    let arrays = [clip.to_owned(), flat_name(clip), index.to_string()];
    let array = arrays.iter().map(|name| predictions.join(format!("{name}.npy")));
    match array.into_iter().find(|path| path.exists()) {
        Some(path) => read_array(&path, clip, grid, frame()?),
        None => Err(Error::data(
            &json,
            "no predictions for this clip",
            format!(
                "store them as {clip}/joints.json, {clip}.npy, {}.npy or {index}.npy",
                flat_name(clip)
            ),
        )),
    }
}

fn read_json(path: &Path) -> Result<Poses> {
    let damaged = |problem: String| {
        Error::data(
            path,
            format!("is no joints file of ours ({problem})"),
            "predict the clip again",
        )
    };
    let bytes = std::fs::read(path).map_err(Error::reading(path))?;
    let file: File = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if file.format != FORMAT {
        return Err(damaged(format!("format {:?}", file.format)));
    }
    let [height, width] = file.frame;
    let mut poses = Poses::new(&file.clip, Size { height, width }, (file.grid[0], file.grid[1]));
    for (t, joints) in file.positions.iter().enumerate() {
        let joints: Vec<[f32; 2]> = joints.iter().map(|j| j.unwrap_or([-1.0; 2])).collect();
        let count = joints.len();
        poses.push(joints.try_into().map_err(|_| damaged(format!("{count} joints in frame {t}")))?);
    }
    Ok(poses)
}

fn read_array(path: &PathBuf, clip: &str, grid: (usize, usize), frame: Size) -> Result<Poses> {
    let remedy = "store an array of 2 x 15 x T numbers, x and y in cells, with numpy.save";
    let tensor = candle_core::Tensor::read_npy(path)
        .and_then(|tensor| tensor.to_dtype(candle_core::DType::F32))
        .map_err(|error| Error::data(path, format!("not a readable array ({error})"), remedy))?;
    let (axes, joints, frames) = tensor.dims3().unwrap_or_default();
    if (axes, joints) != (2, JOINT_COUNT) || frames == 0 {
        return Err(Error::data(path, format!("holds {:?} numbers", tensor.shape()), remedy));
    }
    let values = tensor.to_vec3::<f32>()?;
    let mut poses = Poses::new(clip, frame, grid);
    (0..frames).for_each(|t| {
        poses.push(std::array::from_fn(|joint| [values[0][joint][t], values[1][joint][t]]));
    });
    Ok(poses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poses() -> Poses {
        let mut poses = Poses::new("a/b", Size { height: 240, width: 320 }, (20, 20));
        poses.push(std::array::from_fn(|joint| [joint as f32 + 0.1, 2.5]));
        poses.push([[-1.0, -1.0]; JOINT_COUNT]);
        poses
    }

    #[test]
    fn json_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        write(&folder.path().join("a/b/joints.json"), &poses()).unwrap();
        let unasked = || -> Result<Size> { unreachable!("the file says the size") };
        assert_eq!(find(folder.path(), "a/b", 0, (40, 40), unasked).unwrap(), poses());
    }

    #[test]
    fn arrays_are_found_under_three_names() {
        let values = poses().coordinates();
        let (data, shape) = (values.iter().map(|v| *v as f32).collect::<Vec<_>>(), (2, 15, 2));
        let device = candle_core::Device::Cpu;
        let array = candle_core::Tensor::from_vec(data, shape, &device).unwrap();
        for name in ["a/b.npy", "a__b.npy", "7.npy"] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(folder.path().join("a")).unwrap();
            array.write_npy(folder.path().join(name)).unwrap();
            let size = || Ok(Size { height: 240, width: 320 });
            assert_eq!(find(folder.path(), "a/b", 7, (20, 20), size).unwrap(), poses(), "{name}");
        }
    }

    #[test]
    fn what_is_missing_or_no_array_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let size = || Ok(Size { height: 240, width: 320 });
        let error = find(folder.path(), "a/b", 3, (20, 20), size).unwrap_err().to_string();
        assert!(error.contains("a__b.npy") && error.contains("3.npy"), "{error}");
        std::fs::write(folder.path().join("3.npy"), b"not an array").unwrap();
        let error = find(folder.path(), "a/b", 3, (20, 20), size).unwrap_err().to_string();
        assert!(error.contains("3.npy") && error.contains("numpy.save"), "{error}");
    }
}
