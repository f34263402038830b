//! What can be named as weights: a checkpoint, the shipped encoder, a seeded random one, none at
//! all, or features that another program has made.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use candle_core::{DType, Device};
use sha2::{Digest, Sha256};

use super::config::{PositionRule, VitConfig};
use super::encoder::Encoder;
use super::given::Given;
use super::init;
use super::shipped;
use super::vit::{Implementation, Layer, Vit};
use super::weights::{self, Checkpoint, Overrides};
use crate::digest::hexadecimal;
use crate::error::{Error, Result};

/// Where an encoder comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A checkpoint: `.safetensors`, `.pth`, `.pt` or `.bin`; of one in shards, a shard, the index
    /// or the folder with the index.
    File(PathBuf),
    /// The small encoder that ships with the program: `sample` (a file of this name: `./sample`).
    Sample,
    /// A seeded initialisation, never trained: `random:vits16@0`.
    Random {
        /// The architecture's name.
        arch: String,
        /// The seed.
        seed: u64,
    },
    /// The pixels of each patch: `pixels`.
    Pixels,
    /// A folder of features, a file for each clip: `features:DIR`, see [`Given`].
    Features(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "pixels" {
            return Ok(Self::Pixels);
        }
        if text == "sample" {
            return Ok(Self::Sample);
        }
        if let Some(folder) = text.strip_prefix("features:") {
            return Ok(Self::Features(PathBuf::from(folder)));
        }
        let Some(random) = text.strip_prefix("random:") else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        let (arch, seed) = random.split_once('@').unwrap_or((random, "0"));
        let seed = seed
            .parse()
            .map_err(|_| format!("{seed:?} is no seed; write for example random:vits16@0"))?;
        VitConfig::named(arch).map_err(|error| error.to_string())?;
        Ok(Self::Random { arch: arch.to_owned(), seed })
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |path: &Path| {
            path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
        };
        match self {
            Self::File(path) => f.write_str(&name(path)),
            Self::Features(folder) => write!(f, "features:{}", name(folder)),
            Self::Random { arch, seed } => write!(f, "random:{arch}@{seed}"),
            Self::Sample => f.write_str("sample"),
            Self::Pixels => f.write_str("pixels"),
        }
    }
}

/// What can be said about the encoder beside its source.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// The architecture, where the checkpoint's is not to be trusted (the setting `arch`).
    pub arch: Option<String>,
    /// Side of a patch (the setting `patch_size`): of the pixels, or as a check on the checkpoint.
    pub patch: Option<usize>,
    /// Attention heads, where the width's usual number is wrong (the setting `heads`).
    pub heads: Option<usize>,
    /// Which dict of a `.pth` holds the encoder (the setting `checkpoint_key`).
    pub checkpoint_key: Option<String>,
    /// How the position table is resampled (the setting `positions`).
    pub positions: Option<PositionRule>,
    /// Which blocks' output is the feature (the setting `layer`).
    pub layer: Layer,
    /// Whose code computes (the setting `encoder`).
    pub implementation: Implementation,
}

/// An encoder with its origin.
pub struct Loaded {
    /// The encoder.
    pub encoder: Encoder,
    /// SHA-256 of the checkpoint, or of the source's description.
    pub sha256: String,
    /// The family of the tensors' names.
    pub family: String,
    /// The architecture's name.
    pub arch: String,
    /// Attention heads, which no tensor tells; pixels have none.
    pub heads: Option<usize>,
    /// The dict of a `.pth` that the encoder was taken from; none where the file has but one level.
    pub dictionary: Option<String>,
    /// How the position table is resampled; none where there is none.
    pub positions: Option<PositionRule>,
    /// What was chosen otherwise than the encoder has it of itself, in words: `layer 3 of 12`.
    pub chosen: Vec<String>,
    /// Whether the number of heads was but guessed from the width.
    pub heads_guessed: bool,
    /// What the checkpoint held beside the encoder, and why its kernels are not used, in words.
    pub notes: Vec<String>,
}

