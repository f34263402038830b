//! Which program a checkpoint comes from, and what follows from that.
//!
//! The family decides what shapes cannot show: the epsilon of the norms, how the position table is
//! resized, and for one family the number of heads. The facts come from each family's own program.

use std::fmt;

use serde::Serialize;

use super::vocabulary::Spelling;
use crate::model::config::PositionRule;

/// The programs whose checkpoints are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Family {
    /// MAE and its descendants: CropMAE, SiamMAE, RSP; an encoder with a pixel decoder beside it.
    Mae,
    /// DINO and iBOT: a teacher and a student, or the teacher's backbone.
    Dino,
    /// MoCo v3: a base and a momentum encoder.
    MocoV3,
    /// DINOv2 without registers.
    Dinov2,
    /// DINOv2 with registers.
    Dinov2Registers,
    /// DINOv3, by its own program's names or timm's.
    Dinov3,
    /// timm's models, `DeiT`'s, and classifiers fine-tuned from others.
    Timm,
    /// Hugging Face's `ViTMAE`.
    HuggingFaceVitMae,
    /// Hugging Face's `ViT`.
    HuggingFaceVit,
    /// Hugging Face's `ViTMSN`, which only its `config.json` tells from the two before.
    HuggingFaceVitMsn,
    /// Hugging Face's `Dinov2`.
    HuggingFaceDinov2,
    /// Hugging Face's `Dinov2WithRegisters`.
    HuggingFaceDinov2Registers,
    /// Hugging Face's `DINOv3ViT`.
    HuggingFaceDinov3,
    /// The names alone do not tell: MAE, DINO and timm share them.
    Plain,
    /// Not trained: drawn from a seed.
    Random,
}

/// What is known of a checkpoint when its family is asked for.
pub(super) struct Clues<'a> {
    /// How the keys are spelled.
    pub(super) spelling: Spelling,
    /// The dict that the keys were in.
    pub(super) dictionary: Option<&'a str>,
    /// What was stripped from the keys.
    pub(super) prefix: &'a str,
    /// All keys of the dict, unstripped.
    pub(super) keys: &'a [String],
}

impl Family {
    /// The family that the keys of a checkpoint speak for.
    pub(super) fn of(clues: &Clues<'_>) -> Self {
        match clues.spelling {
            Spelling::HuggingFaceVit | Spelling::HuggingFace5Vit => {
                let pooled = clues.any("pooler.") || clues.any("classifier.");
                match pooled && !clues.any("decoder.") {
                    true => Self::HuggingFaceVit,
                    // an encoder saved alone: both models name and compute it alike, and so does
                    // ViTMSN but for the epsilon, where no config.json tells
                    false => Self::HuggingFaceVitMae,
                }
            }
            Spelling::HuggingFaceDinov2 | Spelling::HuggingFace5Dinov2 => {
                match clues.encoder("embeddings.register_tokens") {
                    true => Self::HuggingFaceDinov2Registers,
                    false => Self::HuggingFaceDinov2,
                }
            }
            Spelling::HuggingFaceDinov3 => Self::HuggingFaceDinov3,
            Spelling::Dinov3 | Spelling::TimmDinov3 => Self::Dinov3,
            Spelling::Timm => Self::of_timm_names(clues),
        }
    }

    fn of_timm_names(clues: &Clues<'_>) -> Self {
        let classifier = ["head.weight", "head.bias", "fc_norm.weight", "reg_token"];
        if clues.encoder("blocks.0.ls1.gamma") || clues.encoder("blocks.0.0.ls1.gamma") {
            match (clues.encoder("register_tokens"), clues.encoder("reg_token")) {
                (true, _) => Self::Dinov2Registers,
                (false, true) => Self::Timm,
                (false, false) => Self::Dinov2,
            }
        } else if clues.encoder("decoder_embed.weight") || clues.encoder("decoder_pos_embed") {
            Self::Mae
        } else if clues.prefix.contains("base_encoder.")
            || clues.prefix.contains("momentum_encoder.")
        {
            Self::MocoV3
        } else if classifier.iter().any(|key| clues.encoder(key)) {
            Self::Timm
        } else if matches!(clues.dictionary, Some("teacher" | "student" | "state_dict"))
            || clues.prefix.contains("backbone.")
        {
            Self::Dino
        } else if clues.dictionary == Some("model") {
            Self::Mae
        } else {
            Self::Plain
        }
    }

