//! Features that another program has made: any encoder, in any language, evaluated by the same
//! protocols (`--weights features:DIR`).
//!
//! ```text
//! DIR/<clip>.safetensors     features [T, h, w, D]: f32, f16 or bf16, one row of T for each frame
//! ```
//!
//! The grid [h, w] must be that of the protocol's input in patches of the side that was given. A
//! clip is read frame by frame, so only a few frames are in memory. [`crate::eval`] asks for it in
//! place of decoding and encoding the clip's frames.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ::safetensors::tensor::Metadata;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::weights::{ElementType, sha256};
use crate::digest::hexadecimal;
use crate::error::{Error, Result};
use crate::files::listing;
use crate::files::safetensors::{self, FEATURES_HEAD};

/// The tensor's name.
const TENSOR: &str = "features";
/// What to do about a file that is none of these.
const REMEDY: &str = "write one tensor `features` of [frames, rows, columns, width] in f32, f16 or bf16 for each clip";

/// A folder of features.
#[derive(Debug, Clone)]
pub struct Given {
    folder: PathBuf,
    patch: usize,
    width: usize,
    device: Device,
}

impl Given {
    /// Looks into a folder: [`Given`], and the SHA-256 over the names and the bytes of all its
    /// files. Features go to `device`; `patch` is the side of what each one stands for.
    ///
    /// # Errors
    /// The folder cannot be read, holds no `.safetensors` file, or one that is none.
    pub(super) fn open(folder: &Path, patch: usize, device: &Device) -> Result<(Self, String)> {
        let mut files = Vec::new();
        collect(folder, &mut files)?;
        files.sort();
        let Some(first) = files.first() else {
            return Err(Error::data(folder, "holds no .safetensors file", REMEDY));
        };
        let (_, [.., width]) = opened(first)?;
        let digests: Vec<String> =
            files.par_iter().map(|file| sha256(file)).collect::<Result<_>>()?;
        let mut whole = Sha256::new();
        for (file, digest) in files.iter().zip(&digests) {
            let name = file.strip_prefix(folder).unwrap_or(file).to_string_lossy();
            whole.update(format!("{}\n{digest}\n", name.replace('\\', "/")));
        }
        let folder = folder.to_path_buf();
        let given = Self { folder, patch, width, device: device.clone() };
        Ok((given, hexadecimal(&whole.finalize())))
    }

    /// Side of a patch in pixels.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// Width of a feature (D).
    pub fn width(&self) -> usize {
        self.width
    }

    /// Where features go.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Begins to read the features of a clip of `frames` frames, on a grid of rows and columns.
    ///
    /// # Errors
    /// The clip has no file, or one that does not fit.
    pub(crate) fn clip(
        &self,
        clip: &str,
        frames: usize,
        (rows, columns): (usize, usize),
    ) -> Result<GivenClip> {
        let path = self.folder.join(format!("{clip}.safetensors"));
        let (file, shape) = opened(&path)?;
        let wanted = [frames, rows, columns, self.width];
        if shape != wanted {
            let remedy = match shape[1..3] == wanted[1..3] {
                true => "make them again, from all frames of the clip".to_owned(),
                false => format!(
                    "the protocol's input has {rows}x{columns} patches of {}: with the setting `size` and the setting `patch_size` say how they were made",
                    self.patch
                ),
            };
            let problem = format!("holds features {shape:?} where the clip asks for {wanted:?}");
            return Err(Error::data(&path, problem, remedy));
        }
        Ok(GivenClip { file, path, cells: rows * columns, width: self.width })
    }
}

/// All `.safetensors` files in a folder and in its folders.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    files.extend(listing::files(folder, &["safetensors"])?);
    listing::subfolders(folder)?.iter().try_for_each(|folder| collect(folder, files))
}

/// A file at the first number of its features, the type of these, and their shape.
fn opened(path: &Path) -> Result<((File, ElementType), [usize; 4])> {
    let unfit = |problem: String| Error::data(path, problem, REMEDY);
    let mut file = File::open(path).map_err(Error::reading(path))?;
    let head = safetensors::head(&mut file, FEATURES_HEAD).map_err(Error::reading(path))?;
    let Some((header, start)) = head else {
        return Err(unfit("is no safetensors file, or cut short".into()));
    };
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| unfit(format!("is no whole safetensors file ({error})")))?;
    let info = metadata.info(TENSOR).ok_or_else(|| unfit(format!("has no tensor `{TENSOR}`")))?;
    let element = ElementType::of_safetensors(info.dtype);
    let size = match &element {
        ElementType::F32 | ElementType::F16 | ElementType::Bf16 => element.size(),
        _ => None,
    };
    let size = size.ok_or_else(|| unfit(format!("holds features of type {}", info.dtype)))?;
    let shape: [usize; 4] = (info.shape.as_slice().try_into())
        .map_err(|_| unfit(format!("holds features of shape {:?}", info.shape)))?;
    let (first, last) = info.data_offsets;
    let bytes = file.metadata().map_err(Error::reading(path))?.len();
    let count = shape.iter().try_fold(size, |count: usize, side| count.checked_mul(*side));
    if start + last as u64 > bytes || count != last.checked_sub(first) || shape.contains(&0) {
        return Err(unfit(format!("is cut short or empty: {bytes} bytes for {shape:?}")));
    }
    file.seek(SeekFrom::Start(start + first as u64)).map_err(Error::reading(path))?;
    Ok(((file, element), shape))
}

