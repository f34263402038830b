//! `pretrain export`: the encoder of a checkpoint alone.

use candle_core::DType;
use cropmae::Error;
use cropmae::pretrain::{average, checkpoint};

use crate::args::{ExportArgs, ExportType};
use crate::common::streams;

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<()> {
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
