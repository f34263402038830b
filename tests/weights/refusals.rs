//! What is refused, and whether the message names it.

use std::collections::HashMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use cropmae::model::weights::{Overrides, inspect, load};
use tempfile::TempDir;

use super::{golden, refusal, tensors_of, write, zeros};

/// The tiny MAE with some tensors taken away or put in.
fn changed(without: &[&str], with: &[(&str, &[usize])]) -> HashMap<String, Tensor> {
    let mut tensors = tensors_of("mae.safetensors");
    tensors.retain(|name, _| !without.contains(&name.as_str()));
    tensors.extend(with.iter().map(|(name, shape)| ((*name).to_string(), zeros(shape))));
    tensors
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn every_encoder_tensor_is_needed() {
    for file in ["mae.safetensors", "hf_vitmae.safetensors", "hf_dinov2.safetensors"] {
        let whole = tensors_of(file);
        let extra = |name: &str| name.contains("decoder") || name.ends_with("mask_token");
        for name in whole.keys().filter(|name| !extra(name)) {
            let mut tensors = whole.clone();
            tensors.remove(name);
            let text = refusal(&tensors);
            assert_says(&text, &["lacks 1 of the encoder's", name]);
        }
    }
}

#[test]
fn every_shape_is_checked() {
    let whole = tensors_of("mae.safetensors");
    for name in whole.keys().filter(|name| !name.contains("decoder") && *name != "mask_token") {
        let mut shape = whole[name].dims().to_vec();
        *shape.last_mut().unwrap() += 1;
        let text = refusal(&changed(&[name], &[(name, &shape)]));
        // the patch embedding and the hidden width are where sizes are read from, so a change
        // there may show at another tensor
        let source =
            ["patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"].contains(&name.as_str());
        assert!(source || text.contains(name), "{name}: {text}");
    }
    let text = refusal(&changed(&["blocks.1.norm2.bias"], &[("blocks.1.norm2.bias", &[9])]));
    assert_says(&text, &["`blocks.1.norm2.bias` has shape [9]", "asks for [8]"]);
}

#[test]
fn values_must_be_finite() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut tensors = tensors_of("mae.safetensors");
        let mut values = vec![0.5; 8];
        values[5] = value;
        let tensor = Tensor::from_vec(values, 8, &Device::Cpu).unwrap();
        tensors.insert("blocks.1.norm1.weight".into(), tensor);
        assert_says(&refusal(&tensors), &["`blocks.1.norm1.weight`", "NaN", "diverged"]);
    }
}

#[test]
fn other_encoders_are_named() {
    let text = |without: &[&str], with: &[(&str, &[usize])]| refusal(&changed(without, with));
    let patch = "patch_embed.proj.weight";
    assert_says(&text(&[], &[(patch, &[8, 3, 2, 4, 4])]), &["VideoMAE", patch]);
    assert_says(&text(&[], &[(patch, &[8, 1, 4, 4])]), &["1 channels, not 3"]);
    assert_says(&text(&[], &[("pos_embed", &[1, 16 + 3, 8])]), &["19 rows", "square"]);
    // EVA-02 in timm's names: its rotary positions stand in no tensor
    assert_says(&text(&[], &[("blocks.0.attn.q_bias", &[8])]), &["VideoMAE, BEiT or EVA"]);
    assert_says(&text(&[], &[("blocks.0.attn.q_proj.weight", &[8, 8])]), &["EVA-02"]);
    assert_says(&text(&[], &[("rope.freqs", &[8])]), &["rope.freqs"]);
    assert_says(&text(&[], &[("norm_pre.weight", &[8])]), &["CLIP"]);
    assert_says(&text(&[], &[("dist_token", &[1, 1, 8])]), &["distilled"]);
    assert_says(&text(&[], &[("blocks.1.attn.q_norm.weight", &[8])]), &["normalises queries"]);
    assert_says(&text(&[], &[("blocks.1.gamma_1", &[8])]), &["blocks.1.gamma_1"]);
    assert_says(&text(&["cls_token"], &[]), &["without a CLS token"]);
    let pooled = [("fc_norm.weight", [8].as_slice())];
    assert_says(&text(&["norm.weight", "norm.bias"], &pooled), &["lacks 2", "global pooling"]);
    assert_says(&text(&[], &[("blocks.0.1.norm1.bias", &[8])]), &["twice"]);
}

