//! `propagate attention`: what CLS looks at in the last block (the paper's figure 5).

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use cropmae::eval::stream::input_planes;
use cropmae::image::{Rgb, decode, heat};
use cropmae::model::vit::{Layer, Vit};
use cropmae::model::{Encoder, source};
use cropmae::protocol::Protocol;
use cropmae::wording::counted;

use crate::args::AttentionArgs;
use crate::common::usage::usage;
use crate::images::{self, Figures};
use crate::show::Notes;
use crate::{Outcome, plan, room};

pub(crate) fn run(args: &AttentionArgs) -> Result<Outcome> {
    let say = Notes::new(args.quiet);
    let source = plan::source(&args.model, false)?;
    if matches!(args.model.layer, Layer::MeanLast(_)) {
        bail!(usage!("--layer: attention is of one block; pass last or its number"));
    }
    let images = images::list(&args.images.paths)?;
    images::spare(&args.out, &args.images.paths, &images)?;
    let device = plan::open_device(&args.run, &say)?;
    let choices = plan::choices(&args.model);
    let loaded = source::load(&source, &choices, &device, args.run.dtype.dtype())?;
    room::check_images(&loaded.encoder, args.images.size)?;
    let Encoder::Vit(vit) = loaded.encoder else {
        bail!(usage!(
            "--weights: there is no attention in {source}; pass a checkpoint or random:vits16@0"
        ));
    };
    loaded.notes.iter().for_each(|note| say.line(note));
    let protocol = plan::protocol_of_images(args.images.frame_filter, args.images.size)?;
    let mut figures = Figures::create(&args.out, &images)?;
    for (name, path) in &images {
        figures.add(name, vec![row(&vit, decode::read(path)?, &protocol, args.mean, &device)?])?;
    }
    let heads = vit.config().heads;
    let figure = figures.finish()?;
    let (heads, images) = (counted(heads, "head"), counted(images.len(), "image"));
    say.line(&format!("attention of {heads}, {images}, {}", figure.display()));
    Ok(Outcome::Done)
}

/// The image as the encoder sees it, and the attention of each head, or of all, over it.
fn row(
    vit: &Vit,
    image: Rgb,
    protocol: &Protocol,
    mean: bool,
    device: &Device,
) -> Result<Vec<Rgb>> {
    let patch = vit.config().patch;
    let (planes, input) = input_planes(image, protocol, patch)?;
    let seen = picture(&planes, (input.height, input.width), protocol);
    let frame = Tensor::from_vec(planes, (1, 3, input.height, input.width), device)?;
    let mut attention = vit.cls_attention(&frame)?.squeeze(0)?;
    if mean {
        attention = attention.mean_keepdim(0)?;
    }
    let grid = input.grid(patch);
    // the last rows and columns of pixels may be of no patch
    let seen = cut(&seen, (grid.0 * patch, grid.1 * patch));
    let maps = attention.to_vec2::<f32>()?;
    let maps: Vec<Rgb> =
        maps.iter().map(|map| heat::over(&seen, &heat::stretched(map), grid)).collect();
    Ok(std::iter::once(seen).chain(maps).collect())
}

/// Normalised planes as a picture.
fn picture(planes: &[f32], (height, width): (usize, usize), protocol: &Protocol) -> Rgb {
    let mut data = vec![0; planes.len()];
    for (channel, plane) in planes.chunks_exact((height * width).max(1)).enumerate() {
        for (pixel, value) in data.as_chunks_mut::<3>().0.iter_mut().zip(plane) {
            let value = value * protocol.std[channel] + protocol.mean[channel];
            pixel[channel] = (255.0 * value).round().clamp(0.0, 255.0) as u8;
        }
    }
    Rgb { width, height, data }
}

/// The upper left of a picture.
fn cut(picture: &Rgb, (height, width): (usize, usize)) -> Rgb {
    let rows = picture.data.chunks_exact((3 * picture.width).max(1)).take(height);
    let data = rows.flat_map(|row| row.iter().take(3 * width).copied()).collect();
    Rgb { width, height, data }
}
