//! Where in a dict an encoder is: what stands before its keys, and how they are spelled.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::names::{unwrapped, wraps};
use super::vocabulary::Spelling;

/// A few keys that every encoder has, from which its spelling and its prefix are found. Spellings
/// that share a stem differ in at least two of them, so that one lost key does not mislead.
const ANCHORS: [(Spelling, &[&str], &[&str]); 8] = [
    (Spelling::Timm, STEM, &["pos_embed", "blocks.0.norm1.weight", "blocks.0.attn.qkv.weight"]),
    (
        Spelling::Dinov3,
        STEM,
        &["rope_embed.periods", "blocks.0.norm1.weight", "blocks.0.attn.qkv.weight"],
    ),
    (Spelling::TimmDinov3, STEM, &["reg_token", "blocks.0.norm1.weight", "blocks.0.gamma_1"]),
    (
        Spelling::HuggingFaceVit,
        HUGGING_FACE_STEM,
        &[
            "encoder.layer.0.layernorm_before.weight",
            "encoder.layer.0.intermediate.dense.weight",
            "encoder.layer.0.attention.attention.query.weight",
            "encoder.layer.0.attention.output.dense.weight",
        ],
    ),
    (
        Spelling::HuggingFace5Vit,
        HUGGING_FACE_STEM,
        &["layers.0.layernorm_before.weight", "layers.0.attention.q_proj.weight"],
    ),
    (
        Spelling::HuggingFaceDinov2,
        HUGGING_FACE_STEM,
        &[
            "encoder.layer.0.norm1.weight",
            "encoder.layer.0.norm2.weight",
            "encoder.layer.0.attention.attention.query.weight",
            "encoder.layer.0.attention.output.dense.weight",
        ],
    ),
    (
        Spelling::HuggingFace5Dinov2,
        HUGGING_FACE_STEM,
        &[
            "encoder.layer.0.norm1.weight",
            "encoder.layer.0.norm2.weight",
            "encoder.layer.0.attention.q_proj.weight",
            "encoder.layer.0.attention.o_proj.weight",
        ],
    ),
    (
        Spelling::HuggingFaceDinov3,
        &[
            "embeddings.cls_token",
            "embeddings.register_tokens",
            "embeddings.patch_embeddings.weight",
            "embeddings.patch_embeddings.bias",
        ],
        &["layer.0.norm1.weight", "layer.0.attention.q_proj.weight"],
    ),
];

/// The keys outside the blocks that timm and DINO's versions share.
const STEM: &[&str] = &["cls_token", "patch_embed.proj.weight", "patch_embed.proj.bias"];

/// Those of Hugging Face's encoders with a position table.
const HUGGING_FACE_STEM: &[&str] = &[
    "embeddings.cls_token",
    "embeddings.position_embeddings",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.projection.bias",
];

/// An encoder's place in a dict: how its keys are spelled and what stands before them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// What stands before every key, with its last dot.
    pub(super) prefix: String,
    /// How the keys are spelled.
    pub(super) spelling: Spelling,
}

/// Every encoder in a dict: prefixes under which at least three anchors stand, best first.
///
/// A teacher comes before anything else (DINO), a plain encoder before a student or a momentum
/// copy; the second value says whether that settles which one is meant.
pub(super) fn sites<'a>(keys: impl Iterator<Item = &'a str>) -> (Vec<Site>, bool) {
    let mut scores: BTreeMap<Site, usize> = BTreeMap::new();
    for key in keys {
        for (prefix, name) in ends(key) {
            for (spelling, stem, blocks) in ANCHORS {
                if stem.iter().chain(blocks).any(|anchor| *anchor == name) {
                    *scores.entry(Site { prefix: prefix.to_string(), spelling }).or_insert(0) += 1;
                }
            }
        }
    }
    let mut found: Vec<(Site, usize)> =
        scores.into_iter().filter(|(_, score)| *score >= 3).collect();
    // of two spellings that fit one prefix, the one with more anchors
    found.sort_by_key(|(site, score)| (rank(&site.prefix), site.prefix.clone(), Reverse(*score)));
    found.dedup_by(|next, kept| next.0.prefix == kept.0.prefix);
    let settled = match found.as_slice() {
        [(first, _), (second, _), ..] => rank(&first.prefix) < rank(&second.prefix),
        _ => true,
    };
    (found.into_iter().map(|(site, _)| site).collect(), settled)
}

/// The ways to split a key into a prefix and a name that may be an encoder's: the name begins with no
/// wrapping module, and those within it are dropped.
fn ends(key: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    /// An anchor has at most seven parts; as many wrapping modules may stand between them.
    const PARTS: usize = 14;
    let starts = key.rmatch_indices('.').map(|(dot, _)| dot + 1).take(PARTS).chain([0]);
    starts
        .map(|start| key.split_at(start))
        .filter(|(_, name)| !name.split('.').next().is_some_and(wraps))
        .map(|(prefix, name)| (prefix, unwrapped(name)))
}

/// Which of several encoders is meant: 0 before 1 before 2.
fn rank(prefix: &str) -> usize {
    let has = |name: &str| prefix.split(['.', '_']).any(|word| word == name);
    if has("teacher") {
        0
    } else if ["student", "momentum", "ema", "target", "average"].into_iter().any(has) {
        2
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(keys: &[&str]) -> (Vec<String>, bool) {
        let (sites, settled) = sites(keys.iter().copied());
        (sites.into_iter().map(|site| site.prefix).collect(), settled)
    }

    #[test]
    fn the_teacher_is_preferred_and_two_plain_encoders_are_a_question() {
        let stem = ["cls_token", "pos_embed", "patch_embed.proj.weight"];
        let under = |prefixes: &[&str]| -> Vec<String> {
            let all = prefixes.iter().flat_map(|prefix| stem.map(|key| format!("{prefix}{key}")));
            all.collect()
        };
        let found = |names: &[&str]| {
            let keys = under(names);
            prefixes(&keys.iter().map(String::as_str).collect::<Vec<_>>())
        };
        assert_eq!(found(&[""]), (vec![String::new()], true));
        let (order, settled) = found(&["student.backbone.", "teacher.backbone."]);
        assert_eq!((order[0].as_str(), settled), ("teacher.backbone.", true));
        let (order, settled) = found(&["module.momentum_encoder.", "module.base_encoder."]);
        assert_eq!((order[0].as_str(), settled), ("module.base_encoder.", true));
        assert!(!found(&["image.", "video."]).1);
        // wrapping modules before the encoder are its prefix, those within it are dropped
        let wrapped = ["a._orig_mod.cls_token", "a._orig_mod.patch_embed.module.proj.bias"];
        let block = "a._orig_mod.blocks.0._checkpoint_wrapped_module.norm1.weight";
        let found = prefixes(&[wrapped[0], wrapped[1], block]);
        assert_eq!(found, (vec!["a._orig_mod.".to_string()], true));
        // a decoder's own tokens are not an encoder's
        assert!(
            prefixes(&["decoder_cls_token", "decoder_pos_embed", "x_patch_embed.proj.bias"])
                .0
                .is_empty()
        );
    }
}
