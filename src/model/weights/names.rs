//! From the names in a file to the canonical ones.
//!
//! The canonical names are MAE's, which DINO, DINOv2 and timm share except for registers. Hugging
//! Face uses different names everywhere and stores query, key and value separately.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::report::ExtraGroup;

/// How the keys of a checkpoint are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spelling {
    /// MAE, DINO, DINOv2, timm.
    Timm,
    /// Hugging Face's ViT and ViTMAE.
    HuggingFaceVit,
    /// Hugging Face's Dinov2, with or without registers.
    HuggingFaceDinov2,
}

/// What one key of a checkpoint is to the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// A whole tensor, by its canonical name.
    Whole(String),
    /// Query (0), key (1) or value (2) rows of a tensor, by its canonical name.
    Rows(String, usize),
    /// A part of the encoder that a plain ViT does not have.
    Foreign,
    /// Not of the encoder.
    Extra,
}

/// The tensors of a block but for LayerScale, in canonical order.
pub(super) const BLOCK: [&str; 12] = [
    "norm1.weight",
    "norm1.bias",
    "attn.qkv.weight",
    "attn.qkv.bias",
    "attn.proj.weight",
    "attn.proj.bias",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.weight",
    "mlp.fc1.bias",
    "mlp.fc2.weight",
    "mlp.fc2.bias",
];

/// The scales of a block's two branches, where it has them.
pub(super) const LAYER_SCALE: [&str; 2] = ["ls1.gamma", "ls2.gamma"];

/// The tensors outside the blocks.
const STEM: [&str; 7] = [
    "cls_token",
    "pos_embed",
    "register_tokens",
    "patch_embed.proj.weight",
    "patch_embed.proj.bias",
    "norm.weight",
    "norm.bias",
];

/// Keys outside the blocks that change what the encoder computes, so cannot be left out:
/// rotary positions, a norm before the blocks, a second class token, extra final norms.
const FOREIGN: [&str; 7] =
    ["norm_pre", "dist_token", "storage_tokens", "rope", "rel_pos", "cls_norm", "local_cls_norm"];

/// Hugging Face's stem and its canonical name.
const HUGGING_FACE_STEM: [(&str, &str); 7] = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.register_tokens", "register_tokens"),
    ("embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight"),
    ("embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias"),
    ("layernorm.weight", "norm.weight"),
    ("layernorm.bias", "norm.bias"),
];

/// Hugging Face's modules of a block, for each spelling, and their canonical name.
const HUGGING_FACE_BLOCK: [(&str, &str, &str); 6] = [
    ("layernorm_before", "norm1", "norm1"),
    ("attention.attention", "attention.attention", "attn.qkv"),
    ("attention.output.dense", "attention.output.dense", "attn.proj"),
    ("layernorm_after", "norm2", "norm2"),
    ("intermediate.dense", "mlp.fc1", "mlp.fc1"),
    ("output.dense", "mlp.fc2", "mlp.fc2"),
];

/// The names of the three parts of `attn.qkv`, in its row order.
const PARTS: [&str; 3] = ["query", "key", "value"];

/// No encoder is this deep; a larger index is damage.
const MAX_BLOCKS: usize = 1000;

