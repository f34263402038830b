//! Refuses frames for which the machine has no memory, before any is taken: a size may be mistyped,
//! and a system that runs out of memory ends programs without a word.

use anyhow::{Result, ensure};
use cropmae::data::Opened;
use cropmae::device::available_memory;
use cropmae::model::encoder::Encoder;
use cropmae::protocol::{Protocol, Size};
use cropmae::wording::counted;

use crate::args::SizeArg;
use crate::common::usage::usage;
use crate::plan;

/// Bytes of the unit that memory is told in.
const GIB: f64 = (1_u64 << 30) as f64;

/// Refuses frames of the size `input` that cannot be encoded and kept, `context` of them at a time.
/// Where the system does not tell how much memory there is, none are.
fn check(encoder: &Encoder, input: Size, context: usize) -> Result<()> {
    let Some(free) = available_memory() else { return Ok(()) };
    let needed = needed(encoder, input, context);
    let of_context = match context {
        0 => String::new(),
        frames => format!(" with a context of {}", counted(frames, "frame")),
    };
    let or_queue = if context > 1 { ", or a shorter --queue" } else { "" };
    ensure!(
        needed <= free as f64,
        usage!(
            "--size: frames of {input} need at least {:.0} GiB of memory{of_context}, and {:.1} GiB are free; take smaller frames{or_queue}",
            needed / GIB,
            free as f64 / GIB
        )
    );
    Ok(())
}

/// Refuses clips whose frames, as the protocol has them made, are such; a size that leaves no patch is
/// each clip's own failure.
pub(crate) fn check_clips(
    encoder: &Encoder,
    clips: &Opened,
    protocol: &Protocol,
    context: usize,
) -> Result<()> {
    let grid = plan::grid(clips, protocol, encoder.patch()).ok().flatten();
    grid.map_or(Ok(()), |(_, input, _)| check(encoder, input, context))
}

/// Refuses images of a size that was typed and for which there is no memory.
pub(crate) fn check_images(encoder: &Encoder, typed: SizeArg) -> Result<()> {
    match typed {
        SizeArg::Exact(size) => check(encoder, size, 0),
        SizeArg::Native => Ok(()),
    }
}

/// The bytes of the machine's memory that frames take at least: a frame's values, and on a CPU what
/// the encoder makes of them, and the features of the context.
fn needed(encoder: &Encoder, input: Size, context: usize) -> f64 {
    const VALUE: f64 = 4.0;
    // the CPU's encoder makes about half as much at once as a GPU's, for which the figure is
    const ON_CPU: f64 = 0.5;
    let Size { height, width } = input;
    let frame = 3.0 * VALUE * height as f64 * width as f64;
    if !encoder.device().is_cpu() {
        return frame;
    }
    let patch = encoder.patch().max(1);
    let patches = (height / patch) as f64 * (width / patch) as f64;
    let features = VALUE * patches * encoder.width() as f64;
    let encoding = ON_CPU * encoder.bytes_per_frame(height, width) as f64;
    frame + encoding + context as f64 * features
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_frame_and_its_context_are_counted() {
        let encoder = Encoder::Pixels { patch: 16, device: Device::Cpu };
        let size = Size { height: 480, width: 880 };
        let frame = 3.0 * 4.0 * 480.0 * 880.0;
        // its values, as many in patches, and features as long as it
        assert_eq!(needed(&encoder, size, 0), 2.0 * frame);
        assert_eq!(needed(&encoder, size, 21), 23.0 * frame);
        check(&encoder, size, 21).unwrap();
        check_images(&encoder, SizeArg::Native).unwrap();
    }
}
