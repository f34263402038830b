//! Milliseconds a frame of the encoder on the CPU, and what share of the machine's matrix-product
//! rate that is.
//!
//! `cargo bench --bench encoder -- [ARCH] [FRAMES] [HEIGHTxWIDTH]`, by default `vits16 9 480x880`:
//! frames of noise, one at a time, through the packed encoder and, in between, through candle's
//! tensor operations. The ceiling, one large f32 product by the `gemm` crate, is measured between
//! them too, so that whatever else the machine does falls on all three. `--serve` takes single
//! frames on demand instead, for encoder.py to interleave with PyTorch.

#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

mod ceiling;
mod work;

use std::io::BufRead;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use ceiling::{SIDE, median, product_rate};
use cropmae::model::vit::{Layer, Vit};
use cropmae::model::{VitConfig, init};
use work::flop;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Setting {
    arch: String,
    frames: usize,
    config: VitConfig,
    frame: Tensor,
}

fn main() {
    let all: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&String> = all.iter().filter(|a| !a.starts_with("--")).collect();
    let size = arguments.get(2).map_or("480x880", |text| text.as_str());
    let (height, width) = size.split_once('x').unwrap();
    let (height, width): (usize, usize) = (height.parse().unwrap(), width.parse().unwrap());
    let arch = arguments.first().map_or("vits16", |text| text.as_str()).to_owned();
    let config = VitConfig::named(&arch).unwrap();
    let pixels = (0..3 * height * width).map(|i| ((i * 7919 % 1009) as f32 / 70.0).sin());
    let frame = Tensor::from_iter(pixels, &Device::Cpu).unwrap();
    let frame = frame.reshape((1, 3, height, width)).unwrap();
    let frames = arguments.get(1).map_or(9, |text| text.parse().unwrap());
    let setting = Setting { arch, frames, config, frame };
    match all.iter().any(|argument| argument == "--serve") {
        true => serve(&setting),
        false => compare(&setting),
    }
}

fn packed(setting: &Setting) -> Vit {
    let checkpoint = init::random(&setting.config, 0).unwrap();
    Vit::new(&checkpoint, Layer::Last, &Device::Cpu, DType::F32).unwrap()
}

/// Both implementations and the ceiling, in turn.
fn compare(setting: &Setting) {
    let packed = packed(setting);
    seconds(|| packed.tokens(&setting.frame).unwrap());
    let own_peak = cropmae::device::peak_memory().unwrap_or(0);
    let checkpoint = init::random(&setting.config, 0).unwrap();
    let tensors = Vit::by_tensors(&checkpoint, Layer::Last, &Device::Cpu, DType::F32).unwrap();
    seconds(|| tensors.tokens(&setting.frame).unwrap());
    let (mut own, mut stock, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setting.frames {
        rates.push(product_rate());
        own.push(seconds(|| packed.tokens(&setting.frame).unwrap()));
        stock.push(seconds(|| tensors.tokens(&setting.frame).unwrap()));
    }
    let fastest = own.iter().copied().fold(f64::INFINITY, f64::min);
    let (own, stock, ceiling) = (median(&mut own), median(&mut stock), median(&mut rates));
    let (_, _, height, width) = setting.frame.dims4().unwrap();
    let work = flop(&setting.config, (height, width));
    let rate = |time: f64| work / time / 1e9;
    let threads = rayon::current_num_threads();
    println!(
        "{}, {height}x{width}, f32, {threads} threads, {} frames",
        setting.arch, setting.frames
    );
    println!("work          {:.1} GFLOP a frame", work / 1e9);
    println!(
        "packed        {:.0} ms ({:.0} GFLOP/s; fastest {:.0} ms)",
        1e3 * own,
        rate(own),
        1e3 * fastest
    );
    println!("tensors       {:.0} ms ({:.0} GFLOP/s)", 1e3 * stock, rate(stock));
    println!("gain          {:.2}x", stock / own);
    println!("ceiling       {ceiling:.0} GFLOP/s (product of {SIDE}x{SIDE} matrices)");
    println!("share         {:.0} %", 100.0 * rate(own) / ceiling);
    let all_peak = cropmae::device::peak_memory().unwrap_or(0);
    println!("peak memory   {} MiB packed, {} MiB with tensors", own_peak >> 20, all_peak >> 20);
}

/// Answers every line of stdin: "frame" with the seconds that one took, "ceiling" with the rate of
/// the large product, "memory" with the peak in bytes.
fn serve(setting: &Setting) {
    let packed = packed(setting);
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "ceiling" => println!("{}", product_rate()),
            "memory" => println!("{}", cropmae::device::peak_memory().unwrap_or(0)),
            _ => println!("{}", seconds(|| packed.tokens(&setting.frame).unwrap())),
        }
    }
}

fn seconds<T>(run: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}
