//! DINOv3: rotary positions, gated feed-forwards, and its three spellings. The files in `golden/`
//! and what DINOv3's own program computes from them are written by `golden/make_dinov3.py`.

use candle_core::{DType, Device, Tensor};
use cropmae::model::source::{Choices, Source};
use cropmae::model::vit::{Layer, Vit};
use cropmae::model::weights::{Checkpoint, Family, Overrides, load};
use cropmae::model::{VitConfig, source};

use super::{golden, load_changed, load_golden, tensors_of, values};

/// No tensor of timm's and Hugging Face's files tells how many heads there are, and no encoder of
/// a name is so small.
fn load_renamed(name: &str) -> Checkpoint {
    load(&golden(name), &Overrides { heads: Some(2), ..Overrides::default() }).unwrap()
}

fn config(gated: bool) -> VitConfig {
    VitConfig {
        width: 16,
        depth: 2,
        heads: 2,
        patch: 4,
        table_side: 0,
        registers: 2,
        gated,
        norm_eps: 1e-5,
        positions: None,
    }
}

fn assert_computes(checkpoint: &Checkpoint, which: &str) {
    let reference = tensors_of("dinov3_tokens.safetensors");
    let wanted = values(&reference[which]);
    for build in [Vit::new, Vit::by_tensors] {
        let vit = build(checkpoint, Layer::Last, &Device::Cpu, DType::F32).unwrap();
        let tokens = vit.tokens(&reference["frames"]).unwrap();
        assert_eq!(tokens.dims(), reference[which].dims());
        // Two blocks of f32 sums in another order, of weights up to 1; the last norm brings values
        // to a few units.
        for (ours, theirs) in values(&tokens).iter().zip(&wanted) {
            assert!(
                (ours - theirs).abs() < 1e-5,
                "{which}, {}: {ours} {theirs}",
                vit.implementation()
            );
        }
    }
}

#[test]
fn its_own_checkpoints_give_its_own_tokens() {
    for (which, gated) in [("plain", false), ("gated", true)] {
        let checkpoint = load_golden(&format!("dinov3_{which}.pth"));
        assert_eq!(checkpoint.family, Family::Dinov3);
        assert_eq!(checkpoint.config, config(gated));
        assert_eq!(checkpoint.report.missing, [""; 0]);
        assert!(!checkpoint.report.heads_guessed, "the periods tell");
        let note = checkpoint.report.notes.iter().any(|note| note.contains("SwiGLU"));
        assert_eq!(note, gated, "{:?}", checkpoint.report.notes);
        assert_computes(&checkpoint, which);
    }
}

#[test]
fn a_bias_of_keys_is_masked() {
    let checkpoint = load_golden("dinov3_plain.pth");
    let bias = values(&checkpoint.tensors["blocks.1.attn.qkv.bias"]);
    assert!(bias[16..32].iter().all(|value| *value == 0.0), "{bias:?}");
    assert!(bias[..16].iter().any(|value| *value != 0.0));
}

#[test]
fn other_spellings_are_the_same_encoder() {
    let own = load_golden("dinov3_gated.pth");
    for (name, family) in [
        ("timm_dinov3.safetensors", Family::Dinov3),
        ("hf_dinov3.safetensors", Family::HuggingFaceDinov3),
    ] {
        let checkpoint = load_renamed(name);
        assert_eq!(checkpoint.family, family);
        assert_eq!(checkpoint.config, own.config, "{name}");
        // all but the periods, which only its own files hold
        assert_eq!(checkpoint.tensors.len(), own.tensors.len() - 1);
        for (key, tensor) in &checkpoint.tensors {
            assert_eq!(values(tensor), values(&own.tensors[key]), "{name}: {key}");
        }
        assert_computes(&checkpoint, "gated");
    }
}

#[test]
fn names_in_memory_and_plain_feed_forwards_of_hugging_face() {
    let saved = tensors_of("hf_dinov3.safetensors");
    let heads = Overrides { heads: Some(2), ..Overrides::default() };
    let renamed = saved.iter().map(|(name, tensor)| {
        let inner = if name.starts_with("layer.") { "model." } else { "" };
        (format!("{inner}{name}"), tensor.clone())
    });
    let in_memory = load_changed(&renamed.collect(), &heads).unwrap();
    assert_computes(&in_memory, "gated");
    // without gates, `up_proj` is the whole first layer
    let mut plain = saved;
    plain.retain(|name, _| !name.contains("gate_proj"));
    let checkpoint = load_changed(&plain, &heads).unwrap();
    assert!(!checkpoint.config.gated);
    assert_eq!(checkpoint.tensors["blocks.0.mlp.fc1.weight"].dims(), [32, 16]);
}

#[test]
fn dinov2s_giant_is_gated_too() {
    let mut tensors = tensors_of("mae.safetensors");
    for block in 0..2 {
        let name = |part: &str| format!("blocks.{block}.mlp.{part}");
        for leaf in ["weight", "bias"] {
            let first = tensors.remove(&name(&format!("fc1.{leaf}"))).unwrap();
            tensors.insert(name(&format!("w12.{leaf}")), first);
            let second = tensors.remove(&name(&format!("fc2.{leaf}"))).unwrap();
            let second = if leaf == "weight" { second.narrow(1, 0, 16).unwrap() } else { second };
            tensors.insert(name(&format!("w3.{leaf}")), second.contiguous().unwrap());
        }
    }
    let checkpoint = load_changed(&tensors, &Overrides::default()).unwrap();
    assert!(checkpoint.config.gated);
    assert_eq!(checkpoint.tensors["blocks.1.mlp.fc1.weight"].dims(), [32, 8]);
    assert_eq!(checkpoint.tensors["blocks.1.mlp.fc2.weight"].dims(), [8, 16]);
}

#[test]
fn what_does_not_fit_rotary_positions_is_refused() {
    let refused = |heads: usize| {
        let overrides = Overrides { heads: Some(heads), ..Overrides::default() };
        load(&golden("dinov3_plain.pth"), &overrides).unwrap_err().to_string()
    };
    assert!(
        refused(4).contains("heads of 4 channels do not fit its rotary positions"),
        "{}",
        refused(4)
    );
    let source = Source::File(golden("dinov3_plain.pth"));
    let choices = Choices { positions: "size".parse().ok(), ..Choices::default() };
    let loaded = source::load(&source, &choices, &Device::Cpu, DType::F32);
    let message = loaded.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(message.starts_with("positions: this encoder has rotary positions"), "{message}");
    let mut both = tensors_of("timm_dinov3.safetensors");
    both.insert("pos_embed".into(), Tensor::zeros((1, 17, 16), DType::BF16, &Device::Cpu).unwrap());
    let message = super::refusal(&both);
    assert!(message.contains("VideoMAE, BEiT or EVA"), "{message}");
}
