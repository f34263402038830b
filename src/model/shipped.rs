//! The small encoder inside the program, `sample` among weights: a ViT-Ti/16 that `pretrain`
//! trained on 850 photographs, so that a first try needs no download. results/pretrain says what it
//! was trained on, with which command, and how it scores.

use std::path::PathBuf;

use candle_core::{DType, Device};
use sha2::{Digest, Sha256};

use super::config::VitConfig;
use super::weights::{Checkpoint, Container, Family, KeyReport};
use crate::digest::hexadecimal;
use crate::error::Result;

/// What `pretrain export --dtype f16` wrote.
const BYTES: &[u8] = include_bytes!("sample.safetensors");

/// The encoder, as [`super::weights::load`] reads it from its file.
///
/// # Errors
/// There is no memory for it.
pub(crate) fn sample() -> Result<Checkpoint> {
    let stored = candle_core::safetensors::load_buffer(BYTES, &Device::Cpu)?;
    let mut report = KeyReport::new(Container::Shipped);
    report.found = stored.len();
    report.dtypes = vec![("f16".into(), stored.len())];
    report.parameters = stored.values().map(|tensor| tensor.elem_count()).sum();
    report.notes.push("trained on 850 photographs: for a first look, not for a paper".into());
    let tensors = stored
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?)))
        .collect::<Result<_>>()?;
    Ok(Checkpoint {
        config: VitConfig::named("vitti16")?,
        family: Family::Mae,
        tensors,
        report,
        sha256: hexadecimal(&Sha256::digest(BYTES)),
        path: PathBuf::from("sample"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::{self, Overrides};

    #[test]
    fn it_is_what_its_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.safetensors");
        std::fs::write(&path, BYTES).unwrap();
        let (ours, stored) = (sample().unwrap(), weights::load(&path, &Overrides::default()));
        let stored = stored.unwrap();
        assert_eq!((ours.config, ours.sha256), (stored.config, stored.sha256));
        assert_eq!(ours.tensors.len(), stored.tensors.len());
        for (name, tensor) in &stored.tensors {
            let values = |tensor: &candle_core::Tensor| -> Vec<f32> {
                tensor.flatten_all().unwrap().to_vec1().unwrap()
            };
            assert_eq!(values(&ours.tensors[name]), values(tensor), "{name}");
        }
    }

    #[test]
    fn it_stays_small() {
        assert!(BYTES.len() <= 12_000_000);
    }
}
