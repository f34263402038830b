//! Damaged and hostile files: an error, never a panic, never a wrong encoder.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use cropmae::model::weights::{Overrides, inspect, load};
use tempfile::TempDir;

use super::{golden, load_golden, values};

const FILES: [&str; 6] = [
    "mae.pth",
    "unusual.pth",
    "module.pth",
    "legacy.pth",
    "mae.safetensors",
    "hf_dinov2.safetensors",
];

/// Writes `bytes` as a checkpoint and loads it; the message where that fails.
fn outcome(path: &Path, bytes: &[u8]) -> Result<Vec<f32>, String> {
    fs::write(path, bytes).unwrap();
    let looked = inspect(path, &Overrides::default()).map_err(|error| error.to_string());
    let loaded = load(path, &Overrides::default()).map_err(|error| error.to_string());
    assert!(loaded.is_err() || looked.is_ok());
    loaded.map(|checkpoint| values(&checkpoint.tensors["blocks.0.mlp.fc1.weight"]))
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cut.pth");
    for name in FILES {
        let bytes = fs::read(golden(name)).unwrap();
        // all short lengths, where headers are, then steps through the rest, then the last bytes
        let lengths = (0..200).chain((200..bytes.len()).step_by(97));
        for length in lengths.chain(bytes.len().saturating_sub(150)..bytes.len()) {
            let text = outcome(&path, &bytes[..length]).expect_err("a cut file was loaded");
            assert!(text.contains("cut.pth"), "{name} cut at {length}: {text}");
        }
    }
}

#[test]
fn a_cut_file_says_so() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cut.pth");
    for name in ["mae.pth", "mae.safetensors"] {
        let bytes = fs::read(golden(name)).unwrap();
        let text = outcome(&path, &bytes[..bytes.len() / 2]).unwrap_err();
        assert!(text.contains("cut short"), "{name}: {text}");
    }
}

#[test]
fn flipped_bytes_never_panic_and_a_zip_never_lies() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flipped.pth");
    let truth = values(&load_golden("mae.pth").tensors["blocks.0.mlp.fc1.weight"]);
    for name in FILES {
        let whole = fs::read(golden(name)).unwrap();
        for position in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[position] ^= [0x01, 0x80, 0xff][position % 3];
            let loaded = outcome(&path, &bytes);
            // a zip has checksums: what is loaded in spite of a flip is what was saved
            if let (Ok(values), "mae.pth") = (loaded, name) {
                assert_eq!(values, truth, "{name} flipped at {position}");
            }
        }
    }
}

/// A torch zip with this pickle and one storage of `storage` bytes called `0`.
fn torch_zip(pickle: &[u8], storage: usize) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("archive/data.pkl", options).unwrap();
    zip.write_all(pickle).unwrap();
    zip.start_file("archive/data/0", options).unwrap();
    zip.write_all(&vec![0; storage]).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A pickle of `{"cls_token": tensor}` whose tensor has these numbers in its pickle.
fn one_tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let long = |number: i64| [b"\x8a\x08".as_slice(), &number.to_le_bytes()].concat();
    let tuple = |numbers: &[i64]| {
        [b"(".to_vec(), numbers.iter().flat_map(|&number| long(number)).collect(), b"t".to_vec()]
            .concat()
    };
    let text = |text: &str| [&b"\x8c"[..], &[text.len() as u8], text.as_bytes()].concat();
    [
        b"}".to_vec(),
        text("cls_token"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        long(elements),
        b"tQ".to_vec(),
        long(offset),
        tuple(shape),
        tuple(strides),
        b"\x89}tRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn hostile_pickles_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("hostile.pth");
    let huge = i64::MAX;
    let deep = [b"}\x8c\x01a)".as_slice(), &[0x85].repeat(300_000), b"s."].concat();
    let looped = b"}q\x00\x8c\x05modelh\x00s\x8c\x05teach](h\x00h\x00es.".to_vec();
    for pickle in [
        one_tensor(8, 0, &[1, 1, 8], &[8, 8, 1]),
        one_tensor(huge, 0, &[1, 1, huge], &[huge, huge, 1]),
        one_tensor(8, huge, &[1, 1, 8], &[8, 8, 1]),
        one_tensor(8, 0, &[huge, huge, huge], &[0, 0, 0]),
        one_tensor(8, 0, &[0, huge, huge], &[huge, huge, huge]),
        one_tensor(8, -1, &[-1], &[-1]),
        one_tensor(8, 0, &[2, 2], &[huge]),
        one_tensor(8, 0, &[1; 100_000], &[7; 100_000]),
        b"}\x8c\x01actorch._utils\n_rebuild_tensor_v2\n)Rs.".to_vec(),
        b"}\x8c\x01actorch._utils\n_rebuild_parameter\n)Rs.".to_vec(),
        b"}\x8c\x01actorch._tensor\n_rebuild_from_type_v2\n)Rs.".to_vec(),
        deep,
        looped,
        Vec::new(),
    ] {
        assert!(outcome(&path, &torch_zip(&pickle, 32)).is_err());
    }
}

/// mae.pth written anew, with right checksums, after `change` saw each entry.
fn rewritten(mut change: impl FnMut(&str, &mut Vec<u8>)) -> Vec<u8> {
    let file = fs::File::open(golden("mae.pth")).unwrap();
    let mut whole = zip::ZipArchive::new(file).unwrap();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..whole.len() {
        let mut entry = whole.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        change(&name, &mut bytes);
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_storage_shorter_than_its_tensor_is_refused() {
    let bytes = rewritten(|name, bytes| {
        if name.ends_with("/data/2") {
            bytes.truncate(bytes.len() / 2);
        }
    });
    let folder = TempDir::new().unwrap();
    let text = outcome(&folder.path().join("short.pth"), &bytes).unwrap_err();
    assert!(text.contains("/data/2` is shorter than the tensor in it"), "{text}");
}

#[test]
fn a_pickle_changed_under_a_right_checksum_never_panics() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("changed.pth");
    let mut length = 0;
    rewritten(|name, bytes| length = if name.ends_with("data.pkl") { bytes.len() } else { length });
    for position in (0..length).step_by(3) {
        let bytes = rewritten(|name, bytes| {
            if name.ends_with("data.pkl") {
                bytes[position] = bytes[position].wrapping_add([1, 0x7f, 0x50, 0xff][position % 4]);
            }
        });
        // any outcome but a panic
        let _ = outcome(&path, &bytes);
    }
}
