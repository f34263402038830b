//! What a run begins with, where that is not the seed: weights of a checkpoint, or a run of the
//! reference's program with its optimiser.
//!
//! Encoders come through [`crate::model::weights`], strictly and from any program; the decoder's
//! tensors are taken where they lie beside the encoder in the right shape, and come from the seed
//! where not. A run of ours needs none of this: [`super::train()`] goes on from its folder.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::adamw::decays;
use super::checkpoint::{self, Place};
use super::config::Config;
use crate::autoencoder::{Method, Parameters};
use crate::error::{Error, Result};
use crate::model::VitConfig;
use crate::model::pos_embed::is_fixed;
use crate::model::weights::{self, AdamState, Checkpoint, Overrides};
use crate::wording::counted;

/// What a run begins with.
#[derive(Debug, Clone)]
pub struct Start {
    /// All parameters by name and, where steps have been made, the optimiser's moments under the
    /// names of [`super::optimizer::AdamW::state`].
    pub tensors: HashMap<String, Tensor>,
    /// How far the run that they come from had come.
    pub place: Place,
}

impl Start {
    /// The weights of a checkpoint at step 0, and what of it was taken, in words.
    ///
    /// # Errors
    /// The checkpoint cannot be used, or its encoder has other sizes than the configuration's.
    pub fn with_weights(path: &Path, config: &Config) -> Result<(Self, Vec<String>)> {
        let Network { tensors, decoder, mut notices } = network(path, config)?;
        let taken = decoder.values().filter(|taken| **taken).count();
        let notice = if taken == decoder.len() {
            format!("{}: encoder and decoder taken", path.display())
        } else {
            let mut missing: Vec<&str> =
                decoder.iter().filter(|(_, taken)| !**taken).map(|(name, _)| &**name).collect();
            missing.sort_unstable();
            let missing = shortened(&missing);
            let all = decoder.len();
            format!(
                "{}: encoder and {taken} of {all} decoder tensors taken; from the seed: {missing}",
                path.display()
            )
        };
        notices.insert(0, notice);
        Ok((Self { tensors, place: Place::default() }, notices))
    }

    /// The weights, AdamW's state and the epoch of a `.pth` that the reference's program (or MAE's)
    /// wrote, and what was found, in words.
    ///
    /// # Errors
    /// A tensor or a state is missing or of another shape, or all epochs are done.
    pub fn after_reference(path: &Path, config: &Config) -> Result<(Self, Vec<String>)> {
        if checkpoint::is_ours(path)? {
            return Err(Error::weights(
                path,
                "is of this program, whose runs continue by themselves",
                "give the command of its run again, or begin a new run with its weights: the setting `init`",
            ));
        }
        let Network { mut tensors, decoder, mut notices } = network(path, config)?;
        let remedy = "give the settings that it was trained with, or begin with the setting `init`";
        let missing = decoder.iter().find(|(_, taken)| !**taken);
        if let Some((name, _)) = missing {
            return Err(Error::weights(path, format!("has no {name} of this shape"), remedy));
        }
        let adam = weights::adam_state(path)?;
        let epoch = adam.epoch.ok_or_else(|| Error::weights(path, "says no epoch", remedy))? + 1;
        if epoch >= config.epochs {
            let problem =
                format!("has done {}, of {} in all", counted(epoch, "epoch"), config.epochs);
            return Err(Error::weights(path, problem, "raise the setting `epochs`"));
        }
        let steps = moments(path, config, &adam, &mut tensors)?;
        let place = Place { epoch, steps, ..Place::default() };
        let notice = format!(
            "{}: continuing after {} and {}",
            path.display(),
            counted(epoch, "epoch"),
            counted(steps, "step")
        );
        notices.insert(0, notice);
        Ok((Self { tensors, place }, notices))
    }
}

/// What a checkpoint gives to a run.
struct Network {
    /// All parameters.
    tensors: HashMap<String, Tensor>,
    /// Which of the decoder's come from the file.
    decoder: HashMap<String, bool>,
    /// What is not as the file has it, in words.
    notices: Vec<String>,
}

fn network(path: &Path, config: &Config) -> Result<Network> {
    let wanted = config.autoencoder();
    let loaded = weights::load(path, &Overrides::default())?;
    let seeded = Parameters::seeded(&wanted, config.seed, &Device::Cpu)?;
    let mut tensors = seeded.snapshot()?;
    refuse_another(path, &loaded, &wanted.encoder, &tensors)?;
    let mut rest = Vec::new();
    // not the tables of positions, which are fixed and none of the parameters
    for (name, seeded) in seeded.iter() {
        match loaded.tensors.get(name).filter(|tensor| tensor.dims() == seeded.dims()) {
            Some(tensor) => drop(tensors.insert(name.to_owned(), tensor.clone())),
            None => rest.push(name.to_owned()),
        }
    }
    let mut beside = weights::beside(path, &rest)?;
    let mut decoder = HashMap::new();
    for name in rest {
        let fits = |tensor: &Tensor| {
            tensors.get(&name).is_some_and(|seeded| seeded.dims() == tensor.dims())
        };
        let found = beside.remove(&name).filter(fits);
        decoder.insert(name.clone(), found.is_some());
        if let Some(tensor) = found {
            tensors.insert(name, tensor);
        }
    }
    let notices = learnt_table(path, &loaded)?.into_iter().collect();
    Ok(Network { tensors, decoder, notices })
}