    /// How this family resizes its position table; none for DINOv3, which has none.
    ///
    /// DINOv2's hub settings: an offset of 0.1 without registers; size and antialiasing with them.
    /// Hugging Face follows that for registers and uses the bare sizes elsewhere. timm repackages
    /// other programs' weights, so the rule of those stands.
    pub(super) fn positions(self, registers: usize) -> Option<PositionRule> {
        Some(match self {
            Self::Dinov3 | Self::HuggingFaceDinov3 => return None,
            _ if registers > 0 => PositionRule::Antialias,
            Self::HuggingFaceVitMae
            | Self::HuggingFaceVit
            | Self::HuggingFaceVitMsn
            | Self::HuggingFaceDinov2 => PositionRule::Size,
            _ => PositionRule::Offset,
        })
    }

    /// The epsilon of this family's norms.
    pub(super) fn norm_eps(self) -> f64 {
        match self {
            Self::HuggingFaceVitMae | Self::HuggingFaceVit => 1e-12,
            Self::Dinov3 | Self::HuggingFaceDinov3 => 1e-5,
            _ => 1e-6,
        }
    }

    /// The number of heads where the family departs from what is usual for a width: MoCo v3's
    /// ViT-S has 12, not 6; DINOv3's heads have 64 channels, those of its largest 128.
    pub(super) fn heads(self, width: usize) -> Option<usize> {
        match self {
            Self::MocoV3 if width == 384 => Some(12),
            Self::Dinov3 | Self::HuggingFaceDinov3 if width == 4096 => Some(32),
            Self::Dinov3 | Self::HuggingFaceDinov3 if width.is_multiple_of(64) => Some(width / 64),
            _ => None,
        }
    }

    /// Whether the keys themselves name a program in which a width has but one number of heads.
    ///
    /// Names that many programs share leave that open (MoCo v3's encoder, converted, looks like
    /// timm's), and Hugging Face's ViT has any number that its configuration says.
    pub(super) fn settles_heads(self, clues: &Clues<'_>) -> bool {
        match self {
            Self::Mae => {
                clues.encoder("decoder_embed.weight") || clues.encoder("decoder_pos_embed")
            }
            Self::Dino => {
                let word = |part: &str| matches!(part, "teacher" | "student");
                clues.dictionary.is_some_and(word) || clues.prefix.split('.').any(word)
            }
            Self::MocoV3
            | Self::Dinov2
            | Self::Dinov2Registers
            | Self::Dinov3
            | Self::HuggingFaceDinov2
            | Self::HuggingFaceDinov2Registers
            | Self::HuggingFaceDinov3 => true,
            Self::Timm
            | Self::HuggingFaceVitMae
            | Self::HuggingFaceVit
            | Self::HuggingFaceVitMsn
            | Self::Plain
            | Self::Random => false,
        }
    }
}

