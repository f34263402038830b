//! `propagate features`: patch features and CLS of images, for other programs.

use std::collections::BTreeMap;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use cropmae::Error;
use cropmae::eval::stream::input_planes;
use cropmae::files::safetensors;
use cropmae::image::decode;
use cropmae::model::encoder::Tokens;
use cropmae::model::source;
use cropmae::wording::counted;

use crate::args::FeaturesArgs;
use crate::show::Notes;
use crate::targets::Inputs;
use crate::{Outcome, images, plan, room};

pub(crate) fn run(args: &FeaturesArgs) -> Result<Outcome> {
    let say = Notes::new(args.quiet);
    let source = plan::source(&args.model, false)?;
    let images = images::list(&args.images.paths)?;
    images
        .values()
        .fold(Inputs::default(), |all, image| all.with(image))
        .with_weights(&args.model.weights)
        .spare_file("--out", &args.out, "safetensors", true)?;
    let device = plan::open_device(&args.run, &say)?;
    let choices = plan::choices(&args.model);
    let loaded = source::load(&source, &choices, &device, args.run.dtype.dtype())?;
    loaded.notes.iter().for_each(|note| say.line(note));
    room::check_images(&loaded.encoder, args.images.size)?;
    let protocol = plan::protocol_of_images(args.images.frame_filter, args.images.size)?;
    let patch = loaded.encoder.patch();
    let mut stored = BTreeMap::new();
    for (name, path) in &images {
        let (planes, input) = input_planes(decode::read(path)?, &protocol, patch)?;
        let frame = Tensor::from_vec(planes, (1, 3, input.height, input.width), &device)?;
        let Tokens { patches, cls } = loaded.encoder.tokens(&frame, args.normalize)?;
        let (rows, columns) = input.grid(patch);
        let grid = (rows, columns, loaded.encoder.width());
        let plain = |tensor: Tensor| tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu);
        let patches = plain(patches.squeeze(0)?.reshape(grid)?)?;
        stored.insert(format!("{name}.patches"), patches);
        if let Some(cls) = cls {
            stored.insert(format!("{name}.cls"), plain(cls.squeeze(0)?)?);
        }
        say.line(&format!("{}: {}x{} patches, {} wide", path.display(), grid.0, grid.1, grid.2));
    }
    let about = BTreeMap::from([
        ("weights".into(), source.to_string()),
        ("weights_sha256".into(), loaded.sha256),
        ("layer".into(), args.model.layer.to_string()),
        ("patch".into(), patch.to_string()),
        ("normalized".into(), args.normalize.to_string()),
    ]);
    if let Some(folder) = args.out.parent() {
        std::fs::create_dir_all(folder).map_err(Error::creating(folder))?;
    }
    // whose bytes are always in the same order
    safetensors::write(&args.out, &stored, &about)?;
    let images = counted(images.len(), "image");
    say.line(&format!("features of {images} in {}", args.out.display()));
    Ok(Outcome::Done)
}
