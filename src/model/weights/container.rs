//! Opens a checkpoint whatever its extension: its first bytes tell what kind of file it is.
//!
//! Safetensors and PyTorch's zip are read; other files that people pass by mistake (a web page, a
//! Git LFS pointer, a file from before PyTorch 1.6, a truncated download) get an error that names
//! what they are.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::element::{ElementType, Place, Stored, Table};
use super::report::{Container, Refusal};
use super::shards;
use super::torch_zip::TorchZip;
use crate::error::{Error, Result};

/// An open checkpoint.
pub(super) enum Opened {
    /// A safetensors file, in memory.
    Safetensors(Flat),
    /// A PyTorch zip.
    Torch(Box<TorchZip>),
}

/// A safetensors file, or all shards of one: its numbers, its tensors and its metadata.
#[derive(Default)]
pub(super) struct Flat {
    /// The bytes of all files, one after the other.
    bytes: Vec<u8>,
    table: Table,
    metadata: HashMap<String, String>,
    files: usize,
}

impl Opened {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is no checkpoint that this program reads; the message says what it
    /// is instead and what to do.
    pub(super) fn open(path: &Path) -> Result<Self> {
        match shards::files(path)?.as_slice() {
            [file] => Self::open_whole(file),
            shards => Flat::of_shards(shards).map(Self::Safetensors),
        }
    }

    fn open_whole(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).map_err(Error::reading(path))?;
        let mut start = Vec::new();
        let file = File::open(path).map_err(Error::reading(path))?;
        file.take(512).read_to_end(&mut start).map_err(Error::reading(path))?;
        let opened = match recognize(&start).map_err(|refusal| refusal.into_error(path))? {
            Container::Safetensors => {
                let bytes = fs::read(path).map_err(Error::reading(path))?;
                Flat::parse(bytes).map(Self::Safetensors)
            }
            _ => TorchZip::open(path, metadata.len()).map(|zip| Self::Torch(Box::new(zip))),
        };
        opened.map_err(|refusal| refusal.into_error(path))
    }

    /// How many files it is in.
    pub(super) fn files(&self) -> usize {
        match self {
            Self::Safetensors(flat) => flat.files,
            Self::Torch(_) => 1,
        }
    }

    /// What kind of file it is.
    pub(super) fn container(&self) -> Container {
        match self {
            Self::Safetensors(_) => Container::Safetensors,
            Self::Torch(_) => Container::Torch,
        }
    }

    /// The text that a safetensors file carries beside its tensors.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        match self {
            Self::Safetensors(flat) => flat.metadata.get(key).map(String::as_str),
            Self::Torch(_) => None,
        }
    }

    /// The names of the dicts inside the top one.
    pub(super) fn dicts(&self) -> Vec<String> {
        match self {
            Self::Safetensors(_) => Vec::new(),
            Self::Torch(zip) => zip.dicts(),
        }
    }

    /// The tensors of the top dict, or of the one called `dictionary`.
    pub(super) fn table(&self, dictionary: Option<&str>) -> Option<Table> {
        match (self, dictionary) {
            (Self::Safetensors(flat), None) => Some(flat.table.clone()),
            (Self::Safetensors(_), Some(_)) => None,
            (Self::Torch(zip), _) => zip.table(dictionary),
        }
    }

    /// Tensors below each entry of the top dict, and integers beside them.
    pub(super) fn surroundings(&self) -> (BTreeMap<String, usize>, Vec<(String, i64)>) {
        match self {
            Self::Safetensors(_) => Default::default(),
            Self::Torch(zip) => zip.surroundings(),
        }
    }

    /// What the file holds at its top, where that is no dict.
    pub(super) fn not_a_dict(&self) -> Option<String> {
        match self {
            Self::Safetensors(_) => None,
            Self::Torch(zip) => zip.not_a_dict(),
        }
    }

    /// What the file holds where tensors are looked for, and is none: a whole module, arrays.
    pub(super) fn in_place_of_tensors(&self) -> Option<Refusal> {
        match self {
            Self::Safetensors(_) => None,
            Self::Torch(zip) => zip.in_place_of_tensors(),
        }
    }

    /// The numbers of a tensor, row-major.
    pub(super) fn read(&mut self, name: &str, stored: &Stored) -> Result<Vec<f32>, Refusal> {
        let numbers = match self {
            Self::Safetensors(flat) => stored.element.to_f32(flat.bytes_of(stored)),
            Self::Torch(zip) => stored.element.to_f32(&zip.read(stored)?),
        };
        if stored.elements() == Some(numbers.len()) {
            return Ok(numbers);
        }
        Err(Refusal::new(
            format!(
                "holds {} of the numbers of `{name}`, whose shape is {:?}",
                numbers.len(),
                stored.shape
            ),
            "download or copy it again",
        ))
    }
}