/// Loads an encoder.
///
/// # Errors
/// The checkpoint cannot be used, or the choices do not fit it or would have no effect.
pub fn load(source: &Source, choices: &Choices, device: &Device, dtype: DType) -> Result<Loaded> {
    match source {
        Source::Pixels => {}
        Source::Sample => {
            refuse(&sizes(choices), "the shipped encoder's architecture is fixed; omit it")?;
        }
        Source::Random { .. } => {
            let why = "random:ARCH@SEED names the architecture; omit it";
            refuse(&sizes(choices), why)?;
        }
        Source::File(path) => refuse_words(path)?,
        Source::Features(folder) => return given(folder, choices, device),
    }
    let checkpoint = match source {
        Source::File(path) => Some(weights::load(path, &overrides(choices)?)?),
        other => made(other)?,
    };
    match checkpoint {
        Some(checkpoint) => from_checkpoint(checkpoint, choices, device, dtype),
        None => pixels(choices, device),
    }
}

/// The weights behind a word, `sample` or `random:ARCH@SEED`; none for a file, which is read
/// elsewhere, and for raw pixels and given features, which have none.
///
/// # Errors
/// The architecture is unknown, or too large.
pub fn made(source: &Source) -> Result<Option<Checkpoint>> {
    match source {
        Source::Sample => shipped::sample().map(Some),
        Source::Random { arch, seed } => init::random(&VitConfig::named(arch)?, *seed).map(Some),
        Source::File(_) | Source::Pixels | Source::Features(_) => Ok(None),
    }
}

/// Refuses what was not meant as a file: an address, or a bare word that stands for no file.
fn refuse_words(path: &Path) -> Result<()> {
    let text = path.to_string_lossy();
    if text.contains("://") {
        return Err(Error::weights(
            path,
            "an address, not a file",
            "download it and pass the file",
        ));
    }
    let bare = path.extension().is_none() && path.components().count() == 1;
    if text.is_empty() || (bare && !path.exists()) {
        let untrained = match VitConfig::named(&text) {
            Ok(_) => format!("; for an untrained encoder use random:{text}@0"),
            Err(_) => String::new(),
        };
        return Err(Error::setting(
            "weights",
            format!(
                "{text:?} is not a file{untrained}; other encoders are sample, pixels, random:vits16@0 and features:DIR"
            ),
        ));
    }
    Ok(())
}

/// What the choices say about a checkpoint.
///
/// # Errors
/// The architecture's name is unknown.
pub fn overrides(choices: &Choices) -> Result<Overrides> {
    Ok(Overrides {
        arch: choices.arch.as_deref().map(VitConfig::named).transpose()?,
        patch: choices.patch,
        heads: choices.heads,
        checkpoint_key: choices.checkpoint_key.clone(),
    })
}

fn from_checkpoint(
    mut checkpoint: Checkpoint,
    choices: &Choices,
    device: &Device,
    dtype: DType,
) -> Result<Loaded> {
    let chosen = chosen(choices, &checkpoint.config);
    if choices.positions.is_some() {
        if checkpoint.config.positions.is_none() {
            let why =
                "this encoder has rotary positions, no table that could be resized; leave it out";
            return Err(Error::setting("positions", why));
        }
        checkpoint.config.positions = choices.positions;
    }
    let vit = Vit::by(choices.implementation, &checkpoint, choices.layer, (device, dtype))?;
    let mut notes = checkpoint.report.notes;
    notes.extend(vit.doubt().map(Into::into));
    Ok(Loaded {
        encoder: Encoder::Vit(Box::new(vit)),
        sha256: checkpoint.sha256,
        family: checkpoint.family.to_string(),
        arch: checkpoint.config.name(),
        heads: Some(checkpoint.config.heads),
        dictionary: checkpoint.report.dictionary,
        positions: checkpoint.config.positions,
        chosen,
        heads_guessed: checkpoint.report.heads_guessed,
        notes,
    })
}

/// Where the choices depart from what this encoder is used with otherwise.
fn chosen(choices: &Choices, own: &VitConfig) -> Vec<String> {
    let layer = Some(choices.layer).filter(|layer| *layer != Layer::Last);
    let positions = choices.positions.filter(|rule| Some(*rule) != own.positions);
    let words = [
        layer.map(|layer| format!("layer {layer} of {}", own.depth)),
        positions.map(|rule| format!("positions by the rule {}", rule.name())),
        choices.heads.map(|heads| format!("heads {heads}")),
    ];
    words.into_iter().flatten().collect()
}

