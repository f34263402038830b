//! An encoder that was not trained, drawn from a seed.
//!
//! It is the baseline that a trained encoder must beat, the start of pre-training, and what runs
//! where no checkpoint is at hand. Values are drawn as MAE and CropMAE draw theirs: Xavier-uniform
//! linears (the patch embedding as a linear over [D, 3·p·p], query, key and value as one), zero
//! biases, tokens of N(0, 0.02), norms of weight one and bias zero, the fixed sine-cosine table.
//!
//! The stream is ours and fixed: a seed means the same weights on every machine and in every later
//! version. Tensor number i of the canonical order (see [`tensor_names`]) reads stream i of
//! `ChaCha8` whose key is the seed in 8 little-endian bytes followed by 24 zeros; so tensors can be
//! drawn in any order. A uniform value takes one 32-bit word w: (2·(w >> 8) + 1) · 2⁻²⁵, between 0
//! and 1. A normal value takes two, u and v: √(−2 ln u) · cos 2πv (Box and Muller), in f64.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::config::VitConfig;
use super::pos_embed::sincos_table;
use super::weights::{Architecture, Checkpoint, Container, Family, KeyReport};
use crate::digest::hexadecimal;
use crate::error::{Error, Result};

/// Standard deviation of tokens, as in MAE.
const TOKEN_DEVIATION: f64 = 0.02;

