//! What other programs make of checkpoints since: names of Transformers 5, wrapping modules within
//! keys, shards, a `config.json` beside the weights, views and types that PyTorch saves.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;
use cropmae::model::config::PositionRule;
use cropmae::model::weights::{Checkpoint, Family, Overrides, inspect, load, sha256};
use tempfile::TempDir;

use super::{golden, load_changed, load_golden, refusal, tensors_of, values, zeros};

type Tensors = HashMap<String, Tensor>;

fn loaded(tensors: &Tensors) -> Checkpoint {
    load_changed(tensors, &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The tensors of a file under other names; what `name` gives none for is left out.
fn renamed(file: &str, name: impl Fn(&str) -> Option<String>) -> Tensors {
    let tensors = tensors_of(file).into_iter();
    tensors.filter_map(|(old, tensor)| Some((name(&old)?, tensor))).collect()
}

/// As Transformers 5 names what earlier versions called so, in memory.
fn in_memory_of_5(name: &str, vit: bool) -> String {
    let mut name = name.to_owned();
    for (old, new) in [
        ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"),
    ] {
        name = name.replace(old, new);
    }
    match vit {
        true => name
            .replace("encoder.layer.", "layers.")
            .replace("intermediate.dense", "mlp.fc1")
            .replace("output.dense", "mlp.fc2"),
        false => name,
    }
}

fn assert_same(ours: &Checkpoint, theirs: &Checkpoint) {
    assert_eq!(ours.family, theirs.family);
    assert_eq!(ours.config, theirs.config);
    assert_eq!(ours.report.missing, [""; 0]);
    assert_eq!(ours.tensors.len(), theirs.tensors.len());
    for (name, tensor) in &theirs.tensors {
        assert_eq!(values(&ours.tensors[name]), values(tensor), "{name}");
    }
}

#[test]
fn names_of_transformers_5() {
    for (file, vit) in [("hf_vitmae.safetensors", true), ("hf_dinov2.safetensors", false)] {
        let tensors = renamed(file, |name| Some(in_memory_of_5(name, vit)));
        assert!(tensors.keys().any(|name| name.ends_with("layers.1.mlp.fc2.bias")) == vit);
        assert_same(&loaded(&tensors), &load_golden(file));
        // every one of them is needed, and named as the file would
        for name in tensors.keys().filter(|name| !name.contains("mask_token")) {
            let mut tensors = tensors.clone();
            tensors.remove(name);
            let text = refusal(&tensors);
            assert!(text.contains("lacks 1 of") && text.contains(name), "{name}: {text}");
        }
    }
    let mut registers = renamed("hf_dinov2.safetensors", |name| Some(in_memory_of_5(name, false)));
    registers.insert("embeddings.register_tokens".into(), zeros(&[1, 4, 8]));
    let checkpoint = loaded(&registers);
    assert_eq!(checkpoint.family, Family::HuggingFaceDinov2Registers);
    assert_eq!(checkpoint.config.positions, Some(PositionRule::Antialias));
}

#[test]
fn gates_of_transformers_5() {
    let mut tensors = renamed("hf_dinov2.safetensors", |name| Some(in_memory_of_5(name, false)));
    for block in 0..2 {
        let name = |part: &str| format!("encoder.layer.{block}.mlp.{part}");
        for leaf in ["weight", "bias"] {
            let first = tensors.remove(&name(&format!("fc1.{leaf}"))).unwrap();
            for (part, start) in [("gate_proj", 0), ("up_proj", 16)] {
                let rows = first.narrow(0, start, 16).unwrap().contiguous().unwrap();
                tensors.insert(name(&format!("{part}.{leaf}")), rows);
            }
            let second = tensors.remove(&name(&format!("fc2.{leaf}"))).unwrap();
            let second = if leaf == "weight" { second.narrow(1, 0, 16).unwrap() } else { second };
            tensors.insert(name(&format!("down_proj.{leaf}")), second.contiguous().unwrap());
        }
    }
    let checkpoint = loaded(&tensors);
    assert!(checkpoint.config.gated);
    let whole = &load_golden("hf_dinov2.safetensors").tensors["blocks.1.mlp.fc1.weight"];
    assert_eq!(values(&checkpoint.tensors["blocks.1.mlp.fc1.weight"]), values(whole));
}

#[test]
fn wrapping_modules_within_keys_are_dropped() {
    let truth = load_changed(&tensors_of("mae.safetensors"), &Overrides::default()).unwrap();
    for wrapping in [
        "_orig_mod",
        "_checkpoint_wrapped_module",
        "_fsdp_wrapped_module",
        "module",
        "_fsdp_wrapped_module._checkpoint_wrapped_module",
    ] {
        for root in ["", "module.", "_fsdp_wrapped_module."] {
            let wrapped = renamed("mae.safetensors", |name| {
                let mut parts = name.splitn(3, '.').collect::<Vec<_>>();
                if parts.first() == Some(&"blocks") {
                    parts.insert(2, wrapping);
                }
                Some(format!("{root}{}", parts.join(".")))
            });
            let checkpoint = loaded(&wrapped);
            assert_same(&checkpoint, &truth);
            assert_eq!(checkpoint.report.prefix, root);
        }
    }
    let wrapped = renamed("hf_dinov2.safetensors", |name| {
        Some(name.replace("layer.0.", "layer.0._orig_mod.").replace("layer.1.", "layer.1.module."))
    });
    assert_same(&loaded(&wrapped), &load_golden("hf_dinov2.safetensors"));
    let mut twice = tensors_of("mae.safetensors");
    twice.insert("blocks.0._orig_mod.norm1.bias".into(), zeros(&[8]));
    assert!(refusal(&twice).contains("twice, under two names"), "{}", refusal(&twice));
}

/// Writes a checkpoint in two shards and their index, as `save_pretrained` does.
fn write_shards(folder: &Path, tensors: &Tensors) -> [std::path::PathBuf; 3] {
    let shard = |index: usize| format!("model-{index:05}-of-00002.safetensors");
    let mut halves = [Tensors::new(), Tensors::new()];
    let mut names: Vec<_> = tensors.keys().collect();
    names.sort();
    let mut map = serde_json::Map::new();
    for (index, name) in names.into_iter().enumerate() {
        halves[index % 2].insert(name.clone(), tensors[name].clone());
        map.insert(name.clone(), shard(index % 2 + 1).into());
    }
    for (index, half) in halves.iter().enumerate() {
        candle_core::safetensors::save(half, folder.join(shard(index + 1))).unwrap();
    }
    let index = folder.join("model.safetensors.index.json");
    fs::write(&index, serde_json::json!({ "metadata": {}, "weight_map": map }).to_string())
        .unwrap();
    [folder.join(shard(1)), folder.join(shard(2)), index]
}

#[test]
fn shards_are_one_checkpoint_whatever_names_it() {
    let folder = TempDir::new().unwrap();
    let [first, second, index] = write_shards(folder.path(), &tensors_of("hf_vitmae.safetensors"));
    let bytes = [fs::read(&first).unwrap(), fs::read(&second).unwrap()].concat();
    let together = folder.path().join("together");
    fs::write(&together, bytes).unwrap();
    let hash = sha256(&together).unwrap();
    for path in [&first, &second, &index, &folder.path().to_path_buf()] {
        let checkpoint = load(path, &Overrides::default()).unwrap();
        assert_same(&checkpoint, &load_golden("hf_vitmae.safetensors"));
        assert_eq!(checkpoint.sha256, hash);
        let notes = &checkpoint.report.notes;
        assert!(notes.iter().any(|note| note.contains("in 2 shards")), "{notes:?}");
    }
}

#[test]
fn shards_that_are_not_whole_are_refused() {
    let folder = TempDir::new().unwrap();
    let [first, second, index] = write_shards(folder.path(), &tensors_of("hf_vitmae.safetensors"));
    let message = |path: &Path| load(path, &Overrides::default()).unwrap_err().to_string();
    fs::copy(&first, &second).unwrap();
    assert!(message(&first).contains("another of its shards"), "{}", message(&first));
    fs::remove_file(&second).unwrap();
    for path in [&first, &second, &index, &folder.path().to_path_buf()] {
        let text = message(path);
        assert!(text.contains("2 shards, of which 1 are not there"), "{text}");
        assert!(text.contains("model-00002-of-00002.safetensors"), "{text}");
    }
    for map in ["{}", "not json", r#"{"weight_map": {"a": "../b"}}"#, r#"{"weight_map": {}}"#] {
        fs::write(&index, map).unwrap();
        assert!(message(&index).contains("names no files beside it"), "{}", message(&index));
    }
    for index in 1..=2 {
        let shard = format!("pytorch_model-0000{index}-of-00002.bin");
        fs::copy(golden("mae.pth"), folder.path().join(shard)).unwrap();
    }
    let text = message(&folder.path().join("pytorch_model-00001-of-00002.bin"));
    assert!(text.contains("merge them") && text.contains("torch.load(file"), "{text}");
}

/// Loads a golden file that has this `config.json` beside it.
fn beside(file: &str, config: &serde_json::Value) -> Result<Checkpoint, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::copy(golden(file), &path).unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    load(&path, &Overrides::default()).map_err(|error| error.to_string())
}

#[test]
fn the_config_beside_a_checkpoint_of_hugging_face_is_read() {
    let config = |changes: serde_json::Value| {
        let mut config = serde_json::json!({
            "model_type": "vit_mae", "hidden_size": 8, "num_hidden_layers": 2, "patch_size": 4,
            "num_attention_heads": 4, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        });
        let changes = changes.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(changes);
        config
    };
    let vit = |changes| beside("hf_vitmae.safetensors", &config(changes));
    let checkpoint = vit(serde_json::json!({})).unwrap();
    assert_eq!((checkpoint.config.heads, checkpoint.report.heads_guessed), (4, false));
    let msn = serde_json::json!({ "model_type": "vit_msn", "layer_norm_eps": 1e-6 });
    let msn = vit(msn).unwrap();
    assert_eq!(msn.family, Family::HuggingFaceVitMsn);
    assert!((msn.config.norm_eps - 1e-6).abs() < 1e-12);
    for (changes, words) in [
        (serde_json::json!({ "hidden_act": "relu" }), "activation `relu`, where gelu"),
        (serde_json::json!({ "layer_norm_eps": 1e-5 }), "layer_norm_eps 1e-5, where Hugging Face"),
        (serde_json::json!({ "num_attention_heads": 3 }), "3 heads do not divide"),
    ] {
        let text = vit(changes).err().unwrap();
        assert!(text.contains(words), "{text}");
    }
    // another model's is not read, and that is said
    for changes in [
        serde_json::json!({ "hidden_size": 768 }),
        serde_json::json!({ "model_type": "dinov2" }),
        serde_json::json!({ "model_type": "clip", "hidden_act": "quick_gelu" }),
    ] {
        let checkpoint = vit(changes).unwrap();
        assert_eq!((checkpoint.config.heads, checkpoint.report.heads_guessed), (1, true));
        let notes = &checkpoint.report.notes;
        assert!(notes.iter().any(|note| note.contains("another model's")), "{notes:?}");
    }
    let rotary = |changes: serde_json::Value| {
        let mut config = serde_json::json!({
            "model_type": "dinov3_vit", "hidden_size": 16, "num_attention_heads": 2,
            "hidden_act": "silu", "layer_norm_eps": 1e-5, "rope_theta": 100.0,
        });
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        beside("hf_dinov3.safetensors", &config)
    };
    assert_eq!(rotary(serde_json::json!({})).unwrap().config.heads, 2);
    let text = rotary(serde_json::json!({ "rope_theta": 50.0 })).err().unwrap();
    assert!(text.contains("rope_theta 50, where 100"), "{text}");
    let text = rotary(serde_json::json!({ "hidden_act": "gelu" })).err().unwrap();
    assert!(text.contains("activation `gelu`, where silu"), "{text}");
    // other programs' files say such things themselves or not at all
    let own = beside("mae.safetensors", &config(serde_json::json!({}))).unwrap();
    assert_eq!(own.config.heads, 2);
}

/// The encoder of `mae.safetensors` made 384 wide and otherwise as small, of zeros.
fn wide(extra: &[(&str, &[usize])]) -> Tensors {
    let grown = |size: &usize| match size {
        8 | 24 | 32 => size * 48,
        other => *other,
    };
    let tensors = tensors_of("mae.safetensors").into_iter();
    let tensors = tensors.filter(|(name, _)| !name.contains("decoder") && name != "mask_token");
    let shape = |tensor: &Tensor| tensor.dims().iter().map(grown).collect::<Vec<_>>();
    let mut tensors: Tensors =
        tensors.map(|(name, tensor)| (name, zeros(&shape(&tensor)))).collect();
    let depth = |name: &str, block: usize| name.replace("blocks.1.", &format!("blocks.{block}."));
    let more: Vec<_> = tensors.iter().filter(|(name, _)| name.starts_with("blocks.1.")).collect();
    let more = more.into_iter().flat_map(|(name, tensor)| {
        (2..12).map(|block| (depth(name, block), tensor.clone())).collect::<Vec<_>>()
    });
    let more: Vec<_> = more.collect();
    tensors.extend(more);
    tensors.extend(extra.iter().map(|(name, shape)| ((*name).to_owned(), zeros(shape))));
    tensors
}

#[test]
fn heads_that_are_only_assumed_are_told() {
    let told = |checkpoint: &Checkpoint| {
        let note = checkpoint.report.notes.iter().find(|note| note.starts_with("heads: "));
        assert_eq!(checkpoint.report.heads_guessed, note.is_some());
        note.cloned()
    };
    let plain = loaded(&wide(&[]));
    assert_eq!((plain.family, plain.config.heads, plain.config.depth), (Family::Plain, 6, 12));
    assert_eq!(
        told(&plain).as_deref(),
        Some(
            "heads: 6, assumed from the width; pass the setting `heads` if it is another (MoCo v3's ViT-S has 12)"
        )
    );
    // a decoder is MAE's, whose descendants' encoders of this width have 6
    let mae = loaded(&wide(&[("decoder_embed.weight", &[4, 384])]));
    assert_eq!((mae.family, told(&mae)), (Family::Mae, None));
    let heads = Overrides { heads: Some(12), ..Overrides::default() };
    assert_eq!(told(&load_changed(&wide(&[]), &heads).unwrap()), None);
}

#[test]
fn the_grid_of_the_position_table_is_told() {
    let (report, ..) = inspect(&golden("mae.pth"), &Overrides::default()).unwrap();
    let line = "positions   a table of 4x4 and CLS; its 16 rows are taken for a square\n";
    assert!(report.to_string().contains(line), "{report}");
    let (report, ..) = inspect(&golden("dinov3_plain.pth"), &Overrides::default()).unwrap();
    assert!(report.to_string().contains("positions   rotary, no table\n"), "{report}");
}

#[test]
fn clip_is_not_taken_for_eva() {
    let names = ["embeddings.patch_embedding.weight", "encoder.layers.0.self_attn.q_proj.weight"];
    let text = refusal(&names.map(|name| (name.to_owned(), zeros(&[2]))).into());
    assert!(text.contains("CLIP or SigLIP") && !text.contains("EVA"), "{text}");
}

#[test]
fn another_encoder_in_the_file_is_told_of() {
    let checkpoint = load_golden("with_average.pth");
    assert_eq!(checkpoint.report.dictionary.as_deref(), Some("state_dict"));
    let notes = checkpoint.report.notes.join("\n");
    assert!(
        notes.contains("the file holds state_dict_ema too: the setting `checkpoint_key = state_dict_ema` takes that"),
        "{notes}"
    );
}

#[test]
fn an_expanded_view_is_read() {
    // cls_token is torch.full((1,), 0.5).expand(1, 1, 8)
    let checkpoint = load_golden("with_average.pth");
    assert_eq!(values(&checkpoint.tensors["cls_token"]), [0.5; 8]);
}

#[test]
fn what_stands_in_place_of_tensors_is_named() {
    for (file, words) in [
        (
            "module_in_dict.pth",
            &["torch.nn.modules.linear.Identity", "`model`", "state_dict()"][..],
        ),
        ("numpy.pth", &["arrays of NumPy", "torch.from_numpy"]),
        ("negated.pth", &["`norm.bias` is stored as a negated view", "resolve_neg"]),
        ("float8.pth", &["`norm.bias` holds float8_e4m3fn values", "convert them to f32"]),
    ] {
        let text = load(&golden(file), &Overrides::default()).unwrap_err().to_string();
        for word in words {
            assert!(text.contains(word), "{file}: {text}");
        }
    }
}
