//! Every setting that determines a training run.
//!
//! A [`Config`] comes from a preset, a TOML file that overrides it, and single settings that
//! override both; unknown keys are refused. The file `config.toml` in a run's folder holds the
//! result with every value, and is itself a configuration to start from.

mod check;
mod keys;
mod memory;

use serde::{Deserialize, Serialize};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};
use toml::{Table, Value};

use super::adamw::AdamWSettings;
use super::samples::{Frames, Kind, Options, VideoSettings};
use super::schedule::Schedule;
use super::views::{Strategy, ViewSettings};
use crate::autoencoder::{AutoencoderConfig, DecoderConfig, Method};
use crate::error::{Error, Result};
use crate::image::resample::Filter;
use crate::model::VitConfig;

/// The encoder's sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSizes {
    /// Width of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
}

/// What the optimiser does at each step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimization {
    /// The peak learning rate for a batch of 256; it grows with the batch.
    pub base_learning_rate: f64,
    /// The learning rate at the end.
    pub minimum_learning_rate: f64,
    /// Epochs until the peak.
    pub warmup_epochs: f64,
    /// Whether the rate is set after each step, as the reference's program does: the first step
    /// runs at the peak, every other one at the rate that was due before it.
    pub lr_after_step: bool,
    /// Images that a step averages over.
    pub batch_size: usize,
    /// Images that pass through the network at a time; gradients of a batch are added up. 0: all.
    pub micro_batch: usize,
    /// The length that gradients are cut to; 0: never.
    pub clip_gradient: f64,
    /// How much of the averaged weights a step keeps; 0: none are kept. The average is what is
    /// exported then.
    pub average_decay: f64,
    /// AdamW's own settings.
    pub adamw: AdamWSettings,
}

/// How samples are read: all of it that can change a result.
// what is missing has its default: checkpoints from before there were videos can be gone on from
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reading {
    /// What the samples are; SiamMAE needs videos, of which the other methods take a frame each.
    pub kind: Kind,
    /// Samples from tar shards that wait in memory to be drawn from.
    pub shuffle_buffer: usize,
    /// Frames of video files are scaled down so that their short side has at most so many pixels.
    pub short_side: usize,
    /// Least and most frames between the two of SiamMAE.
    pub frame_gap: [usize; 2],
    /// The share of an epoch's samples that may be unreadable before the run stops.
    pub max_unreadable: f64,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            kind: Kind::Images,
            shuffle_buffer: 1000,
            short_side: 256,
            frame_gap: [4, 47],
            max_unreadable: 0.01,
        }
    }
}

/// A training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is reconstructed from what.
    pub method: Method,
    /// Where all draws come from.
    pub seed: u64,
    /// Passes over the data.
    pub epochs: u64,
    /// The share of a view's patches that is masked.
    pub masking_ratio: f64,
    /// Whether a patch's pixels are brought to mean 0 and variance 1 before they are compared.
    pub normalize_target: bool,
    /// The encoder.
    pub encoder: EncoderSizes,
    /// The decoder.
    pub decoder: DecoderConfig,
    /// The two views.
    pub views: ViewSettings,
    /// The steps.
    pub optimization: Optimization,
    /// The data.
    pub reading: Reading,
}

/// A configuration that people know by a name.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, EnumMessage, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Preset {
    /// CropMAE on ImageNet, ViT-S/16, 400 epochs: the paper's encoder
    CropmaeIn,
    /// CropMAE on one frame each of Kinetics-400's clips
    CropmaeK400,
    /// SiamMAE on Kinetics-400, as CropMAE's authors ran it
    SiammaeK400,
    /// MAE on ImageNet, ViT-B/16, 1600 epochs
    MaeIn,
    /// A small encoder on a laptop's CPU, in well under an hour for a thousand photographs
    Tiny,
}