/// A few keys that every encoder has, from which its spelling and its prefix are found.
const ANCHORS: [(Spelling, [&str; 6]); 3] = [
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

impl Spelling {
    /// What the key (its prefix stripped) is to the encoder.
    pub(super) fn role(self, key: &str) -> Role {
        match self {
            Self::Timm => timm_role(key),
            _ => self.hugging_face_role(key),
        }
    }

    /// A canonical name as this spelling writes it.
    pub(super) fn native(self, canonical: &str) -> String {
        if self == Self::Timm {
            return canonical.to_string();
        }
        if let Some((native, _)) = HUGGING_FACE_STEM.iter().find(|(_, known)| *known == canonical) {
            return (*native).to_string();
        }
        let native = canonical
            .strip_prefix("blocks.")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(index, part)| {
                let (module, leaf) = part.rsplit_once('.')?;
                let module = match module {
                    "ls1" => return Some(format!("encoder.layer.{index}.layer_scale1.lambda1")),
                    "ls2" => return Some(format!("encoder.layer.{index}.layer_scale2.lambda1")),
                    "attn.qkv" => "attention.attention.{query,key,value}",
                    _ => self.modules().find(|(_, known)| *known == module)?.0,
                };
                Some(format!("encoder.layer.{index}.{module}.{leaf}"))
            });
        native.unwrap_or_else(|| canonical.to_string())
    }

    /// Hugging Face's name and the canonical name of each module of a block.
    fn modules(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        HUGGING_FACE_BLOCK.iter().map(move |&(vit, dinov2, canonical)| match self {
            Self::HuggingFaceVit => (vit, canonical),
            _ => (dinov2, canonical),
        })
    }

    fn hugging_face_role(self, key: &str) -> Role {
        if let Some((_, canonical)) = HUGGING_FACE_STEM.iter().find(|(known, _)| *known == key) {
            return Role::Whole((*canonical).to_string());
        }
        let Some(rest) = key.strip_prefix("encoder.layer.") else {
            return if key.contains("rope") { Role::Foreign } else { Role::Extra };
        };
        let found = block_index(rest).and_then(|(index, part)| self.block_role(index, part));
        found.unwrap_or(Role::Foreign)
    }

    fn block_role(self, index: usize, part: &str) -> Option<Role> {
        let whole = |part: &str| Some(Role::Whole(format!("blocks.{index}.{part}")));
        match part {
            "layer_scale1.lambda1" => return whole("ls1.gamma"),
            "layer_scale2.lambda1" => return whole("ls2.gamma"),
            _ => {}
        }
        let (module, leaf) = part.rsplit_once('.')?;
        if !matches!(leaf, "weight" | "bias") {
            return None;
        }
        if let Some(name) = module.strip_prefix("attention.attention.") {
            let row = PARTS.iter().position(|known| *known == name)?;
            return Some(Role::Rows(format!("blocks.{index}.attn.qkv.{leaf}"), row));
        }
        let (_, canonical) = self.modules().find(|(known, _)| *known == module)?;
        whole(&format!("{canonical}.{leaf}"))
    }
}

fn timm_role(key: &str) -> Role {
    if STEM.contains(&key) {
        return Role::Whole(key.to_string());
    }
    if key == "reg_token" {
        return Role::Whole("register_tokens".into());
    }
    let Some(rest) = key.strip_prefix("blocks.") else {
        let foreign = FOREIGN.iter().any(|name| key.starts_with(name));
        return if foreign { Role::Foreign } else { Role::Extra };
    };
    let known = |part: &str| BLOCK.contains(&part) || LAYER_SCALE.contains(&part);
    match block_index(rest) {
        Some((index, part)) if known(part) => Role::Whole(format!("blocks.{index}.{part}")),
        // DINOv2 groups blocks in chunks but counts on: blocks.<chunk>.<block>.norm1.weight
        Some((_, part)) => match block_index(part) {
            Some((index, part)) if known(part) => Role::Whole(format!("blocks.{index}.{part}")),
            _ => Role::Foreign,
        },
        None => Role::Foreign,
    }
}

/// `3.norm1.weight` into 3 and `norm1.weight`.
fn block_index(rest: &str) -> Option<(usize, &str)> {
    let (index, part) = rest.split_once('.')?;
    let index = index.parse().ok().filter(|&index| index < MAX_BLOCKS)?;
    Some((index, part))
}

