//! Numeric arrays from MATLAB's version 5 files, the format of `joint_positions.mat`.
//!
//! A file is a header of 128 bytes and a sequence of elements: a tag (type, length), then the
//! bytes. A variable is a matrix element, often wrapped in a zlib-compressed one, and itself a
//! sequence of elements: flags, dimensions, name, values. Only real numeric arrays are read;
//! everything else is skipped. Every length is checked before it is used, so no file can make this
//! panic, loop or exhaust the memory. Written from the format's public description. Next:
//! [`super::joints`].

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Why a file could not be read, in words that complete "this file …".
pub(super) type Problem = String;

/// An array of numbers, first axis fastest, as MATLAB stores it.
#[derive(Debug, PartialEq)]
pub(super) struct Array {
    pub(super) dimensions: Vec<usize>,
    pub(super) values: Vec<f64>,
}

const HEADER: usize = 128;
/// A compressed variable may grow to this and no further; a clip of joints takes some 10 kB.
const MOST_INFLATED: u64 = 64 << 20;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// The numeric array called `name`, or `None` where the file holds no such variable.
pub(super) fn find(bytes: &[u8], name: &str) -> Result<Option<Array>, Problem> {
    let big_endian = check_header(bytes)?;
    let mut rest = Bytes { data: &bytes[HEADER..], big_endian };
    let mut found = None;
    while !rest.data.is_empty() {
        let (kind, data) = rest.element()?;
        // What comes after the array is only stepped over, so that a cut there is noticed too.
        found = match kind {
            _ if found.is_some() => found,
            MATRIX => matrix(Bytes { data, big_endian }, name)?,
            COMPRESSED => {
                let inflated = inflate(data)?;
                let mut inner = Bytes { data: &inflated, big_endian };
                match inner.element()? {
                    (MATRIX, data) => matrix(Bytes { data, big_endian }, name)?,
                    _ => None,
                }
            }
            _ => None,
        };
    }
    Ok(found)
}

/// Whether the numbers are big-endian.
fn check_header(bytes: &[u8]) -> Result<bool, Problem> {
    if bytes.starts_with(b"MATLAB 7.3") || bytes.get(512..516) == Some(b"\x89HDF") {
        return Err("is a MATLAB v7.3 (HDF5) file, which this program does not read".into());
    }
    if !bytes.starts_with(b"MATLAB") {
        return Err("is no MATLAB file".into());
    }
    match bytes.get(124..HEADER) {
        Some([_, 1, b'I', b'M']) => Ok(false),
        Some([1, _, b'M', b'I']) => Ok(true),
        Some(_) => Err("is no MATLAB file of version 5".into()),
        None => Err("is cut short".into()),
    }
}

fn inflate(data: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut inflated = Vec::new();
    ZlibDecoder::new(data)
        .take(MOST_INFLATED)
        .read_to_end(&mut inflated)
        .map_err(|error| format!("holds a damaged compressed variable ({error})"))?;
    if inflated.len() as u64 == MOST_INFLATED {
        return Err("holds a compressed variable of more than 64 MiB".into());
    }
    Ok(inflated)
}

/// One variable, if it is a real numeric array of that name.
fn matrix(mut body: Bytes, name: &str) -> Result<Option<Array>, Problem> {
    let (_, flags) = body.element()?;
    let flags = Bytes { data: flags, ..body }.u32()?;
    let (class, complex) = (flags & 0xFF, flags & 0x0800 != 0);
    if !(6..=15).contains(&class) || complex {
        return Ok(None);
    }
    let (_, dimensions) = body.element()?;
    let (_, found) = body.element()?;
    if found != name.as_bytes() {
        return Ok(None);
    }
    let dimensions = dimensions
        .chunks_exact(4)
        .map(|chunk| Bytes { data: chunk, ..body }.u32().map(|size| size as usize))
        .collect::<Result<Vec<usize>, Problem>>()?;
    let (kind, values) = body.element()?;
    let values = numbers(kind, values, body.big_endian)?;
    let expected = dimensions.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    if expected != Some(values.len()) {
        let count = values.len();
        return Err(format!("holds {count} numbers for an array of {dimensions:?}: it is damaged"));
    }
    Ok(Some(Array { dimensions, values }))
}

/// Numbers of any stored type as `f64`. MATLAB stores whole doubles as small integers.
fn numbers(kind: u32, data: &[u8], big_endian: bool) -> Result<Vec<f64>, Problem> {
    macro_rules! read {
        ($type:ty) => {
            data.chunks_exact(size_of::<$type>())
                .filter_map(|chunk| chunk.try_into().ok())
                .map(|chunk| match big_endian {
                    true => <$type>::from_be_bytes(chunk) as f64,
                    false => <$type>::from_le_bytes(chunk) as f64,
                })
                .collect()
        };
    }
    Ok(match kind {
        1 => read!(i8),
        2 => read!(u8),
        3 => read!(i16),
        4 => read!(u16),
        5 => read!(i32),
        6 => read!(u32),
        7 => read!(f32),
        9 => read!(f64),
        12 => read!(i64),
        13 => read!(u64),
        _ => return Err(format!("stores numbers as type {kind}, which version 5 does not have")),
    })
}

