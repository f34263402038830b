//! Guesses what a file is if the encoder is not in it.
//!
//! Otherwise the error would only say "keys are missing", and people would have to find out for
//! themselves that they passed a ResNet, a text model or half of a training state.

use super::report::{Refusal, shortened};

/// Parts of key names that give an architecture away, the most telling first; what it is.
const SIGNS: [(&[&str], &str); 15] = [
    (
        &[
            "SCB",
            "qweight",
            "quant_state",
            "_packed_params",
            "weight_scale",
            "absmax",
            "weight_quantizer",
        ],
        "a quantised model; its float weights are needed",
    ),
    (
        &["embeddings.patch_embedding.", "pre_layrnorm", "vision_model."],
        "a CLIP or SigLIP encoder under Hugging Face's names, which is not supported",
    ),
    (
        &[".attn.q_proj", "attn.inner_attn_ln"],
        "an EVA-02 encoder, whose rotary positions differ from DINOv3's; that is not supported",
    ),
    (
        &["relative_position_bias", "relative_position_index"],
        "a Swin or BEiT model, whose relative positions this program does not have",
    ),
    (
        &["attn.q_bias", "attention.q_bias"],
        "a VideoMAE, BEiT or EVA encoder, with biases for queries and values alone; that is not supported",
    ),
    (
        &["rel_pos_h"],
        "a SAM or ViTDet encoder, whose relative positions this program does not have",
    ),
    (
        &["visual.transformer.resblocks", "norm_pre"],
        "a CLIP-like encoder, which normalises before its blocks; that is not supported",
    ),
    (
        &["dist_token", "distillation_token"],
        "a distilled DeiT, whose second class token this program does not have",
    ),
    (
        &["detection_tokens"],
        "a detector (YOLOS), whose tokens for boxes this program does not have",
    ),
    (&["q_norm", "k_norm"], "an encoder that normalises queries and keys, which is not supported"),
    (&["patch_embed.proj.0."], "an encoder with a convolutional stem, which is not supported"),
    (
        &["layer1.0.conv1", "bn1.running_mean", "features.0.weight"],
        "a ResNet or another convolutional network",
    ),
    (&["downsample_layers.", "stages.0."], "a ConvNeXt or another staged network"),
    (
        &["word_embeddings", "embed_tokens", "wte.weight", "lm_head", "token_embedding"],
        "a text model",
    ),
    (&["exp_avg"], "an optimiser state without a model"),
];

/// What the user can do where the architecture is another one.
const OTHER: &str = "pass a plain ViT encoder: MAE, CropMAE, SiamMAE, DINO, iBOT, DINOv2, DINOv3, timm or Hugging Face's ViTMAE, Dinov2 or DINOv3";

/// What the keys remind of, if of anything.
pub(super) fn sign(keys: &[String]) -> Option<&'static str> {
    if !keys.is_empty()
        && keys.iter().all(|key| key.contains("decoder") || key.ends_with("mask_token"))
    {
        return Some("only a decoder, without its encoder");
    }
    let hit = |parts: &[&str]| parts.iter().any(|part| keys.iter().any(|key| key.contains(part)));
    SIGNS.iter().find(|(parts, _)| hit(parts)).map(|(_, what)| *what)
}

/// No dict of the file has an encoder in it. `searched` says where was looked.
pub(super) fn no_encoder(keys: &[String], searched: &str, dicts: &[String]) -> Refusal {
    if let Some(what) = sign(keys) {
        return Refusal::new(format!("seems to hold {what}"), OTHER);
    }
    if keys.is_empty() {
        let remedy = if dicts.is_empty() {
            "pass a file with a model's state dict".to_string()
        } else {
            format!(
                "name the dict with the setting `checkpoint_key`; the file has {}",
                shortened(dicts)
            )
        };
        return Refusal::new(format!("holds no tensors {searched}"), remedy);
    }
    Refusal::new(
        format!(
            "no encoder found {searched}: none of its {} keys is a ViT's patch embedding or block \
             (it holds {})",
            keys.len(),
            shortened(keys)
        ),
        format!(
            "{OTHER}; if the weights are in another dict, name it with the setting `checkpoint_key`"
        ),
    )
}

/// The encoder holds parts that a plain ViT does not have.
pub(super) fn foreign_parts(foreign: &[String]) -> Refusal {
    let what = sign(foreign).unwrap_or("an encoder with parts that a plain ViT does not have");
    let shown = &foreign[..foreign.len().min(3)];
    Refusal::new(format!("seems to hold {what} ({} …)", shown.join(", ")), OTHER)
}

/// Some of the encoder is there, some is not.
pub(super) fn missing_keys(missing: &[String], found: usize, keys: &[String]) -> Refusal {
    let lacks = |name: &str| missing.iter().any(|key| key.ends_with(name));
    let guess = if let Some(what) = sign(keys) {
        format!("it seems to hold {what}")
    } else if lacks("norm.weight") && keys.iter().any(|key| key.ends_with("fc_norm.weight")) {
        "it seems to be a classifier fine-tuned with global pooling, which has no final norm for \
         patches; use the pre-trained encoder"
            .into()
    } else if lacks("cls_token") {
        "it seems to be an encoder without a CLS token, which is not supported".into()
    } else if lacks("pos_embed") || lacks("position_embeddings") {
        "it seems to be an encoder without a position table, which is not supported".into()
    } else {
        "the file seems to be incomplete or of another architecture; random values are never filled in".into()
    };
    Refusal::new(
        format!(
            "lacks {} of the encoder's {} tensors: {}",
            missing.len(),
            missing.len() + found,
            shortened(missing)
        ),
        guess,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_string()).collect()
    }

    #[test]
    fn common_mistakes_are_named() {
        let problem = |keys: &[&str]| no_encoder(&owned(keys), "at its top", &[]).problem;
        assert!(problem(&["conv1.weight", "layer1.0.conv1.weight"]).contains("ResNet"));
        assert!(problem(&["bert.embeddings.word_embeddings.weight"]).contains("text model"));
        assert!(problem(&["decoder_embed.weight", "mask_token"]).contains("only a decoder"));
        assert!(problem(&["blocks.0.attn.q_proj.weight"]).contains("EVA-02"));
        let clip =
            ["embeddings.patch_embedding.weight", "encoder.layers.0.self_attn.q_proj.weight"];
        assert!(problem(&clip).contains("CLIP or SigLIP"));
        let text = ["model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"];
        assert!(problem(&text).contains("text model"));
        assert!(problem(&["blocks.0.mlp.fc1.SCB"]).contains("quantised"));
        assert!(
            problem(&["a.b", "c"]).contains("2 keys") && problem(&["a.b", "c"]).contains("a.b, c")
        );
    }

    #[test]
    fn an_empty_dict_points_to_the_others() {
        let refusal = no_encoder(&[], "at its top", &owned(&["net", "ema"]));
        assert!(refusal.remedy.contains("net, ema"), "{}", refusal.remedy);
    }

    #[test]
    fn missing_keys_are_counted_and_explained() {
        let refusal =
            missing_keys(&owned(&["norm.weight", "norm.bias"]), 10, &owned(&["fc_norm.weight"]));
        assert!(refusal.problem.contains("2 of the encoder's 12 tensors: norm.weight, norm.bias"));
        assert!(refusal.remedy.contains("global pooling"));
    }
}