/// The features of a clip, to be read frame after frame.
pub(crate) struct GivenClip {
    file: (File, ElementType),
    path: PathBuf,
    cells: usize,
    width: usize,
}

impl GivenClip {
    /// The next frame's features [h·w, D] in f32 on the CPU, as the file holds them.
    ///
    /// # Errors
    /// The file cannot be read, or holds what is no number.
    pub(crate) fn next(&mut self) -> Result<Tensor> {
        let (file, element) = &mut self.file;
        let mut bytes = vec![0; self.cells * self.width * element.size().unwrap_or(0)];
        file.read_exact(&mut bytes).map_err(Error::reading(&self.path))?;
        let values = element.to_f32(&bytes);
        if !values.iter().all(|value| value.is_finite()) {
            let problem = "holds features that are NaN or infinite";
            return Err(Error::data(&self.path, problem, "make them again"));
        }
        Ok(Tensor::from_vec(values, (self.cells, self.width), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::DType;

    use super::*;

    /// Two frames of 2×3 patches, four wide.
    fn features() -> Tensor {
        let values = Tensor::arange(0_f32, 48.0, &Device::Cpu).unwrap();
        values.reshape((2, 2, 3, 4)).unwrap()
    }

    fn write(path: &Path, name: &str, tensor: &Tensor) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let tensors = HashMap::from([(name, tensor.clone())]);
        candle_core::safetensors::save(&tensors, path).unwrap();
    }

    #[test]
    fn every_type_is_read_frame_by_frame() {
        let folder = tempfile::tempdir().unwrap();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let path = folder.path().join("a/b.safetensors");
            write(&path, "features", &features().to_dtype(dtype).unwrap());
            let (given, _) = Given::open(folder.path(), 16, &Device::Cpu).unwrap();
            assert_eq!((given.width(), given.patch()), (4, 16));
            let mut clip = given.clip("a/b", 2, (2, 3)).unwrap();
            for frame in 0..2 {
                let wanted = features().get(frame).unwrap().flatten_all().unwrap();
                let got = clip.next().unwrap();
                assert_eq!(got.dims(), [6, 4]);
                // whole numbers below 48 are exact in all three
                let [got, wanted] =
                    [got.flatten_all().unwrap(), wanted].map(|t| t.to_vec1::<f32>().unwrap());
                assert_eq!(got, wanted, "{dtype:?}");
            }
            assert!(clip.next().is_err());
        }
    }

    #[test]
    fn the_hash_is_of_names_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let hash = || Given::open(folder.path(), 16, &Device::Cpu).unwrap().1;
        write(&path("a.safetensors"), "features", &features());
        let one = hash();
        std::fs::write(path("notes.txt"), "no features").unwrap();
        assert_eq!(hash(), one);
        std::fs::rename(path("a.safetensors"), path("b.safetensors")).unwrap();
        let renamed = hash();
        assert_ne!(renamed, one);
        write(&path("b.safetensors"), "features", &features().neg().unwrap());
        assert_ne!(hash(), renamed);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let told = |folder: &Path, frames: usize, grid: (usize, usize)| {
            let given = Given::open(folder, 16, &Device::Cpu).map(|(given, _)| given);
            let clip = given.and_then(|given| given.clip("a", frames, grid));
            clip.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(told(folder.path(), 2, (2, 3)).contains("no .safetensors file"));
        write(&path, "patches", &features());
        assert!(told(folder.path(), 2, (2, 3)).contains("has no tensor `features`"));
        write(&path, "features", &features().flatten(0, 1).unwrap());
        assert!(told(folder.path(), 2, (2, 3)).contains("of shape [4, 3, 4]"));
        write(&path, "features", &features().to_dtype(DType::U8).unwrap());
        assert!(told(folder.path(), 2, (2, 3)).contains("of type U8"));
        write(&path, "features", &features());
        assert_eq!(told(folder.path(), 2, (2, 3)), "");
        assert!(told(folder.path(), 3, (2, 3)).contains("from all frames"));
        let grid = told(folder.path(), 2, (3, 3));
        assert!(grid.contains("3x3 patches of 16") && grid.contains("`patch_size`"), "{grid}");
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 4, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(told(folder.path(), 2, (2, 3)).contains("safetensors"), "{cut}");
        }
        std::fs::write(&path, &whole).unwrap();
        write(&path, "features", &(features() / 0.0).unwrap());
        let (given, _) = Given::open(folder.path(), 16, &Device::Cpu).unwrap();
        let read = given.clip("a", 2, (2, 3)).unwrap().next();
        assert!(read.unwrap_err().to_string().contains("NaN or infinite"));
        assert!(given.clip("b", 2, (2, 3)).is_err());
    }
}