/// The group under which an unused key is counted; `site` is the encoder's prefix.
fn group(key: &str, site: &str) -> String {
    // what the encoder's prefix and this key share is said once already
    let shared = key
        .split_inclusive('.')
        .zip(site.split_inclusive('.'))
        .take_while(|(key, site)| key == site)
        .map(|(part, _)| part.len())
        .sum();
    let rest = &key[shared..];
    if rest.starts_with("decoder_") {
        return "decoder_*".into();
    }
    if rest == "embeddings.mask_token" {
        return "mask_token".into();
    }
    match rest.split_once('.') {
        Some((first, _)) => format!("{first}.*"),
        None => rest.to_string(),
    }
}

/// Counts unused keys by group, sorted by name.
pub(super) fn count_extras<'a>(keys: impl Iterator<Item = &'a str>, site: &str) -> Vec<ExtraGroup> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(group(key, site)).or_insert(0) += 1;
    }
    counts.into_iter().map(|(name, count)| ExtraGroup { name, count }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timm_names() {
        assert_eq!(
            timm_role("blocks.3.attn.qkv.bias"),
            Role::Whole("blocks.3.attn.qkv.bias".into())
        );
        assert_eq!(timm_role("blocks.0.11.ls1.gamma"), Role::Whole("blocks.11.ls1.gamma".into()));
        assert_eq!(timm_role("reg_token"), Role::Whole("register_tokens".into()));
        assert_eq!(timm_role("blocks.0.attn.q_norm.weight"), Role::Foreign);
        assert_eq!(timm_role("blocks.99999999999.norm1.weight"), Role::Foreign);
        assert_eq!(timm_role("norm_pre.weight"), Role::Foreign);
        assert_eq!(timm_role("decoder_pos_embed"), Role::Extra);
        assert_eq!(timm_role("head.weight"), Role::Extra);
    }

    #[test]
    fn hugging_face_names() {
        let vit = Spelling::HuggingFaceVit;
        let whole = |name: &str| Role::Whole(name.into());
        assert_eq!(
            vit.role("encoder.layer.2.attention.attention.key.weight"),
            Role::Rows("blocks.2.attn.qkv.weight".into(), 1)
        );
        assert_eq!(vit.role("encoder.layer.0.output.dense.bias"), whole("blocks.0.mlp.fc2.bias"));
        assert_eq!(vit.role("encoder.layer.0.mlp.fc1.bias"), Role::Foreign);
        assert_eq!(vit.role("pooler.dense.weight"), Role::Extra);
        let dinov2 = Spelling::HuggingFaceDinov2;
        assert_eq!(
            dinov2.role("encoder.layer.1.layer_scale2.lambda1"),
            whole("blocks.1.ls2.gamma")
        );
        assert_eq!(dinov2.role("encoder.layer.1.mlp.weights_in.weight"), Role::Foreign);
    }

    #[test]
    fn every_canonical_name_survives_the_way_there_and_back() {
        let blocks = BLOCK.iter().chain(&LAYER_SCALE).map(|part| format!("blocks.7.{part}"));
        for canonical in STEM.iter().map(|name| (*name).to_string()).chain(blocks) {
            for spelling in [Spelling::Timm, Spelling::HuggingFaceVit, Spelling::HuggingFaceDinov2]
            {
                let native = spelling.native(&canonical).replace("{query,key,value}", "value");
                match spelling.role(&native) {
                    Role::Whole(name) => assert_eq!(name, canonical),
                    Role::Rows(name, 2) => assert_eq!(name, canonical),
                    other => panic!("{native} is {other:?}"),
                }
            }
        }
    }

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

    #[test]
    fn extras_are_grouped_past_the_shared_prefix() {
        let keys = [
            "module.head.mlp.0.weight",
            "module.head.mlp.0.bias",
            "mask_token",
            "decoder_norm.bias",
        ];
        let groups = count_extras(keys.into_iter(), "module.backbone.");
        let names: Vec<_> = groups.iter().map(|group| (group.name.as_str(), group.count)).collect();
        assert_eq!(names, [("decoder_*", 1), ("head.*", 2), ("mask_token", 1)]);
    }
}
