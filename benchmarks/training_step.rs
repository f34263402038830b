//! Images a second of a training step, and what share of the machine's matrix-product rate that is.
//!
//! `cargo bench --bench training_step -- [ARCH] [BATCH] [STEPS]`, by default `vits16 16 5`: the
//! paper's CropMAE (98.5 % masked, decoder of 4 blocks of 256) on views of noise. The ceiling, one
//! large f32 product by the same crate, is measured between the steps, so that whatever else the
//! machine does falls on both.

#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use cropmae::autoencoder::{Autoencoder, AutoencoderConfig, Mask, Parameters, Views};
use cropmae::model::VitConfig;
use cropmae::pretrain::config::Preset;
use cropmae::pretrain::optimizer::{AdamW, AdamWSettings};

/// Side of the product that stands for the ceiling.
const SIDE: usize = 2048;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |place: usize, usual: usize| {
        arguments.get(place).map_or(usual, |text| text.parse().unwrap())
    };
    let arch = arguments.first().map_or("vits16", String::as_str);
    let (batch, steps) = (number(1, 16), number(2, 5));
    let preset = Preset::CropmaeIn.config();
    let config =
        AutoencoderConfig { encoder: VitConfig::named(arch).unwrap(), ..preset.autoencoder() };
    let work = 3.0 * batch as f64 * forward_flop(&config, preset.masking_ratio);

    let parameters = Parameters::seeded(&config, 0, &Device::Cpu).unwrap();
    let mut optimizer = AdamW::new(&parameters, AdamWSettings::default()).unwrap();
    let count = config.patches();
    let noise: Vec<f32> = (0..batch * count).map(|i| (i * 7919 % 1009) as f32).collect();
    let mask = Mask::from_noise(&noise, count, preset.masking_ratio).unwrap();
    let model = Autoencoder { config, parameters, dtype: DType::F32 };
    let view = |phase: f32| {
        let pixels = (0..batch * 3 * 224 * 224).map(|i| (i as f32 * 0.37 + phase).sin());
        Tensor::from_iter(pixels, &Device::Cpu).unwrap().reshape((batch, 3, 224, 224)).unwrap()
    };
    let (first, second) = (view(0.0), view(1.0));
    let views = Views { first: &first, second: &second, mask: &mask };

    let (mut times, mut rates) = (Vec::new(), Vec::new());
    for step in 0..=steps {
        rates.push(product_rate());
        let start = Instant::now();
        let (_, gradients) = model.gradients(views, step as u64, 1.0).unwrap();
        optimizer.step(&model.parameters, &gradients, 1e-4).unwrap();
        times.push(start.elapsed().as_secs_f64());
    }
    // the first step takes memory that later ones find
    times.remove(0);
    let (time, ceiling) = (median(&mut times), median(&mut rates));
    let rate = work / time / 1e9;
    println!("{arch}, batch {batch}, f32, {} threads, {steps} steps", rayon::current_num_threads());
    println!("step          {time:.2} s ({:.1} images/s)", batch as f64 / time);
    println!("work          {:.0} GFLOP a step", work / 1e9);
    println!("step's rate   {rate:.0} GFLOP/s");
    println!("ceiling       {ceiling:.0} GFLOP/s (product of {SIDE}x{SIDE} matrices)");
    println!("share         {:.0} %", 100.0 * rate / ceiling);
    println!("peak memory   {} MiB", cropmae::device::peak_memory().unwrap_or(0) >> 20);
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

/// GFLOP/s of one large product on all cores.
fn product_rate() -> f64 {
    let (a, b) = (vec![0.5_f32; SIDE * SIDE], vec![0.25_f32; SIDE * SIDE]);
    let mut out = vec![0_f32; SIDE * SIDE];
    let side = SIDE as isize;
    let start = Instant::now();
    // SAFETY: three square matrices of SIDE * SIDE values each, row by row, `out` borrowed mutably.
    unsafe {
        gemm::gemm(
            SIDE,
            SIDE,
            SIDE,
            out.as_mut_ptr(),
            1,
            side,
            false,
            a.as_ptr(),
            1,
            side,
            b.as_ptr(),
            1,
            side,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(rayon::current_num_threads()),
        );
    }
    let time = start.elapsed().as_secs_f64();
    assert_eq!(out[SIDE * SIDE - 1], 0.125 * SIDE as f32);
    2.0 * (SIDE as f64).powi(3) / time / 1e9
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
