//! One encoder, saved as each program would: all must load to the same tensors.

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use cropmae::model::config::{PositionRule, VitConfig};
use cropmae::model::weights::{Checkpoint, Container, Family, Overrides, load, load_with};

use super::shared::shared;
use super::{golden, load_changed, load_golden, tensors_of, values};

/// Compares with mae.safetensors, whose tensors already have canonical names; its values are exact
/// in every type that the other files use, so they must be equal; those in `but` are left out.
fn assert_same_encoder(checkpoint: &Checkpoint, but: &[&str]) {
    let truth = tensors_of("mae.safetensors");
    let truth = truth.iter().filter(|(name, _)| !name.contains("decoder") && *name != "mask_token");
    let mut compared = 0;
    for (name, tensor) in truth.filter(|(name, _)| !but.contains(&name.as_str())) {
        let loaded = &checkpoint.tensors[name];
        assert_eq!(loaded.dims(), tensor.dims(), "{name}");
        assert_eq!(values(loaded), values(tensor), "{name}");
        compared += 1;
    }
    // cls, positions, patch embedding (2), 2 blocks of 12, norm (2)
    assert_eq!(compared + but.len(), 30);
    assert_eq!(checkpoint.report.missing, [""; 0]);
}

fn config() -> VitConfig {
    VitConfig {
        width: 8,
        depth: 2,
        heads: 1,
        patch: 4,
        table_side: 4,
        registers: 0,
        norm_eps: 1e-6,
        gated: false,
        positions: Some(PositionRule::Offset),
    }
}

fn extras(checkpoint: &Checkpoint) -> Vec<(&str, usize)> {
    let extras = checkpoint.report.extras.iter();
    extras.map(|group| (group.name.as_str(), group.count)).collect()
}

#[test]
fn mae_training_checkpoint() {
    let checkpoint = load_golden("mae.pth");
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.tensors.len(), 30);
    assert_eq!(checkpoint.config, config());
    assert_eq!(checkpoint.family, Family::Mae);
    let report = &checkpoint.report;
    assert_eq!((report.container, report.dictionary.as_deref()), (Container::Torch, Some("model")));
    assert_eq!(report.found, 30);
    // AdamW keeps a step and two moments for its one parameter
    assert_eq!(extras(&checkpoint), [("decoder_*", 2), ("mask_token", 1), ("optimizer", 3)]);
    assert!(report.notes.contains(&"saved with epoch = 3".to_string()), "{:?}", report.notes);
    assert_eq!(report.dtypes, [("f32".to_string(), 30)]);
    // 8 + 17*8 + 8*48 + 8, two blocks of 12*64 + 13*8, 2*8
    assert_eq!(report.parameters, 8 + 136 + 384 + 8 + 2 * (768 + 104) + 16);
}

#[test]
fn mae_safetensors_with_heads_in_its_metadata() {
    let checkpoint = load_golden("mae.safetensors");
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.config, VitConfig { heads: 2, ..config() });
    assert_eq!(checkpoint.report.container, Container::Safetensors);
    assert_eq!(checkpoint.report.dictionary, None);
}

#[test]
fn dino_teacher_is_preferred_and_the_student_can_be_asked_for() {
    let checkpoint = load_golden("dino.pth");
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.family, Family::Dino);
    assert_eq!(checkpoint.report.dictionary.as_deref(), Some("teacher"));
    let note = checkpoint.report.notes.iter().find(|note| note.contains("`teacher`"));
    assert!(note.is_some_and(|note| note.ends_with("the setting `checkpoint_key = student` takes that")));
    assert_eq!(checkpoint.report.prefix, "backbone.");
    assert_eq!(extras(&checkpoint), [("dino_loss", 1), ("head.*", 2), ("student", 32)]);

    let overrides = Overrides { checkpoint_key: Some("student".into()), ..Overrides::default() };
    let student = load(&golden("dino.pth"), &overrides).unwrap();
    assert_eq!(student.report.prefix, "module.backbone.");
    assert!(!student.report.notes.iter().any(|note| note.contains("checkpoint_key")));
    assert_eq!(student.report.dtypes, [("f16".to_string(), 30)]);
    let negated: Vec<f32> =
        values(&student.tensors["cls_token"]).iter().map(|value| -value).collect();
    assert_eq!(negated, values(&checkpoint.tensors["cls_token"]));
}

