//! A trained network from its checkpoint, to see what it reconstructs.
//!
//! Checkpoints of `pretrain` describe their network completely. Those of the reference's programs
//! (CropMAE, SiamMAE) and of MAE hold tensors only: sizes are read from the shapes, and everything
//! else is what their papers used, unless [`Told`] says otherwise.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::average::averaged;
use super::checkpoint;
use super::config::Config;
use super::views::{Strategy, ViewSettings};
use crate::autoencoder::{Autoencoder, AutoencoderConfig, DecoderConfig, Method, Parameters};
use crate::error::{Error, Result};
use crate::model::pos_embed::is_fixed;
use crate::model::weights::{self, Checkpoint, Overrides};

/// Heads of the decoders of CropMAE and SiamMAE.
const SIAMESE_HEADS: usize = 8;
/// Heads of MAE's decoder.
const MAE_HEADS: usize = 16;
/// Masking ratios of CropMAE and of MAE.
const SIAMESE_RATIO: f64 = 0.985;
const MAE_RATIO: f64 = 0.75;

/// What the user says about a checkpoint that does not say it itself.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// About the encoder.
    pub encoder: Overrides,
    /// Heads of the decoder (the setting `decoder_heads`).
    pub decoder_heads: Option<usize>,
    /// Whether patches of mean 0 and variance 1 were predicted (the setting `normalize_target`).
    pub normalize_target: Option<bool>,
}

/// A network and how it was trained.
#[derive(Debug)]
pub struct Restored {
    /// The network.
    pub model: Autoencoder,
    /// How its views were cut.
    pub views: ViewSettings,
    /// The share of patches that was masked.
    pub masking_ratio: f64,
    /// What was assumed, in words.
    pub notes: Vec<String>,
}

/// Loads a network with its decoder, to compute in `dtype`.
///
/// # Errors
/// The file cannot be read, is damaged, has no decoder or not the one that its sizes ask for, or
/// says itself what it is `told` to be.
pub fn restore(path: &Path, told: &Told, device: &Device, dtype: DType) -> Result<Restored> {
    match checkpoint::is_ours(path)? {
        true => ours(path, told, device, dtype),
        false => foreign(path, told, device, dtype),
    }
}

fn ours(path: &Path, told: &Told, device: &Device, dtype: DType) -> Result<Restored> {
    if told.encoder != Overrides::default()
        || told.decoder_heads.is_some()
        || told.normalize_target.is_some()
    {
        return Err(Error::weights(
            path,
            "says itself how it was trained",
            "leave the setting `checkpoint_key`, the setting `heads`, the setting `decoder_heads` and the setting `normalize_target` out",
        ));
    }
    let (state, tensors) = checkpoint::load(path)?;
    // where averaged weights are kept, they are the result
    let tensors = averaged(&tensors).unwrap_or(tensors);
    let Config { ref views, masking_ratio, .. } = state.config;
    let config = state.config.autoencoder();
    Ok(Restored {
        model: model(path, config, &tensors, device, dtype)?,
        views: views.clone(),
        masking_ratio,
        notes: Vec::new(),
    })
}

fn foreign(path: &Path, told: &Told, device: &Device, dtype: DType) -> Result<Restored> {
    let of_decoder = |name: &str| name.starts_with("decoder_") || name == "mask_token";
    let (checkpoint, decoder) = weights::load_with(path, &told.encoder, of_decoder)?;
    let mut notes = checkpoint.report.notes.clone();
    let config = sizes(path, &checkpoint, &decoder, told, &mut notes)?;
    let (method, patch) = (config.method, config.encoder.patch);
    let size = config.encoder.table_side * patch;
    let mut tensors = checkpoint.tensors;
    tensors.extend(decoder);
    let (strategy, masking_ratio) = match method {
        Method::Mae => (Strategy::SameViews, MAE_RATIO),
        _ => (Strategy::GlobalToLocal, SIAMESE_RATIO),
    };
    Ok(Restored {
        model: model(path, config, &tensors, device, dtype)?,
        views: ViewSettings { strategy, size, ..ViewSettings::default() },
        masking_ratio,
        notes,
    })
}

fn model(
    path: &Path,
    config: AutoencoderConfig,
    tensors: &HashMap<String, Tensor>,
    device: &Device,
    dtype: DType,
) -> Result<Autoencoder> {
    let parameters = Parameters::from_tensors(&config, tensors, device).map_err(|error| {
        Error::weights(path, error.to_string(), "pass a checkpoint that training wrote, unchanged")
    })?;
    Ok(Autoencoder { config, parameters, dtype })
}

