//! Frames a second of the encoder on a GPU: our kernels beside candle's tensor operations, in each
//! number type and for several batches, and what share of the card's matrix-product rate that is.
//!
//! `cargo bench --features cuda --bench encoder_gpu --` and then
//! `[ARCH] [DEVICE] [HEIGHTxWIDTH] [STEPS] [BATCH…]`, by default
//! `vits16 cuda 480x880 15 1 2 4 8 16`: frames of noise, already on the device; both
//! implementations in turn, medians. Prints the rows of a table. `encoder_gpu.py` is the same in
//! PyTorch, gpu.sh runs both. On a CPU it runs all the same, in what the CPU knows.

#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

mod ceiling;
mod rates;
mod work;

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use ceiling::median;
use cropmae::device::{self, Choice, Precision};
use cropmae::model::vit::{Implementation, Layer, Vit};
use cropmae::model::{Encoder, VitConfig, init};
use rates::product_rate;
use work::flop;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let argument = |place: usize, usual| arguments.get(place).map_or(usual, String::as_str);
    let arch = argument(0, "vits16");
    let choice: Choice = argument(1, "cuda").parse().unwrap();
    let (height, width) = argument(2, "480x880").split_once('x').unwrap();
    let size: (usize, usize) = (height.parse().unwrap(), width.parse().unwrap());
    let steps: usize = argument(3, "15").parse().unwrap();
    let batches: Vec<usize> = match arguments.get(4..) {
        Some(given) if !given.is_empty() => given.iter().map(|b| b.parse().unwrap()).collect(),
        _ => vec![1, 2, 4, 8, 16],
    };
    let config = VitConfig::named(arch).unwrap();
    let work = flop(&config, size);
    println!(
        "| {arch}, {}x{} | batch | fused | tensor operations | gain | TFLOP/s | share |",
        size.0, size.1
    );
    println!("| --- | --: | --: | --: | --: | --: | --: |");
    for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
        let Ok(device) = device::open(choice, precision, &|_| {}) else { continue };
        let ceiling = product_rate(&device, precision.dtype());
        let [fused, tensor] = [Implementation::Fused, Implementation::Tensor]
            .map(|by| encoder(by, &config, &device, precision.dtype()));
        for &batch in &batches {
            let frames = noise(batch, size, &device);
            let (mut own, mut stock) = (Vec::new(), Vec::new());
            for _ in 0..steps {
                fused.iter().for_each(|encoder| own.push(seconds(encoder, &frames, &device)));
                tensor.iter().for_each(|encoder| stock.push(seconds(encoder, &frames, &device)));
            }
            let rate =
                |times: &mut Vec<f64>| (!times.is_empty()).then(|| batch as f64 / median(times));
            let (own, stock) = (rate(&mut own), rate(&mut stock));
            let shown = |rate: Option<f64>| {
                rate.map_or("none".into(), |rate| format!("{rate:.1} frames/s"))
            };
            let gain = own.zip(stock).map_or(String::new(), |(a, b)| format!("{:.2}x", a / b));
            let done = own.or(stock).unwrap_or(0.0) * work / 1e9;
            println!(
                "| {} | {batch} | {} | {} | {gain} | {:.1} | {:.0} % of {:.1} |",
                precision.name(),
                shown(own),
                shown(stock),
                done / 1e3,
                100.0 * done / ceiling,
                ceiling / 1e3,
            );
        }
    }
}

/// `None` where there is no such implementation; warm.
fn encoder(
    by: Implementation,
    config: &VitConfig,
    device: &Device,
    dtype: DType,
) -> Option<Encoder> {
    let checkpoint = init::random(config, 0).unwrap();
    let vit = Vit::by(by, &checkpoint, Layer::Last, (device, dtype)).ok()?;
    let encoder = Encoder::Vit(Box::new(vit));
    seconds(&encoder, &noise(1, (4 * config.patch, 4 * config.patch), device), device);
    Some(encoder)
}

fn noise(batch: usize, (height, width): (usize, usize), device: &Device) -> Tensor {
    let pixels = (0..batch * 3 * height * width).map(|i| ((i * 7919 % 1009) as f32 / 70.0).sin());
    Tensor::from_iter(pixels, device).unwrap().reshape((batch, 3, height, width)).unwrap()
}

/// One batch, until its features are there.
fn seconds(encoder: &Encoder, frames: &Tensor, device: &Device) -> f64 {
    let start = Instant::now();
    let features = encoder.features(frames).unwrap();
    device.synchronize().unwrap();
    drop(features);
    start.elapsed().as_secs_f64()
}