#[test]
fn dinov2_in_chunks_and_half_precision() {
    let checkpoint = load_golden("dinov2.pth");
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.family, Family::Dinov2);
    assert_eq!(checkpoint.config, config());
    assert_eq!(checkpoint.tensors.len(), 34);
    assert_eq!(checkpoint.tensors["blocks.1.ls2.gamma"].dims(), [8]);
    assert_eq!(checkpoint.report.dtypes, [("f16".to_string(), 34)]);
    assert_eq!(extras(&checkpoint), [("mask_token", 1)]);
}

#[test]
fn timm_with_registers_and_no_class_row() {
    let checkpoint = load_golden("timm.safetensors");
    assert_same_encoder(&checkpoint, &["pos_embed"]);
    assert_eq!(checkpoint.family, Family::Timm);
    assert_eq!(
        checkpoint.config,
        VitConfig { registers: 2, positions: Some(PositionRule::Antialias), ..config() }
    );
    assert_eq!(checkpoint.tensors["register_tokens"].dims(), [1, 2, 8]);
    let positions = values(&checkpoint.tensors["pos_embed"]);
    let truth = values(&tensors_of("mae.safetensors")["pos_embed"]);
    assert_eq!(positions[..8], [0.0; 8]);
    assert_eq!(positions[8..], truth[8..]);
    assert_eq!(extras(&checkpoint), [("fc_norm.*", 1), ("head.*", 2)]);
    assert!(checkpoint.report.notes[0].contains("CLS"), "{:?}", checkpoint.report.notes);
}

#[test]
fn hugging_face_vitmae() {
    let checkpoint = load_golden("hf_vitmae.safetensors");
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.family, Family::HuggingFaceVitMae);
    assert_eq!(
        checkpoint.config,
        VitConfig { norm_eps: 1e-12, positions: Some(PositionRule::Size), ..config() }
    );
    assert_eq!(checkpoint.report.prefix, "vit.");
    assert_eq!(extras(&checkpoint), [("decoder.*", 1)]);
}

#[test]
fn hugging_face_dinov2() {
    let checkpoint = load_golden("hf_dinov2.safetensors");
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.family, Family::HuggingFaceDinov2);
    assert_eq!(checkpoint.config, VitConfig { positions: Some(PositionRule::Size), ..config() });
    assert_eq!(checkpoint.tensors.len(), 34);
    assert_eq!(extras(&checkpoint), [("mask_token", 1)]);
    let mut tensors = tensors_of("hf_dinov2.safetensors");
    let scale = tensors["encoder.layer.1.layer_scale2.lambda1"].to_dtype(DType::F32).unwrap();
    assert_eq!(values(&checkpoint.tensors["blocks.1.ls2.gamma"]), values(&scale));

    tensors.insert("embeddings.register_tokens".into(), super::zeros(&[1, 4, 8]));
    let checkpoint = load_changed(&tensors, &Overrides::default()).unwrap();
    assert_eq!(checkpoint.family, Family::HuggingFaceDinov2Registers);
    assert_eq!(checkpoint.config.positions, Some(PositionRule::Antialias));
}

#[test]
fn parameters_views_strides_doubles_and_a_shared_dict() {
    let checkpoint = load_golden("unusual.pth");
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.report.dictionary.as_deref(), Some("model"));
    let dtypes = [("bf16".to_string(), 1), ("f32".to_string(), 28), ("f64".to_string(), 1)];
    assert_eq!(checkpoint.report.dtypes, dtypes);
}

/// The zip crate (9.8.1), left to itself, cannot open this one; the name of MAE's own file,
/// mae_pretrain_vit_base, is as long.
#[test]
fn a_name_of_21_characters() {
    let checkpoint = load_golden("name_of_21_characters.pth");
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.family, Family::Plain);
}

/// `tensors` with `prefix` before every name.
fn under(prefix: &str, tensors: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}

#[test]
fn prefixes_of_wrapping_modules_are_stripped() {
    let truth = tensors_of("mae.safetensors");
    for prefix in ["module.", "backbone.", "encoder._orig_mod.", "model.visual.trunk.", "a.b.c.d."]
    {
        let checkpoint = load_changed(&under(prefix, &truth), &Overrides::default()).unwrap();
        assert_same_encoder(&checkpoint, &[]);
        assert_eq!(checkpoint.report.prefix, prefix);
        assert_eq!(checkpoint.family, Family::Mae, "{prefix}");
        assert_eq!(extras(&checkpoint), [("decoder_*", 2), ("mask_token", 1)], "{prefix}");
    }
}

