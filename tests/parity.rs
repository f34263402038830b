//! Our numbers against the reference program's, stage by stage, on real frames.
//!
//! The fixtures hold what CropMAE's own program computed with a small random encoder. JHMDB's
//! frames are PNGs, so every stage can be compared to rounding; DAVIS's and VIP's are JPEGs, which
//! two decoders read up to four grey levels apart: there the hard labels are compared, and with the
//! feature `turbojpeg`, which decodes as the reference did, the stages too.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use common::{Run, json, largest_gap, shared, tensors, values};
use cropmae::eval::flat_name;
use cropmae::eval::stream::input_planes;
use cropmae::image::{decode, indexed};
use cropmae::model::Encoder;
use cropmae::model::source::{self, Choices, Source};
use cropmae::propagation::labels::{Readout, hard_labels};
use cropmae::propagation::{Engine, LabelMap};
use cropmae::protocol::{Benchmark, Preset, Protocol};

fn encoder() -> Option<Encoder> {
    let path = shared("fixtures/weights/siammae_tiny.safetensors")?;
    let choices = Choices::default();
    let loaded = source::load(&Source::File(path), &choices, &Device::Cpu, DType::F32).unwrap();
    Some(loaded.encoder)
}

/// The preset with a fixture run's parameters.
fn protocol(benchmark: Benchmark, run: &str) -> Protocol {
    let params =
        shared(&format!("fixtures/propagation/dev_{}/{run}/params.json", benchmark.name()));
    let params = json(params.unwrap());
    let mut protocol = Preset::Cropmae.protocol(benchmark).unwrap();
    protocol.propagation.topk = params["topk"].as_u64().unwrap() as usize;
    protocol.propagation.queue = params["video_len"].as_u64().unwrap() as usize;
    protocol.propagation.temperature = params["temperature"].as_f64().unwrap();
    protocol.propagation.neighborhood.radius = params["radius"].as_f64().unwrap();
    protocol
}

/// A run of ours on a fixture's clip.
fn run(benchmark: Benchmark, protocol: &Protocol, encoder: &Encoder, engine: Engine) -> Run {
    let root = shared(&format!("fixtures/data/{}", benchmark.name().to_uppercase())).unwrap();
    Run::of(&root, protocol, encoder, engine)
}

const CLIPS: [(Benchmark, &str); 3] = [
    (Benchmark::Davis, "bmx-trees"),
    (Benchmark::Vip, "videos1"),
    (Benchmark::Jhmdb, "ride_bike/bmx_trees_ride_bike_0"),
];

fn frame_path(benchmark: Benchmark, clip: &str, index: usize) -> std::path::PathBuf {
    let folder = match benchmark {
        Benchmark::Davis => format!("DAVIS/JPEGImages/480p/{clip}"),
        Benchmark::Vip => format!("VIP/Images/{clip}"),
        Benchmark::Jhmdb => format!("JHMDB/Rename_Images/{clip}"),
    };
    let folder = shared(&format!("fixtures/data/{folder}")).unwrap();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files.swap_remove(index)
}

/// Whether frames are decoded to the very pixels that the reference had.
fn same_pixels(benchmark: Benchmark) -> bool {
    benchmark == Benchmark::Jhmdb || cfg!(feature = "turbojpeg")
}