impl Flat {
    fn parse(bytes: Vec<u8>) -> Result<Self, Refusal> {
        let mut flat = Self { bytes, ..Self::default() };
        flat.add_file(0).map(|()| flat)
    }

    /// Reads all shards of a checkpoint into one.
    fn of_shards(paths: &[PathBuf]) -> Result<Self> {
        let mut flat = Self::default();
        for path in paths {
            let start = flat.bytes.len();
            let mut file = File::open(path).map_err(Error::reading(path))?;
            file.read_to_end(&mut flat.bytes).map_err(Error::reading(path))?;
            let read = match recognize(flat.bytes.get(start..).unwrap_or_default()) {
                Ok(Container::Safetensors) => flat.add_file(start),
                Ok(_) => Err(Refusal::new(
                    "a shard that is no safetensors file, whatever its name says",
                    "download or copy it again",
                )),
                Err(refusal) => Err(refusal),
            };
            read.map_err(|refusal| refusal.into_error(path))?;
        }
        Ok(flat)
    }

    /// Finds the tensors of the file whose bytes begin at `start` and are the last.
    fn add_file(&mut self, start: usize) -> Result<(), Refusal> {
        let bytes = self.bytes.get(start..).unwrap_or_default();
        let damaged = |problem: String| {
            Refusal::new(
                format!("a damaged safetensors file ({problem})"),
                "download or copy it again and compare its size with the source's",
            )
        };
        let (header, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|error| damaged(cut_short(bytes).unwrap_or_else(|| error.to_string())))?;
        let data = start + header + 8;
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let stored = Stored {
                element: ElementType::of_safetensors(info.dtype),
                shape: info.shape.clone(),
                place: Place::Bytes(data + start..data + end),
            };
            if self.table.contains_key(&name) {
                return Err(Refusal::new(
                    format!("holds `{name}`, and so does another of its shards"),
                    "download or copy all shards again, into a folder of their own",
                ));
            }
            self.table.insert(name, stored);
        }
        self.metadata.extend(metadata.metadata().clone().unwrap_or_default());
        self.files += 1;
        Ok(())
    }

    fn bytes_of(&self, stored: &Stored) -> &[u8] {
        match &stored.place {
            Place::Bytes(range) => self.bytes.get(range.clone()).unwrap_or_default(),
            _ => &[],
        }
    }
}

/// How much of a safetensors file is missing, where its own header says so.
fn cut_short(bytes: &[u8]) -> Option<String> {
    let header = usize::try_from(u64::from_le_bytes(*bytes.first_chunk()?)).ok()?;
    let data = header.checked_add(8)?;
    let Some(text) = bytes.get(8..data) else {
        return Some(format!("it ends after {} bytes, inside its header of {data}", bytes.len()));
    };
    let entries: HashMap<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
    let ends = entries.values().filter_map(|entry| entry.get("data_offsets")?.get(1)?.as_u64());
    let whole = ends.max()?.checked_add(data as u64)?;
    (whole > bytes.len() as u64)
        .then(|| format!("it ends after {} of {whole} bytes: cut short", bytes.len()))
}

/// What the first bytes of a file say it is, or why it cannot be read.
fn recognize(start: &[u8]) -> Result<Container, Refusal> {
    let safetensors = start.first_chunk::<8>().is_some_and(|length| {
        // the header of a real file stays below the 100 MB that the format allows
        u64::from_le_bytes(*length) <= 100_000_000 && start.get(8) == Some(&b'{')
    });
    if safetensors {
        return Ok(Container::Safetensors);
    }
    if start.starts_with(b"PK\x03\x04") {
        return Ok(Container::Torch);
    }
    Err(foreign(start))
}

