//! `pretrain export`: the encoder of a checkpoint alone.

use anyhow::ensure;
use candle_core::DType;
use cropmae::Error;
use cropmae::pretrain::{average, checkpoint};

use crate::args::{ExportArgs, ExportType};
use crate::common::streams;
use crate::common::targets::Inputs;
use crate::common::usage::usage;

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    spare(args)?;
    let (state, mut tensors) = checkpoint::load(&args.checkpoint)?;
    if args.average {
        tensors = average::averaged(&tensors).ok_or_else(|| {
            Error::weights(
                &args.checkpoint,
                "holds no averaged weights",
                "leave out --average, or train with --set optimization.average_decay=0.999",
            )
        })?;
    }
    let dtype = match args.dtype {
        ExportType::F32 => DType::F32,
        ExportType::F16 => DType::F16,
    };
    checkpoint::export(&args.out, &tensors, &state, dtype)?;
    streams::text(&format!("{}\n", args.out.display()))
}

/// Refuses to read what is no checkpoint of ours, and to write over one.
fn spare(args: &ExportArgs) -> anyhow::Result<()> {
    ensure!(
        checkpoint::is_ours(&args.checkpoint)?,
        "{}: is not a checkpoint of a training run; export takes RUN/checkpoint-*.safetensors, and \
         an encoder or a .pth goes into `propagate --weights` as it is",
        args.checkpoint.display()
    );
    Inputs::default().spare_file("--out", &args.out, "safetensors", true)?;
    ensure!(
        !args.out.is_file() || !checkpoint::is_ours(&args.out)?,
        usage!(
            "--out: {} is a checkpoint of a training run, which is not replaced; name another file",
            args.out.display()
        )
    );
    Ok(())
}
