//! From the names in a file to the canonical ones.
//!
//! The canonical names are MAE's, which DINO, DINOv2 and timm share except for registers. Hugging
//! Face uses different names everywhere and stores query, key and value separately. Which names
//! there are stands in `vocabulary`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::report::ExtraGroup;
use super::vocabulary::{Part, Spelling, Vocabulary};

/// What one key of a checkpoint is to the encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// A whole tensor, by its canonical name.
    Whole(String),
    /// Some rows of a tensor, by its canonical name: which of how many pieces. Query, key and value
    /// are 0, 1 and 2 of 3; a gate and what it multiplies 0 and 1 of 2.
    Piece(String, usize, usize),
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

/// No encoder is this deep; a larger index is damage.
const MAX_BLOCKS: usize = 1000;

impl Spelling {
    /// What the key (its prefix stripped) is to the encoder.
    pub(super) fn role(self, key: &str) -> Role {
        let words = self.vocabulary();
        let mut stem = words.stem.iter().copied().flatten();
        if let Some((_, canonical)) = stem.find(|(known, _)| *known == key) {
            return Role::Whole((*canonical).to_string());
        }
        // Hugging Face's saved model and its state dict in memory differ by this
        let key = match self {
            Self::HuggingFaceDinov3 => key.strip_prefix("model.").unwrap_or(key),
            _ => key,
        };
        let Some(rest) = key.strip_prefix(words.blocks) else {
            let foreign = words.foreign.iter().any(|name| key.starts_with(name));
            return if foreign { Role::Foreign } else { Role::Extra };
        };
        let known = |(index, part)| self.block_role(index, part);
        let found = block_index(rest).and_then(|(index, part)| {
            // DINOv2 groups blocks in chunks but counts on: blocks.<chunk>.<block>.norm1.weight
            known((index, part)).or_else(|| block_index(part).and_then(known))
        });
        found.unwrap_or(Role::Foreign)
    }

    fn block_role(self, index: usize, name: &str) -> Option<Role> {
        let mut parts = self.vocabulary().parts.iter().copied().flatten();
        let (part, canonical) = parts.find_map(|part| Some((part, part.canonical(name)?)))?;
        let canonical = format!("blocks.{index}.{canonical}");
        Some(match part.piece {
            Some((piece, pieces)) => Role::Piece(canonical, piece, pieces),
            None => Role::Whole(canonical),
        })
    }

    /// A canonical name as this spelling writes it; pieces in braces.
    pub(super) fn native(self, canonical: &str) -> String {
        let mut stem = self.vocabulary().stem.iter().copied().flatten();
        if let Some((native, _)) = stem.find(|(_, known)| *known == canonical) {
            return (*native).to_string();
        }
        let parts = self.native_parts(canonical);
        if let Some((whole, _)) = parts.iter().find(|(_, piece)| piece.is_none()) {
            return whole.clone();
        }
        let Some((first, _)) = parts.first() else { return canonical.to_string() };
        // `attention.query.weight` … as `attention.{query,key,value}.weight`
        let (start, middle) = split_name(first);
        let middles: Vec<&str> = parts.iter().map(|(name, _)| split_name(name).1).collect();
        format!("{start}{{{}}}{}", middles.join(","), &first[start.len() + middle.len()..])
    }

    /// A piece of a canonical tensor, which of how many, as this spelling writes it.
    pub(super) fn native_piece(self, canonical: &str, piece: (usize, usize)) -> String {
        let mut parts = self.native_parts(canonical).into_iter();
        let found = parts.find(|(_, known)| *known == Some(piece));
        found.map_or_else(|| self.native(canonical), |(name, _)| name)
    }

    /// All that stands for a canonical tensor of a block, wholly or as a piece of it.
    fn native_parts(self, canonical: &str) -> Vec<(String, Option<(usize, usize)>)> {
        let block = canonical.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
        let Some((index, name)) = block else { return Vec::new() };
        let Vocabulary { blocks, parts, .. } = self.vocabulary();
        let parts = parts.iter().copied().flatten();
        let natives = parts.filter_map(|part| Some((part.native(name)?, part.piece)));
        natives.map(|(native, piece)| (format!("{blocks}{index}.{native}"), piece)).collect()
    }
}

/// What stands before the part of a name in which the pieces of a tensor differ, and that part: the
/// module, or the leaf where there is nothing after it.
fn split_name(name: &str) -> (&str, &str) {
    let module = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias"));
    let module = module.unwrap_or(name);
    module.split_at(module.rfind('.').map_or(0, |dot| dot + 1))
}