/// Names what was passed instead of a checkpoint.
fn foreign(start: &[u8]) -> Refusal {
    // the magic number 0x1950a86a20f9469cfc6c, pickled, with which PyTorch before 1.6 begins
    const LEGACY: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    const AGAIN: &str = "download the checkpoint itself";
    let text = String::from_utf8_lossy(start);
    let text = text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']).to_ascii_lowercase();
    let (what, remedy) = if start.is_empty() {
        ("an empty file", "download or copy it again")
    } else if start.windows(LEGACY.len()).take(4).any(|window| window == LEGACY) {
        (
            "a PyTorch file in the format from before 1.6",
            "convert it in Python: torch.save(torch.load(FILE, map_location=\"cpu\"), \"new.pth\")",
        )
    } else if text.starts_with("version https://git-lfs") {
        ("a Git LFS pointer, not the file it stands for", "fetch the file with `git lfs pull`")
    } else if text.starts_with("<!doctype")
        || text.starts_with("<html")
        || text.starts_with("<?xml")
    {
        (
            "a web page, not a checkpoint",
            "the download link gave a page; open it in a browser and download the checkpoint itself",
        )
    } else if start.starts_with(b"\x1f\x8b") || start.get(257..262) == Some(b"ustar") {
        ("a tar or gzip archive", "extract it and pass the .pth or .safetensors file inside")
    } else if start.starts_with(b"\x89HDF") {
        ("an HDF5 file (Keras or TensorFlow)", "convert it to PyTorch or safetensors first")
    } else if start.starts_with(b"GGUF") {
        ("a GGUF file (quantised)", "pass the original .safetensors or .pth weights")
    } else if start.starts_with(b"\x80") {
        (
            "a bare Python pickle, not what torch.save writes",
            "load it in Python and save the state dict with torch.save or safetensors",
        )
    } else if text.starts_with('{') {
        ("a JSON file, not a checkpoint", "pass the .safetensors or .pth file that lies beside it")
    } else if start.iter().all(|&byte| byte >= 0x20 || byte.is_ascii_whitespace()) {
        ("a text file, not a checkpoint", AGAIN)
    } else {
        ("neither a safetensors file nor a PyTorch checkpoint", AGAIN)
    };
    Refusal::new(what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(start: &[u8]) -> String {
        recognize(start).unwrap_err().problem
    }

    #[test]
    fn checkpoints_are_known_by_their_first_bytes() {
        assert_eq!(recognize(b"\x10\0\0\0\0\0\0\0{\"a\"").unwrap(), Container::Safetensors);
        assert_eq!(recognize(b"PK\x03\x04....").unwrap(), Container::Torch);
    }

    #[test]
    fn what_is_no_checkpoint_is_named() {
        assert!(named(b"").contains("empty"));
        assert!(named(b"version https://git-lfs.github.com/spec/v1\noid").contains("Git LFS"));
        assert!(named(b"\n<!DOCTYPE html><html>").contains("web page"));
        assert!(named(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M").contains("before 1.6"));
        assert!(named(b"\x80\x04\x95....").contains("pickle"));
        assert!(named(b"\x1f\x8b\x08").contains("gzip"));
        assert!(named(b"{\"weight_map\": 1}").contains("JSON"));
        assert!(named(b"not found").contains("text file"));
        assert!(named(b"\x00\x01\x02\x03").contains("neither"));
    }

    #[test]
    fn a_cut_safetensors_file_says_how_much_is_missing() {
        let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend([0; 4]);
        let refusal = Flat::parse(bytes.clone()).err().unwrap();
        assert!(refusal.problem.contains("66 of 70 bytes"), "{}", refusal.problem);
        let refusal = Flat::parse(bytes[..20].to_vec()).err().unwrap();
        assert!(refusal.problem.contains("inside its header of 62"), "{}", refusal.problem);
        bytes.extend([0; 4]);
        assert!(Flat::parse(bytes).is_ok());
    }
}
