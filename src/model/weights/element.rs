//! The numbers of a checkpoint: their types, where they are, and their conversion to f32.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use half::{bf16, f16};

/// The tensors of one dict of a checkpoint, by their names in the file.
pub(super) type Table = BTreeMap<String, Stored>;

/// A tensor that was not read yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    /// The type of its numbers.
    pub(super) element: ElementType,
    /// Its shape.
    pub(super) shape: Vec<usize>,
    /// Where its bytes are.
    pub(super) place: Place,
}

/// Where the bytes of a tensor are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// In the file's data section (safetensors).
    Bytes(Range<usize>),
    /// In an entry of the zip, from `offset` on with `strides`, both in elements.
    Storage {
        /// Name of the entry.
        entry: String,
        /// First element.
        offset: usize,
        /// Step along each dimension.
        strides: Vec<usize>,
    },
    /// It is not stored as plain numbers.
    Nowhere,
}

impl Stored {
    /// The number of elements; `None` where the product overflows.
    pub(super) fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))
    }
}

/// The types of numbers that a checkpoint's weights come in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::model) enum ElementType {
    /// 32-bit floats.
    F32,
    /// IEEE half-precision floats.
    F16,
    /// bfloat16: the upper half of a 32-bit float.
    Bf16,
    /// 64-bit floats.
    F64,
    /// Something that no weight of an encoder should be: integers, 8-bit floats, quantised values.
    Other(String),
}

impl ElementType {
    /// The type that a PyTorch storage class (`FloatStorage`) holds.
    pub(super) fn of_storage(class: &str) -> Self {
        match class {
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "DoubleStorage" => Self::F64,
            other => Self::Other(other.trim_end_matches("Storage").to_lowercase()),
        }
    }

    /// The type that a safetensors header names.
    pub(in crate::model) fn of_safetensors(dtype: safetensors::Dtype) -> Self {
        match dtype {
            safetensors::Dtype::F32 => Self::F32,
            safetensors::Dtype::F16 => Self::F16,
            safetensors::Dtype::BF16 => Self::Bf16,
            safetensors::Dtype::F64 => Self::F64,
            other => Self::Other(other.to_string().to_lowercase()),
        }
    }

    /// Bytes of one element.
    pub(in crate::model) fn size(&self) -> Option<usize> {
        match self {
            Self::F32 => Some(4),
            Self::F16 | Self::Bf16 => Some(2),
            Self::F64 => Some(8),
            Self::Other(_) => None,
        }
    }

    /// Little-endian bytes as f32: exact for 16-bit types, rounded to nearest for f64.
    pub(in crate::model) fn to_f32(&self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F16 => each(bytes, |item| f16::from_le_bytes(item).to_f32()),
            Self::Bf16 => each(bytes, |item| bf16::from_le_bytes(item).to_f32()),
            Self::F64 => each(bytes, |item| f64::from_le_bytes(item) as f32),
            Self::Other(_) => Vec::new(),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&item| convert(item)).collect()
}

impl fmt::Display for ElementType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
            Self::Other(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_type_becomes_f32() {
        // 1.5 is 0x3fc00000 in f32, 0x3e00 in f16, 0x3fc0 in bf16, 0x3ff8… in f64
        assert_eq!(ElementType::F32.to_f32(&[0, 0, 0xc0, 0x3f]), [1.5]);
        assert_eq!(ElementType::F16.to_f32(&[0, 0x3e]), [1.5]);
        assert_eq!(ElementType::Bf16.to_f32(&[0xc0, 0x3f]), [1.5]);
        assert_eq!(ElementType::F64.to_f32(&[0, 0, 0, 0, 0, 0, 0xf8, 0x3f]), [1.5]);
    }

    #[test]
    fn storages_by_name() {
        assert_eq!(ElementType::of_storage("BFloat16Storage"), ElementType::Bf16);
        assert_eq!(ElementType::of_storage("LongStorage").to_string(), "long");
    }
}
