//! The fused encoder of a GPU against the CPU's, and what leads up to it.

use std::process::Command;

use candle_core::{DType, Device, Tensor};
use cropmae::model::config::VitConfig;
use cropmae::model::vit::{Implementation, Layer, Vit};
use cropmae::model::weights::Checkpoint;
use cropmae::model::{Encoder, init};

use super::{first_clip, other_device, rendered, skipped, untrained};
use crate::common::{largest_gap, tensors, values};

/// The fused encoder where it is there at all.
fn fused(checkpoint: &Checkpoint, layer: Layer, on: (&Device, DType)) -> Vit {
    let vit = Vit::by(Implementation::Fused, checkpoint, layer, on).unwrap();
    assert_eq!(vit.implementation(), "fused");
    vit
}

/// Two frames of noise of 80×112 pixels: with patches of 16, 36 tokens and CLS make tiles that are
/// not full.
fn noise() -> Tensor {
    let values = (0..2 * 3 * 80 * 112).map(|i| ((i * 7919 % 1009) as f32 / 70.0).sin());
    Tensor::from_iter(values, &Device::Cpu).unwrap().reshape((2, 3, 80, 112)).unwrap()
}

/// An encoder with rotary positions and gated feed-forwards, as DINOv3's S+ has them.
fn rotary_and_gated() -> Checkpoint {
    let mut checkpoint = untrained("vitti16", 3, 4);
    let draw = |shape: &[usize], scale: f32| {
        let values = (0..shape.iter().product()).map(|i: usize| (i * 7919 % 1009) as f32 / 1009.0);
        let values = Tensor::from_iter(values.map(|v| (v - 0.5) * scale), &Device::Cpu).unwrap();
        values.reshape(shape).unwrap()
    };
    let tensors = &mut checkpoint.tensors;
    tensors.remove("pos_embed");
    for block in 0..3 {
        let name = |part: &str| format!("blocks.{block}.{part}");
        tensors.insert(name("mlp.fc1.weight"), draw(&[2 * 256, 192], 0.2));
        tensors.insert(name("mlp.fc1.bias"), draw(&[2 * 256], 1.0));
        tensors.insert(name("mlp.fc2.weight"), draw(&[192, 256], 0.2));
        tensors.insert(name("attn.qkv.bias"), draw(&[3 * 192], 1.0));
    }
    checkpoint.config.gated = true;
    checkpoint.config.positions = None;
    checkpoint
}

/// Encoders that take every branch: registers, LayerScale, rotary positions, gates, heads of 8, 32,
/// 64 and 80 channels, rows wider than a warp keeps.
fn kinds() -> Vec<(&'static str, Checkpoint)> {
    let sizes = |width, heads, registers| VitConfig {
        width,
        heads,
        registers,
        depth: 3,
        ..VitConfig::named("vitti16").unwrap()
    };
    let mut scaled = untrained("vitti16", 3, 0);
    for (block, part) in (0..3).flat_map(|block| [(block, "ls1"), (block, "ls2")]) {
        let gamma = (0..192).map(|i| 0.1 + (i % 7) as f32 / 10.0);
        let gamma = Tensor::from_iter(gamma, &Device::Cpu).unwrap();
        scaled.tensors.insert(format!("blocks.{block}.{part}.gamma"), gamma);
    }
    vec![
        ("registers", init::random(&sizes(192, 3, 4), 1).unwrap()),
        ("LayerScale", scaled),
        ("rotary and gated", rotary_and_gated()),
        ("heads of 8", init::random(&sizes(48, 6, 0), 1).unwrap()),
        ("heads of 32", init::random(&sizes(96, 3, 0), 1).unwrap()),
        ("heads of 80, wide", init::random(&sizes(1280, 16, 0), 1).unwrap()),
    ]
}

#[test]
fn fused_tokens_agree_whatever_the_encoder() {
    let (other, frames) = (other_device(), noise());
    let moved = frames.to_device(&other).unwrap();
    for (kind, checkpoint) in kinds() {
        for layer in [Layer::Last, Layer::Block(2), Layer::MeanLast(2)] {
            let ours = Vit::by_tensors(&checkpoint, layer, &Device::Cpu, DType::F32).unwrap();
            let ours = values(&ours.tokens(&frames).unwrap());
            let theirs = fused(&checkpoint, layer, (&other, DType::F32)).tokens(&moved).unwrap();
            let theirs = values(&theirs.to_device(&Device::Cpu).unwrap());
            let (gap, _) = largest_gap(&ours, &theirs);
            eprintln!("{kind}, {layer}: largest gap of a token {gap:e}");
            // normed values up to about 4, after three blocks of sums in another order
            assert!(gap <= 5e-5, "{kind}, {layer}: {gap}");
        }
    }
}