#[test]
fn moco_v3_takes_the_base_encoder_and_the_key_chooses_another() {
    let mut truth = tensors_of("mae.safetensors");
    truth.retain(|name, _| !name.contains("decoder") && name != "mask_token");
    let other = truth.iter().map(|(name, tensor)| (name.clone(), tensor.neg().unwrap())).collect();
    let mut both = under("module.base_encoder.", &truth);
    both.extend(under("module.momentum_encoder.", &other));
    let checkpoint = load_changed(&both, &Overrides::default()).unwrap();
    assert_same_encoder(&checkpoint, &[]);
    assert_eq!(checkpoint.family, Family::MocoV3);
    assert_eq!(extras(&checkpoint), [("momentum_encoder.*", 30)]);

    let key = Some("module.momentum_encoder".to_string());
    let overrides = Overrides { checkpoint_key: key, ..Overrides::default() };
    let momentum = load_changed(&both, &overrides).unwrap();
    assert_eq!(momentum.report.prefix, "module.momentum_encoder.");
}

#[test]
fn hugging_face_without_query_key_value_bias_gets_zeros() {
    let mut tensors = tensors_of("hf_vitmae.safetensors");
    tensors.retain(|name, _| !(name.contains("attention.attention") && name.ends_with("bias")));
    let checkpoint = load_changed(&tensors, &Overrides::default()).unwrap();
    assert_same_encoder(&checkpoint, &["blocks.0.attn.qkv.bias", "blocks.1.attn.qkv.bias"]);
    assert_eq!(values(&checkpoint.tensors["blocks.1.attn.qkv.bias"]), [0.0; 24]);
    assert!(checkpoint.report.notes.iter().any(|note| note.contains("bias")));
}

#[test]
fn what_the_user_says_is_held_against_the_file() {
    let path = golden("mae.pth");
    let heads = Overrides { heads: Some(4), ..Overrides::default() };
    assert_eq!(load(&path, &heads).unwrap().config.heads, 4);
    let fits = VitConfig { heads: 2, table_side: 56, ..config() };
    let arch = Overrides { arch: Some(fits), patch: Some(4), ..Overrides::default() };
    let config = load(&path, &arch).unwrap().config;
    assert_eq!((config.heads, config.table_side), (2, 4));

    let message = |overrides| load(&path, &overrides).unwrap_err().to_string();
    let arch = Overrides { arch: VitConfig::named("vits16").ok(), ..Overrides::default() };
    let text = message(arch);
    assert!(text.contains("holds width 8, depth 2, patch 4"), "{text}");
    assert!(
        text.contains("width 384, depth 12, patch 16 as the setting `arch = vits16`"),
        "{text}"
    );
    let text = message(Overrides { patch: Some(16), ..Overrides::default() });
    assert!(text.contains("patches of 4 pixels, not 16"), "{text}");
    let text = message(Overrides { heads: Some(3), ..Overrides::default() });
    assert!(text.contains("3 heads do not divide its width of 8"), "{text}");
    let text = message(Overrides { checkpoint_key: Some("net".into()), ..Overrides::default() });
    assert!(text.contains("no dict `net`") && text.contains("model"), "{text}");
}

#[test]
fn the_digest_is_that_of_the_file() {
    // sha256sum tests/golden/mae.safetensors
    assert_eq!(
        load_golden("mae.safetensors").sha256,
        "15c825d8e52fa414f8f3a5b6e8b292100ac8bb2ee2a542c376b31bd679460ea4"
    );
}

/// The reference's own tiny SiamMAE, decoder included.
#[test]
fn a_full_siammae_checkpoint_is_an_encoder_checkpoint() {
    let Some(path) = shared("fixtures/weights/siammae_tiny.safetensors") else { return };
    let checkpoint = load(&path, &Overrides::default()).unwrap();
    assert_eq!(checkpoint.family, Family::Mae);
    let config = &checkpoint.config;
    let sizes = [config.width, config.depth, config.heads, config.patch, config.table_side];
    assert_eq!(sizes, [96, 3, 3, 16, 14]);
    assert_eq!(checkpoint.report.found, 42);
    assert_eq!(extras(&checkpoint), [("decoder_*", 43), ("mask_token", 1)]);
}

#[test]
fn what_stands_beside_the_encoder_is_read_from_either_container() {
    let beside = |name: &str| {
        let wanted = |name: &str| name.starts_with("decoder_") || name == "mask_token";
        let (_, others) = load_with(&golden(name), &Overrides::default(), wanted).unwrap();
        let mut others: Vec<_> =
            others.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect();
        others.sort_by(|a, b| a.0.cmp(&b.0));
        others
    };
    let found = beside("mae.pth");
    assert!(found.iter().any(|(name, _)| name == "mask_token"), "{found:?}");
    assert_eq!(found, beside("mae.safetensors"));
}
