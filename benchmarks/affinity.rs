//! Milliseconds a frame of the affinity on the CPU, and what share of the machine's matrix-product
//! rate its products reach.
//!
//! `cargo bench --bench affinity -- [STEPS]`, by default 15: CropMAE's protocol for DAVIS (7
//! nearest of frame 0 and 20 frames, radius 20) on a grid of 30×55 and random features of 384
//! channels. Of the products only those are counted that the radius leaves: a query with all of
//! frame 0, and with the cells within its radius of every other frame. In brackets stands what
//! comes of whole columns of the grid, as far as the radius reaches, being counted instead: so
//! older figures were made. The ceiling, one large f32 product by the `gemm` crate, is measured
//! between the steps.

#![allow(missing_docs, clippy::unwrap_used, unsafe_code)]

mod ceiling;

use std::time::Instant;

use candle_core::{Device, Tensor};
use ceiling::{SIDE, median, product_rate};
use cropmae::propagation::{Engine, LabelMap, Neighborhood, Propagation};
use cropmae::protocol::{Benchmark, Preset};

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GRID: (usize, usize) = (30, 55);
const WIDTH: usize = 384;

fn main() {
    let steps = std::env::args().skip(1).find(|a| !a.starts_with("--"));
    let steps: usize = steps.map_or(15, |text| text.parse().unwrap());
    let settings = Preset::Cropmae.protocol(Benchmark::Davis).unwrap().propagation;
    let cells = GRID.0 * GRID.1;
    let values = (0..cells * 2).map(|i| (i % 2) as f32).collect();
    let labels = LabelMap { grid: GRID, channels: 2, values };
    let mut clip = Propagation::start(&settings, Engine::Tiled, &features(0), &labels).unwrap();
    for seed in 0..settings.queue {
        clip.step(&features(1 + seed)).unwrap();
    }
    let (mut times, mut rates) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let query = features(100 + step);
        rates.push(product_rate());
        let start = Instant::now();
        clip.step(&query).unwrap();
        times.push(start.elapsed().as_secs_f64());
    }
    let (visible, columns) = pairs(&settings.neighborhood);
    let work = |near: usize| 2.0 * ((cells * cells + settings.queue * near) * WIDTH) as f64 / 1e9;
    let (work, wider) = (work(visible), work(columns));
    let (time, ceiling) = (median(&mut times), median(&mut rates));
    let share = |work: f64| 100.0 * work / time / ceiling;
    println!("affinity, 30x55, 21 frames, {} threads, {steps} steps", rayon::current_num_threads());
    println!("step          {:.0} ms (fastest {:.0} ms)", 1e3 * time, 1e3 * times[0]);
    println!("work          {work:.1} GFLOP within the radius ({wider:.1} in whole columns)");
    println!("step's rate   {:.0} GFLOP/s ({:.0})", work / time, wider / time);
    println!("ceiling       {ceiling:.0} GFLOP/s (product of {SIDE}x{SIDE} matrices)");
    println!("share         {:.0} % ({:.0} %)", share(work), share(wider));
    println!("peak memory   {} MiB", cropmae::device::peak_memory().unwrap_or(0) >> 20);
}

/// Pairs of cells of which one sees the other, and of which one sees the other's column.
fn pairs(neighborhood: &Neighborhood) -> (usize, usize) {
    // how many pairs of rows, or of columns, are `offset` apart, in either direction
    let apart = |length: usize, offset: usize| (length - offset) * if offset > 0 { 2 } else { 1 };
    let columns = |rows: usize| {
        let half = neighborhood.half_width(rows).map_or(0, |half| (half + 1).min(GRID.1));
        (0..half).map(|offset| apart(GRID.1, offset)).sum::<usize>()
    };
    let visible = (0..GRID.0).map(|rows| apart(GRID.0, rows) * columns(rows)).sum();
    (visible, columns(0) * GRID.0 * GRID.0)
}

/// Unit vectors that look random, others for every seed.
fn features(seed: usize) -> Tensor {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed as u64 + 1);
    let mut values: Vec<f32> = (0..GRID.0 * GRID.1 * WIDTH)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    for row in values.chunks_exact_mut(WIDTH) {
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= length);
    }
    Tensor::from_vec(values, (GRID.0 * GRID.1, WIDTH), &Device::Cpu).unwrap()
}