#[test]
fn fused_attention_of_cls_agrees() {
    let (other, frames) = (other_device(), noise());
    for checkpoint in [untrained("vits16", 3, 4), rotary_and_gated()] {
        let ours = Vit::by_tensors(&checkpoint, Layer::Last, &Device::Cpu, DType::F32).unwrap();
        let ours = values(&ours.cls_attention(&frames).unwrap());
        let theirs = fused(&checkpoint, Layer::Last, (&other, DType::F32));
        let theirs = theirs.cls_attention(&frames.to_device(&other).unwrap()).unwrap();
        let (gap, _) = largest_gap(&ours, &values(&theirs.to_device(&Device::Cpu).unwrap()));
        assert!(gap <= 1e-6, "shares of 1 among 41 tokens: {gap}");
    }
}

#[test]
fn fused_features_in_bf16_point_the_same_way() {
    let other = other_device();
    if skipped(&other, "on the CPU the tensor operations alone know bf16, and they are tested") {
        return;
    }
    let frames = noise();
    for (kind, checkpoint) in kinds() {
        let ours = Vit::new(&checkpoint, Layer::Last, &Device::Cpu, DType::F32).unwrap();
        let theirs = fused(&checkpoint, Layer::Last, (&other, DType::BF16));
        let [ours, theirs] = [(ours, &Device::Cpu), (theirs, &other)].map(|(vit, on)| {
            let features = Encoder::Vit(Box::new(vit)).features(&frames.to_device(on).unwrap());
            features.unwrap().to_device(&Device::Cpu).unwrap()
        });
        let cosines = values(&(ours * theirs).unwrap().sum(2).unwrap());
        let worst = cosines.iter().copied().fold(f32::INFINITY, f32::min);
        eprintln!("{kind}, bf16: least cosine {worst}");
        // as for the tensor operations, of whose roundings the sums of the blocks are spared
        assert!(worst >= 0.998, "{kind}: {worst}");
    }
}

/// In processes of their own: how products of f32 are computed holds for all of a process.
#[test]
fn features_in_tf32_are_close_to_those_in_f32() {
    if skipped(&other_device(), "a CPU refuses tf32, which tests/cli looks at") {
        return;
    }
    let (folder, out) = (rendered(1, 1), tempfile::tempdir().unwrap());
    let picture = &first_clip(folder.path(), "JPEGImages")[0];
    // benchmarks/gpu.sh runs this where the program lies elsewhere
    let program = std::env::var_os("PROPAGATE");
    let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_propagate").into());
    let features = |dtype: &str| {
        let file = out.path().join(format!("{dtype}.safetensors"));
        let mut command = Command::new(&program);
        command.arg("features").arg("--images").arg(picture).arg("--out").arg(&file);
        command.args(["--weights", "random:vits16@0", "--size", "128x224", "--normalize"]);
        command.args(["--device", "cuda", "--dtype", dtype]);
        assert!(command.status().unwrap().success());
        let stored = tensors(file);
        let patches = stored.iter().find(|(name, _)| name.ends_with(".patches")).unwrap().1;
        patches.flatten(0, 1).unwrap()
    };
    let cosines = (features("f32") * features("tf32")).unwrap().sum(1).unwrap();
    let worst = values(&cosines).into_iter().fold(f32::INFINITY, f32::min);
    eprintln!("tf32: least cosine {worst}");
    // 11 bits where f32 has 24: about what half precision gives, and not the same
    assert!((0.9999..1.0).contains(&worst), "{worst}");
}

/// Bytes resampled and normalised on the GPU, against the CPU's planes.
#[cfg(feature = "cuda")]
#[test]
fn planes_are_the_same_to_the_last_bit() {
    use super::{batch, small};
    use cropmae::image::{decode, gpu};
    use cropmae::protocol::{InputSize, Preset, Size};
    let other = other_device();
    if skipped(&other, "frames are resampled on a GPU alone") {
        return;
    }
    let folder = rendered(1, 3);
    let paths = first_clip(folder.path(), "JPEGImages");
    let pictures: Vec<_> = paths.iter().map(|path| decode::read(path).unwrap()).collect();
    let mut uploads = cropmae::device::Uploads::new(&other);
    for size in ["128x224", "96x160", "200x304"] {
        let mut protocol = small(Preset::Cropmae);
        let size: Size = size.parse().unwrap();
        protocol.input_size = InputSize::Exact(size);
        let ours = values(&batch(&paths, &protocol));
        let how = gpu::Normalization { mean: protocol.mean, std: protocol.std };
        let frames: Vec<&[u8]> = pictures.iter().map(|picture| &*picture.data).collect();
        let frames = uploads.pictures(&frames, (pictures[0].height, pictures[0].width)).unwrap();
        let theirs = gpu::planes(&frames, (size.height, size.width), how).unwrap();
        assert_eq!(ours, values(&theirs.to_device(&Device::Cpu).unwrap()), "{size}");
    }
}
