//! Tar shards of pictures, as the WebDataset tools write them, read from front to back.
//!
//! At the start the headers are scanned to list the pictures; no pixels are read for that.
//! Consecutive members with the same key (the path up to the first dot of its last part) are one
//! sample, and its first `jpg`, `jpeg` or `png` is the picture.
//!
//! An epoch takes the shards in a random order and reads each sequentially into a shuffle buffer,
//! from which the next sample is drawn. Stream `order` of the epoch first draws the order of the
//! shards ([`Stream::order`]). Then, as long as samples are left, the buffer is filled up and the
//! sample at place [`Stream::below`] its length is taken out; the last one moves into the gap. So
//! an epoch's order is known without reading, and a resumed run reads only what is still to come.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::folder::has_extension;
use crate::data::listing::PICTURES;
use crate::error::{Error, Result};
use crate::pretrain::random::Stream;

/// Shards whose members have been counted.
#[derive(Debug)]
pub(super) struct Shards {
    files: Vec<PathBuf>,
    /// All pictures, shard by shard.
    members: Vec<Member>,
    /// The numbers of the members of each shard: from its own entry up to the next.
    starts: Vec<usize>,
    /// Samples in the shuffle buffer.
    buffer: usize,
}

/// A picture in a shard.
#[derive(Debug)]
struct Member {
    name: Box<str>,
    shard: u32,
    offset: u64,
    size: u64,
}

impl Shards {
    /// Scans the headers of all `files`.
    ///
    /// # Errors
    /// One cannot be read, is cut short or compressed, or holds no picture.
    pub(super) fn open(files: Vec<PathBuf>, buffer: usize) -> Result<Self> {
        let mut shards =
            Self { files: Vec::new(), members: Vec::new(), starts: vec![0], buffer: buffer.max(1) };
        for (number, file) in files.iter().enumerate() {
            let before = shards.members.len();
            scan(file, number as u32, &mut shards.members)?;
            if shards.members.len() == before {
                let problem = "holds no .jpg, .jpeg or .png member";
                return Err(Error::data(file, problem, "pass shards of pictures"));
            }
            shards.starts.push(shards.members.len());
        }
        shards.files = files;
        Ok(shards)
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Shard and member, for messages.
    pub(super) fn name(&self, number: usize) -> String {
        let Some(member) = self.members.get(number) else { return String::new() };
        let shard = self.files.get(member.shard as usize).and_then(|file| file.file_name());
        format!("{}/{}", shard.unwrap_or_default().to_string_lossy(), member.name)
    }

    /// How the samples of an epoch are read and in which order they come out.
    pub(super) fn plan(&self, stream: &mut Stream) -> Plan {
        let mut arrivals = Vec::with_capacity(self.len());
        for shard in stream.order(self.files.len()) {
            if let Some(&[start, end]) = self.starts.get(shard..shard + 2) {
                arrivals.extend(start..end);
            }
        }
        let mut departures = Vec::with_capacity(self.len());
        let mut places = vec![0; self.len()];
        let mut waiting = Vec::with_capacity(self.buffer.min(self.len()));
        let mut coming = arrivals.iter().copied();
        loop {
            waiting.extend(coming.by_ref().take(self.buffer - waiting.len()));
            if waiting.is_empty() {
                return Plan { arrivals, departures, places };
            }
            let number: usize = waiting.swap_remove(stream.below(waiting.len()));
            if let Some(place) = places.get_mut(number) {
                *place = departures.len();
            }
            departures.push(number);
        }
    }
}

/// The order of an epoch.
#[derive(Debug)]
pub(super) struct Plan {
    /// Sample numbers as they are read.
    arrivals: Vec<usize>,
    /// Sample numbers as they come out.
    departures: Vec<usize>,
    /// For each sample number, its place among `departures`.
    places: Vec<usize>,
}

/// Reads the samples of an epoch.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    shards: &'a Shards,
    plan: Plan,
    /// How many arrivals have been read or, before the place to begin at, left out.
    arrived: usize,
    held: HashMap<usize, Result<Vec<u8>>>,
    open: Option<(u32, File)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(shards: &'a Shards, plan: Plan) -> Self {
        Self { shards, plan, arrived: 0, held: HashMap::new(), open: None }
    }