/// The choices about an encoder's sizes, each with whether the user made it.
fn sizes(choices: &Choices) -> [(&'static str, bool); 4] {
    [
        ("arch", choices.arch.is_some()),
        ("patch_size", choices.patch.is_some()),
        ("heads", choices.heads.is_some()),
        ("checkpoint_key", choices.checkpoint_key.is_some()),
    ]
}

/// Refuses the first setting that was made and would have no effect.
fn refuse(made: &[(&str, bool)], why: &str) -> Result<()> {
    match made.iter().find(|(_, made)| *made) {
        Some((name, _)) => Err(Error::setting(*name, why)),
        None => Ok(()),
    }
}

/// The choices that only a vision transformer has, each with whether the user made it.
fn of_transformers(choices: &Choices) -> [(&'static str, bool); 6] {
    [
        ("arch", choices.arch.is_some()),
        ("heads", choices.heads.is_some()),
        ("checkpoint_key", choices.checkpoint_key.is_some()),
        ("layer", choices.layer != Layer::Last),
        ("positions", choices.positions.is_some()),
        ("encoder", choices.implementation != Implementation::Auto),
    ]
}

fn patch_of(choices: &Choices) -> Result<usize> {
    match choices.patch.unwrap_or(16) {
        0 => Err(Error::setting("patch_size", "must be at least 1")),
        patch => Ok(patch),
    }
}

fn pixels(choices: &Choices, device: &Device) -> Result<Loaded> {
    refuse(&of_transformers(choices), "raw pixels have no such setting; omit it")?;
    let patch = patch_of(choices)?;
    let hash = hexadecimal(&Sha256::digest(format!("pixels {patch}").as_bytes()));
    let encoder = Encoder::Pixels { patch, device: device.clone() };
    Ok(without_network(encoder, hash, "raw pixels"))
}

fn given(folder: &Path, choices: &Choices, device: &Device) -> Result<Loaded> {
    refuse(&of_transformers(choices), "given features have no such setting; omit it")?;
    let (given, sha256) = Given::open(folder, patch_of(choices)?, device)?;
    Ok(without_network(Encoder::Given(given), sha256, "given features"))
}

fn without_network(encoder: Encoder, sha256: String, family: &str) -> Loaded {
    Loaded {
        arch: format!("patches of {}", encoder.patch()),
        encoder,
        sha256,
        family: family.into(),
        heads: None,
        dictionary: None,
        positions: None,
        chosen: Vec::new(),
        heads_guessed: false,
        notes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_parsed_and_shown_alike() {
        for text in ["pixels", "sample", "random:vits16@7", "w.safetensors", "features:f"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!("random:vitb8".parse::<Source>().unwrap().to_string(), "random:vitb8@0");
        assert!("random:vits16@x".parse::<Source>().is_err());
        assert!("random:resnet50".parse::<Source>().unwrap_err().contains("resnet50"));
    }

    #[test]
    fn settings_without_effect_are_refused() {
        let load = |text: &str, choices: &Choices| {
            let loaded = load(&text.parse().unwrap(), choices, &Device::Cpu, DType::F32);
            loaded.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let arch = Choices { arch: Some("vitti16".into()), ..Choices::default() };
        for word in ["", "pixel", "random"] {
            let refused = load(word, &Choices::default());
            assert!(
                refused.contains("is not a file; other encoders are sample, pixels"),
                "{refused}"
            );
        }
        let refused = load("vits16", &Choices::default());
        assert!(refused.contains("not a file; for an untrained encoder use random:vits16@0"));
        assert!(load("https://a.org/w.pth", &Choices::default()).contains("an address"));
        assert!(load("nowhere.pth", &Choices::default()).starts_with("cannot read nowhere.pth"));
        assert!(load("pixels", &arch).starts_with("arch: raw pixels"));
        assert!(load("random:vitti16@0", &arch).starts_with("arch: random:ARCH@SEED"));
        assert!(load("sample", &arch).starts_with("arch: the shipped encoder"));
        assert_eq!(load("sample", &Choices::default()), "");
        let layer = Choices { layer: "3".parse().unwrap(), ..Choices::default() };
        assert!(load("pixels", &layer).starts_with("layer"));
        let patch = Choices { patch: Some(0), ..Choices::default() };
        assert!(load("pixels", &patch).starts_with("patch_size"));
        assert_eq!(load("pixels", &Choices { patch: Some(8), ..Choices::default() }), "");
    }
}
