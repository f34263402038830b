//! Pictures a second that the loader decodes and crops, with decoded pictures kept and without.
//!
//! `cargo bench --bench loader -- PATH [SIZE] [WORKERS] [EPOCHS]`, by default views of 128 pixels,
//! one worker and 3 epochs. PATH is what `pretrain --data` takes. The two loaders take turns, an
//! epoch each, so that whatever else the machine does falls on both; the first epoch decodes
//! everything and is told apart.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cropmae::pretrain::loader::{Loader, Range};
use cropmae::pretrain::samples::{Options, Samples};
use cropmae::pretrain::views::ViewSettings;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let Some(path) = arguments.first() else {
        return println!("loader: pass what `pretrain --data` takes");
    };
    let number = |place: usize, usual: usize| {
        arguments.get(place).map_or(usual, |text| text.parse().unwrap())
    };
    let (size, workers, epochs) = (number(1, 128), number(2, 1), number(3, 3) as u64);
    let settings = ViewSettings { size, ..ViewSettings::default() };
    let samples = |keep_decoded| {
        let options = Options { keep_decoded, ..Options::default() };
        Arc::new(Samples::open(Path::new(path), &options).unwrap())
    };
    let both = [samples(0), samples(1 << 30)];
    let seconds = |samples: &Arc<Samples>, epoch| {
        let range = Range { epoch, position: 0, end: epoch + 1 };
        let start = Instant::now();
        let loader = Loader::start(Arc::clone(samples), &settings, 0, workers, 64, range).unwrap();
        let read = loader.filter(|loaded| loaded.views.is_ok()).count();
        (read, start.elapsed().as_secs_f64())
    };
    let mut later = [(0, 0.0); 2];
    for epoch in 0..epochs {
        for (samples, later) in both.iter().zip(&mut later) {
            let (read, time) = seconds(samples, epoch);
            if epoch > 0 {
                *later = (later.0 + read, later.1 + time);
            }
        }
    }
    let [decoded, kept] = later.map(|(read, time)| read as f64 / time);
    println!("{} samples, views of {size}, {workers} workers", both[0].len());
    println!("decoded each time  {decoded:.0} pictures/s");
    println!("kept (1 GiB)       {kept:.0} pictures/s");
    println!("ratio              {:.2}", kept / decoded);
    println!("peak memory        {} MiB", cropmae::device::peak_memory().unwrap_or(0) >> 20);
}