#[test]
fn preprocessed_frames() {
    for (benchmark, clip) in CLIPS {
        let name = format!("fixtures/propagation/dev_{}/preprocessed", benchmark.name());
        let Some(folder) = shared(&name) else { return };
        let theirs = tensors(folder.join(format!("{}.safetensors", flat_name(clip))));
        let protocol = Preset::Cropmae.protocol(benchmark).unwrap();
        for (name, crop) in theirs.iter().filter(|(name, _)| name.starts_with("img_t")) {
            // img_t{frame} or img_t{frame}_{place}_y{top}_x{left}
            let number = |mark: &str| {
                let part = name.split('_').find_map(|part| part.strip_prefix(mark));
                part.map_or(0, |digits| digits.parse::<usize>().unwrap_or(0))
            };
            let frame = decode::read(&frame_path(benchmark, clip, number("t"))).unwrap();
            let (planes, size) = input_planes(frame, &protocol, 16).unwrap();
            let planes =
                Tensor::from_vec(planes, (3, size.height, size.width), &Device::Cpu).unwrap();
            let (_, height, width) = crop.dims3().unwrap();
            let top = if name.contains("_y") { number("y") } else { 0 };
            let left = if name.contains("_x") { number("x") } else { 0 };
            let ours = planes.narrow(1, top, height).unwrap().narrow(2, left, width).unwrap();
            let (gap, _) = largest_gap(&values(&ours), &values(crop));
            // f32 rounding of an interpolation divided by 0.225; else four grey levels.
            let tolerance = if same_pixels(benchmark) { 1e-6 } else { 4.1 / 255.0 / 0.224 };
            eprintln!("{benchmark} {name}: largest gap {gap:e}");
            assert!(gap <= tolerance, "{benchmark} {name}: {gap}");
        }
    }
}

#[test]
fn encoder_tokens() {
    let Some(encoder) = encoder() else { return };
    let (benchmark, clip) = CLIPS[2];
    let frame = decode::read(&frame_path(benchmark, clip, 0)).unwrap();
    let protocol = Preset::Cropmae.protocol(benchmark).unwrap();
    let (planes, _) = input_planes(frame, &protocol, 16).unwrap();
    let frame = Tensor::from_vec(planes, (1, 3, 320, 320), &Device::Cpu).unwrap();
    let file =
        format!("fixtures/propagation/dev_jhmdb/default/tensors/{}.safetensors", flat_name(clip));
    let theirs = tensors(shared(&file).unwrap());
    let Encoder::Vit(vit) = &encoder else { panic!("the fixture is a vision transformer") };
    let ours = values(&vit.tokens(&frame).unwrap());
    // The bound on twelve blocks; three of them stay far below.
    let (gap, _) = largest_gap(&ours, &values(&theirs["encoder_raw_t0"]));
    assert!(gap <= 2e-5, "tokens: {gap}");
    let features = encoder.features(&frame).unwrap().squeeze(0).unwrap().t().unwrap();
    let (gap, _) =
        largest_gap(&values(&features.contiguous().unwrap()), &values(&theirs["feat_t0"]));
    assert!(gap <= 1e-6, "features: {gap}");
}

/// The largest gap between our soft labels and the reference's, and the frame it is in.
fn largest_soft_label_gap(run: &Run, theirs: &HashMap<String, Tensor>, clip: &str) -> (usize, f32) {
    let ours = run.soft_labels(clip);
    let reference = |t: usize| match theirs.get("soft_all") {
        Some(all) => Some(all.get(t).unwrap()),
        None => theirs.get(&format!("soft_t{t}")).cloned(),
    };
    let gaps = (0..ours.dim(0).unwrap()).filter_map(|t| {
        let (gap, _) = largest_gap(&values(&ours.get(t).unwrap()), &values(&reference(t)?));
        Some((t, gap))
    });
    gaps.fold((0, 0.0), |worst, gap| if gap.1 > worst.1 { gap } else { worst })
}

/// Share of pixels whose hard label, at the encoder's input size, is the reference's.
fn hard_label_agreement(run: &Run, benchmark: Benchmark, clip: &str, name: &str) -> f64 {
    let soft = run.soft_labels(clip);
    let (frames, height, width, channels) = soft.dims4().unwrap();
    let folder = format!("fixtures/propagation/dev_{}/{name}/label_index/{clip}", benchmark.name());
    let folder = shared(&folder).unwrap();
    let channel_numbers: Vec<u8> = (0..channels as u8).collect();
    let (mut same, mut all) = (0, 0);
    for t in 0..frames {
        let values = values(&soft.get(t).unwrap());
        let map = LabelMap { grid: (height, width), channels, values };
        let theirs = indexed::read(&folder.join(format!("{t:05}.png"))).unwrap();
        let size = (theirs.height, theirs.width);
        let ours = hard_labels(&map, &channel_numbers, size, Readout::Argmax);
        same += ours.data.iter().zip(&theirs.data).filter(|(a, b)| a == b).count();
        all += theirs.data.len();
    }
    same as f64 / all as f64
}

