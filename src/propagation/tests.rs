//! Compares all engines with the definition written out: all scores, a full sort, no shortcuts.

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::Neighbor;
use super::*;

const WIDTH: usize = 12;
/// The fused kernel's twin, as there is no GPU in unit tests.
const ENGINES: [Engine; 3] = [Engine::Tiled, Engine::Fused(Arithmetic::F32), Engine::TensorOps];

/// Unit rows drawn by a seed.
fn features(seed: u64, cells: usize) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let draw = |rng: &mut ChaCha8Rng| rng.next_u32() as f32 / u32::MAX as f32 - 0.3;
    let values: Vec<f32> = (0..cells * WIDTH).map(|_| draw(&mut rng)).collect();
    let rows = Tensor::from_vec(values, (cells, WIDTH), &Device::Cpu).unwrap();
    let norms = rows.sqr().unwrap().sum_keepdim(1).unwrap().sqrt().unwrap();
    rows.broadcast_div(&norms).unwrap()
}

fn labels(grid: (usize, usize)) -> LabelMap {
    let values = (0..grid.0 * grid.1).flat_map(|cell| {
        let object = ((cell * 7) % 3) as f32 / 2.0;
        [1.0 - object, object]
    });
    LabelMap { grid, channels: 2, values: values.collect() }
}

fn settings() -> Settings {
    Settings {
        topk: 4,
        keep_ties: false,
        temperature: 0.7,
        neighborhood: Neighborhood { shape: Shape::Circle, radius: 2.5 },
        restrict_first: false,
        queue: 3,
        padded: true,
    }
}

fn run(engine: Engine, settings: &Settings, grid: (usize, usize), frames: u64) -> Vec<LabelMap> {
    let cells = grid.0 * grid.1;
    let mut propagation =
        Propagation::start(settings, engine, &features(0, cells), &labels(grid)).unwrap();
    (1..frames).map(|t| propagation.step(&features(t, cells)).unwrap()).collect()
}

/// The reference's way: the padded list of frames, one long list of scores a query.
fn written_out(settings: &Settings, grid: (usize, usize), frames: u64) -> Vec<LabelMap> {
    let cells = grid.0 * grid.1;
    let rows = |t: u64| features(t, cells).to_vec2::<f32>().unwrap();
    let mut maps = vec![labels(grid)];
    for t in 1..frames as i64 {
        let oldest = t - settings.queue as i64;
        let queue = (oldest..t).filter(|&f| settings.padded || f > 0).map(|f| f.max(0) as usize);
        let slots: Vec<(usize, bool)> = std::iter::once((0, settings.restrict_first))
            .chain(queue.map(|frame| (frame, true)))
            .collect();
        let query = rows(t as u64);
        let mut values = Vec::new();
        for (q, query) in query.iter().enumerate() {
            let mut scores = Vec::new();
            for &(frame, restricted) in &slots {
                for (s, key) in rows(frame as u64).iter().enumerate() {
                    let dot: f32 = query.iter().zip(key).map(|(a, b)| a * b).sum();
                    let (dy, dx) =
                        ((q / grid.1).abs_diff(s / grid.1), (q % grid.1).abs_diff(s % grid.1));
                    let inside = settings.neighborhood.half_width(dy).is_some_and(|h| dx <= h);
                    if inside || !restricted {
                        scores.push((dot, &maps[frame].values[2 * s..2 * s + 2]));
                    }
                }
            }
            scores.sort_by(|a, b| b.0.total_cmp(&a.0));
            // Without a k-th score there are no more than k.
            let least = scores.get(settings.topk - 1).map_or(f32::NEG_INFINITY, |last| last.0);
            match settings.keep_ties {
                true => scores.retain(|(score, _)| *score >= least),
                false => scores.truncate(settings.topk),
            }
            let weight = |score: f32| (score / settings.temperature as f32).exp();
            let total: f32 = scores.iter().map(|(score, _)| weight(*score)).sum();
            for channel in 0..2 {
                let mixed = scores.iter().map(|(score, label)| weight(*score) * label[channel]);
                values.push(mixed.sum::<f32>() / total);
            }
        }
        maps.push(LabelMap { grid, channels: 2, values });
    }
    maps.split_off(1)
}