    /// The number and bytes of the sample at `position`; positions must be asked for in order, from
    /// any first one on.
    pub(super) fn at(&mut self, position: usize) -> Option<(usize, Result<Vec<u8>>)> {
        let number = *self.plan.departures.get(position)?;
        let due = position.saturating_add(self.shards.buffer).min(self.plan.arrivals.len());
        while self.arrived < due {
            let coming = *self.plan.arrivals.get(self.arrived)?;
            self.arrived += 1;
            if *self.plan.places.get(coming)? >= position {
                let bytes = self.read(coming);
                self.held.insert(coming, bytes);
            }
        }
        Some((number, self.held.remove(&number)?))
    }

    fn read(&mut self, number: usize) -> Result<Vec<u8>> {
        let (members, files) = (&self.shards.members, &self.shards.files);
        let found = members.get(number).and_then(|it| Some((it, files.get(it.shard as usize)?)));
        let Some((member, path)) = found else {
            return Err(Error::setting("shards", format!("have no sample {number}")));
        };
        let file = match self.open.take() {
            Some((shard, file)) if shard == member.shard => file,
            _ => File::open(path).map_err(Error::reading(path))?,
        };
        let (_, file) = self.open.insert((member.shard, file));
        let mut bytes = vec![0; member.size as usize];
        file.seek(SeekFrom::Start(member.offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(Error::reading(path))?;
        Ok(bytes)
    }
}

/// Adds the pictures of a shard.
fn scan(path: &Path, shard: u32, members: &mut Vec<Member>) -> Result<()> {
    let mut file = File::open(path).map_err(Error::reading(path))?;
    let length = file.metadata().map_err(Error::reading(path))?.len();
    refuse_compressed(path, &mut file)?;
    if length == 0 {
        return Err(Error::data(path, "is an empty file", "copy or download it again"));
    }
    let damaged = |error: std::io::Error| {
        let problem = format!("is not a tar file, or damaged ({error})");
        Error::data(path, problem, "copy or download it again")
    };
    let mut archive = tar::Archive::new(file);
    let mut key_before: Option<String> = None;
    let (mut end, mut last) = (0, String::new());
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(size).is_none_or(|end| end > length) {
            let problem = format!("is cut short: it ends inside {name}");
            return Err(Error::data(path, problem, "copy or download it again"));
        }
        (end, last) = (offset + size, name.clone());
        let is_picture =
            entry.header().entry_type().is_file() && has_extension(Path::new(&name), PICTURES);
        let hidden = name.rsplit('/').next().is_some_and(|last| last.starts_with('.'));
        if !is_picture || hidden {
            continue;
        }
        let key = key(&name);
        if key_before.as_deref() != Some(key) {
            key_before = Some(key.to_string());
            members.push(Member { name: name.into(), shard, offset, size });
        }
    }
    if !is_ended(&mut archive.into_inner(), end).map_err(Error::reading(path))? {
        let problem = format!("is cut short: no end of the archive comes after {last:?}");
        return Err(Error::data(path, problem, "copy or download it again"));
    }
    Ok(())
}

/// Whether a block of zeros follows the last member, whose bytes end at `end`: every archive ends
/// so, and one that was cut between two members does not.
fn is_ended(file: &mut File, end: u64) -> std::io::Result<bool> {
    const BLOCK: u64 = 512;
    file.seek(SeekFrom::Start(end.next_multiple_of(BLOCK)))?;
    let mut block = Vec::new();
    file.take(BLOCK).read_to_end(&mut block)?;
    Ok(block.len() as u64 == BLOCK && block.iter().all(|byte| *byte == 0))
}

/// Refuses what gzip or zstd has written, and leaves others at their beginning.
///
/// # Errors
/// It is such a file, or cannot be read.
pub(super) fn refuse_compressed(path: &Path, file: &mut File) -> Result<()> {
    let mut start = Vec::new();
    file.take(4).read_to_end(&mut start).map_err(Error::reading(path))?;
    if start.starts_with(&[0x1F, 0x8B]) || start == [0x28, 0xB5, 0x2F, 0xFD] {
        let remedy = "unpack it to a plain .tar: pictures hardly shrink, and a plain one can be skipped through";
        return Err(Error::data(path, "is compressed", remedy));
    }
    file.rewind().map_err(Error::reading(path))
}

/// A member's path up to the first dot of its last part.
fn key(name: &str) -> &str {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    name.get(last..).and_then(|file| file.find('.')).map_or(name, |dot| &name[..last + dot])
}

/// The shards that a path stands for, a file or a pattern (see [`expand`]), below the last folder
/// that they all lie in by their names.
///
/// # Errors
/// The pattern is not well formed.
pub(super) fn named(path: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let text = path.to_string_lossy();
    let (fixed, rest) = match text.split_once('{') {
        Some((before, _)) if !path.exists() => {
            text.split_at(before.rfind('/').map_or(0, |at| at + 1))
        }
        _ => {
            let name = path.file_name().map(PathBuf::from).unwrap_or_default();
            return Ok((path.parent().unwrap_or(Path::new("")).to_path_buf(), vec![name]));
        }
    };
    let names = expand(rest)?.into_iter().map(PathBuf::from).collect();
    Ok((PathBuf::from(fixed), names))
}

/// The paths that a pattern such as `shard-{000000..000147}.tar` stands for; a path without braces
/// stands for itself.
///
/// # Errors
/// What is inside braces is not two numbers, the smaller first.
fn expand(pattern: &str) -> Result<Vec<String>> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return Ok(vec![pattern.to_string()]);
    };
    let wrong = || {
        let problem = "between braces stand two numbers, as in shard-{000000..000147}.tar";
        Error::data(Path::new(pattern), problem, "write the pattern so")
    };
    let (range, after) = rest.split_once('}').ok_or_else(wrong)?;
    let (first, last) = range.split_once("..").ok_or_else(wrong)?;
    let numbers = (first.parse::<u32>().ok()).zip(last.parse::<u32>().ok());
    let (low, high) = numbers.filter(|(low, high)| low <= high).ok_or_else(wrong)?;
    let ends = expand(after)?;
    let width = first.len();
    let starts = (low..=high).map(|number| format!("{before}{number:0width$}"));
    Ok(starts.flat_map(|start| ends.iter().map(move |end| format!("{start}{end}"))).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pretrain::random::Purpose;

    /// A tar file of these members.
    pub(in crate::pretrain) fn write(path: &Path, members: &[(&str, &[u8])]) {
        let mut builder = tar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.finish().unwrap();
    }

    /// Three shards of 5, 1 and 7 samples; each picture's bytes are its name.
    fn three(buffer: usize) -> (tempfile::TempDir, Shards) {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (shard, count) in [(0, 5), (1, 1), (2, 7)] {
            let path = folder.path().join(format!("{shard}.tar"));
            let names: Vec<_> = (0..count).map(|member| format!("{shard}{member}.jpg")).collect();
            let members: Vec<_> =
                names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
            write(&path, &members);
            files.push(path);
        }
        let shards = Shards::open(files, buffer).unwrap();
        (folder, shards)
    }

    fn stream(epoch: u64) -> Stream {
        Stream::new(1, Purpose::Order, epoch, 0)
    }

    fn epoch(shards: &Shards, epoch: u64, start: usize) -> Vec<(usize, Vec<u8>)> {
        let mut reader = Reader::new(shards, shards.plan(&mut stream(epoch)));
        let samples = (start..).map_while(|position| reader.at(position));
        samples.map(|(number, bytes)| (number, bytes.unwrap())).collect()
    }

    #[test]
    fn every_sample_comes_once_with_its_own_bytes() {
        for buffer in [0, 1, 4, 100] {
            let (_folder, shards) = three(buffer);
            let mut samples = epoch(&shards, 0, 0);
            assert_ne!(samples, epoch(&shards, 1, 0));
            for (number, bytes) in &samples {
                assert!(shards.name(*number).ends_with(std::str::from_utf8(bytes).unwrap()));
            }
            samples.sort_unstable();
            let numbers: Vec<_> = samples.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, (0..13).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_buffer_of_one_reads_shards_from_front_to_back() {
        let (_folder, shards) = three(1);
        let numbers: Vec<_> = epoch(&shards, 2, 0).into_iter().map(|(number, _)| number).collect();
        let order = stream(2).order(3);
        let ranges = [0..5, 5..6, 6..13];
        let expected: Vec<_> = order.iter().flat_map(|shard| ranges[*shard].clone()).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn an_epoch_goes_on_from_any_place_and_holds_no_more_than_its_buffer() {
        let (_folder, shards) = three(4);
        let straight = epoch(&shards, 3, 0);
        for start in 0..=13 {
            assert_eq!(epoch(&shards, 3, start), straight[start..], "{start}");
        }
        let mut reader = Reader::new(&shards, shards.plan(&mut stream(3)));
        for position in 6..13 {
            reader.at(position).unwrap().1.unwrap();
            assert!(reader.held.len() < 4);
        }
    }

    #[test]
    fn the_first_picture_of_a_key_is_the_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let members: [(&str, &[u8]); 8] = [
            ("x/1.cls", b"7"),
            ("x/1.jpg", b"one"),
            ("x/1.seg.png", b"mask"),
            ("x/2.JPEG", b"two"),
            ("x/3.json", b"{}"),
            ("x/._4.jpg", b"a Mac's"),
            ("x.y/1.png", b"another folder's"),
            ("5", b""),
        ];
        write(&path, &members);
        let shards = Shards::open(vec![path], 10).unwrap();
        let names: Vec<_> = (0..shards.len()).map(|number| shards.name(number)).collect();
        assert_eq!(names, ["a.tar/x/1.jpg", "a.tar/x/2.JPEG", "a.tar/x.y/1.png"]);
    }

    #[test]
    fn long_names_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let long = format!("{}/{}.jpg", "d".repeat(90), "n".repeat(90));
        write(&path, &[(&long, b"bytes")]);
        let shards = Shards::open(vec![path], 10).unwrap();
        assert_eq!(shards.name(0), format!("a.tar/{long}"));
        assert_eq!(epoch(&shards, 0, 0)[0].1, b"bytes");
    }

    #[test]
    fn bad_shards_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let message = || Shards::open(vec![path.clone()], 1).unwrap_err().to_string();
        assert!(message().contains("cannot read"), "{}", message());
        std::fs::write(&path, b"").unwrap();
        assert!(message().contains("a.tar: is an empty file"), "{}", message());
        write(&path, &[("1.jpg", &[7; 2000]), ("2.jpg", &[8; 2000])]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..1500]).unwrap();
        assert!(message().contains("a.tar: is cut short: it ends inside 1.jpg"), "{}", message());
        std::fs::write(&path, &whole[..2560 + 100]).unwrap();
        assert!(message().contains("damaged"), "{}", message());
        // between the members, and after the last one
        let cut = |at: usize| std::fs::write(&path, &whole[..at]).unwrap();
        for (at, last) in [(2560, "1.jpg"), (5120, "2.jpg")] {
            cut(at);
            let words = format!("no end of the archive comes after \"{last}\"");
            assert!(message().contains(&words), "{at}: {}", message());
        }
        // of the two blocks that end an archive, one tells it
        cut(5120 + 511);
        assert!(message().contains("damaged"), "{}", message());
        cut(5120 + 512);
        assert_eq!(Shards::open(vec![path.clone()], 1).unwrap().len(), 2);
        std::fs::write(&path, [0x1F, 0x8B, 8, 0, 0]).unwrap();
        assert!(message().contains("is compressed"), "{}", message());
        std::fs::write(&path, vec![b'x'; 5000]).unwrap();
        assert!(message().contains("is not a tar file"), "{}", message());
        write(&path, &[("1.txt", b"text")]);
        assert!(message().contains("holds no .jpg"), "{}", message());
    }

    #[test]
    fn braces_stand_for_numbers() {
        assert_eq!(expand("a.tar").unwrap(), ["a.tar"]);
        assert_eq!(expand("s-{008..010}.tar").unwrap(), ["s-008.tar", "s-009.tar", "s-010.tar"]);
        assert_eq!(expand("{0..1}/{1..2}").unwrap(), ["0/1", "0/2", "1/1", "1/2"]);
        for wrong in ["a{1..", "a{1}", "a{2..1}", "a{x..y}", "a{-1..2}"] {
            let message = expand(wrong).unwrap_err().to_string();
            assert!(message.contains("two numbers"), "{message}");
        }
    }
}
