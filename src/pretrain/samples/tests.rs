use super::*;

/// Pictures of 8x6 pixels, each of one grey.
fn picture(grey: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(8, 6, image::Rgb([grey; 3]));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn open(path: &Path) -> Result<Samples> {
    Samples::open(path, &Options { shuffle_buffer: 3, ..Options::default() })
}

/// Number and first grey of each sample of an epoch.
fn greys(samples: &Samples, epoch: u64, start: usize) -> Vec<(usize, u8)> {
    let jobs = samples.epoch(9, epoch, start);
    let read = |job: Job| {
        let number = job.number;
        match samples.read(job, 9).unwrap() {
            Pixels::One(image) => (number, image.data[0]),
            Pixels::Two(..) => panic!("pictures come alone"),
        }
    };
    jobs.map(read).collect()
}

#[test]
fn folders_lists_and_shards_give_the_same_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..9).map(|number| format!("images/{number}.png")).collect();
    for (number, name) in names.iter().enumerate() {
        write(folder.path(), name, &picture(number as u8 * 20));
    }
    write(folder.path(), "list.txt", names.join("\n").as_bytes());
    std::fs::create_dir(folder.path().join("tars")).unwrap();
    for (shard, names) in names.chunks(4).enumerate() {
        let bytes: Vec<_> =
            names.iter().map(|name| std::fs::read(folder.path().join(name)).unwrap()).collect();
        let members = names.iter().zip(&bytes).map(|(name, b)| (name.as_str(), b.as_slice()));
        let members: Vec<_> = members.collect();
        shards::tests::write(&folder.path().join(format!("tars/s-{shard:02}.tar")), &members);
    }
    write(folder.path(), "tars.txt", b"tars/s-02.tar\ntars/s-00.tar\ntars/s-01.tar");
    let expected: Vec<(usize, u8)> = (0..9).map(|number| (number, number as u8 * 20)).collect();
    for path in ["images", "list.txt", "tars", "tars.txt", "tars/s-{00..02}.tar"] {
        let samples = open(&folder.path().join(path)).unwrap();
        assert_eq!(samples.len(), 9, "{path}");
        let first = greys(&samples, 0, 0);
        assert_ne!(first, greys(&samples, 1, 0), "{path}");
        for start in [1, 5, 9] {
            assert_eq!(greys(&samples, 0, start), first[start..], "{path}");
        }
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "{path}");
    }
    let fingerprint =
        |path: &str| open(&folder.path().join(path)).unwrap().fingerprint().to_string();
    assert_eq!(fingerprint("tars"), fingerprint("tars/s-{00..02}.tar"));
    assert_eq!(open(&folder.path().join("tars/s-02.tar")).unwrap().len(), 1);
}

#[test]
fn the_fingerprint_follows_names_and_sizes_but_not_the_place() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [one.path(), two.path()] {
        write(folder, "a/1.png", b"123");
        write(folder, "b.png", b"12");
    }
    let fingerprint = |folder: &Path| open(folder).unwrap().fingerprint().to_string();
    let before = fingerprint(one.path());
    assert_eq!(before.len(), 64);
    assert_eq!(before, fingerprint(two.path()));
    write(two.path(), "b.png", b"1");
    assert_ne!(before, fingerprint(two.path()));
    write(two.path(), "b.png", b"12");
    write(two.path(), "c.png", b"");
    assert_ne!(before, fingerprint(two.path()));
}

#[test]
fn what_is_no_dataset_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", b"");
    write(folder.path(), "a.pdf", b"");
    write(folder.path(), "s.tar", b"");
    write(folder.path(), "mixed.txt", b"a.png\na.pdf");
    write(folder.path(), "empty/notes.md", b"");
    write(folder.path(), "s.tar.gz", &[0x1F, 0x8B, 8, 0, 0]);
    let cases = [
        ("gone", "is not there"),
        ("gone.tar", "cannot read"),
        ("s-{0..1}.tar", "cannot read"),
        ("s.tar", "is an empty file"),
        ("s.tar.gz", "is compressed"),
        ("a.png", "is one sample"),
        ("mixed.txt", "names a.pdf, no .jpg"),
        ("empty", "holds no .jpg"),
    ];
    for (path, words) in cases {
        let message = open(&folder.path().join(path)).unwrap_err().to_string();
        assert!(message.contains(words), "{path}: {message}");
    }
    let clips = Options { kind: Kind::Video, ..Options::default() };
    let message =
        |path: &str| Samples::open(&folder.path().join(path), &clips).unwrap_err().to_string();
    assert!(message("empty").contains("no video file"), "{}", message("empty"));
    assert!(message("s.tar").contains("shards hold pictures"), "{}", message("s.tar"));
    assert!(message("mixed.txt").contains("neither a video nor"), "{}", message("mixed.txt"));
}
