//! The sizes of a vision transformer, and the names people give them.

use serde::{Deserialize, Serialize};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

use crate::error::{Error, Result};

/// Everything about an encoder that its tensors' shapes do not say on their own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VitConfig {
    /// Width of a token (D).
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Rows (and columns) of the grid that the position table was trained on; 0 where there is none.
    pub table_side: usize,
    /// Register tokens between CLS and the patches (DINOv2 with registers, DINOv3: 4).
    pub registers: usize,
    /// Whether feed-forwards are gated (`SwiGLU`, as in DINOv2's ViT-g and DINOv3's S+ and H+): the
    /// first layer gives a gate and a value, and the gate's SiLU times the value goes on.
    pub gated: bool,
    /// The epsilon of every LayerNorm: 1e-6, but 1e-12 in Hugging Face's `ViTMAE`, 1e-5 in DINOv3.
    pub norm_eps: f64,
    /// How the position table is resized to another grid; none where there is no table and
    /// positions are rotary (DINOv3, see [`super::pos_embed::turns`]).
    pub positions: Option<PositionRule>,
}

/// How a position table trained on one grid is resampled to another; see [`crate::model`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum PositionRule {
    /// Bicubic by the scale factor (n + 0.1)/n₀, as MAE, DINO, CropMAE and DINOv2 compute it.
    Offset,
    /// Bicubic by the sizes alone, as Hugging Face's models compute it.
    Size,
    /// Bicubic with antialiasing by the sizes alone, as DINOv2 with registers computes it.
    Antialias,
}

impl PositionRule {
    /// Its name in settings and records.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Width, depth and heads that go by one name.
const NAMED: [(&str, usize, usize, usize); 5] = [
    ("vitti", 192, 12, 3),
    ("vits", 384, 12, 6),
    ("vitb", 768, 12, 12),
    ("vitl", 1024, 24, 16),
    // MAE's largest; its heads are 80 wide, so the rule for unnamed widths would be wrong
    ("vith", 1280, 32, 16),
];

/// Name, width, depth and heads of encoders with gated feed-forwards: DINOv2's largest, and DINOv3's.
const GATED: [(&str, usize, usize, usize); 5] = [
    ("vitg", 1536, 40, 24),
    ("vitsplus", 384, 12, 6),
    ("vitlplus", 1024, 24, 16),
    ("vithplus", 1280, 32, 20),
    ("vit7b", 4096, 40, 32),
];

impl VitConfig {
    /// The encoder called `vit{ti,s,b,l,h}{8,14,16}`, trained on 224×224 images.
    ///
    /// # Errors
    /// The name is not one of these.
    pub fn named(name: &str) -> Result<Self> {
        let lower = name.to_ascii_lowercase().replace(['_', '/', '-'], "");
        let unknown = || {
            Error::setting(
                "arch",
                format!(
                    "no architecture is called {name:?}; use vit{{ti,s,b,l,h}}{{8,14,16}}, for example vits16"
                ),
            )
        };
        let digits = lower.find(|c: char| c.is_ascii_digit()).ok_or_else(unknown)?;
        let (size, patch) = lower.split_at(digits);
        let patch: usize = patch.parse().map_err(|_| unknown())?;
        let &(_, width, depth, heads) =
            NAMED.iter().find(|(known, ..)| *known == size).ok_or_else(unknown)?;
        if ![8, 14, 16].contains(&patch) {
            return Err(unknown());
        }
        Ok(Self {
            width,
            depth,
            heads,
            patch,
            table_side: 224 / patch,
            registers: 0,
            gated: false,
            norm_eps: 1e-6,
            positions: Some(PositionRule::Offset),
        })
    }

    /// The short name where there is one (`vits16`), else the sizes spelled out.
    pub fn name(&self) -> String {
        let &Self { width, depth, heads, patch, gated, .. } = self;
        let sizes =
            |(_, w, d, h): &&(&str, usize, usize, usize)| (*w, *d, *h) == (width, depth, heads);
        let plain = NAMED.iter().find(sizes).filter(|_| !gated);
        let gated = GATED.iter().find(sizes).filter(|_| gated);
        match (plain, gated) {
            (Some((name, ..)), _) => format!("{name}{patch}"),
            // DINOv3 puts the plus last: vits16plus
            (_, Some((name, ..))) => match name.strip_suffix("plus") {
                Some(size) => format!("{size}{patch}plus"),
                None => format!("{name}{patch}"),
            },
            _ => format!("vit-{width}x{depth}-{heads}heads-p{patch}"),
        }
    }

    /// The number of heads that an encoder of this width has where nothing else tells: the named
    /// ones, else heads of 64 channels, else of 32.
    pub fn usual_heads(width: usize) -> usize {
        let named = NAMED.iter().find(|(_, known, ..)| *known == width);
        match named {
            Some((_, _, _, heads)) => *heads,
            None if width.is_multiple_of(64) => width / 64,
            None => (width / 32).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in ["vitti16", "vits16", "vits8", "vitb14", "vitl16", "vith14"] {
            assert_eq!(VitConfig::named(name).unwrap().name(), name);
        }
        assert_eq!(VitConfig::named("ViT-S/16").unwrap().name(), "vits16");
        let plus = VitConfig { gated: true, ..VitConfig::named("vits16").unwrap() };
        assert_eq!(plus.name(), "vits16plus");
        let giant = VitConfig { width: 1536, depth: 40, heads: 24, patch: 14, ..plus };
        assert_eq!(giant.name(), "vitg14");
    }

    #[test]
    fn unknown_names_are_refused() {
        for name in ["vits", "vitx16", "16", "vits7", ""] {
            assert!(VitConfig::named(name).unwrap_err().to_string().contains("arch"));
        }
    }

    #[test]
    fn heads_of_unnamed_widths() {
        assert_eq!(VitConfig::usual_heads(384), 6);
        assert_eq!(VitConfig::usual_heads(1280), 16);
        assert_eq!(VitConfig::usual_heads(512), 8);
        assert_eq!(VitConfig::usual_heads(96), 3);
    }
}