impl Part {
    /// Whether the name is that of a tensor, not of a module.
    fn is_tensor(&self) -> bool {
        self.canonical.ends_with(".gamma") || self.canonical.contains(".bias")
    }

    /// The canonical name, in its block, of what a file calls `name`; none if it is not of this
    /// part.
    fn canonical(&self, name: &str) -> Option<String> {
        self.renamed(name, (self.name, self.canonical))
    }

    /// The other way.
    fn native(&self, canonical: &str) -> Option<String> {
        self.renamed(canonical, (self.canonical, self.name))
    }

    fn renamed(&self, name: &str, (from, to): (&str, &str)) -> Option<String> {
        let leaf = name.strip_prefix(from)?;
        let found = match self.is_tensor() {
            true => leaf.is_empty(),
            false => matches!(leaf, ".weight" | ".bias"),
        };
        found.then(|| format!("{to}{leaf}"))
    }
}

/// Whether a part of a key is but what wraps a module: `torch.compile`, activation checkpointing,
/// FSDP or DDP.
pub(super) fn wraps(part: &str) -> bool {
    matches!(part, "_orig_mod" | "_checkpoint_wrapped_module" | "_fsdp_wrapped_module" | "module")
}

/// A key of the encoder, its prefix stripped, without what wraps modules within it.
pub(super) fn unwrapped(key: &str) -> Cow<'_, str> {
    if !key.split('.').skip(1).any(wraps) {
        return Cow::Borrowed(key);
    }
    let kept = key.split('.').enumerate().filter(|(index, part)| *index == 0 || !wraps(part));
    Cow::Owned(kept.map(|(_, part)| part).collect::<Vec<_>>().join("."))
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

    fn whole(name: &str) -> Role {
        Role::Whole(name.into())
    }

    #[test]
    fn timm_names() {
        let timm = |key: &str| Spelling::Timm.role(key);
        assert_eq!(timm("blocks.3.attn.qkv.bias"), whole("blocks.3.attn.qkv.bias"));
        assert_eq!(timm("blocks.0.11.ls1.gamma"), whole("blocks.11.ls1.gamma"));
        assert_eq!(timm("blocks.2.mlp.w12.bias"), whole("blocks.2.mlp.fc1.bias"));
        assert_eq!(timm("reg_token"), whole("register_tokens"));
        assert_eq!(timm("blocks.0.attn.q_norm.weight"), Role::Foreign);
        assert_eq!(timm("blocks.0.norm1"), Role::Foreign);
        assert_eq!(timm("blocks.99999999999.norm1.weight"), Role::Foreign);
        assert_eq!(timm("norm_pre.weight"), Role::Foreign);
        assert_eq!(timm("decoder_pos_embed"), Role::Extra);
        assert_eq!(timm("head.weight"), Role::Extra);
    }

    #[test]
    fn hugging_face_names() {
        let vit = Spelling::HuggingFaceVit;
        assert_eq!(
            vit.role("encoder.layer.2.attention.attention.key.weight"),
            Role::Piece("blocks.2.attn.qkv.weight".into(), 1, 3)
        );
        assert_eq!(vit.role("encoder.layer.0.output.dense.bias"), whole("blocks.0.mlp.fc2.bias"));
        assert_eq!(vit.role("encoder.layer.0.mlp.fc1.bias"), Role::Foreign);
        assert_eq!(vit.role("pooler.dense.weight"), Role::Extra);
        let dinov2 = Spelling::HuggingFaceDinov2;
        let scale = dinov2.role("encoder.layer.1.layer_scale2.lambda1");
        assert_eq!(scale, whole("blocks.1.ls2.gamma"));
        let gated = dinov2.role("encoder.layer.1.mlp.weights_in.weight");
        assert_eq!(gated, whole("blocks.1.mlp.fc1.weight"));
        assert_eq!(dinov2.role("encoder.layer.1.mlp.weights.weight"), Role::Foreign);
    }

    #[test]
    fn wrapping_modules_within_a_name_are_dropped() {
        assert_eq!(unwrapped("blocks.0._orig_mod.norm1.weight"), "blocks.0.norm1.weight");
        assert_eq!(
            unwrapped(
                "blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module.mlp.module.fc1.bias"
            ),
            "blocks.0.mlp.fc1.bias"
        );
        // what begins a name is its prefix's
        assert_eq!(unwrapped("module.cls_token"), "module.cls_token");
        assert_eq!(unwrapped("blocks.0.submodule.norm1.bias"), "blocks.0.submodule.norm1.bias");
    }

    #[test]
    fn names_of_transformers_5() {
        let vit = Spelling::HuggingFace5Vit;
        assert_eq!(
            vit.role("layers.2.attention.k_proj.weight"),
            Role::Piece("blocks.2.attn.qkv.weight".into(), 1, 3)
        );
        assert_eq!(vit.role("layers.0.mlp.fc2.bias"), whole("blocks.0.mlp.fc2.bias"));
        assert_eq!(vit.role("embeddings.distillation_token"), Role::Foreign);
        let dinov2 = Spelling::HuggingFace5Dinov2;
        assert_eq!(
            dinov2.role("encoder.layer.1.mlp.gate_proj.bias"),
            Role::Piece("blocks.1.mlp.fc1.bias".into(), 0, 2)
        );
        let output = dinov2.native("blocks.1.attn.proj.bias");
        assert_eq!(output, "encoder.layer.1.attention.o_proj.bias");
    }

    #[test]
    fn three_spellings_of_dinov3() {
        let (own, timm) = (Spelling::Dinov3, Spelling::TimmDinov3);
        let gate = Role::Piece("blocks.3.mlp.fc1.weight".into(), 0, 2);
        assert_eq!(own.role("storage_tokens"), whole("register_tokens"));
        assert_eq!(own.role("blocks.3.mlp.w1.weight"), gate);
        assert_eq!(own.role("blocks.3.attn.qkv.bias_mask"), whole("blocks.3.attn.qkv.bias_mask"));
        assert_eq!(own.role("local_cls_norm.weight"), Role::Extra);
        assert_eq!(own.role("cls_norm.weight"), Role::Foreign);
        assert_eq!(timm.role("blocks.3.mlp.fc1_g.weight"), gate);
        assert_eq!(timm.role("blocks.3.gamma_1"), whole("blocks.3.ls1.gamma"));
        let values = Role::Piece("blocks.3.attn.qkv.bias".into(), 2, 3);
        assert_eq!(timm.role("blocks.3.attn.v_bias"), values);
        let hugging_face = Spelling::HuggingFaceDinov3;
        assert_eq!(hugging_face.role("layer.3.mlp.gate_proj.weight"), gate);
        assert_eq!(hugging_face.role("model.layer.3.mlp.gate_proj.weight"), gate);
    }

    #[test]
    fn every_canonical_name_survives_the_way_there_and_back() {
        let stem = ["cls_token", "patch_embed.proj.weight", "patch_embed.proj.bias"];
        let stem = stem.into_iter().chain(["register_tokens", "norm.weight", "norm.bias"]);
        let blocks = BLOCK.iter().chain(&LAYER_SCALE).map(|part| format!("blocks.7.{part}"));
        let canonical: Vec<String> = stem.map(String::from).chain(blocks).collect();
        for spelling in [
            Spelling::Timm,
            Spelling::Dinov3,
            Spelling::TimmDinov3,
            Spelling::HuggingFaceVit,
            Spelling::HuggingFace5Vit,
            Spelling::HuggingFaceDinov2,
            Spelling::HuggingFace5Dinov2,
            Spelling::HuggingFaceDinov3,
        ] {
            for name in &canonical {
                let stem = [(spelling.native(name), None)];
                let natives = match name.starts_with("blocks.") {
                    true => spelling.native_parts(name),
                    false => stem.to_vec(),
                };
                // Hugging Face's ViT has no LayerScale
                let plain = [Spelling::HuggingFaceVit, Spelling::HuggingFace5Vit];
                let scaled = !plain.contains(&spelling) || !name.ends_with("gamma");
                assert_eq!(natives.is_empty(), !scaled, "{spelling:?} {name}");
                for (native, piece) in natives {
                    match (spelling.role(&native), piece) {
                        (Role::Whole(back), None) => assert_eq!(back, *name),
                        (Role::Piece(back, at, of), Some(piece)) => {
                            assert_eq!((back.as_str(), (at, of)), (name.as_str(), piece));
                        }
                        (other, _) => panic!("{native} is {other:?}"),
                    }
                }
            }
        }
        let (vit, timm) = (Spelling::HuggingFaceVit, Spelling::TimmDinov3);
        let three = "encoder.layer.7.attention.attention.{query,key,value}.weight";
        assert_eq!(vit.native("blocks.7.attn.qkv.weight"), three);
        assert_eq!(timm.native("blocks.7.attn.qkv.bias"), "blocks.7.attn.qkv.bias");
        assert_eq!(timm.native_piece("blocks.7.attn.qkv.bias", (2, 3)), "blocks.7.attn.v_bias");
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
