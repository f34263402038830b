//! `propagate reconstruct`: how a pre-trained network reconstructs masked images (the paper's
//! figure 3).

use anyhow::{Result, ensure};
use candle_core::Device;
use cropmae::autoencoder::{Mask, Method};
use cropmae::image::{Rgb, decode};
use cropmae::model::source::Source;
use cropmae::model::weights::Overrides;
use cropmae::pretrain::pictures::grid::{Panels, panels};
use cropmae::pretrain::random::{Purpose, Stream};
use cropmae::pretrain::restore::{self, Restored, Told};
use cropmae::pretrain::train::mask;
use cropmae::pretrain::views::{Pair, draw};
use cropmae::wording::counted;
use sha2::{Digest, Sha256};

use crate::args::{Answer, ReconstructArgs};
use crate::common::usage::usage;
use crate::images::{self, Figures};
use crate::show::Notes;
use crate::{Outcome, plan};

pub(crate) fn run(args: &ReconstructArgs) -> Result<Outcome> {
    let say = Notes::new(args.quiet);
    let weights = args.weights.to_string_lossy();
    ensure!(
        matches!(weights.parse(), Ok(Source::File(_))),
        usage!(
            "--weights: {weights} comes without a decoder; pass a checkpoint of `pretrain`, CropMAE or MAE"
        )
    );
    let images = images::list(&args.images)?;
    images::spare(&args.out, &args.images, &images)?;
    let device = plan::open_device(&args.run, &say)?;
    let told = Told {
        encoder: Overrides {
            heads: args.heads,
            checkpoint_key: args.checkpoint_key.clone(),
            ..Overrides::default()
        },
        decoder_heads: args.decoder_heads,
        normalize_target: args.normalize_target.map(|answer| answer == Answer::Yes),
    };
    let mut restored = restore::restore(&args.weights, &told, &device, args.run.dtype.dtype())?;
    restored.notes.iter().for_each(|note| say.line(note));
    restored.masking_ratio = args.masking_ratio.unwrap_or(restored.masking_ratio);
    if let Some(strategy) = args.strategy {
        ensure!(
            restored.model.config.method != Method::Mae,
            usage!("--strategy: this is a MAE, which sees one view; leave it out")
        );
        restored.views.strategy = strategy;
    }
    Mask::visible(restored.model.config.patches(), restored.masking_ratio)?;
    let mut figures = Figures::create(&args.out, &images)?;
    for (name, path) in &images {
        let rows = rows(name, &decode::read(path)?, args, &restored, &device)?;
        figures.add(name, rows)?;
    }
    let figure = figures.finish()?;
    let images = counted(images.len(), "image");
    say.line(&format!("reconstructions of {images}, {}", figure.display()));
    Ok(Outcome::Done)
}

/// The rows of an image. What is drawn follows from the seed and the image's name alone, so that it
/// looks the same whatever other images are there.
fn rows(
    name: &str,
    image: &Rgb,
    args: &ReconstructArgs,
    restored: &Restored,
    device: &Device,
) -> Result<Vec<Vec<Rgb>>> {
    let Restored { model, views, masking_ratio, .. } = restored;
    let first =
        Sha256::digest(name.as_bytes()).first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let numbers = (0..u64::from(args.views)).map(|view| first.wrapping_add(view) as usize);
    let pairs: Vec<Pair> = numbers
        .clone()
        .map(|number| {
            draw(image, views, &mut Stream::new(args.seed, Purpose::Views, 0, number as u64))
        })
        .collect();
    let mask = mask(args.seed, 0, numbers, model.config.patches(), *masking_ratio)?;
    let pairs: Vec<&Pair> = pairs.iter().collect();
    let panels = panels(model, &pairs, &mask, device)?;
    let row = |Panels { first, second, masked, reconstruction }: Panels| {
        first.into_iter().chain([masked, reconstruction, second]).collect()
    };
    Ok(panels.into_iter().map(row).collect())
}