/// Frames drawn at random have no ties but those of the copies, so any order gives the same.
fn assert_same(got: &[LabelMap], want: &[LabelMap]) {
    for (t, (got, want)) in got.iter().zip(want).enumerate() {
        for (cell, (a, b)) in got.values.iter().zip(&want.values).enumerate() {
            // f32 sums in another order: a few units in the last place.
            assert!((a - b).abs() < 1e-5, "frame {} value {cell}: {a} {b}", t + 1);
        }
    }
}

#[test]
fn neighborhoods_by_hand() {
    let reach = |shape, radius| -> Vec<Option<usize>> {
        (0..4).map(|dy| Neighborhood { shape, radius }.half_width(dy)).collect()
    };
    assert_eq!(reach(Shape::Circle, 2.0), [Some(1), Some(1), None, None]);
    assert_eq!(reach(Shape::CircleInclusive, 2.0), [Some(2), Some(1), Some(0), None]);
    assert_eq!(reach(Shape::Square, 2.0), [Some(2), Some(2), Some(2), None]);
    assert_eq!(reach(Shape::Circle, 2.5), [Some(2), Some(2), Some(1), None]);
    assert_eq!(reach(Shape::CircleInclusive, 0.5), [Some(0), None, None, None]);
    for shape in [Shape::Circle, Shape::CircleInclusive, Shape::Square] {
        let farther = |reach: &Option<usize>| reach.is_some_and(|cells| cells >= 1 << 20);
        assert!(reach(shape, 1e300).iter().all(farther), "no limit");
    }
}

#[test]
fn identical_frames_keep_their_labels() {
    // One neighbour, and every cell's best match is itself.
    let settings = Settings { topk: 1, ..settings() };
    let (same, labels) = (features(5, 20), labels((4, 5)));
    for engine in ENGINES {
        let mut propagation = Propagation::start(&settings, engine, &same, &labels).unwrap();
        for _ in 0..5 {
            assert_eq!(propagation.step(&same).unwrap(), labels);
        }
    }
}