/// An untrained encoder of the sizes in `config`, without LayerScale and with feed-forwards four
/// times as wide as its tokens. Its `sha256` is that of all values in canonical order, as
/// little-endian f32; its `path` is `random:NAME@SEED`.
///
/// # Errors
/// The sizes make no encoder: a zero, a width that is no multiple of 4 or of the heads.
pub fn random(config: &VitConfig, seed: u64) -> Result<Checkpoint> {
    let architecture = sizes(config)?;
    let drawn: Vec<(String, Vec<usize>, Vec<f32>)> = architecture
        .shapes()
        .into_par_iter()
        .enumerate()
        .map(|(index, (name, shape))| {
            let values = draw(&name, &shape, config, &mut stream(seed, index as u64));
            (name, shape, values)
        })
        .collect();
    let mut report = KeyReport::new(Container::Seeded);
    report.found = drawn.len();
    report.parameters = drawn.iter().map(|(_, _, values)| values.len()).sum();
    report.dtypes = vec![("f32".into(), drawn.len())];
    report.notes.push(format!("not trained: drawn from seed {seed}"));
    let mut hasher = Sha256::new();
    let mut tensors = HashMap::with_capacity(drawn.len());
    for (name, shape, values) in drawn {
        hasher.update(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    Ok(Checkpoint {
        config: config.clone(),
        family: Family::Random,
        tensors,
        report,
        sha256: hexadecimal(&hasher.finalize()),
        path: PathBuf::from(format!("random:{}@{seed}", config.name())),
    })
}

/// The tensors of an encoder and their shapes, in canonical order.
///
/// # Errors
/// As [`random`].
pub(crate) fn shapes(config: &VitConfig) -> Result<Vec<(String, Vec<usize>)>> {
    Ok(sizes(config)?.shapes())
}

/// Draws a tensor that is no position table by the rules of this module, from stream `index`.
pub(crate) fn values(name: &str, shape: &[usize], seed: u64, index: u64) -> Vec<f32> {
    drawn(name, shape, &mut stream(seed, index))
}

/// The tensors that [`random`] draws, in the order that numbers their streams.
///
/// # Errors
/// As [`random`].
pub fn tensor_names(config: &VitConfig) -> Result<Vec<String>> {
    Ok(sizes(config)?.shapes().into_iter().map(|(name, _)| name).collect())
}

fn sizes(config: &VitConfig) -> Result<Architecture> {
    let &VitConfig { width, depth, heads, patch, table_side, registers, .. } = config;
    if [width, depth, heads, patch, table_side].contains(&0) {
        return Err(Error::setting("arch", format!("{config:?} has a size of zero")));
    }
    if !width.is_multiple_of(heads) || !width.is_multiple_of(4) {
        return Err(Error::setting(
            "arch",
            format!("a width of {width} is not a multiple of 4 and of its {heads} heads"),
        ));
    }
    Ok(Architecture {
        width,
        depth,
        patch,
        table_side,
        registers,
        hidden: 4 * width,
        gated: false,
        layer_scale: false,
        class_row: true,
        rotary: false,
        periods: 0,
    })
}

fn stream(seed: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(index);
    generator
}

fn draw(name: &str, shape: &[usize], config: &VitConfig, generator: &mut ChaCha8Rng) -> Vec<f32> {
    match name {
        "pos_embed" => sincos_table(config.width, config.table_side),
        _ => drawn(name, shape, generator),
    }
}

fn drawn(name: &str, shape: &[usize], generator: &mut ChaCha8Rng) -> Vec<f32> {
    let count = shape.iter().product();
    if ["cls_token", "register_tokens", "mask_token"].contains(&name) {
        return (0..count).map(|_| normal(generator)).collect();
    }
    match shape {
        _ if name.ends_with("bias") => vec![0.0; count],
        [] | [_] => vec![1.0; count],
        [outputs, inputs @ ..] => {
            let inputs: usize = inputs.iter().product();
            let limit = (6.0 / (inputs + outputs) as f64).sqrt();
            (0..count).map(|_| ((2.0 * uniform(generator) - 1.0) * limit) as f32).collect()
        }
    }
}

/// In (0, 1), symmetric around one half.
fn uniform(generator: &mut ChaCha8Rng) -> f64 {
    f64::from(2 * (generator.next_u32() >> 8) + 1) / f64::from(1_u32 << 25)
}

fn normal(generator: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * uniform(generator).ln()).sqrt();
    let angle = std::f64::consts::TAU * uniform(generator);
    (TOKEN_DEVIATION * radius * angle.cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> VitConfig {
        VitConfig {
            width: 96,
            depth: 3,
            heads: 3,
            table_side: 14,
            ..VitConfig::named("vits16").unwrap()
        }
    }

    fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
        checkpoint.tensors[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_seed_means_the_same_weights_for_ever() {
        let checkpoint = random(&tiny(), 7).unwrap();
        // recorded when the stream was fixed; a change breaks `random:` results people compare
        assert_eq!(
            checkpoint.sha256,
            "9abd0dc050f0c81aca02a912327b5024aa0d93f988c96c1eb0abe0ea1e68972d"
        );
        assert_eq!(checkpoint.path.to_str().unwrap(), "random:vit-96x3-3heads-p16@7");
        assert_eq!(random(&tiny(), 7).unwrap().sha256, checkpoint.sha256);
        assert_ne!(random(&tiny(), 8).unwrap().sha256, checkpoint.sha256);
    }

    /// First values from a ChaCha8 written anew in Python after this module's description.
    #[test]
    fn the_stream_is_the_one_described() {
        let checkpoint = random(&tiny(), 7).unwrap();
        let close = |name: &str, wanted: &[f64]| {
            for (value, wanted) in values(&checkpoint, name).iter().zip(wanted) {
                // half a unit in the last place of an f32 below 0.125
                assert!((f64::from(*value) - wanted).abs() < 4e-9, "{name}: {value} for {wanted}");
            }
        };
        close("cls_token", &[0.003317265836333329, -0.008163029477292921]);
        close(
            "patch_embed.proj.weight",
            &[0.037685588002204895, -0.08151287337144215, 0.0622488409280777],
        );
    }

    #[test]
    fn linears_are_xavier_uniform() {
        let checkpoint = random(&tiny(), 1).unwrap();
        for (name, inputs, outputs) in [
            ("patch_embed.proj.weight", 768, 96),
            ("blocks.0.attn.qkv.weight", 96, 288),
            ("blocks.2.mlp.fc2.weight", 384, 96),
        ] {
            let values = values(&checkpoint, name);
            let limit = (6.0_f64 / f64::from(inputs + outputs)).sqrt();
            let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            assert!(f64::from(largest) <= limit && f64::from(largest) > 0.999 * limit, "{name}");
            let variance = values.iter().map(|value| f64::from(value * value)).sum::<f64>()
                / values.len() as f64;
            // a uniform value in ±a has variance a²/3; 27648 draws or more know it to about 1 %
            assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.03, "{name}: {variance}");
        }
    }

    #[test]
    fn norms_biases_tokens_and_positions() {
        let config = VitConfig { registers: 4, ..tiny() };
        let checkpoint = random(&config, 1).unwrap();
        assert!(values(&checkpoint, "blocks.1.norm2.weight").iter().all(|&value| value == 1.0));
        assert!(values(&checkpoint, "norm.bias").iter().all(|&value| value == 0.0));
        assert!(values(&checkpoint, "blocks.1.attn.qkv.bias").iter().all(|&value| value == 0.0));
        assert_eq!(values(&checkpoint, "pos_embed"), sincos_table(96, 14));
        let tokens = values(&checkpoint, "register_tokens");
        assert_eq!(checkpoint.tensors["register_tokens"].dims(), [1, 4, 96]);
        let mean_square = tokens.iter().map(|value| value * value).sum::<f32>() / 384.0;
        // 384 draws: the deviation is known to 1/sqrt(768) = 3.6 %; four of those
        assert!((mean_square.sqrt() / 0.02 - 1.0).abs() < 0.15, "{}", mean_square.sqrt());
    }

    #[test]
    fn different_blocks_differ_and_names_are_canonical() {
        let checkpoint = random(&tiny(), 1).unwrap();
        let first = values(&checkpoint, "blocks.0.mlp.fc1.weight");
        assert_ne!(first, values(&checkpoint, "blocks.1.mlp.fc1.weight"));
        let names = tensor_names(&tiny()).unwrap();
        assert_eq!(names.len(), checkpoint.tensors.len());
        assert_eq!(names[..3], ["cls_token", "pos_embed", "patch_embed.proj.weight"]);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for config in [
            VitConfig { heads: 5, ..tiny() },
            VitConfig { width: 0, ..tiny() },
            VitConfig { width: 6, heads: 3, ..tiny() },
        ] {
            assert!(random(&config, 0).unwrap_err().to_string().contains("arch"));
        }
    }
}