/// Refuses an encoder of other sizes than the run's, and one with parts that the network of
/// pre-training, which has these `tensors`, lacks.
fn refuse_another(
    path: &Path,
    loaded: &Checkpoint,
    asked: &VitConfig,
    tensors: &HashMap<String, Tensor>,
) -> Result<()> {
    // heads have no tensors: the run's are taken
    let sizes = |it: &VitConfig| (it.width, it.depth, it.patch);
    if sizes(&loaded.config) != sizes(asked) {
        let (found, asked) = (loaded.config.name(), asked.name());
        let problem = format!("holds {found}, and the run is of {asked}");
        let remedy = match VitConfig::named(&found) {
            Ok(_) => format!("pass the setting `arch = {found}`, or a checkpoint of {asked}"),
            Err(_) => {
                format!("pass a checkpoint of {asked}, or set encoder.width, .depth and .patch")
            }
        };
        return Err(Error::weights(path, problem, remedy));
    }
    if loaded.config.gated || loaded.config.positions.is_none() {
        let problem = "has gated feed-forwards or rotary positions, which the network of pre-training does not have";
        return Err(Error::weights(path, problem, "pass a plain encoder, such as MAE's or DINO's"));
    }
    if let Some(name) = loaded.tensors.keys().filter(|name| !tensors.contains_key(*name)).min() {
        let problem = format!("has {name}, which the network of pre-training does not have");
        let remedy = "pass an encoder without LayerScale and registers";
        return Err(Error::weights(path, problem, remedy));
    }
    // the table of positions is fixed, and not taken
    let other = |(name, tensor): &(&String, &Tensor)| {
        *name != "pos_embed" && tensors.get(*name).is_some_and(|own| own.dims() != tensor.dims())
    };
    if let Some((name, tensor)) = loaded.tensors.iter().filter(other).min_by_key(|(name, _)| *name)
    {
        let shape = tensor.dims();
        let problem =
            format!("holds {name} of shape {shape:?}, which is another in the run's network");
        return Err(Error::weights(path, problem, "pass an encoder with the run's sizes"));
    }
    Ok(())
}

/// Says that the position table was learnt, where it was: the run keeps to the fixed one.
fn learnt_table(path: &Path, loaded: &Checkpoint) -> Result<Option<String>> {
    let table = loaded.tensors.get("pos_embed");
    let (width, side) = (loaded.config.width, loaded.config.table_side);
    let fixed = table.map(|table| is_fixed(table, width, side)).transpose()?;
    let notice = || {
        let fixed = "the run keeps to the fixed sine-cosine one";
        format!("{}: its position table was learnt and is not taken: {fixed}", path.display())
    };
    Ok(fixed.filter(|fixed| !fixed).map(|_| notice()))
}

/// Puts AdamW's moments among `tensors` under our names; returns the steps made.
fn moments(
    path: &Path,
    config: &Config,
    adam: &AdamState,
    tensors: &mut HashMap<String, Tensor>,
) -> Result<u64> {
    let other = |problem: String| {
        Error::weights(
            path,
            problem,
            "give the settings that it was trained with, or use the setting `init`",
        )
    };
    let parameters = Parameters::seeded(&config.autoencoder(), config.seed, &Device::Cpu)?;
    let mut ordered: Vec<(&str, usize)> =
        parameters.iter().map(|(name, tensor)| (name, tensor.rank())).collect();
    ordered.sort_by_key(|(name, rank)| (decays(name, *rank), module_place(name, config.method)));
    let numbers: Vec<usize> = adam.groups.iter().flatten().copied().collect();
    if numbers.len() != ordered.len() {
        let problem =
            format!("its optimiser has {} parameters, not {}", numbers.len(), ordered.len());
        return Err(other(problem));
    }
    let mut steps = 0;
    for ((name, _), number) in ordered.into_iter().zip(numbers) {
        let moments = adam.moments.get(&number);
        let moments = moments.ok_or_else(|| other(format!("its optimiser has no {name}")))?;
        let fits = tensors.get(name).is_some_and(|it| it.dims() == moments.mean.dims());
        if !fits {
            let shape = moments.mean.dims();
            return Err(other(format!("its optimiser has {shape:?} where {name} should be")));
        }
        tensors.insert(format!("optimizer.{name}.mean"), moments.mean.clone());
        tensors.insert(format!("optimizer.{name}.square"), moments.square.clone());
        steps = steps.max(moments.steps);
    }
    Ok(steps)
}

