use std::time::{Duration, Instant};

use candle_core::Device;

use super::*;
use crate::pretrain::samples::Options;
use crate::pretrain::views::Strategy;

/// `count` pictures of 40x30 pixels as PNG files; those in `broken` are not.
fn folder(count: usize, broken: &[usize]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..count {
        let path = folder.path().join(format!("{number:03}.png"));
        if broken.contains(&number) {
            std::fs::write(path, "no picture").unwrap();
            continue;
        }
        let bytes = (0..3 * 40 * 30).map(|at| (at * 7 + number * 31) as u8).collect();
        image::RgbImage::from_raw(40, 30, bytes).unwrap().save(path).unwrap();
    }
    folder
}

fn cpu() -> Uploads {
    Uploads::new(&Device::Cpu)
}

fn settings() -> ViewSettings {
    ViewSettings { size: 16, ..ViewSettings::default() }
}

fn start(folder: &tempfile::TempDir, workers: usize, ahead: usize, range: Range) -> Loader {
    let samples = Arc::new(Samples::open(folder.path(), &Options::default()).unwrap());
    Loader::start(samples, &settings(), 5, workers, ahead, range).unwrap()
}

const TWO_EPOCHS: Range = Range { epoch: 0, position: 0, end: 2 };

/// All that tells one sample from another.
fn essence(loaded: Loaded) -> (u64, usize, usize, String, Option<Pair>) {
    let Loaded { epoch, position, number, name, views } = loaded;
    (epoch, position, number, name, views.ok())
}

#[test]
fn the_order_does_not_depend_on_the_number_of_workers() {
    let folder = folder(13, &[4]);
    let alone: Vec<_> = start(&folder, 1, 1, TWO_EPOCHS).map(essence).collect();
    assert_eq!(alone.len(), 26);
    for (workers, ahead) in [(2, 8), (3, 1), (7, 40), (40, 40)] {
        let others: Vec<_> = start(&folder, workers, ahead, TWO_EPOCHS).map(essence).collect();
        assert_eq!(alone, others, "{workers} workers");
    }
    let places: Vec<_> = alone.iter().map(|(epoch, position, ..)| (*epoch, *position)).collect();
    let expected = (0..2).flat_map(|epoch| (0..13).map(move |position| (epoch, position)));
    assert_eq!(places, expected.collect::<Vec<_>>());
    let numbers = |epoch: usize| -> Vec<usize> {
        alone[13 * epoch..][..13].iter().map(|loaded| loaded.2).collect()
    };
    assert_ne!(numbers(0), numbers(1));
    let missing: Vec<_> = alone.iter().filter(|loaded| loaded.4.is_none()).collect();
    assert!(missing.len() == 2 && missing.iter().all(|loaded| loaded.3 == "004.png"));
}

#[test]
fn a_run_goes_on_from_any_place() {
    let folder = folder(6, &[]);
    let straight: Vec<_> = start(&folder, 2, 4, TWO_EPOCHS).map(essence).collect();
    for done in 0..=12 {
        let range = Range { epoch: done as u64 / 6, position: done % 6, end: 2 };
        let rest: Vec<_> = start(&folder, 3, 4, range).map(essence).collect();
        assert_eq!(straight[done..], rest, "after {done}");
    }
}

