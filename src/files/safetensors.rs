//! The safetensors files that are written here: the same tensors and words make the same bytes. And
//! the head of any, for those who read the values one after the other.
//!
//! A file is the length of its header as 8 bytes, the header (JSON, filled up with blanks to a
//! multiple of 8 bytes), and the values of one tensor after the other, all little-endian.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use candle_core::{DType, Tensor};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::replace;
use crate::error::{Error, Result};

/// Writes tensors and metadata, sorted by name, whole or not at all.
///
/// # Errors
/// The file cannot be written, or a tensor is of a type other than f32 and f16.
pub fn write(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let entries =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dtype(), tensor.dims()));
    let header = header(metadata, entries)?;
    replace(path, |out| {
        out.write_all(&header)?;
        tensors.values().try_for_each(|tensor| write_values(out, tensor))
    })
}

/// What stands before the values of tensors (name, type, shape), which follow in this order;
/// `metadata` holds words.
///
/// # Errors
/// A tensor is of a type other than f32, f16 and u32.
pub fn header<'a>(
    metadata: &impl Serialize,
    tensors: impl IntoIterator<Item = (&'a str, DType, &'a [usize])>,
) -> Result<Vec<u8>> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!(metadata));
    let mut offset = 0;
    for (name, dtype, shape) in tensors {
        let word = match dtype {
            DType::F32 => "F32",
            DType::F16 => "F16",
            DType::U32 => "U32",
            other => {
                return Err(Error::failed(format!("tensor {name}"), format!("is {other:?}")));
            }
        };
        let end = offset + shape.iter().product::<usize>() * dtype.size_in_bytes();
        let entry = json!({ "dtype": word, "shape": shape, "data_offsets": [offset, end] });
        header.insert(name.into(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([(header.len() as u64).to_le_bytes().as_slice(), &header].concat())
}

/// The longest header of a file of features: one tensor, and some hundred bytes about it.
pub const FEATURES_HEAD: u64 = 1 << 20;

/// The header of a file that begins here, as JSON, and where the values of its tensors begin; leaves
/// the file there. `None` where it does not begin with a whole header of at most `longest` bytes.
///
/// # Errors
/// It cannot be read.
pub fn head(file: &mut impl Read, longest: u64) -> std::io::Result<Option<(Vec<u8>, u64)>> {
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start)?;
    let Some(length) = start.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Ok(None);
    };
    let mut header = Vec::new();
    file.by_ref().take(length.min(longest)).read_to_end(&mut header)?;
    Ok((header.len() as u64 == length).then_some((header, 8 + length)))
}

fn write_values(out: &mut dyn Write, tensor: &Tensor) -> std::io::Result<()> {
    let tensor = tensor.flatten_all().map_err(std::io::Error::other)?;
    if tensor.dtype() == DType::F16 {
        let values = tensor.to_vec1::<half::f16>().map_err(std::io::Error::other)?;
        values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    } else {
        let values = tensor.to_vec1::<f32>().map_err(std::io::Error::other)?;
        values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_head_is_read_where_it_is_whole() {
        let entries = [("a", DType::F32, &[2_usize][..])];
        let bytes = header(&json!({ "about": "b" }), entries).unwrap();
        let read = |bytes: &[u8], longest| head(&mut &*bytes, longest).unwrap();
        let (text, start) = read(&[&bytes[..], &[7; 8]].concat(), 1000).unwrap();
        assert_eq!((&text[..], start), (&bytes[8..], bytes.len() as u64));
        for cut in [0, 7, 8, bytes.len() - 1] {
            assert!(read(&bytes[..cut], 1000).is_none(), "{cut}");
        }
        assert!(read(&bytes, 10).is_none());
    }

    #[test]
    fn what_was_written_is_read_back_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let a = Tensor::new(&[[1_f32, 2.0], [3.0, 4.5]], &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([
            ("b".to_owned(), a.to_dtype(DType::F16).unwrap()),
            ("a".to_owned(), a.clone()),
        ]);
        let words = BTreeMap::from([("made".to_owned(), "by hand".to_owned())]);
        write(&path, &tensors, &words).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let (length, read) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!((length % 8, bytes.len()), (0, 8 + length + 4 * 4 + 4 * 2));
        assert_eq!(read.metadata().as_ref().unwrap()["made"], "by hand");
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("a").unwrap().data()[12..], 4.5_f32.to_le_bytes());
        assert_eq!(file.tensor("b").unwrap().data()[..2], half::f16::ONE.to_le_bytes());
        let wrong = BTreeMap::from([("a".to_owned(), a.to_dtype(DType::F64).unwrap())]);
        assert!(write(&path, &wrong, &words).unwrap_err().to_string().contains("tensor a"));
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "what was there stays");
    }
}
