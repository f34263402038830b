//! A checkpoint's tensors by name, for building an encoder.

use candle_core::{DType, Device, Tensor};

use super::weights::Checkpoint;
use crate::error::{Error, Result};

/// Tensors by name, brought to a device and a number type as they are asked for.
pub(super) struct Parameters<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) device: &'a Device,
    pub(super) dtype: DType,
}

impl Parameters<'_> {
    /// The tensor called `name`, where the checkpoint has it.
    pub(super) fn optional(&self, name: &str) -> Result<Option<Tensor>> {
        let tensor = self.checkpoint.tensors.get(name);
        Ok(tensor.map(|t| t.to_dtype(self.dtype)?.to_device(self.device)).transpose()?)
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// The checkpoint lacks it.
    pub(super) fn get(&self, name: &str) -> Result<Tensor> {
        self.optional(name)?.ok_or_else(|| {
            Error::weights(
                &self.checkpoint.path,
                format!("tensor {name} is missing"),
                "run `propagate check weights` on it",
            )
        })
    }

    /// As [`Parameters::get`], row by row.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.get(name)?.flatten_all()?.to_vec1()?)
    }

    /// As [`Parameters::optional`], row by row.
    pub(super) fn optional_values(&self, name: &str) -> Result<Option<Vec<f32>>> {
        Ok(self.optional(name)?.map(|tensor| tensor.flatten_all()?.to_vec1()).transpose()?)
    }
}
