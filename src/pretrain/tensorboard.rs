//! Event files for TensorBoard, with scalars only.
//!
//! A file is a sequence of records (`TFRecord`): the length as 8 bytes, a checksum of those, the
//! bytes, a checksum of these. A record's bytes are an `Event` message of Protocol Buffers, of
//! which four fields are written: the time, the step, and either a summary of named values or the
//! mark that a run continues here. The mark makes TensorBoard forget later steps of an earlier
//! file, so that a resumed run shows one line.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};

/// The version that every event file begins with; from this one on a mark makes readers forget.
const FILE_VERSION: &[u8] = b"brain.Event:2";

/// `SessionLog.SessionStatus.START`.
const START: u64 = 1;

/// An event file that is being written.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Begins a file in `folder`, for what comes after `steps` steps; files of earlier starts stay.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn begin(folder: &Path, steps: u64) -> Result<Self> {
        let now = now();
        // readers take the files of a folder in the order of their names
        let (seconds, nanoseconds) = (now.as_secs(), now.subsec_nanos());
        let name = format!("events.out.tfevents.{seconds:010}.{nanoseconds:09}.cropmae");
        let path = folder.join(name);
        let file = File::create(&path).map_err(Error::creating(&path))?;
        let mut events = Self { path, file };
        events.write(&event(now, 0, Field::Bytes(3, FILE_VERSION)))?;
        let mark = message(&[Field::Number(1, START)]);
        events.write(&event(now, steps + 1, Field::Bytes(7, &mark)))?;
        Ok(events)
    }

    /// Appends values by name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let values: Vec<Vec<u8>> = values
            .iter()
            .map(|(tag, value)| {
                message(&[Field::Bytes(1, tag.as_bytes()), Field::Float(2, *value as f32)])
            })
            .collect();
        let values: Vec<Field<'_>> = values.iter().map(|value| Field::Bytes(1, value)).collect();
        self.write(&event(now(), step, Field::Bytes(5, &message(&values))))
    }

    /// One write a record, so that a crash cuts at most the last one.
    fn write(&mut self, event: &[u8]) -> Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let (of_length, of_event) = (masked(crc32c(&length)), masked(crc32c(event)));
        let record =
            [&length[..], &of_length.to_le_bytes(), event, &of_event.to_le_bytes()].concat();
        self.file.write_all(&record).map_err(Error::writing(&self.path))
    }
}

/// The time since 1970; a clock set before that counts as its beginning.
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn event(time: Duration, step: u64, what: Field<'_>) -> Vec<u8> {
    message(&[Field::Double(1, time.as_secs_f64()), Field::Number(2, step), what])
}

/// A field of a message: its number and its value.
enum Field<'a> {
    Number(u8, u64),
    Double(u8, f64),
    Float(u8, f32),
    Bytes(u8, &'a [u8]),
}

/// Fields one after the other, each behind its number and kind; all numbers here are below 16.
fn message(fields: &[Field<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        match *field {
            Field::Number(number, value) => {
                out.push(number << 3);
                varint(&mut out, value);
            }
            Field::Double(number, value) => {
                out.push(number << 3 | 1);
                out.extend(value.to_le_bytes());
            }
            Field::Bytes(number, bytes) => {
                out.push(number << 3 | 2);
                varint(&mut out, bytes.len() as u64);
                out.extend(bytes);
            }
            Field::Float(number, value) => {
                out.push(number << 3 | 5);
                out.extend(value.to_le_bytes());
            }
        }
    }
    out
}

/// Seven bits a byte, lowest first; the highest bit says that more follow.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The checksum CRC-32C (Castagnoli's polynomial), bit by bit: records are short.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

/// As `TFRecord` stores checksums, so that the checksum of a record within a record is no constant.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b""), 0);
        // the mask undone as its definition says: subtract, turn back
        let undone = masked(0x1234_5678).wrapping_sub(0xa282_ead8).rotate_left(15);
        assert_eq!(undone, 0x1234_5678);
    }

    #[test]
    fn numbers_of_any_length() {
        let bytes = |value| {
            let mut out = Vec::new();
            varint(&mut out, value);
            out
        };
        assert_eq!(bytes(0), [0]);
        assert_eq!(bytes(127), [127]);
        assert_eq!(bytes(300), [0xac, 2]);
        assert_eq!(bytes(u64::MAX).len(), 10);
    }

    /// What a reader of its own makes of a message: numbers of fields with their bytes or bits.
    #[derive(Debug, Clone, PartialEq)]
    enum Read {
        Number(u64),
        Fixed(u64),
        Bytes(Vec<u8>),
    }

    fn take(bytes: &mut &[u8], count: usize) -> Vec<u8> {
        let (head, rest) = bytes.split_at(count);
        *bytes = rest;
        head.to_vec()
    }

    fn number(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = take(bytes, 1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Read)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let key = number(&mut bytes);
            let value = match key & 7 {
                0 => Read::Number(number(&mut bytes)),
                1 => Read::Fixed(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                5 => {
                    let bits = u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap());
                    Read::Fixed(u64::from(bits))
                }
                2 => {
                    let length = number(&mut bytes) as usize;
                    Read::Bytes(take(&mut bytes, length))
                }
                other => panic!("kind {other}"),
            };
            found.push((key >> 3, value));
        }
        found
    }

    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let length = take(&mut bytes, 8);
            let sum = |bytes: &[u8]| masked(crc32c(bytes)).to_le_bytes();
            assert_eq!(take(&mut bytes, 4), sum(&length));
            let record = take(&mut bytes, u64::from_le_bytes(length.try_into().unwrap()) as usize);
            assert_eq!(take(&mut bytes, 4), sum(&record));
            found.push(record);
        }
        found
    }

    #[test]
    fn an_independent_reader_finds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::begin(folder.path(), 41).unwrap();
        events.scalars(42, &[("loss", 0.75), ("learning_rate", 1e-4)]).unwrap();
        let name = events.path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("events.out.tfevents."), "{name}");
        let read = records(&std::fs::read(&events.path).unwrap());
        let read: Vec<_> = read.iter().map(|record| fields(record)).collect();
        assert_eq!(read.len(), 3);
        for event in &read {
            let (1, Read::Fixed(bits)) = event[0] else { panic!("{event:?}") };
            assert!(f64::from_bits(bits) > 1.6e9, "seconds since 1970");
        }
        assert_eq!(read[0][2], (3, Read::Bytes(b"brain.Event:2".to_vec())));
        // steps from 42 on will come again
        assert_eq!(read[1][1..], [(2, Read::Number(42)), (7, Read::Bytes(vec![8, 1]))]);
        assert_eq!(read[2][1], (2, Read::Number(42)));
        let (5, Read::Bytes(summary)) = &read[2][2] else { panic!("{:?}", read[2]) };
        let values: Vec<_> = fields(summary)
            .into_iter()
            .map(|value| {
                let (1, Read::Bytes(value)) = value else { panic!("{value:?}") };
                let value = fields(&value);
                let (Read::Bytes(tag), Read::Fixed(bits)) = (&value[0].1, &value[1].1) else {
                    panic!("{value:?}")
                };
                (String::from_utf8(tag.clone()).unwrap(), f32::from_bits(*bits as u32))
            })
            .collect();
        assert_eq!(values, [("loss".into(), 0.75), ("learning_rate".into(), 1e-4)]);
    }
}
