//! Where in a dict an encoder is: what stands before its keys, and how they are spelled.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::vocabulary::Spelling;

/// A few keys that every encoder has, from which its spelling and its prefix are found.
const ANCHORS: [(Spelling, [&str; 6]); 6] = [
    (
        Spelling::Timm,
        [
            "cls_token",
            "pos_embed",
            "patch_embed.proj.weight",
            "patch_embed.proj.bias",
            "blocks.0.norm1.weight",
            "blocks.0.attn.qkv.weight",
        ],
    ),
    (
        Spelling::Dinov3,
        [
            "cls_token",
            "rope_embed.periods",
            "patch_embed.proj.weight",
            "patch_embed.proj.bias",
            "blocks.0.norm1.weight",
            "blocks.0.attn.qkv.weight",
        ],
    ),
    (
        Spelling::TimmDinov3,
        [
            "cls_token",
            "reg_token",
            "patch_embed.proj.weight",
            "patch_embed.proj.bias",
            "blocks.0.norm1.weight",
            "blocks.0.gamma_1",
        ],
    ),
    (
        Spelling::HuggingFaceVit,
        [
            "embeddings.cls_token",
            "embeddings.position_embeddings",
            "embeddings.patch_embeddings.projection.weight",
            "embeddings.patch_embeddings.projection.bias",
            "encoder.layer.0.layernorm_before.weight",
            "encoder.layer.0.intermediate.dense.weight",
        ],
    ),
    (
        Spelling::HuggingFaceDinov2,
        [
            "embeddings.cls_token",
            "embeddings.position_embeddings",
            "embeddings.patch_embeddings.projection.weight",
            "embeddings.patch_embeddings.projection.bias",
            "encoder.layer.0.norm1.weight",
            "encoder.layer.0.mlp.fc1.weight",
        ],
    ),
    (
        Spelling::HuggingFaceDinov3,
        [
            "embeddings.cls_token",
            "embeddings.register_tokens",
            "embeddings.patch_embeddings.weight",
            "embeddings.patch_embeddings.bias",
            "layer.0.norm1.weight",
            "layer.0.attention.q_proj.weight",
        ],
    ),
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
        for (spelling, anchors) in ANCHORS {
            let prefixes = anchors.iter().filter_map(|anchor| key.strip_suffix(anchor));
            for prefix in prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.')) {
                *scores.entry(Site { prefix: prefix.to_string(), spelling }).or_insert(0) += 1;
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
        // a decoder's own tokens are not an encoder's
        assert!(
            prefixes(&["decoder_cls_token", "decoder_pos_embed", "x_patch_embed.proj.bias"])
                .0
                .is_empty()
        );
    }
}
