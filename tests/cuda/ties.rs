//! Keys that score the same: which of them count must not depend on the engine.

use candle_core::{Device, Tensor};
use cropmae::propagation::{
    Arithmetic, Engine, LabelMap, Neighborhood, Propagation, Settings, Shape,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::other_device;

const WIDTH: usize = 16;

/// Unit rows of ±1/4: cosines are whole eighths, exact in every arithmetic, and many are equal.
fn coarse(seed: u64, cells: usize) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let draw =
        |rng: &mut ChaCha8Rng| if rng.next_u32().is_multiple_of(2) { 0.25_f32 } else { -0.25 };
    let values: Vec<f32> = (0..cells * WIDTH).map(|_| draw(&mut rng)).collect();
    Tensor::from_vec(values, (cells, WIDTH), &Device::Cpu).unwrap()
}

fn settings(topk: usize, keep_ties: bool) -> Settings {
    Settings {
        topk,
        keep_ties,
        temperature: 0.3,
        neighborhood: Neighborhood { shape: Shape::Circle, radius: 4.5 },
        restrict_first: keep_ties,
        queue: 3,
        padded: topk.is_multiple_of(2),
    }
}

/// The labels of all frames but the given first.
fn soft_labels(
    engine: Engine,
    settings: &Settings,
    (grid, frames): ((usize, usize), u64),
    on: &Device,
) -> Vec<f32> {
    let cells = grid.0 * grid.1;
    let values = (0..cells * 3).map(|n| (n * 7 % 11) as f32 / 10.0).collect();
    let first = LabelMap { grid, channels: 3, values };
    let features = |t| coarse(t, cells).to_device(on).unwrap();
    let mut clip = match Propagation::start(settings, engine, &features(0), &first) {
        Ok(clip) => clip,
        // more neighbours than the kernel does: in f32 the tensor operations step in
        Err(error) => {
            assert!(engine != Engine::Fused(Arithmetic::F32) && settings.topk > 32, "{error}");
            return Vec::new();
        }
    };
    (1..frames).flat_map(|t| clip.step(&features(t)).unwrap().values).collect()
}

#[test]
fn ties_fall_alike() {
    let other = other_device();
    // With ties kept, hundreds of keys can count, many more than the kernel's lists hold; 41
    // neighbours are more than it can do.
    for (topk, keep_ties) in
        [(1, false), (6, false), (7, true), (10, true), (32, false), (41, true)]
    {
        for grid in [(9, 13), (20, 7), (1, 5)] {
            let settings = settings(topk, keep_ties);
            let ours = soft_labels(Engine::Tiled, &settings, (grid, 7), &Device::Cpu);
            for arithmetic in [Arithmetic::F32, Arithmetic::Tf32, Arithmetic::Bf16] {
                let theirs = soft_labels(Engine::Fused(arithmetic), &settings, (grid, 7), &other);
                let gap = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                // Means over up to some hundreds of labels, added up in another order.
                assert!(gap < 1e-5, "{arithmetic:?}, k {topk}, {grid:?}: {gap}");
            }
        }
    }
}

/// A ring that gets more room twice while the clip goes on, one that then is full and goes around,
/// and one with more places than the clip has frames by far.
#[test]
fn long_queues_hold_the_same_frames() {
    let other = other_device();
    for queue in [200, 130, 100_000] {
        let settings = Settings { queue, ..settings(6, false) };
        let clip = ((3, 5), 150);
        let ours = soft_labels(Engine::Tiled, &settings, clip, &Device::Cpu);
        for arithmetic in [Arithmetic::F32, Arithmetic::Tf32, Arithmetic::Bf16] {
            let theirs = soft_labels(Engine::Fused(arithmetic), &settings, clip, &other);
            let gap = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // means over 6 labels, added up in another order, of 149 frames after one another
            assert!(gap < 1e-5, "{arithmetic:?}, queue {queue}: {gap}");
        }
    }
}