#[test]
fn tied_keys_all_count_where_they_are_kept() {
    // All features alike: with ties kept, each cell takes the mean over its window.
    let same = Tensor::ones((6, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let values = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
    let labels = LabelMap { grid: (1, 6), channels: 2, values: values.to_vec() };
    let neighborhood = Neighborhood { shape: Shape::Square, radius: 1.0 };
    let settings = Settings {
        topk: 2,
        keep_ties: true,
        restrict_first: true,
        padded: false,
        neighborhood,
        ..settings()
    };
    for engine in ENGINES {
        let mut propagation = Propagation::start(&settings, engine, &same, &labels).unwrap();
        let soft = propagation.step(&same).unwrap().values;
        let objects: Vec<f32> = soft.iter().skip(1).step_by(2).copied().collect();
        let want = [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0];
        assert!(objects.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{objects:?}");
    }
}

#[test]
fn senseless_settings_are_refused() {
    for bad in [
        Settings { topk: 0, ..settings() },
        Settings { temperature: 0.0, ..settings() },
        Settings { temperature: f64::NAN, ..settings() },
        Settings { queue: MOST_COPIES, ..settings() },
        Settings {
            neighborhood: Neighborhood { shape: Shape::Circle, radius: -1.0 },
            ..settings()
        },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}

#[test]
fn features_of_another_grid_are_refused() {
    let mut propagation =
        Propagation::start(&settings(), Engine::Tiled, &features(0, 20), &labels((4, 5))).unwrap();
    assert!(propagation.step(&features(1, 16)).is_err());
    assert!(
        Propagation::start(&settings(), Engine::Tiled, &features(0, 9), &labels((4, 5))).is_err()
    );
}

/// The errors that the documentation promises, by every engine, and no panic.
#[test]
fn what_cannot_be_propagated_is_refused() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu);
    let zeros = |shape: &[usize]| zeros(shape).unwrap();
    for engine in ENGINES {
        let start = |features: &Tensor, labels: &LabelMap| {
            Propagation::start(&settings(), engine, features, labels)
        };
        let refused = |name: &str, result: Result<()>| match result {
            Err(Error::Setting { name: found, .. }) => assert_eq!(found, name),
            other => panic!("{engine:?} {name}: {other:?}"),
        };
        let map = |grid, channels, count| LabelMap { grid, channels, values: vec![1.0; count] };
        for labels in [
            map((0, 0), 2, 0),
            map((0, 5), 2, 0),
            map((4, 5), 0, 0),
            map((4, 5), 2, 39),
            map((usize::MAX, 2), 2, 0),
        ] {
            let cells = labels.grid.0.min(20) * labels.grid.1;
            refused("labels", start(&zeros(&[cells, WIDTH]), &labels).map(drop));
        }
        for shape in [&[20, 0][..], &[20], &[1, 20, WIDTH], &[19, WIDTH]] {
            refused("features", start(&zeros(shape), &labels((4, 5))).map(drop));
        }
        let mut propagation = start(&features(0, 20), &labels((4, 5))).unwrap();
        for shape in [&[20, WIDTH - 1][..], &[20, WIDTH + 1], &[20], &[1, 20, WIDTH]] {
            refused("features", propagation.step(&zeros(shape)).map(drop));
        }
        // it goes on as if nothing had been asked
        let after = propagation.step(&features(1, 20)).unwrap();
        assert_eq!(after, run(engine, &settings(), (4, 5), 2)[0]);
    }
    let clip =
        Propagation::start(&settings(), Engine::Tiled, &features(0, 20), &labels((4, 5))).unwrap();
    let other = clip.neighbors(&zeros(&[20, WIDTH + 1]), (0, 0)).unwrap_err().to_string();
    assert!(other.contains("does not fit the first frame's 4x5 cells of 12"), "{other}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn engines_equal_the_definition(
        height in 1_usize..9,
        width in 1_usize..9,
        topk in 1_usize..9,
        queue in 0_usize..5,
        radius in 1.0_f64..6.0,
        shape in prop_oneof![Just(Shape::Circle), Just(Shape::CircleInclusive), Just(Shape::Square)],
        padded: bool,
        restrict_first: bool,
    ) {
        let neighborhood = Neighborhood { shape, radius };
        let settings =
            Settings { topk, queue, padded, restrict_first, neighborhood, ..settings() };
        let grid = (height, width);
        let want = written_out(&settings, grid, 7);
        for engine in ENGINES {
            assert_same(&run(engine, &settings, grid, 7), &want);
        }
        // Copies are ties.
        let settings = Settings { keep_ties: true, ..settings };
        let want = written_out(&settings, grid, 7);
        for engine in ENGINES {
            assert_same(&run(engine, &settings, grid, 7), &want);
        }
    }
}

/// A queue is as long as its clip has come: no setting of it is too long for a short one.
#[test]
fn a_queue_may_be_longer_than_the_clip() {
    let grid = (2, 3);
    let all = Settings { queue: 200, ..settings() };
    let want = run(Engine::Tiled, &all, grid, 150);
    for engine in ENGINES {
        // beyond the room that a ring has at first, twice, and once around a ring of 131 frames
        assert_same(&run(engine, &all, grid, 150), &want);
        let around = Settings { queue: 130, ..settings() };
        let want = run(Engine::Tiled, &around, grid, 150);
        assert_same(&run(engine, &around, grid, 150), &want);
        // the first is one that the kernel has room for, the second none
        for queue in [100_000_000, usize::MAX] {
            let long = Settings { queue, padded: false, ..settings() };
            let want = run(engine, &Settings { queue: 3, ..long.clone() }, grid, 4);
            assert_same(&run(engine, &long, grid, 4), &want);
        }
    }
}

/// Whose labels a query takes, told before the step that labels it.
#[test]
fn neighbors_bring_the_labels_of_the_step() {
    let ways = [
        settings(),
        Settings { padded: false, restrict_first: true, ..settings() },
        Settings { keep_ties: true, topk: 7, ..settings() },
        Settings { queue: 0, ..settings() },
    ];
    // grids of both orientations, for they are searched along their longer side
    for (settings, grid) in ways.iter().flat_map(|way| [(way, (4, 7)), (way, (7, 4))]) {
        let cells = grid.0 * grid.1;
        let start = Propagation::start(settings, Engine::Tiled, &features(0, cells), &labels(grid));
        let mut propagation = start.unwrap();
        for t in 1..7 {
            let frame = features(t, cells);
            let each =
                |cell| propagation.neighbors(&frame, (cell / grid.1, cell % grid.1)).unwrap();
            let found: Vec<Vec<Neighbor>> = (0..cells).map(each).collect();
            let soft = propagation.step(&frame).unwrap();
            for (cell, found) in found.iter().enumerate() {
                for channel in 0..2 {
                    let mixed: f32 = found.iter().map(|n| n.weight * n.labels[channel]).sum();
                    let gap = (mixed - soft.values[2 * cell + channel]).abs();
                    // sums of at most 7 numbers below 1, in the same order
                    assert!(gap <= 1e-6, "frame {t} cell {cell}: {gap}");
                }
                check(found, (t as usize, cell), settings, grid);
            }
        }
    }
}

/// What must hold of a query's neighbours by the settings alone.
fn check(found: &[Neighbor], (t, cell): (usize, usize), settings: &Settings, grid: (usize, usize)) {
    let total: f32 = found.iter().map(|n| n.weight).sum();
    assert!((total - 1.0).abs() < 1e-5);
    assert!(found.windows(2).all(|pair| pair[0].cosine >= pair[1].cosine));
    let query = features(t as u64, grid.0 * grid.1).to_vec2::<f32>().unwrap();
    for n in found {
        let key = features(n.frame as u64, grid.0 * grid.1).to_vec2::<f32>().unwrap();
        let key = &key[n.cell.0 * grid.1 + n.cell.1];
        let dot: f32 = query[cell].iter().zip(key).map(|(a, b)| a * b).sum();
        assert!((dot - n.cosine).abs() < 1e-5, "frame {} cell {:?} is another", n.frame, n.cell);
        assert!(n.frame == 0 || (t.saturating_sub(settings.queue)..t).contains(&n.frame));
        let (dy, dx) = (n.cell.0.abs_diff(cell / grid.1), n.cell.1.abs_diff(cell % grid.1));
        let near = settings.neighborhood.half_width(dy).is_some_and(|half| dx <= half);
        assert!(near || n.frame == 0 && !settings.restrict_first);
        let copies = match (n.frame, settings.padded) {
            // the long-term frame, and what fills the queue until it is full
            (0, true) => {
                usize::from(!settings.restrict_first || near)
                    + if near { (settings.queue + 1).saturating_sub(t) } else { 0 }
            }
            _ => 1,
        };
        assert_eq!(n.copies, copies, "frame {t}: {n:?}");
    }
}

#[test]
fn neighbors_that_cannot_be_told() {
    let grid = (3, 4);
    let (frame, labels) = (features(0, 12), labels(grid));
    let start = |engine| Propagation::start(&settings(), engine, &frame, &labels).unwrap();
    let message = |engine, cell| start(engine).neighbors(&frame, cell).unwrap_err().to_string();
    assert!(message(Engine::Tiled, (3, 0)).contains("3 rows, 4 columns"));
    assert!(message(Engine::TensorOps, (0, 0)).contains("Tiled"));
}

#[test]
fn what_the_kernel_cannot_do_is_done_by_others_or_refused() {
    let (few, many) = (settings(), Settings { topk: 33, ..settings() });
    let [f32, bf16] = [Arithmetic::F32, Arithmetic::Bf16].map(Engine::Fused);
    assert_eq!(f32.fitting(&few, (30, 55), &Device::Cpu).unwrap(), f32);
    assert_eq!(f32.fitting(&many, (30, 55), &Device::Cpu).unwrap(), Engine::TensorOps);
    assert_eq!(f32.fitting(&few, (1000, 1000), &Device::Cpu).unwrap(), Engine::TensorOps);
    let refused = bf16.fitting(&many, (30, 55), &Device::Cpu).unwrap_err().to_string();
    assert!(refused.starts_with("affinity: bf16 takes no such topk"), "{refused}");
    assert_eq!(Engine::Tiled.fitting(&many, (1000, 1000), &Device::Cpu).unwrap(), Engine::Tiled);
}