/// What is left to read.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    data: &'a [u8],
    big_endian: bool,
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.data.split_at_checked(count).ok_or("is cut short")?;
        self.data = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Problem> {
        let bytes = self.take(4)?.try_into().map_err(|_| "is cut short")?;
        Ok(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// The type and the bytes of the next element; moves past it and its padding to 8 bytes.
    fn element(&mut self) -> Result<(u32, &'a [u8]), Problem> {
        let tag = self.u32()?;
        if tag >> 16 != 0 {
            // The small form: length and type share four bytes, up to four bytes of data follow.
            let (length, kind) = ((tag >> 16) as usize, tag & 0xFFFF);
            let data = self.take(4)?;
            let data = data.get(..length).ok_or("holds an element with a damaged length")?;
            return Ok((kind, data));
        }
        let length = self.u32()? as usize;
        let data = self.take(length)?;
        if tag != COMPRESSED {
            let padding = length.next_multiple_of(8) - length;
            self.take(padding.min(self.data.len()))?;
        }
        Ok((tag, data))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    fn element(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// A little-endian variable of doubles.
    pub(in crate::data) fn variable(name: &str, dimensions: &[i32], values: &[f64]) -> Vec<u8> {
        let dimensions: Vec<u8> = dimensions.iter().flat_map(|size| size.to_le_bytes()).collect();
        let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let flags = [6, 0, 0, 0, 0, 0, 0, 0];
        let parts = [
            element(6, &flags),
            element(5, &dimensions),
            element(1, name.as_bytes()),
            element(9, &values),
        ];
        element(MATRIX, &parts.concat())
    }

    pub(in crate::data) fn compressed(variable: &[u8]) -> Vec<u8> {
        let mut encoder =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(variable).unwrap();
        let packed = encoder.finish().unwrap();
        [&COMPRESSED.to_le_bytes()[..], &(packed.len() as u32).to_le_bytes(), &packed].concat()
    }

    pub(in crate::data) fn file(variables: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
        bytes.resize(124, b' ');
        bytes.extend([0, 1, b'I', b'M']);
        bytes.extend(variables.concat());
        bytes
    }

    #[test]
    fn the_named_array_is_found_among_others() {
        let other = variable("pos_world", &[1, 2], &[7.0, 8.0]);
        let wanted = variable("pos_img", &[2, 2], &[1.0, 2.5, -3.0, 4.0]);
        let expected = Array { dimensions: vec![2, 2], values: vec![1.0, 2.5, -3.0, 4.0] };
        let plain = file(&[other.clone(), wanted.clone()]);
        assert_eq!(find(&plain, "pos_img").unwrap().unwrap(), expected);
        let packed = file(&[compressed(&other), compressed(&wanted)]);
        assert_eq!(find(&packed, "pos_img").unwrap().unwrap(), expected);
        assert_eq!(find(&packed, "scale").unwrap(), None);
    }

    /// The same variable as above by hand: big-endian, a name in the small form, whole doubles kept
    /// as 16-bit integers.
    #[test]
    fn other_byte_order_small_elements_and_packed_integers() {
        let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
        bytes.resize(124, b' ');
        bytes.extend([1, 0, b'M', b'I']);
        bytes.extend([0, 0, 0, 14, 0, 0, 0, 48]);
        bytes.extend([0, 0, 0, 6, 0, 0, 0, 8, 0, 0, 0, 6, 0, 0, 0, 0]);
        bytes.extend([0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 2]);
        bytes.extend([0, 2, 0, 1, b'p', b'q', 0, 0]);
        bytes.extend([0, 4, 0, 3, 0x01, 0x00, 0xFF, 0xFE]);
        let array = find(&bytes, "pq").unwrap().unwrap();
        assert_eq!(array, Array { dimensions: vec![1, 2], values: vec![256.0, -2.0] });
    }

    #[test]
    fn complex_and_text_variables_are_passed_over() {
        for (at, value) in [(17, 0x08), (16, 4)] {
            let mut text = variable("pos_img", &[1, 1], &[1.0]);
            text[at] = value;
            assert_eq!(find(&file(&[text]), "pos_img").unwrap(), None);
        }
    }

    #[test]
    fn a_bomb_is_stopped() {
        let bomb = compressed(&vec![0; MOST_INFLATED as usize + 1]);
        assert!(find(&file(&[bomb]), "pos_img").unwrap_err().contains("more than 64 MiB"));
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let wrong = variable("pos_img", &[-1, -1, -1, -1], &[1.0]);
        assert!(find(&file(&[wrong]), "pos_img").unwrap_err().contains("damaged"));
    }
}