/// The modules of the reference's network in the order that PyTorch lists them: a parameter's block
/// and its place within. timm lists those without weight decay first, each group in this order.
fn module_place(name: &str, method: Method) -> (usize, usize, usize, bool) {
    const TOP: [&str; 9] = [
        "cls_token",
        "mask_token",
        "patch_embed.",
        "blocks.",
        "norm.",
        "decoder_embed.",
        "decoder_blocks.",
        "decoder_norm.",
        "decoder_pred.",
    ];
    const VIT: [&str; 6] = ["norm1.", "attn.qkv.", "attn.proj.", "norm2.", "mlp.fc1.", "mlp.fc2."];
    const CROSS: [&str; 9] = [
        "self_attn.in_proj_",
        "self_attn.out_proj.",
        "multihead_attn.in_proj_",
        "multihead_attn.out_proj.",
        "linear1.",
        "linear2.",
        "norm1.",
        "norm2.",
        "norm3.",
    ];
    let place = |all: &[&str], name: &str| {
        all.iter().position(|part| name.starts_with(part)).unwrap_or(all.len())
    };
    let top = place(&TOP, name);
    let rest = TOP.get(top).and_then(|part| name.strip_prefix(part)).unwrap_or_default();
    let (block, part) = rest.split_once('.').unwrap_or_default();
    let cross = name.starts_with("decoder_blocks.") && method != Method::Mae;
    let part = if cross { place(&CROSS, part) } else { place(&VIT, part) };
    (top, block.parse().unwrap_or(0), part, name.ends_with("bias"))
}

/// The first few names, and how many more.
fn shortened(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::config::Preset;

    #[test]
    fn parameters_stand_in_timms_order() {
        let config = Preset::CropmaeIn.config();
        let parameters = Parameters::seeded(
            &config.with_setting("encoder.depth=2").unwrap().autoencoder(),
            0,
            &Device::Cpu,
        )
        .unwrap();
        let mut names: Vec<(bool, &str)> =
            parameters.iter().map(|(name, tensor)| (decays(name, tensor.rank()), name)).collect();
        names.sort_by_key(|(decays, name)| (*decays, module_place(name, config.method)));
        let names: Vec<&str> = names.into_iter().map(|(_, name)| name).collect();
        assert_eq!(
            names[..5],
            [
                "patch_embed.proj.bias",
                "blocks.0.norm1.weight",
                "blocks.0.norm1.bias",
                "blocks.0.attn.qkv.bias",
                "blocks.0.attn.proj.bias"
            ]
        );
        let first = names.iter().position(|name| *name == "cls_token").unwrap();
        assert_eq!(
            names[first - 3..first],
            ["decoder_norm.weight", "decoder_norm.bias", "decoder_pred.bias"]
        );
        assert_eq!(names[first..first + 3], ["cls_token", "mask_token", "patch_embed.proj.weight"]);
        assert_eq!(names.last(), Some(&"decoder_pred.weight"));
    }

    #[test]
    fn encoders_of_another_make_are_refused() {
        let config = Preset::Tiny.config().with_setting("encoder.depth=1").unwrap().autoencoder();
        let plain = crate::model::init::random(&config.encoder, 0).unwrap();
        let refused = |change: &dyn Fn(&mut Checkpoint)| {
            let mut loaded = plain.clone();
            change(&mut loaded);
            let tensors = plain.tensors.clone();
            let refused = refuse_another(Path::new("w.pth"), &loaded, &config.encoder, &tensors);
            refused.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(&|_| {}), "");
        for change in
            [(|it| it.config.positions = None) as fn(&mut Checkpoint), |it| it.config.gated = true]
        {
            assert!(refused(&change).contains("gated feed-forwards or rotary positions"));
        }
        let scaled = refused(&|it| {
            let gamma = it.tensors["norm.weight"].clone();
            it.tensors.insert("blocks.0.ls1.gamma".into(), gamma);
        });
        assert!(scaled.contains("has blocks.0.ls1.gamma"), "{scaled}");
        assert!(refused(&|it| it.config.width = 64).contains("and the run is of"));
        let narrow = refused(&|it| {
            let first = it.tensors["blocks.0.mlp.fc1.bias"].narrow(0, 0, 8).unwrap();
            it.tensors.insert("blocks.0.mlp.fc1.bias".into(), first);
        });
        assert!(narrow.contains("holds blocks.0.mlp.fc1.bias of shape [8]"), "{narrow}");
    }
}
