//! Sorts the keys of a dict into the encoder's tensors, foreign parts and extras.

use std::collections::BTreeMap;

use super::element::Table;
use super::names::{BLOCK, LAYER_SCALE, Role, count_extras, unwrapped};
use super::report::ExtraGroup;
use super::site::Site;
use super::vocabulary::Spelling;

/// Where a canonical tensor comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Recipe {
    /// One tensor of the file, by its full key.
    Whole(String),
    /// Its pieces, to be stacked in this order: query, key and value, or a gate and what it
    /// multiplies.
    Pieces(Vec<Option<String>>),
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
                Some(rest) => site.spelling.role(&unwrapped(rest)),
                None => Role::Extra,
            };
            match role {
                Role::Whole(name) => {
                    if plan.recipes.insert(name, Recipe::Whole(key.clone())).is_some() {
                        plan.doubled.push(key.clone());
                    }
                }
                Role::Piece(name, piece, pieces) => plan.add_piece(name, (piece, pieces), key),
                Role::Foreign => plan.foreign.push(key.clone()),
                Role::Extra => extras.push(key.as_str()),
            }
        }
        plan.extras = count_extras(extras.into_iter(), &site.prefix);
        plan.take_lone_pieces_whole();
        plan
    }

    fn add_piece(&mut self, name: String, (piece, pieces): (usize, usize), key: &str) {
        let recipe = self.recipes.entry(name).or_insert_with(|| Recipe::Pieces(vec![None; pieces]));
        match recipe {
            Recipe::Pieces(parts) => match parts.get_mut(piece) {
                Some(part @ None) => *part = Some(key.to_string()),
                _ => self.doubled.push(key.to_string()),
            },
            _ => self.doubled.push(key.to_string()),
        }
    }

    /// Where no block has a gate, what it would multiply is the whole layer.
    fn take_lone_pieces_whole(&mut self) {
        let gate = |recipe: &Recipe| match recipe {
            Recipe::Pieces(parts) => matches!(parts.as_slice(), [Some(_), _]),
            _ => false,
        };
        if self.recipes.values().any(gate) {
            return;
        }
        for recipe in self.recipes.values_mut() {
            if let Recipe::Pieces(parts) = recipe
                && let [None, Some(key)] = parts.as_mut_slice()
            {
                *recipe = Recipe::Whole(std::mem::take(key));
            }
        }
    }

    /// One more than the largest index of a block.
    pub(super) fn depth(&self) -> usize {
        let indices = self.recipes.keys().filter_map(|name| {
            name.strip_prefix("blocks.")?.split_once('.')?.0.parse::<usize>().ok()
        });
        indices.max().map_or(0, |last| last + 1)
    }

    /// Whether there is a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.recipes.contains_key(name)
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

    /// What the encoder has, as far as its keys tell.
    fn makeup(&self, spelling: Spelling) -> Makeup {
        Makeup {
            depth: self.depth(),
            layer_scale: self.layer_scale(),
            registers: self.has("register_tokens"),
            table: !spelling.rotary(),
        }
    }

    /// What the file lacks, as it would spell it.
    pub(super) fn missing(&self, site: &Site) -> Vec<String> {
        let mut missing = Vec::new();
        for name in self.makeup(site.spelling).needed() {
            match self.recipes.get(&name) {
                None => missing.push(format!("{}{}", site.prefix, site.spelling.native(&name))),
                Some(Recipe::Pieces(parts)) => {
                    let lost = (0..parts.len()).filter(|&piece| {
                        parts[piece].is_none() && !spared(&name, piece, site.spelling)
                    });
                    missing.extend(lost.map(|piece| {
                        let native = site.spelling.native_piece(&name, (piece, parts.len()));
                        format!("{}{native}", site.prefix)
                    }));
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

/// Whether a piece may be absent: DINOv3's keys have no bias, and zeros stand for it.
fn spared(name: &str, piece: usize, spelling: Spelling) -> bool {
    spelling.rotary() && piece == 1 && name.ends_with("attn.qkv.bias")
}

/// What an encoder has of what not every encoder has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Makeup {
    /// Number of blocks.
    pub(super) depth: usize,
    /// Whether the branches of the blocks are scaled.
    pub(super) layer_scale: bool,
    /// Whether there are register tokens.
    pub(super) registers: bool,
    /// Whether there is a position table.
    pub(super) table: bool,
}

impl Makeup {
    /// The canonical names of its tensors in canonical order: tokens, patch embedding, blocks,
    /// final norm.
    pub(super) fn needed(self) -> Vec<String> {
        let stem = [
            ("cls_token", true),
            ("pos_embed", self.table),
            ("register_tokens", self.registers),
            ("patch_embed.proj.weight", true),
            ("patch_embed.proj.bias", true),
        ];
        let stem = stem.into_iter().filter(|(_, has)| *has);
        let mut names: Vec<String> = stem.map(|(name, _)| name.to_string()).collect();
        for index in 0..self.depth.max(1) {
            names.extend(BLOCK.iter().map(|part| format!("blocks.{index}.{part}")));
            let scales = LAYER_SCALE.iter().filter(|_| self.layer_scale);
            names.extend(scales.map(|part| format!("blocks.{index}.{part}")));
        }
        names.extend(["norm.weight".to_string(), "norm.bias".to_string()]);
        names
    }
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
        let plan =
            Plan::new(&table(&["blocks.3._orig_mod.norm1.bias", "blocks.3.norm1.bias"]), &site);
        assert_eq!(plan.doubled, ["blocks.3.norm1.bias"]);
    }

    #[test]
    fn a_gate_is_a_piece_and_its_absence_everywhere_makes_the_other_whole() {
        let site = Site { prefix: String::new(), spelling: Spelling::HuggingFaceDinov3 };
        let fc1 = |keys: &[&str], block: usize| {
            let plan = Plan::new(&table(keys), &site);
            plan.recipes[&format!("blocks.{block}.mlp.fc1.weight")].clone()
        };
        let (gate, up) = ("layer.0.mlp.gate_proj.weight", "layer.0.mlp.up_proj.weight");
        let both = vec![Some(gate.to_string()), Some(up.to_string())];
        assert_eq!(fc1(&[gate, up], 0), Recipe::Pieces(both));
        assert_eq!(fc1(&[up], 0), Recipe::Whole(up.into()));
        // one gate is lost
        let other = "layer.1.mlp.up_proj.weight";
        let plan = Plan::new(&table(&[gate, up, other]), &site);
        let missing = plan.missing(&site);
        assert!(missing.contains(&"layer.1.mlp.gate_proj.weight".into()), "{missing:?}");
        assert!(!missing.contains(&"embeddings.position_embeddings".into()));
    }

    #[test]
    fn keys_of_dinov3_need_no_bias() {
        let site = Site { prefix: String::new(), spelling: Spelling::TimmDinov3 };
        let plan = Plan::new(&table(&["blocks.0.attn.q_bias", "blocks.0.attn.v_bias"]), &site);
        assert!(
            !plan
                .missing(&site)
                .iter()
                .any(|name| name.contains("bias") && name.contains("attn.q"))
        );
        let plan = Plan::new(&table(&["blocks.0.attn.v_bias"]), &site);
        assert!(plan.missing(&site).iter().any(|name| name == "blocks.0.attn.q_bias"));
    }

    #[test]
    fn a_vit_of_depth_12_has_150_tensors() {
        let plain = Makeup { depth: 12, layer_scale: false, registers: false, table: true };
        // 3 tokens and positions etc.: cls, pos, patch weight and bias; 12 x 12; norm x 2
        assert_eq!(plain.needed().len(), 4 + 144 + 2);
        let more = Makeup { layer_scale: true, registers: true, ..plain };
        assert_eq!(more.needed().len(), 5 + 168 + 2);
        assert_eq!(Makeup { table: false, ..more }.needed().len(), 4 + 168 + 2);
    }
}