impl Clues<'_> {
    /// Whether the encoder has `key` (as the file spells it after its prefix).
    fn encoder(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known.strip_prefix(self.prefix) == Some(key))
    }

    /// Whether some key outside or inside the encoder begins with `start`.
    fn any(&self, start: &str) -> bool {
        self.keys.iter().any(|key| {
            key.starts_with(start)
                || key.strip_prefix(self.prefix).is_some_and(|rest| rest.starts_with(start))
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Mae => "MAE (CropMAE, SiamMAE, MAE)",
            Self::Dino => "DINO/iBOT",
            Self::MocoV3 => "MoCo v3",
            Self::Dinov2 => "DINOv2",
            Self::Dinov2Registers => "DINOv2 with registers",
            Self::Dinov3 => "DINOv3",
            Self::Timm => "timm",
            Self::HuggingFaceVitMae => "Hugging Face ViTMAE",
            Self::HuggingFaceVit => "Hugging Face ViT",
            Self::HuggingFaceVitMsn => "Hugging Face ViTMSN",
            Self::HuggingFaceDinov2 => "Hugging Face Dinov2",
            Self::HuggingFaceDinov2Registers => "Hugging Face Dinov2 with registers",
            Self::HuggingFaceDinov3 => "Hugging Face DINOv3",
            Self::Plain => "plain ViT (names shared by MAE, DINO and timm)",
            Self::Random => "random",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(spelling: Spelling, dictionary: Option<&str>, prefix: &str, keys: &[&str]) -> Family {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_string()).collect();
        Family::of(&Clues { spelling, dictionary, prefix, keys: &keys })
    }

    #[test]
    fn timm_names_are_told_apart_by_what_stands_beside_them() {
        let timm =
            |dictionary, prefix, keys: &[&str]| family(Spelling::Timm, dictionary, prefix, keys);
        assert_eq!(timm(Some("model"), "", &["cls_token", "decoder_pos_embed"]), Family::Mae);
        assert_eq!(timm(Some("model"), "", &["cls_token"]), Family::Mae);
        assert_eq!(timm(Some("model"), "", &["head.weight"]), Family::Timm);
        assert_eq!(timm(Some("teacher"), "backbone.", &["backbone.cls_token"]), Family::Dino);
        assert_eq!(timm(Some("state_dict"), "", &["cls_token"]), Family::Dino);
        assert_eq!(
            timm(
                Some("state_dict"),
                "module.base_encoder.",
                &["module.base_encoder.head.0.weight"]
            ),
            Family::MocoV3
        );
        assert_eq!(timm(None, "", &["blocks.0.ls1.gamma", "mask_token"]), Family::Dinov2);
        assert_eq!(
            timm(None, "", &["blocks.0.0.ls1.gamma", "register_tokens"]),
            Family::Dinov2Registers
        );
        assert_eq!(timm(None, "", &["blocks.0.ls1.gamma", "reg_token"]), Family::Timm);
        assert_eq!(timm(None, "", &["cls_token"]), Family::Plain);
    }

    #[test]
    fn hugging_face_models_are_told_apart() {
        let vit = |keys: &[&str]| family(Spelling::HuggingFaceVit, None, "vit.", keys);
        assert_eq!(vit(&["decoder.mask_token"]), Family::HuggingFaceVitMae);
        assert_eq!(vit(&["vit.pooler.dense.weight"]), Family::HuggingFaceVit);
        let later = family(Spelling::HuggingFace5Vit, None, "", &["classifier.weight"]);
        assert_eq!(later, Family::HuggingFaceVit);
        let dinov2 = |keys: &[&str]| family(Spelling::HuggingFaceDinov2, None, "", keys);
        assert_eq!(dinov2(&["embeddings.mask_token"]), Family::HuggingFaceDinov2);
        assert_eq!(dinov2(&["embeddings.register_tokens"]), Family::HuggingFaceDinov2Registers);
    }

    #[test]
    fn only_a_programs_own_keys_settle_the_number_of_heads() {
        let settled = |dictionary, prefix, keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_string()).collect();
            let clues = Clues { spelling: Spelling::Timm, dictionary, prefix, keys: &keys };
            Family::of(&clues).settles_heads(&clues)
        };
        assert!(settled(Some("model"), "", &["cls_token", "decoder_pos_embed"]));
        // also what MoCo v3's program converts for DeiT's
        assert!(!settled(Some("model"), "", &["cls_token"]));
        assert!(settled(Some("teacher"), "backbone.", &["backbone.cls_token"]));
        assert!(!settled(Some("state_dict"), "backbone.", &["backbone.cls_token"]));
        assert!(settled(None, "", &["blocks.0.ls1.gamma"]));
        assert!(!settled(None, "", &["head.weight"]) && !settled(None, "", &["cls_token"]));
    }

    #[test]
    fn what_follows_from_the_family() {
        let rule = |family: Family, registers| family.positions(registers);
        assert_eq!(rule(Family::Dinov2, 0), Some(PositionRule::Offset));
        assert_eq!(rule(Family::Timm, 4), Some(PositionRule::Antialias));
        assert_eq!(rule(Family::HuggingFaceDinov2Registers, 4), Some(PositionRule::Antialias));
        assert_eq!(rule(Family::HuggingFaceVitMae, 0), Some(PositionRule::Size));
        assert_eq!(rule(Family::Dinov3, 4), None);
        assert!((Family::HuggingFaceVit.norm_eps() - 1e-12).abs() < 1e-18);
        assert_eq!(Family::MocoV3.heads(384), Some(12));
        assert_eq!(Family::Mae.heads(384), None);
        // DINOv3's S, H+ and 7B
        assert_eq!(
            [384, 1280, 4096].map(|width| Family::Dinov3.heads(width)),
            [6, 20, 32].map(Some)
        );
    }
}
