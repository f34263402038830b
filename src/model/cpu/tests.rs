//! Compares the packed encoder with the tensor operations, and with itself on other numbers of
//! cores.

use candle_core::{DType, Device, Tensor};

use crate::model::config::VitConfig;
use crate::model::init;
use crate::model::vit::{Layer, Vit};
use crate::model::weights::Checkpoint;

/// An untrained encoder of two blocks, with register tokens and LayerScale where `registers` > 0.
fn checkpoint(name: &str, registers: usize) -> Checkpoint {
    let config = VitConfig::named(name).unwrap();
    let config = VitConfig { depth: 2, table_side: 4, registers, ..config };
    let mut checkpoint = init::random(&config, 5).unwrap();
    if registers > 0 {
        for (index, name) in ["0.ls1", "0.ls2", "1.ls1", "1.ls2"].iter().enumerate() {
            let factors = (0..config.width).map(|i| ((i + index) as f32).cos());
            let factors = Tensor::from_iter(factors, &Device::Cpu).unwrap();
            checkpoint.tensors.insert(format!("blocks.{name}.gamma"), factors);
        }
    }
    checkpoint
}

/// [`checkpoint`] with DINOv3's rotary positions and gated feed-forwards.
fn rotary_and_gated(name: &str, registers: usize) -> Checkpoint {
    let mut checkpoint = checkpoint(name, registers);
    let width = checkpoint.config.width;
    let draw = |name: &str, shape: &[usize]| {
        let values = crate::model::init::values(name, shape, 5, 1000);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    checkpoint.tensors.remove("pos_embed");
    for block in 0..2 {
        let name = |part: &str| format!("blocks.{block}.mlp.{part}");
        let sizes: [(&str, &[usize]); 3] = [
            ("fc1.weight", &[4 * width, width]),
            ("fc1.bias", &[4 * width]),
            ("fc2.weight", &[width, 2 * width]),
        ];
        for (part, shape) in sizes {
            checkpoint.tensors.insert(name(part), draw(&name(part), shape));
        }
    }
    checkpoint.config.gated = true;
    checkpoint.config.positions = None;
    checkpoint
}

fn frames(batch: usize, height: usize, width: usize) -> Tensor {
    let pixels = (0..batch * 3 * height * width).map(|i| ((i * 7919 % 1009) as f32 / 70.0).sin());
    let pixels = Tensor::from_iter(pixels, &Device::Cpu).unwrap();
    pixels.reshape((batch, 3, height, width)).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_near(ours: &Tensor, theirs: &Tensor, tolerance: f32) {
    assert_eq!(ours.dims(), theirs.dims());
    for (ours, theirs) in values(ours).iter().zip(values(theirs)) {
        assert!((ours - theirs).abs() <= tolerance, "{ours} {theirs}");
    }
}

/// Compares every output of the packed encoder with the tensor operations'.
fn assert_equals_tensor_operations(checkpoint: &Checkpoint, frames: &Tensor) {
    for layer in [Layer::Last, Layer::Block(1), Layer::MeanLast(2)] {
        let packed = Vit::new(checkpoint, layer, &Device::Cpu, DType::F32).unwrap();
        let plain = Vit::by_tensors(checkpoint, layer, &Device::Cpu, DType::F32).unwrap();
        // Two blocks of f32 sums in another order; the last norm brings values to a few units.
        assert_near(&packed.tokens(frames).unwrap(), &plain.tokens(frames).unwrap(), 1e-5);
        // Shares of a sixteenth and less.
        let shares = packed.cls_attention(frames).unwrap();
        assert_near(&shares, &plain.cls_attention(frames).unwrap(), 1e-6);
    }
}

#[test]
fn equals_tensor_operations() {
    // the second frame size leaves pixels over on both sides
    for (name, registers, size) in [("vitti16", 0, (96, 160)), ("vits16", 3, (70, 100))] {
        let frames = frames(2, size.0, size.1);
        assert_equals_tensor_operations(&checkpoint(name, registers), &frames);
        assert_equals_tensor_operations(&rotary_and_gated(name, registers), &frames);
    }
}

#[test]
fn rotary_positions_tell_patches_apart() {
    // one patch everywhere: only positions can make a difference
    let flat = Tensor::ones((1, 3, 48, 64), DType::F32, &Device::Cpu).unwrap();
    let tokens = |checkpoint: &Checkpoint| {
        let vit = Vit::new(checkpoint, Layer::Last, &Device::Cpu, DType::F32).unwrap();
        vit.tokens(&flat).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap()
    };
    let rotary = rotary_and_gated("vitti16", 2);
    let of_rotary = tokens(&rotary);
    assert_ne!(of_rotary[1], of_rotary[2]);
    assert_ne!(of_rotary[1], of_rotary[5], "the row below");
    // the period decides how far apart
    let mut other = rotary;
    let periods = Tensor::new(&[1_f32; 16], &Device::Cpu).unwrap();
    other.tensors.insert("rope_embed.periods".into(), periods);
    assert_ne!(tokens(&other)[1], of_rotary[1]);
}

#[test]
fn the_number_of_cores_changes_no_byte() {
    let checkpoint = checkpoint("vitti16", 0);
    let vit = Vit::new(&checkpoint, Layer::Last, &Device::Cpu, DType::F32).unwrap();
    let frames = frames(3, 128, 240);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        values(&pool.install(|| vit.tokens(&frames)).unwrap())
    };
    let one = on(1);
    assert_eq!(on(2), one);
    assert_eq!(on(5), one);
}

#[test]
fn a_frame_is_the_same_alone_and_in_a_batch() {
    let checkpoint = checkpoint("vitti16", 2);
    let vit = Vit::new(&checkpoint, Layer::Last, &Device::Cpu, DType::F32).unwrap();
    let batch = frames(3, 64, 80);
    let together = vit.tokens(&batch).unwrap();
    for image in 0..3 {
        // a view into the batch, which begins in the middle of its values
        let alone = vit.tokens(&batch.narrow(0, image, 1).unwrap()).unwrap();
        assert_eq!(values(&alone), values(&together.narrow(0, image, 1).unwrap()));
    }
}
