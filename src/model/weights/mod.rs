//! Weights of an encoder from a checkpoint of almost any program, strictly.
//!
//! [`load`] recognises a file by its content, finds the dict and prefix that hold the encoder,
//! brings its keys to canonical names (MAE's) and reads its sizes off the shapes. Every tensor that
//! the encoder needs must be there with the right shape and finite values: nothing is ever left
//! random, and nothing in the file is ever executed. Next: [`crate::model`] builds the encoder.
//!
//! Inside, in the order of the work: `container` (with `shards`, `torch_zip`, `pickle`, `element`)
//! opens, `select` and `site` find the encoder, `vocabulary`, `names` and `plan` sort the keys,
//! `family`, `architecture` and `hugging_face` say what it is, `examine` judges, `diagnosis` explains
//! a refusal, `report` keeps what was found.

mod architecture;
mod container;
mod diagnosis;
mod element;
mod examine;
mod family;
mod hugging_face;
mod moments;
mod names;
mod pickle;
mod plan;
mod report;
mod select;
mod shards;
mod site;
mod torch_zip;
mod training;
mod vocabulary;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use sha2::{Digest, Sha256};

pub(in crate::model) use architecture::Architecture;
pub(in crate::model) use element::ElementType;
pub use family::Family;
pub use report::{Container, ExtraGroup, KeyReport, Refusal, assumed_heads};
pub use shards::whole;
pub use training::{AdamState, Moments, adam_state, beside};

use self::examine::Examined;
use super::config::VitConfig;
use crate::digest::hexadecimal;
use crate::error::{Error, Result};

/// An encoder's weights and where they came from.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The encoder's sizes and rules.
    pub config: VitConfig,
    /// The program that the file comes from.
    pub family: Family,
    /// The encoder's tensors by canonical name: f32, on the CPU, contiguous.
    ///
    /// `cls_token` [1, 1, D]; `pos_embed` [1, 1 + n, D] with the row of CLS first, but for encoders
    /// with rotary positions; these may have `rope_embed.periods` (see
    /// [`super::pos_embed::turns`]);
    /// `patch_embed.proj.weight` [D, 3, p, p] and `.bias` \[D\]; for every block N
    /// `blocks.N.{norm1, attn.qkv, attn.proj, norm2, mlp.fc1, mlp.fc2}.{weight, bias}` with linear
    /// weights [out, in] and the rows of `attn.qkv` in the order query, key, value (those of a gated
    /// `mlp.fc1` with the gate first); `norm.weight` and `norm.bias` \[D\]. Where the encoder has them: `register_tokens` [1, R, D] and
    /// `blocks.N.ls1.gamma`, `blocks.N.ls2.gamma` \[D\].
    pub tensors: HashMap<String, Tensor>,
    /// What the file holds and what of it was used.
    pub report: KeyReport,
    /// SHA-256 of the file's bytes, in hexadecimal, as [`sha256`] computes it.
    pub sha256: String,
    /// The file; of a checkpoint in shards, what was passed for it.
    pub path: PathBuf,
}

impl Checkpoint {
    /// An encoder that no file holds (yet): one that is being trained. `tensors` are as in
    /// [`Checkpoint::tensors`]; others among them do no harm.
    pub fn in_memory(config: VitConfig, tensors: HashMap<String, Tensor>) -> Self {
        Self {
            config,
            family: Family::Mae,
            tensors,
            report: KeyReport::new(Container::Memory),
            sha256: String::new(),
            path: PathBuf::from("weights in training"),
        }
    }
}

/// What the user says about a checkpoint. What shapes tell is checked against it, never changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// The architecture that the file must hold (the setting `arch`): width, depth and patch must
    /// fit, its number of heads is taken.
    pub arch: Option<VitConfig>,
    /// The side of a patch that the file must have (the setting `patch_size`).
    pub patch: Option<usize>,
    /// The number of heads (the setting `heads`), which no tensor tells; before any other source.
    pub heads: Option<usize>,
    /// The dict that holds the weights, or the beginning of their keys (the setting
    /// `checkpoint_key`).
    pub checkpoint_key: Option<String>,
}

/// Loads an encoder.
///
/// The number of heads is `overrides.heads`, else that of `overrides.arch`, else the file's own
/// (`num_heads` in the metadata of a safetensors file), else that of the `config.json` beside a
/// checkpoint of Hugging Face, else the family's, else what is usual for the width.
///
/// A checkpoint in shards is read as one, whether `path` is a shard, their index or the folder of
/// the index.
///
/// # Errors
/// The file cannot be read, is no checkpoint, lacks a tensor of the encoder, holds one of another
/// shape or with NaN or infinite values, holds another kind of network, or contradicts `overrides`.
/// The message names the keys and says what to do.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Checkpoint> {
    Ok(load_with(path, overrides, |_| false)?.0)
}

/// Loads an encoder and what else is `wanted` of the dict that holds it (a decoder): tensors by
/// their names in the file without what stands before the encoder's, in f32, on the CPU.
///
/// # Errors
/// As [`load`]; what is wanted must be whole and finite too.
pub fn load_with(
    path: &Path,
    overrides: &Overrides,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Checkpoint, HashMap<String, Tensor>)> {
    let (examined, digest) = rayon::join(|| Examined::new(path, overrides), || sha256(path));
    let mut examined = examined?;
    let refused = |refusal: Refusal| refusal.into_error(path);
    let tensors = examined.tensors().map_err(refused)?;
    let others = examined.others(wanted).map_err(refused)?;
    let Examined { config: Some(config), family: Some(family), report, .. } = examined else {
        return Err(Error::weights(path, "holds no encoder", "pass another checkpoint"));
    };
    let path = path.to_path_buf();
    Ok((Checkpoint { config, family, tensors, report, sha256: digest?, path }, others))
}

/// Looks into a checkpoint without insisting on it: what [`load`] would refuse stands in the
/// report's `refusal`, beside whatever else could be found out.
///
/// # Errors
/// The file cannot be read or is no checkpoint at all.
pub fn inspect(
    path: &Path,
    overrides: &Overrides,
) -> Result<(KeyReport, Option<VitConfig>, Option<Family>)> {
    let mut examined = Examined::new(path, overrides)?;
    if let Err(refusal) = examined.tensors() {
        examined.report.refusal = Some(refusal);
    }
    Ok((examined.report, examined.config, examined.family))
}

/// SHA-256 of a checkpoint's bytes, in hexadecimal: those of its file, or of all its shards one
/// after the other in the order of their names (`cat model-*.safetensors | sha256sum`).
///
/// # Errors
/// A file cannot be read, or a shard is not there.
pub fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in shards::files(path)? {
        let mut file = File::open(&path).map_err(Error::reading(&path))?;
        loop {
            let count = file.read(&mut buffer).map_err(Error::reading(&path))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
    }
    Ok(hexadecimal(&hasher.finalize()))
}
