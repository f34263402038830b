//! Sorts the keys of a dict into the encoder's tensors, foreign parts and extras.

use std::collections::BTreeMap;

use super::element::Table;
use super::names::{BLOCK, LAYER_SCALE, Role, Site, Spelling, count_extras};
use super::report::ExtraGroup;

/// Where a canonical tensor comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recipe {
    /// One tensor of the file, by its full key.
    Whole(String),
    /// Query, key and value, to be stacked in this order.
    Rows([Option<String>; 3]),
    /// The family has no such tensor: zeros stand for it.
    Zeros,
}

/// A dict's keys, sorted.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Canonical name to where it comes from.
    pub(super) recipes: BTreeMap<String, Recipe>,
    /// Full keys of parts that a plain ViT does not have.
    pub(super) foreign: Vec<String>,
    /// Full keys that two names in the file both stand for.
    pub(super) doubled: Vec<String>,
    /// What is not of the encoder, by group.
    pub(super) extras: Vec<ExtraGroup>,
}

impl Plan {
    /// Sorts the keys of `table` for the encoder at `site`.
    pub(super) fn new(table: &Table, site: &Site) -> Self {
        let mut plan = Self::default();
        let mut extras = Vec::new();
        for key in table.keys() {
            let role = match key.strip_prefix(&site.prefix) {
                Some(rest) => site.spelling.role(rest),
                None => Role::Extra,
            };
            match role {
                Role::Whole(name) => {
                    if plan.recipes.insert(name, Recipe::Whole(key.clone())).is_some() {
                        plan.doubled.push(key.clone());
                    }
                }
                Role::Rows(name, row) => plan.add_rows(name, row, key),
                Role::Foreign => plan.foreign.push(key.clone()),
                Role::Extra => extras.push(key.as_str()),
            }
        }
        plan.extras = count_extras(extras.into_iter(), &site.prefix);
        plan
    }

    fn add_rows(&mut self, name: String, row: usize, key: &str) {
        let recipe = self.recipes.entry(name).or_insert(Recipe::Rows([None, None, None]));
        if let Recipe::Rows(parts) = recipe {
            parts[row] = Some(key.to_string());
        }
    }

    /// One more than the largest index of a block.
    pub(super) fn depth(&self) -> usize {
        let indices = self.recipes.keys().filter_map(|name| {
            name.strip_prefix("blocks.")?.split_once('.')?.0.parse::<usize>().ok()
        });
        indices.max().map_or(0, |last| last + 1)
    }

    /// Whether any block scales its branches.
    pub(super) fn layer_scale(&self) -> bool {
        self.recipes.keys().any(|name| name.ends_with(".gamma"))
    }

    /// Puts zeros for `attn.qkv.bias` where no block has one; whether it did.
    pub(super) fn fill_absent_bias(&mut self) -> bool {
        let absent = !self.recipes.keys().any(|name| name.ends_with("attn.qkv.bias"));
        for index in (0..self.depth()).filter(|_| absent) {
            self.recipes.insert(format!("blocks.{index}.attn.qkv.bias"), Recipe::Zeros);
        }
        absent
    }

    /// The canonical names that an encoder of this plan's depth needs, in canonical order.
    pub(super) fn needed(&self) -> Vec<String> {
        needed(self.depth(), self.layer_scale(), self.recipes.contains_key("register_tokens"))
    }

    /// What the file lacks of [`Self::needed`], as it would spell it.
    pub(super) fn missing(&self, site: &Site) -> Vec<String> {
        let native = |name: &str| format!("{}{}", site.prefix, site.spelling.native(name));
        let mut missing = Vec::new();
        for name in self.needed() {
            match self.recipes.get(&name) {
                None => missing.push(native(&name)),
                Some(Recipe::Rows(parts)) => {
                    let absent = ["query", "key", "value"].iter().zip(parts);
                    missing.extend(
                        absent
                            .filter(|(_, part)| part.is_none())
                            .map(|(row, _)| native(&name).replace("{query,key,value}", row)),
                    );
                }
                Some(_) => {}
            }
        }
        missing
    }

    /// The key in the file that stands for a canonical name, for messages.
    pub(super) fn key_of(&self, name: &str, spelling: Spelling) -> String {
        match self.recipes.get(name) {
            Some(Recipe::Whole(key)) => key.clone(),
            _ => spelling.native(name),
        }
    }
}

/// Canonical names in canonical order: tokens, patch embedding, blocks, final norm.
pub(super) fn needed(depth: usize, layer_scale: bool, registers: bool) -> Vec<String> {
    let stem = [
        "cls_token",
        "pos_embed",
        "register_tokens",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
    ];
    let stem = stem.into_iter().filter(|name| registers || *name != "register_tokens");
    let mut names: Vec<String> = stem.map(str::to_string).collect();
    for index in 0..depth.max(1) {
        names.extend(BLOCK.iter().map(|part| format!("blocks.{index}.{part}")));
        let scales = LAYER_SCALE.iter().filter(|_| layer_scale);
        names.extend(scales.map(|part| format!("blocks.{index}.{part}")));
    }
    names.extend(["norm.weight".to_string(), "norm.bias".to_string()]);
    names
}

#[cfg(test)]
mod tests {
    use super::super::element::{ElementType, Place, Stored};
    use super::*;

    fn table(keys: &[&str]) -> Table {
        let stored = Stored { element: ElementType::F32, shape: vec![1], place: Place::Nowhere };
        keys.iter().map(|key| ((*key).to_string(), stored.clone())).collect()
    }

    #[test]
    fn keys_are_sorted_and_what_lacks_is_named_as_in_the_file() {
        let site = Site { prefix: "vit.".into(), spelling: Spelling::HuggingFaceVit };
        let plan = Plan::new(
            &table(&[
                "vit.embeddings.cls_token",
                "vit.encoder.layer.0.attention.attention.query.weight",
                "vit.encoder.layer.0.strange.weight",
                "decoder.norm.weight",
            ]),
            &site,
        );
        assert_eq!(plan.depth(), 1);
        assert_eq!(plan.foreign, ["vit.encoder.layer.0.strange.weight"]);
        assert_eq!(plan.extras[0].name, "decoder.*");
        let missing = plan.missing(&site);
        assert!(missing.contains(&"vit.encoder.layer.0.attention.attention.key.weight".into()));
        assert!(!missing.contains(&"vit.encoder.layer.0.attention.attention.query.weight".into()));
        assert!(missing.contains(&"vit.layernorm.bias".into()));
    }

    #[test]
    fn two_keys_for_one_tensor_are_noticed() {
        let site = Site { prefix: String::new(), spelling: Spelling::Timm };
        let plan = Plan::new(&table(&["blocks.0.3.norm1.bias", "blocks.3.norm1.bias"]), &site);
        assert_eq!(plan.doubled, ["blocks.3.norm1.bias"]);
    }

    #[test]
    fn a_vit_of_depth_12_has_150_tensors() {
        // 3 tokens and positions etc.: cls, pos, patch weight and bias; 12 x 12; norm x 2
        assert_eq!(needed(12, false, false).len(), 4 + 144 + 2);
        assert_eq!(needed(12, true, true).len(), 5 + 168 + 2);
    }
}