/// The sizes of a network, from the shapes of its tensors.
fn sizes(
    path: &Path,
    checkpoint: &Checkpoint,
    decoder: &HashMap<String, Tensor>,
    told: &Told,
    notes: &mut Vec<String>,
) -> Result<AutoencoderConfig> {
    let rows = |name: &str| decoder.get(name).and_then(|tensor| tensor.dims().first().copied());
    let block = |index: usize, part: &str| format!("decoder_blocks.{index}.{part}.weight");
    let Some(width) = rows("decoder_embed.weight") else {
        return Err(Error::weights(
            path,
            "holds an encoder without a decoder",
            "pass what training itself wrote: checkpoint-*.safetensors of `pretrain`, or a .pth of CropMAE, SiamMAE or MAE with decoder_* keys",
        ));
    };
    if !decoder.contains_key(&block(0, "norm1")) {
        return Err(Error::weights(
            path,
            format!("has no `{}`: its decoder is incomplete", block(0, "norm1")),
            "pass a checkpoint that training wrote, unchanged",
        ));
    }
    let method = match decoder.contains_key(&block(0, "attn.qkv")) {
        true => Method::Mae,
        false => Method::Cropmae,
    };
    let hidden = if method == Method::Mae { "mlp.fc1" } else { "linear1" };
    let (heads, normalize_target) = untold(method, told, notes);
    let (config, table) = (&checkpoint.config, checkpoint.tensors.get("pos_embed"));
    let fixed = table.map(|table| is_fixed(table, config.width, config.table_side)).transpose()?;
    if fixed != Some(true) {
        notes.push("its position table is not MAE's fixed one, which is used all the same".into());
    }
    let decoder = DecoderConfig {
        width,
        depth: (0..).take_while(|index| decoder.contains_key(&block(*index, "norm1"))).count(),
        heads,
        hidden: rows(&block(0, hidden)).unwrap_or(0),
        dropout: 0.0,
    };
    Ok(AutoencoderConfig { method, encoder: checkpoint.config.clone(), decoder, normalize_target })
}

/// What no tensor tells: the decoder's heads, and whether patches of mean 0 and variance 1 are
/// said. The papers' values where the user does not tell either, which is noted.
fn untold(method: Method, told: &Told, notes: &mut Vec<String>) -> (usize, bool) {
    let usual = if method == Method::Mae { MAE_HEADS } else { SIAMESE_HEADS };
    let heads = told.decoder_heads.unwrap_or_else(|| {
        notes.push(format!(
            "the decoder's number of heads ({usual}) is the papers'; the setting `decoder_heads` sets another"
        ));
        usual
    });
    let normalize_target = told.normalize_target.unwrap_or_else(|| {
        notes.push(
            "assumed to predict patches of mean 0 and variance 1; if not, pass the setting `normalize_target = no`"
                .into(),
        );
        true
    });
    (heads, normalize_target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use crate::pretrain::checkpoint::{Place, State};
    use crate::pretrain::config::Preset;

    /// A small network of ours, its tensors as training stores them, and the optimiser's beside.
    fn trained(method: Method) -> (Config, HashMap<String, Tensor>) {
        let mut config = Config { method, masking_ratio: 0.8, ..Preset::Tiny.config() };
        config.encoder.depth = 1;
        config.views.size = 64;
        let parameters = Parameters::seeded(&config.autoencoder(), 5, &Device::Cpu).unwrap();
        let mut tensors = parameters.snapshot().unwrap();
        let moment = tensors["cls_token"].clone();
        tensors.insert("optimizer.first.cls_token".into(), moment);
        (config, tensors)
    }

    fn first_value(model: &Autoencoder, name: &str) -> f32 {
        let (_, tensor) = model.parameters.iter().find(|(known, _)| *known == name).unwrap();
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
    }

    #[test]
    fn our_checkpoints_say_everything_and_averages_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint::path(folder.path(), 7);
        let (config, mut tensors) = trained(Method::Cropmae);
        let average = (tensors["mask_token"].clone() + 1.0).unwrap();
        tensors.insert("average.mask_token".into(), average.clone());
        let state = State::new(Place::default(), config.clone(), "data".into());
        checkpoint::save(&path, tensors, &state).unwrap();
        let found = restore(&path, &Told::default(), &Device::Cpu, DType::F32).unwrap();
        assert_eq!(found.model.config, config.autoencoder());
        assert_eq!((found.views, found.masking_ratio), (config.views, 0.8));
        let wanted = average.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
        assert_eq!(first_value(&found.model, "mask_token"), wanted);
        let told = Told { decoder_heads: Some(2), ..Told::default() };
        let error = restore(&path, &told, &Device::Cpu, DType::F32).unwrap_err().to_string();
        assert!(error.contains("leave the setting `checkpoint_key`"), "{error}");
    }

    #[test]
    fn sizes_of_others_are_read_off_their_shapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs.safetensors");
        for (method, heads) in [(Method::Cropmae, SIAMESE_HEADS), (Method::Mae, MAE_HEADS)] {
            let (config, tensors) = trained(method);
            files::safetensors::write(&path, &tensors.into_iter().collect(), &Default::default())
                .unwrap();
            let found = restore(&path, &Told::default(), &Device::Cpu, DType::F32).unwrap();
            let decoder = DecoderConfig { heads, dropout: 0.0, ..config.decoder.clone() };
            assert_eq!(found.model.config, AutoencoderConfig { decoder, ..config.autoencoder() });
            assert_eq!(found.views.size, 64);
            assert!(found.notes.iter().any(|note| note.contains("`decoder_heads`")));
            let told =
                Told { decoder_heads: Some(4), normalize_target: Some(false), ..Told::default() };
            let found = restore(&path, &told, &Device::Cpu, DType::F32).unwrap();
            assert_eq!(found.model.config.decoder.heads, 4);
            assert!(!found.model.config.normalize_target);
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half.safetensors");
        let refused = |without: &str| {
            let (_, tensors) = trained(Method::Cropmae);
            let left = tensors.into_iter().filter(|(name, _)| !name.starts_with(without));
            files::safetensors::write(&path, &left.collect(), &Default::default()).unwrap();
            let told = Told { decoder_heads: Some(4), ..Told::default() };
            restore(&path, &told, &Device::Cpu, DType::F32).unwrap_err().to_string()
        };
        assert!(refused("decoder_").contains("an encoder without a decoder"));
        assert!(refused("mask_token").contains("mask_token"));
        let error = refused("decoder_blocks");
        assert!(error.contains("half.safetensors") && error.contains("incomplete"), "{error}");
    }
}