#[test]
fn dropping_the_loader_ends_its_threads() {
    let folder = folder(50, &[]);
    let range = Range { epoch: 0, position: 0, end: u64::MAX };
    for taken in [0, 1, 7, 60] {
        let mut loader = start(&folder, 3, 2, range);
        assert_eq!(loader.by_ref().take(taken).count(), taken);
        let begin = Instant::now();
        drop(loader); // joins every thread
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn workers_do_not_run_ahead_without_bound() {
    let folder = folder(50, &[]);
    let range = Range { epoch: 0, position: 0, end: u64::MAX };
    let loader = start(&folder, 2, 4, range);
    std::thread::sleep(Duration::from_millis(200));
    // Two results wait for each of the two, and no more are there to be taken at once.
    let waiting = loader.results.iter().map(|results| results.try_iter().take(100).count());
    let waiting: usize = waiting.sum();
    assert!((1..50).contains(&waiting), "{waiting}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let folder = folder(1, &[]);
    let samples = Arc::new(Samples::open(folder.path(), &Options::default()).unwrap());
    let wrong = ViewSettings { global_area: [0.5, 1.5], ..settings() };
    let error = Loader::start(samples, &wrong, 0, 1, 1, TWO_EPOCHS).unwrap_err();
    assert!(error.to_string().starts_with("views.global_area: is [0.5, 1.5]"), "{error}");
}

#[test]
fn batches_are_normalised_planes() {
    let red = Rgb { width: 2, height: 1, data: vec![255, 0, 0, 255, 0, 51] };
    let grey = Rgb { width: 2, height: 1, data: vec![128; 6] };
    let pairs = [Pair::new(red.clone(), grey.clone()), Pair::same(red)];
    let (first, second) = batch(&pairs.iter().collect::<Vec<_>>(), &mut cpu()).unwrap();
    assert_eq!(first.dims(), [2, 3, 1, 2]);
    let first: Vec<f32> = first.flatten_all().unwrap().to_vec1().unwrap();
    let of = |value: f32, channel: usize| (value / 255.0 - MEAN[channel]) / STD[channel];
    let expected = [of(255.0, 0), of(255.0, 0), of(0.0, 1), of(0.0, 1), of(0.0, 2), of(51.0, 2)];
    assert_eq!(first, [expected, expected].concat());
    let second: Vec<f32> = second.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(second[..2], [of(128.0, 0); 2]);
    assert_eq!(second[6..], expected);
    assert!(batch(&[], &mut cpu()).is_err());
    let small = Rgb { width: 1, height: 1, data: vec![0; 3] };
    assert!(batch(&[&Pair::same(small), &Pair::same(grey)], &mut cpu()).is_err());
}

#[test]
fn unreadable_samples_are_named_until_there_are_too_many() {
    let folder = folder(10, &[2, 3, 7]);
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("unreadable.txt");
    let count = |share: f64, range: Range| -> Result<usize> {
        let mut unreadable = Unreadable::new(log.clone(), share, 10);
        let mut read = 0;
        for loaded in start(&folder, 2, 4, range) {
            read += usize::from(unreadable.views(loaded)?.is_some());
        }
        assert_eq!((unreadable.count(), unreadable.total()), (3, 6));
        Ok(read)
    };
    assert_eq!(count(0.3, TWO_EPOCHS).unwrap(), 14);
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.contains("\t007.png\t") && text.contains("neither a JPEG nor a PNG"), "{text}");
    let message = count(0.2, TWO_EPOCHS).unwrap_err().to_string();
    assert!(
        message.contains("3 of the 10 of an epoch so far, more than the 2 allowed"),
        "{message}"
    );
    let remedy = "the same command with the setting `set = reading.max_unreadable=1` continues";
    assert!(message.ends_with(remedy), "{message}");
    let mut resumed = Unreadable::new(log.clone(), 0.2, 10).resumed(1, 8, 2).unwrap();
    let views = Err(Error::data(Path::new("8.png"), "is empty", "copy it again"));
    let loaded = Loaded { epoch: 1, position: 8, number: 8, name: "8.png".into(), views };
    assert!(resumed.views(loaded).is_err());
}

#[test]
fn a_resumed_run_names_no_sample_twice() {
    let folder = folder(10, &[2, 3, 7]);
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("unreadable.txt");
    let go_on = |epoch: u64, position: usize| {
        let unreadable = Unreadable::new(log.clone(), 1.0, 10);
        let mut unreadable = unreadable.resumed(epoch, position, 0).unwrap();
        for loaded in start(&folder, 2, 4, Range { epoch, position, end: 2 }) {
            unreadable.views(loaded).unwrap();
        }
        std::fs::read_to_string(&log).unwrap()
    };
    let straight = go_on(0, 0);
    assert_eq!(straight.lines().count(), 6);
    for done in 0..=20 {
        // a line that a crash cut off
        std::fs::write(&log, format!("{straight}epoch 0\tpl")).unwrap();
        assert_eq!(go_on(done / 10, done as usize % 10), straight, "after {done}");
    }
}

#[test]
fn kept_pictures_change_nothing() {
    let folder = folder(13, &[4]);
    let range = Range { epoch: 0, position: 0, end: 3 };
    let with = |keep_decoded: usize, workers: usize| -> Vec<_> {
        let options = Options { keep_decoded, ..Options::default() };
        let samples = Arc::new(Samples::open(folder.path(), &options).unwrap());
        let loader = Loader::start(samples, &settings(), 5, workers, 4, range).unwrap();
        loader.map(essence).collect()
    };
    let without = with(0, 1);
    assert_eq!(without.len(), 39);
    let picture = 3 * 40 * 30;
    for keep_decoded in [1, 5 * picture, 1 << 30] {
        for workers in [1, 3] {
            assert_eq!(with(keep_decoded, workers), without, "{keep_decoded} bytes");
        }
    }
}

#[test]
fn a_plain_mae_gets_one_tensor() {
    let folder = folder(2, &[]);
    let samples = Arc::new(Samples::open(folder.path(), &Options::default()).unwrap());
    let same = ViewSettings { strategy: Strategy::SameViews, ..settings() };
    let range = Range { epoch: 0, position: 0, end: 1 };
    let loader = Loader::start(samples, &same, 0, 1, 1, range).unwrap();
    let pairs: Vec<Pair> = loader.map(|loaded| loaded.views.unwrap()).collect();
    assert!(pairs.iter().all(Pair::is_same));
    let (first, second) = batch(&pairs.iter().collect::<Vec<_>>(), &mut cpu()).unwrap();
    assert_eq!(first.id(), second.id());
}