impl Preset {
    /// Its configuration.
    pub fn config(self) -> Config {
        let paper = Config::cropmae_in();
        match self {
            Self::CropmaeIn => paper,
            Self::CropmaeK400 => {
                let views = ViewSettings { global_area: [0.5, 1.0], ..paper.views };
                let reading = Reading { kind: Kind::Video, ..paper.reading };
                Config { views, reading, ..paper }
            }
            Self::SiammaeK400 => {
                // their script passes an area from 0.1 on, which their program never reads
                let views = ViewSettings {
                    strategy: Strategy::SameViews,
                    global_area: [0.5, 1.0],
                    ..paper.views
                };
                let reading = Reading { kind: Kind::Video, ..paper.reading };
                Config { method: Method::Siammae, masking_ratio: 0.95, views, reading, ..paper }
            }
            Self::MaeIn => Config::mae_in(),
            Self::Tiny => Config::tiny(),
        }
    }
}

impl Config {
    fn cropmae_in() -> Self {
        Self {
            method: Method::Cropmae,
            seed: 0,
            epochs: 400,
            masking_ratio: 0.985,
            normalize_target: true,
            encoder: EncoderSizes { width: 384, depth: 12, heads: 6, patch: 16 },
            decoder: DecoderConfig { width: 256, depth: 4, heads: 8, hidden: 2048, dropout: 0.1 },
            views: ViewSettings::default(),
            optimization: Optimization {
                base_learning_rate: 1e-4,
                minimum_learning_rate: 0.0,
                warmup_epochs: 20.0,
                lr_after_step: false,
                batch_size: 2048,
                micro_batch: 128,
                clip_gradient: 0.0,
                average_decay: 0.0,
                adamw: AdamWSettings::default(),
            },
            reading: Reading::default(),
        }
    }

    /// The recipe of the MAE paper (He et al.), table 8 of its appendix; crops are resized as its
    /// `main_pretrain.py` does.
    fn mae_in() -> Self {
        let paper = Self::cropmae_in();
        Self {
            method: Method::Mae,
            epochs: 1600,
            masking_ratio: 0.75,
            encoder: EncoderSizes { width: 768, depth: 12, heads: 12, patch: 16 },
            decoder: DecoderConfig { width: 512, depth: 8, heads: 16, hidden: 2048, dropout: 0.0 },
            views: ViewSettings {
                strategy: Strategy::SameViews,
                global_area: [0.2, 1.0],
                filter: Filter::Bicubic,
                ..paper.views
            },
            optimization: Optimization {
                base_learning_rate: 1.5e-4,
                warmup_epochs: 40.0,
                batch_size: 4096,
                ..paper.optimization
            },
            ..paper
        }
    }

    /// Sizes and rates that learn to match from a thousand photographs on two cores within an hour;
    /// what they reach stands in results/pretrain. Crops that often are nearly the whole view, none
    /// of them mirrored, make it learn sooner than the paper's: a decoder can begin by copying from
    /// the same place.
    fn tiny() -> Self {
        let paper = Self::cropmae_in();
        Self {
            epochs: 150,
            masking_ratio: 0.95,
            encoder: EncoderSizes { width: 192, depth: 6, heads: 3, patch: 16 },
            decoder: DecoderConfig { width: 128, depth: 2, heads: 4, hidden: 512, dropout: 0.0 },
            views: ViewSettings {
                size: 128,
                global_area: [0.2, 1.0],
                local_area: [0.25, 1.0],
                flip: 0.0,
                ..paper.views
            },
            optimization: Optimization {
                base_learning_rate: 4e-3,
                warmup_epochs: 6.0,
                batch_size: 64,
                micro_batch: 0,
                ..paper.optimization
            },
            ..paper
        }
    }

