//! Images a second of a training step, and what share of the machine's matrix-product rate that is.
//!
//! `cargo bench --bench training_step -- [ARCH] [BATCH] [STEPS] [DEVICE] [DTYPE]`, by default
//! `vits16 16 5 cpu f32`: the paper's CropMAE (98.5 % masked, decoder of 4 blocks of 256) on views
//! of noise. The ceiling, one large product in the same number type, is measured between the steps,
//! so that whatever else the machine does falls on both. `training_step.py` is the same step in
//! PyTorch; for it to interleave the two, `--serve` takes single steps on demand.

#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

mod ceiling;
mod rates;

use std::io::BufRead;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use ceiling::median;
use cropmae::autoencoder::{Autoencoder, AutoencoderConfig, Mask, Parameters, Views};
use cropmae::device::{self, Choice, Precision, Uploads};
use cropmae::model::VitConfig;
use cropmae::pretrain::adamw::AdamWSettings;
use cropmae::pretrain::config::Preset;
use cropmae::pretrain::optimizer::AdamW;
use rates::product_rate;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As in `pretrain`: freed memory is kept (`mi_option_purge_delay` is number 15, -1 means never).
fn keep_memory() {
    // SAFETY: sets a number in a table of the allocator, atomically.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) };
}

fn main() {
    keep_memory();
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let argument = |place: usize, usual| arguments.get(place).map_or(usual, String::as_str);
    let arch = argument(0, "vits16");
    let batch: usize = argument(1, "16").parse().unwrap();
    let steps: usize = argument(2, "5").parse().unwrap();
    let device =
        device::open(argument(3, "cpu").parse::<Choice>().unwrap(), Precision::F32, &|_| {})
            .unwrap();
    let dtype = match argument(4, "f32") {
        "bf16" => DType::BF16,
        _ => DType::F32,
    };
    let preset = Preset::CropmaeIn.config();
    let config =
        AutoencoderConfig { encoder: VitConfig::named(arch).unwrap(), ..preset.autoencoder() };
    let work = 3.0 * batch as f64 * forward_flop(&config, preset.masking_ratio);

    let parameters = Parameters::seeded(&config, 0, &device).unwrap();
    let mut optimizer = AdamW::new(&parameters, AdamWSettings::default()).unwrap();
    let mask = mask(batch, config.patches(), preset.masking_ratio);
    let mask = mask.on(&mut Uploads::new(&device)).unwrap();
    let model = Autoencoder { config, parameters, dtype };
    let (first, second) = (view(batch, 0.0, &device), view(batch, 1.0, &device));
    let views = Views { first: &first, second: &second, mask: &mask };

    let mut step = |number: usize| {
        let start = Instant::now();
        let (loss, gradients) = model.gradients(views, number as u64, 1.0).unwrap();
        let measured = gradients.measure(&[loss], 0.0).unwrap();
        optimizer.step(&model.parameters, &gradients, &measured, 1e-4).unwrap();
        measured.read().unwrap();
        device.synchronize().unwrap();
        start.elapsed().as_secs_f64()
    };
    if std::env::args().any(|argument| argument == "--serve") {
        let lines = std::io::stdin().lock().lines().enumerate();
        lines.for_each(|(number, line)| println!("{}", line.map(|_| step(number)).unwrap()));
        return;
    }
    let (mut times, mut rates) = (Vec::new(), Vec::new());
    for number in 0..steps + 2 {
        rates.push(product_rate(&device, dtype));
        times.push(step(number));
    }
    // the first steps take memory that later ones find, and a GPU its kernels
    let (time, ceiling) = (median(&mut times[2..]), median(&mut rates[2..]));
    let rate = work / time / 1e9;
    let place = match device.is_cpu() {
        true => format!("{} threads", rayon::current_num_threads()),
        false => device::name(&device),
    };
    println!("{arch}, batch {batch}, {}, {place}, {steps} steps", dtype.as_str());
    println!("step          {:.1} ms ({:.1} images/s)", 1e3 * time, batch as f64 / time);
    println!("work          {:.0} GFLOP a step", work / 1e9);
    println!("step's rate   {rate:.0} GFLOP/s");
    println!("ceiling       {ceiling:.0} GFLOP/s (one large product)");
    println!("share         {:.0} %", 100.0 * rate / ceiling);
    println!("peak memory   {} MiB of the host's", device::peak_memory().unwrap_or(0) >> 20);
}

fn mask(batch: usize, count: usize, ratio: f64) -> Mask {
    let noise: Vec<f32> = (0..batch * count).map(|i| (i * 7919 % 1009) as f32).collect();
    Mask::from_noise(&noise, count, ratio).unwrap()
}

/// Views of noise, [B, 3, 224, 224].
fn view(batch: usize, phase: f32, device: &Device) -> Tensor {
    let pixels = (0..batch * 3 * 224 * 224).map(|i| (i as f32 * 0.37 + phase).sin());
    Tensor::from_iter(pixels, device).unwrap().reshape((batch, 3, 224, 224)).unwrap()
}

/// Operations of the products of one image's forward pass, two a multiply-add; norms, softmax and
/// the like are not counted, nor are the scores that the backward pass computes again.
fn forward_flop(config: &AutoencoderConfig, ratio: f64) -> f64 {
    let patches = config.patches();
    let visible = Mask::visible(patches, ratio).unwrap();
    let (width, values) = (config.encoder.width, config.patch_values());
    let encoded = |tokens: usize| {
        let block = 24 * width * width * tokens + 4 * tokens * tokens * width;
        config.encoder.depth * block + 2 * values * width * (tokens - 1)
    };
    let (all, few) = (1 + patches, 1 + visible);
    let (inner, hidden) = (config.decoder.width, config.decoder.hidden);
    let cross = (4 * inner * inner + 4 * inner * inner) * all + 4 * all * all * inner;
    let feed = 4 * inner * hidden * all;
    let among = 8 * inner * inner * all + 4 * all * all * inner;
    let decoder = config.decoder.depth * (cross + feed + among)
        + 2 * width * inner * (all + few)
        + 2 * inner * values * patches;
    (encoded(all) + encoded(few) + decoder) as f64
}
