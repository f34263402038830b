//! The sizes of the network and what it is trained on.

use serde::{Deserialize, Serialize};
use strum::{EnumMessage, EnumString, IntoStaticStr, VariantArray};

use crate::error::{Error, Result};
use crate::model::VitConfig;
use crate::model::init::shapes;

/// What is reconstructed from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Method {
    /// Two crops of one image: the masked one from the other (CropMAE).
    #[default]
    Cropmae,
    /// Two frames of a video: the later, masked one from the earlier (SiamMAE).
    Siammae,
    /// One image: what is masked from what is not (MAE).
    Mae,
}

impl Method {
    /// Its name in settings, tables and metadata.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The sizes of a decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Width of a token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width between the two layers of a feed-forward.
    pub hidden: usize,
    /// The share of values that dropout zeroes while training; the reference's blocks drop 0.1,
    /// MAE's none.
    pub dropout: f64,
}

/// The whole network.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoencoderConfig {
    /// What is reconstructed from what.
    pub method: Method,
    /// The encoder; its `table_side` times its `patch` is the side of the views.
    pub encoder: VitConfig,
    /// The decoder.
    pub decoder: DecoderConfig,
    /// Whether a patch's pixels are brought to mean 0 and variance 1 before they are compared.
    pub normalize_target: bool,
}

impl AutoencoderConfig {
    /// Patches of a view.
    pub fn patches(&self) -> usize {
        self.encoder.table_side * self.encoder.table_side
    }

    /// Values of a patch: its pixels times three colours.
    pub fn patch_values(&self) -> usize {
        3 * self.encoder.patch * self.encoder.patch
    }

    /// Number of values that are trained.
    ///
    /// # Errors
    /// The encoder's sizes are too large for any machine.
    pub fn parameter_count(&self) -> Result<usize> {
        let encoder = shapes(&self.encoder)?.into_iter();
        let trained = encoder.filter(|(name, _)| name != "pos_embed").chain(self.decoder_shapes());
        Ok(trained.map(|(_, shape)| shape.iter().product::<usize>()).sum())
    }

    /// Checks that there can be such a decoder.
    ///
    /// # Errors
    /// A size is zero, or the width is no multiple of 4 or of its heads; the message names the
    /// setting by its key in a configuration.
    pub fn check(&self) -> Result<()> {
        let DecoderConfig { width, depth, heads, hidden, dropout } = self.decoder;
        for (key, size) in [
            ("decoder.width", width),
            ("decoder.depth", depth),
            ("decoder.heads", heads),
            ("decoder.hidden", hidden),
        ] {
            if size == 0 {
                return Err(Error::setting(key, "is 0: it must be at least 1"));
            }
        }
        if !width.is_multiple_of(heads) || !width.is_multiple_of(4) {
            let wanted = format!("a multiple of 4 and of decoder.heads ({heads})");
            return Err(Error::setting(
                "decoder.width",
                format!("is {width}: it must be {wanted}"),
            ));
        }
        if !(0.0..1.0).contains(&dropout) {
            let problem = format!("is {dropout}: it must be at least 0 and below 1");
            return Err(Error::setting("decoder.dropout", problem));
        }
        Ok(())
    }

    /// The decoder's parameters by MAE's names, in the order of the data, and their shapes.
    pub(super) fn decoder_shapes(&self) -> Vec<(String, Vec<usize>)> {
        let DecoderConfig { width, depth, hidden, .. } = self.decoder;
        let mut shapes = vec![("mask_token".to_owned(), vec![1, 1, width])];
        let mut linear = |name: &str, outputs: usize, inputs: usize| {
            shapes.push((format!("{name}.weight"), vec![outputs, inputs]));
            shapes.push((format!("{name}.bias"), vec![outputs]));
        };
        linear("decoder_embed", width, self.encoder.width);
        for block in 0..depth {
            let part = |name: &str| format!("decoder_blocks.{block}.{name}");
            if self.method == Method::Mae {
                linear(&part("attn.qkv"), 3 * width, width);
                linear(&part("attn.proj"), width, width);
                linear(&part("mlp.fc1"), hidden, width);
                linear(&part("mlp.fc2"), width, hidden);
            } else {
                linear(&part("multihead_attn.out_proj"), width, width);
                linear(&part("linear1"), hidden, width);
                linear(&part("linear2"), width, hidden);
                linear(&part("self_attn.out_proj"), width, width);
            }
        }
        linear("decoder_pred", self.patch_values(), width);
        let norms = if self.method == Method::Mae { 2 } else { 3 };
        for block in 0..depth {
            let part = |name: &str| format!("decoder_blocks.{block}.{name}");
            if self.method != Method::Mae {
                // PyTorch's attention keeps the projections of queries, keys and values in one
                for name in ["multihead_attn", "self_attn"] {
                    shapes.push((part(&format!("{name}.in_proj_weight")), vec![3 * width, width]));
                    shapes.push((part(&format!("{name}.in_proj_bias")), vec![3 * width]));
                }
            }
            for norm in 1..=norms {
                shapes.push((part(&format!("norm{norm}.weight")), vec![width]));
                shapes.push((part(&format!("norm{norm}.bias")), vec![width]));
            }
        }
        shapes.push(("decoder_norm.weight".to_owned(), vec![width]));
        shapes.push(("decoder_norm.bias".to_owned(), vec![width]));
        shapes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::Device;

    use super::super::Parameters;
    use super::*;

    /// The sizes of the reference's small fixture model.
    pub(in crate::autoencoder) fn tiny(method: Method) -> AutoencoderConfig {
        AutoencoderConfig {
            method,
            encoder: VitConfig {
                width: 96,
                depth: 3,
                heads: 3,
                ..VitConfig::named("vits16").unwrap()
            },
            decoder: DecoderConfig { width: 32, depth: 2, heads: 4, hidden: 2048, dropout: 0.0 },
            normalize_target: false,
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let good = tiny(Method::Cropmae);
        assert!(good.check().is_ok());
        for decoder in [
            DecoderConfig { width: 0, ..good.decoder.clone() },
            DecoderConfig { heads: 5, ..good.decoder.clone() },
            DecoderConfig { dropout: 1.0, ..good.decoder.clone() },
        ] {
            let error = AutoencoderConfig { decoder, ..good.clone() }.check().unwrap_err();
            assert!(error.to_string().contains("decoder"), "{error}");
        }
    }

    #[test]
    fn parameters_are_counted_without_being_drawn() {
        let config = tiny(Method::Cropmae);
        let drawn = Parameters::seeded(&config, 0, &Device::Cpu).unwrap();
        assert_eq!(config.parameter_count().unwrap(), drawn.count());
    }

    #[test]
    fn names_are_said_once() {
        for method in [Method::Cropmae, Method::Mae] {
            let mut names: Vec<_> =
                tiny(method).decoder_shapes().into_iter().map(|(name, _)| name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }
}