    /// `self` with the values of a TOML file's `text` in place of its own.
    ///
    /// # Errors
    /// The text is no TOML, it holds a key that no configuration has, or a value of the wrong type;
    /// the message names `origin`, where the text comes from.
    pub fn with_toml(&self, origin: &str, text: &str) -> Result<Self> {
        let table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let why = error.message().trim().replace('\n', " ");
            Error::setting(origin, format!("line {line} is not TOML: {why}"))
        })?;
        self.with(origin, &table)
    }

    fn with(&self, origin: &str, table: &Table) -> Result<Self> {
        let refused = |problem: String| Error::setting(origin, problem);
        let mut whole = self.table()?;
        if let Some(problem) = keys::misfit(&whole, table) {
            return Err(refused(problem));
        }
        keys::merge(&mut whole, table);
        let config = Value::Table(whole).try_into();
        config.map_err(|error: toml::de::Error| refused(keys::plain(error.message())))
    }

    /// `self` with one value changed: `key=value`, the key with dots (`views.flip=0`), the value as
    /// in TOML; a word that is none is taken for a string.
    ///
    /// # Errors
    /// There is no `=`, no such key, or the value is of the wrong type.
    pub fn with_setting(&self, setting: &str) -> Result<Self> {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(Error::setting("set", keys::without_value(&self.table()?, setting)));
        };
        let mut keys: Vec<&str> = key.split('.').map(str::trim).collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err(Error::setting(setting, keys::FORM));
        }
        let value = value.trim();
        let value = format!("value = {value}").parse::<Table>().map_or_else(
            |_| Value::String(value.to_owned()),
            |mut table| table.remove("value").unwrap_or(Value::Boolean(false)),
        );
        let last = keys.pop().unwrap_or_default();
        let leaf = Table::from_iter([(last.to_owned(), value)]);
        let table = keys
            .into_iter()
            .rev()
            .fold(leaf, |inner, key| Table::from_iter([(key.to_owned(), Value::Table(inner))]));
        self.with(setting, &table)
    }

    /// The settings in which `other` differs, in words: `epochs = 2, not 3`; none where they are
    /// alike.
    pub(super) fn differences(&self, other: &Self) -> Result<Vec<String>> {
        let (own, others) = (self.table()?, other.table()?);
        let pairs = keys::flat(&own).into_iter().zip(keys::flat(&others));
        let differing = pairs.filter(|((_, own), (_, other))| own != other);
        Ok(differing
            .map(|((key, own), (_, other))| format!("{key} = {own}, not {other}"))
            .collect())
    }

    fn table(&self) -> Result<Table> {
        Table::try_from(self).map_err(|error| Error::setting("config", error.to_string()))
    }

    /// All values as TOML.
    ///
    /// # Errors
    /// A number that TOML has no word for.
    pub fn toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|error| Error::failed("config", error.to_string()))
    }

    /// The network of this configuration.
    pub fn autoencoder(&self) -> AutoencoderConfig {
        let EncoderSizes { width, depth, heads, patch } = self.encoder;
        AutoencoderConfig {
            method: self.method,
            encoder: VitConfig {
                width,
                depth,
                heads,
                patch,
                table_side: self.views.size / patch.max(1),
                registers: 0,
                norm_eps: 1e-6,
                gated: false,
                positions: Some(crate::model::config::PositionRule::Offset),
            },
            decoder: self.decoder.clone(),
            normalize_target: self.normalize_target,
        }
    }

    /// How samples are listed and read; `programs` says where frames may be kept and which programs
    /// read video files.
    pub fn samples(&self, programs: &VideoSettings) -> Options {
        let &Reading { kind, shuffle_buffer, short_side, frame_gap, .. } = &self.reading;
        let frames = match self.method {
            Method::Siammae => Frames::Two { gap: frame_gap },
            _ => Frames::One,
        };
        let video = VideoSettings { short_side, ..programs.clone() };
        Options { kind, shuffle_buffer, frames, video, keep_decoded: 0 }
    }

    /// The learning rates of this configuration.
    pub fn schedule(&self) -> Schedule {
        let steps = &self.optimization;
        Schedule {
            peak: Schedule::scaled(steps.base_learning_rate, steps.batch_size),
            minimum: steps.minimum_learning_rate,
            warmup_epochs: steps.warmup_epochs,
            epochs: self.epochs as f64,
            after_step: steps.lr_after_step,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoencoder::Mask;

    #[test]
    fn every_preset_makes_sense_and_survives_its_own_file() {
        for preset in Preset::VARIANTS {
            let config = preset.config();
            config.check().unwrap();
            let text = config.toml().unwrap();
            assert_eq!(Preset::MaeIn.config().with_toml("config.toml", &text).unwrap(), config);
        }
    }

    #[test]
    fn the_papers_recipe() {
        let config = Preset::CropmaeIn.config();
        assert_eq!(config.schedule().peak, 8e-4);
        assert_eq!(Mask::visible(config.autoencoder().patches(), config.masking_ratio).unwrap(), 2);
        assert_eq!(config.optimization.warmup_epochs / config.epochs as f64, 0.05);
    }

    #[test]
    fn single_settings() {
        let config = Preset::CropmaeIn.config();
        let changed = config.with_setting("views.flip=0").unwrap();
        assert_eq!(changed.views.flip, 0.0);
        let changed = changed.with_setting("views.global_area=[0.2, 1]").unwrap();
        assert_eq!(changed.views.global_area, [0.2, 1.0]);
        let changed = changed.with_setting("views.strategy=random-views").unwrap();
        assert_eq!(changed.views.strategy, Strategy::RandomViews);
        assert_eq!(changed.with_setting("method = mae").unwrap().method, Method::Mae);
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        for (setting, key) in [
            ("views.size=100", "views.size"),
            ("views.size=0", "views.size"),
            ("views.global_area=[0, 1]", "views.global_area"),
            ("views.flip=2", "views.flip"),
            ("epochs=0", "epochs"),
            ("masking_ratio=1", "masking_ratio"),
            ("encoder.patch=0", "encoder.patch"),
            ("encoder.heads=5", "encoder.width"),
            ("decoder.hidden=0", "decoder.hidden"),
            ("decoder.heads=3", "decoder.width"),
            ("decoder.dropout=1", "decoder.dropout"),
            ("optimization.batch_size=0", "optimization.batch_size"),
            ("optimization.warmup_epochs=500", "optimization.warmup_epochs"),
            ("optimization.average_decay=1", "optimization.average_decay"),
            ("optimization.base_learning_rate=-1", "optimization.base_learning_rate"),
            ("optimization.minimum_learning_rate=inf", "optimization.minimum_learning_rate"),
            ("optimization.clip_gradient=nan", "optimization.clip_gradient"),
            ("optimization.adamw.beta1=1", "optimization.adamw.beta1"),
            ("optimization.adamw.beta2=-0.1", "optimization.adamw.beta2"),
            ("optimization.adamw.epsilon=-1e-8", "optimization.adamw.epsilon"),
            ("optimization.adamw.epsilon=0", "optimization.adamw.epsilon"),
            ("optimization.adamw.weight_decay=nan", "optimization.adamw.weight_decay"),
            ("reading.frame_gap=[9, 3]", "reading.frame_gap"),
            ("reading.frame_gap=[0, 3]", "reading.frame_gap"),
            ("reading.shuffle_buffer=0", "reading.shuffle_buffer"),
            ("reading.short_side=0", "reading.short_side"),
            ("reading.max_unreadable=1.5", "reading.max_unreadable"),
            ("method=siammae", "reading.kind"),
        ] {
            let config = Preset::CropmaeIn.config().with_setting(setting).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key}: ")), "{setting}: {error}");
        }
        let error = Config { seed: 1 << 63, ..Config::tiny() }.check().unwrap_err().to_string();
        assert_eq!(error, "seed: is 9223372036854775808: it must be at most 9223372036854775807");
    }
}