fn compare_run(benchmark: Benchmark, clip: &str, name: &str, engine: Engine) {
    let Some(encoder) = encoder() else { return };
    let protocol = protocol(benchmark, name);
    let run = run(benchmark, &protocol, &encoder, engine);
    let folder = shared(&format!("fixtures/propagation/dev_{}/{name}", benchmark.name())).unwrap();
    let theirs = tensors(folder.join(format!("tensors/{}.safetensors", flat_name(clip))));
    let (frame, gap) = largest_soft_label_gap(&run, &theirs, clip);
    let share = hard_label_agreement(&run, benchmark, clip, name);
    eprintln!(
        "{benchmark} {name}: soft labels within {gap:e} (frame {frame}), {:.4} % of hard labels agree",
        100.0 * share
    );
    if same_pixels(benchmark) {
        // Ties are no excuse here: copies of one frame tie with themselves and no other cells do.
        assert!(gap <= 1e-4, "frame {frame}: {gap}");
        assert!(share >= 0.999_99, "hard labels: {share}");
    }
    assert!(share >= 0.999, "hard labels: {share}");
    compare_metrics(benchmark, engine, &run, &folder);
}

fn compare_metrics(benchmark: Benchmark, engine: Engine, run: &Run, folder: &Path) {
    let metrics = json(folder.join("metrics.json"));
    let pairs: Vec<(String, f64)> = match benchmark {
        Benchmark::Davis => metrics["global"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_f64().unwrap()))
            .collect(),
        Benchmark::Vip => vec![("mIoU".into(), metrics["mIoU"].as_f64().unwrap())],
        Benchmark::Jhmdb => [0.1, 0.2, 0.3, 0.4, 0.5]
            .map(|at| (format!("PCK@{at}"), metrics[format!("PCK_{at}")].as_f64().unwrap() / 100.0))
            .to_vec(),
    };
    for (name, theirs) in pairs {
        let ours = run.metrics[&name].as_f64().unwrap();
        eprintln!("{benchmark} {name}: {ours:.6}, reference {theirs:.6}");
        // From other pixels means still agree in the third digit; recall jumps by a frame's share
        // and decay is a difference of two small means, so they are left to the exact decoder.
        let tolerance = match (same_pixels(benchmark), name.ends_with("Mean")) {
            // Sums in another order tip one of the 375 joints, whose strongest cells all but tie.
            (true, _) if engine == Engine::TensorOps => 1.01 / 375.0,
            (true, _) => 1e-3,
            (false, true) => 5e-3,
            (false, false) if benchmark == Benchmark::Vip => 1e-3,
            (false, false) => continue,
        };
        assert!((ours - theirs).abs() <= tolerance, "{name}: {ours} {theirs}");
    }
}

#[test]
fn davis_default() {
    compare_run(Benchmark::Davis, "bmx-trees", "default", Engine::Tiled);
}

#[test]
fn davis_alternative() {
    compare_run(Benchmark::Davis, "bmx-trees", "alt", Engine::Tiled);
}

#[test]
fn vip_default() {
    compare_run(Benchmark::Vip, "videos1", "default", Engine::Tiled);
}

#[test]
fn vip_alternative() {
    compare_run(Benchmark::Vip, "videos1", "alt", Engine::Tiled);
}

#[test]
fn jhmdb_default() {
    for engine in [Engine::Tiled, Engine::TensorOps] {
        compare_run(Benchmark::Jhmdb, "ride_bike/bmx_trees_ride_bike_0", "default", engine);
    }
}

#[test]
fn jhmdb_alternative() {
    for engine in [Engine::Tiled, Engine::TensorOps] {
        compare_run(Benchmark::Jhmdb, "ride_bike/bmx_trees_ride_bike_0", "alt", engine);
    }
}
