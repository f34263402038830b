//! `propagate sample`: rendered clips in the three official layouts.

use anyhow::Result;
use cropmae::protocol::Benchmark;
use cropmae::sample::{self, Settings};
use cropmae::wording::counted;
use strum::VariantArray;

use crate::args::SampleArgs;
use crate::{Outcome, show};

pub(crate) fn run(args: &SampleArgs) -> Result<Outcome> {
    let benchmarks = match args.benchmark {
        Some(benchmark) => vec![benchmark],
        None => Benchmark::VARIANTS.to_vec(),
    };
    for benchmark in benchmarks {
        let defaults = sample::default_settings(benchmark);
        let settings = Settings {
            clips: args.clips.unwrap_or(defaults.clips),
            frames: args.frames.unwrap_or(defaults.frames),
            height: args.size.map_or(defaults.height, |size| size.height),
            width: args.size.map_or(defaults.width, |size| size.width),
            seed: args.seed.unwrap_or(defaults.seed),
            ..defaults
        };
        let root = args.out.join(benchmark.name());
        sample::render(&root, benchmark, &settings)?;
        let Settings { clips, frames, .. } = settings;
        let (clips, frames) = (counted(clips, "clip"), counted(frames, "frame"));
        show::note(&format!("{clips} of {frames} in {}", root.display()));
    }
    Ok(Outcome::Done)
}