#[test]
fn what_is_no_encoder_is_named() {
    let only = |names: &[(&str, &[usize])]| {
        refusal(&names.iter().map(|(name, shape)| ((*name).to_string(), zeros(shape))).collect())
    };
    assert_says(&only(&[("conv1.weight", &[2]), ("layer1.0.conv1.weight", &[2])]), &["ResNet"]);
    assert_says(&only(&[("bert.embeddings.word_embeddings.weight", &[2])]), &["text model"]);
    assert_says(&only(&[("decoder_embed.weight", &[2])]), &["only a decoder"]);
    assert_says(&only(&[("foo", &[2]), ("bar.weight", &[2])]), &["2 keys", "bar.weight, foo"]);
    assert_says(&only(&[]), &["no tensors"]);
}

#[test]
fn quantised_weights_are_refused() {
    let mut tensors = tensors_of("mae.safetensors");
    let bytes = Tensor::zeros((8, 32), DType::U8, &Device::Cpu).unwrap();
    tensors.insert("blocks.0.mlp.fc2.weight".into(), bytes);
    assert_says(&refusal(&tensors), &["`blocks.0.mlp.fc2.weight` holds u8", "quantised"]);
}

#[test]
fn two_encoders_in_one_file_are_a_question() {
    let tensors = tensors_of("mae.safetensors");
    let pairs = ["left.", "right."].into_iter().flat_map(|prefix| {
        tensors.iter().map(move |(name, tensor)| (format!("{prefix}{name}"), tensor.clone()))
    });
    let both = pairs.collect();
    assert_says(&refusal(&both), &["2 encoders: left, right", "checkpoint_key"]);
    let key = Overrides { checkpoint_key: Some("right".into()), ..Overrides::default() };
    assert_eq!(super::load_changed(&both, &key).unwrap().report.prefix, "right.");
}

#[test]
fn files_that_are_no_checkpoints() {
    let message = |name: &str| load(&golden(name), &Overrides::default()).unwrap_err().to_string();
    assert_says(&message("legacy.pth"), &["legacy.pth", "before 1.6", "torch.save(torch.load("]);
    assert_says(&message("module.pth"), &["torch.nn.modules.linear.Identity", "state_dict()"]);
    assert_says(&message("script.pth"), &["TorchScript"]);
    assert_says(&message("absent.pth"), &["cannot read", "absent.pth"]);
    assert_says(&message("."), &["folder"]);

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("weights.pth");
    let written = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        load(&path, &Overrides::default()).unwrap_err().to_string()
    };
    assert_says(&written(b""), &["empty file"]);
    assert_says(&written(b"version https://git-lfs.github.com/spec/v1\n"), &["git lfs pull"]);
    assert_says(&written(b"<!DOCTYPE html><html></html>"), &["web page"]);
    assert_says(&written(b"404: Not Found"), &["text file"]);
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("a.npy", zip::write::SimpleFileOptions::default()).unwrap();
    assert_says(&written(zip.finish().unwrap().get_ref()), &["NumPy"]);
}

#[test]
fn inspect_reports_what_load_refuses() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, &changed(&["blocks.1.norm1.bias", "norm.bias"], &[]));
    let (report, config, family) = inspect(&path, &Overrides::default()).unwrap();
    assert_eq!(report.missing, ["blocks.1.norm1.bias", "norm.bias"]);
    assert_eq!(report.found, 28);
    assert!(report.refusal.as_ref().unwrap().problem.contains("lacks 2"));
    assert_eq!(config.unwrap().width, 8);
    assert_eq!(family.unwrap().to_string(), "MAE (CropMAE, SiamMAE, MAE)");
    let text = report.to_string();
    assert_says(&text, &["missing     blocks.1.norm1.bias, norm.bias", "unusable    lacks 2"]);

    let path = write(&folder, &HashMap::from([("foo".to_string(), zeros(&[2]))]));
    let (report, config, family) = inspect(&path, &Overrides::default()).unwrap();
    assert!(report.refusal.is_some() && config.is_none() && family.is_none());

    let (report, ..) = inspect(&golden("mae.pth"), &Overrides::default()).unwrap();
    assert_eq!(report.refusal, None);
    assert_says(&report.to_string(), &["dict        model", "not used    optimizer (3)", "usable"]);
}
