//! Writes MATLAB level 5 files, the format in which JHMDB stores its joints.
//!
//! A header of 128 bytes, then one element per variable; an element is a tag (type, bytes) and its
//! content, padded to 8 bytes. Uncompressed, little-endian. Written from MathWorks' description of
//! the format, "MAT-File Level 5 File Format".

/// Types of data elements.
const INT8: u32 = 1;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
/// Classes of arrays.
const CHAR_CLASS: u32 = 4;
const DOUBLE_CLASS: u32 = 6;

/// A variable of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Variable<'a> {
    /// An array of numbers: sizes, then values with the first index running fastest.
    Double(&'a [usize], &'a [f64]),
    /// A text in one row.
    Text(&'a str),
}

/// The bytes of a file with these named variables.
pub(super) fn file(variables: &[(&str, Variable)]) -> Vec<u8> {
    let mut bytes = vec![b' '; 128];
    let about = b"MATLAB 5.0 MAT-file, written by cropmae";
    bytes[..about.len()].copy_from_slice(about);
    // No subsystem data; version 1.0; the mark by which a reader tells the byte order.
    bytes[116..124].fill(0);
    bytes[124..128].copy_from_slice(&[0x00, 0x01, b'I', b'M']);
    for (name, variable) in variables {
        element(&mut bytes, MATRIX, &matrix(name, variable));
    }
    bytes
}

fn matrix(name: &str, variable: &Variable) -> Vec<u8> {
    let text_size;
    let (class, sizes) = match variable {
        Variable::Double(sizes, _) => (DOUBLE_CLASS, *sizes),
        Variable::Text(text) => {
            text_size = [1, text.encode_utf16().count()];
            (CHAR_CLASS, &text_size[..])
        }
    };
    let mut bytes = Vec::new();
    element(&mut bytes, UINT32, &[class.to_le_bytes(), [0; 4]].concat());
    let sizes: Vec<u8> = sizes.iter().flat_map(|&size| (size as i32).to_le_bytes()).collect();
    element(&mut bytes, INT32, &sizes);
    element(&mut bytes, INT8, name.as_bytes());
    match variable {
        Variable::Double(_, values) => {
            let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            element(&mut bytes, DOUBLE, &values);
        }
        Variable::Text(text) => {
            let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            element(&mut bytes, UINT16, &units);
        }
    }
    bytes
}

/// Appends a tag and the padded content.
fn element(bytes: &mut Vec<u8>, kind: u32, content: &[u8]) {
    bytes.extend(kind.to_le_bytes());
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

#[cfg(test)]
mod tests {
    use matfile::{MatFile, NumericData};

    use super::*;

    #[test]
    fn arrays_survive_a_round_trip() {
        let values: Vec<f64> = (0..24).map(|i| f64::from(i) * 0.37 - 2.0).collect();
        let bytes = file(&[
            ("viewpoint", Variable::Text("NE")),
            ("pos_img", Variable::Double(&[2, 3, 4], &values)),
            ("scale", Variable::Double(&[1, 1], &[1.5])),
        ]);
        let read = MatFile::parse(&bytes[..]).unwrap();
        let array = read.find_by_name("pos_img").unwrap();
        assert_eq!(array.size(), &vec![2, 3, 4]);
        let NumericData::Double { real, imag: None } = array.data() else {
            panic!("not an array of doubles");
        };
        assert_eq!(real, &values);
        assert_eq!(read.find_by_name("scale").unwrap().size(), &vec![1, 1]);
    }

    #[test]
    fn elements_are_aligned_and_the_header_says_what_it_is() {
        let bytes = file(&[("abc", Variable::Text("x"))]);
        assert_eq!(&bytes[..10], b"MATLAB 5.0");
        assert_eq!(&bytes[124..128], &[0, 1, b'I', b'M']);
        assert_eq!(bytes.len() % 8, 0);
        // Tag (8), flags (16), sizes (16), name (16), one character (16).
        assert_eq!(bytes.len(), 128 + 72);
        assert_eq!(bytes[132..136], 64_u32.to_le_bytes());
    }
}
