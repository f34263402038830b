//! Everything that training changes, by name.
//!
//! Names are MAE's and CropMAE's, so that their programs can load our checkpoints. The two position
//! tables are fixed: they are written to checkpoints but never trained.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::config::AutoencoderConfig;
use super::gradients::Gradients;
use super::spans::Spans;
use super::tape::{Tape, Value};
use crate::error::{Error, Result};
use crate::host::read;
use crate::model::init;
use crate::model::pos_embed::sincos_table;

/// The stream of the decoder's first tensor; the encoder's tensors count from 0.
const FIRST_DECODER_STREAM: u64 = 1 << 32;

/// The trainable tensors of a network, in f32, in a fixed order: parts of one buffer.
#[derive(Debug, Clone)]
pub struct Parameters {
    spans: Arc<Spans>,
    values: Tensor,
    tensors: Vec<Tensor>,
    pub(super) positions: Tensor,
    pub(super) decoder_positions: Tensor,
}

impl Parameters {
    /// Draws all parameters from a seed: the encoder's are those of `random:NAME@SEED`, the
    /// decoder's follow the same rules from streams of their own (see [`crate::model::init`]).
    ///
    /// # Errors
    /// The sizes make no network.
    pub fn seeded(config: &AutoencoderConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut tensors = init::random(&config.encoder, seed)?.tensors;
        for (index, (name, shape)) in config.decoder_shapes().into_iter().enumerate() {
            let stream = FIRST_DECODER_STREAM + index as u64;
            let values = init::values(&name, &shape, seed, stream);
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        Self::from_tensors(config, &tensors, device)
    }

    /// Takes all parameters from tensors by name, on the CPU; position tables among them are left
    /// out, since they follow from the sizes.
    ///
    /// # Errors
    /// One is missing or of another shape, or the sizes make no network.
    pub fn from_tensors(
        config: &AutoencoderConfig,
        tensors: &HashMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let shapes = init::shapes(&config.encoder)?.into_iter();
        let shapes = shapes.filter(|(name, _)| name != "pos_embed").chain(config.decoder_shapes());
        let spans = Arc::new(Spans::new(shapes));
        let values = spans.join(|span| {
            let wrong =
                |problem: String| Error::failed(format!("parameter {}", span.name), problem);
            let tensor = tensors.get(&span.name).ok_or_else(|| wrong("is missing".into()))?;
            if tensor.dims() != span.shape {
                return Err(wrong(format!("has shape {:?}, not {:?}", tensor.dims(), span.shape)));
            }
            Ok(tensor.clone())
        })?;
        let values = Tensor::from_vec(values, spans.len(), device)?;
        let table = |width| {
            let side = config.encoder.table_side;
            Tensor::from_vec(sincos_table(width, side), (1, 1 + side * side, width), device)
        };
        Ok(Self {
            tensors: spans.views(&values)?,
            spans,
            values,
            positions: table(config.encoder.width)?,
            decoder_positions: table(config.decoder.width)?,
        })
    }

    /// The same network with other values: a copy of a buffer laid out as [`Parameters::values`]
    /// is.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn with_values(&self, values: &Tensor) -> Result<Self> {
        let values = values.force_contiguous()?;
        Ok(Self { tensors: self.spans.views(&values)?, values, ..self.clone() })
    }

    /// Names and tensors, in the order that optimiser states are stored in.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.spans.iter().map(|span| span.name.as_str()).zip(&self.tensors)
    }

    /// Where each tensor lies in [`Parameters::values`].
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// All values, f32 \[spans().len()\]. What changes them in place trains the network.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Number of values that are trained.
    pub fn count(&self) -> usize {
        self.tensors.iter().map(Tensor::elem_count).sum()
    }

    /// All tensors of a checkpoint, position tables included: copies on the CPU.
    ///
    /// # Errors
    /// The device fails.
    pub fn snapshot(&self) -> Result<HashMap<String, Tensor>> {
        let named =
            |found: Result<(&str, Tensor)>| found.map(|(name, tensor)| (name.to_owned(), tensor));
        let values = self.values.to_device(&Device::Cpu)?;
        let mut all: HashMap<_, _> =
            read(&values, |values| self.spans.split(values).map(named).collect::<Result<_>>())??;
        for (name, table) in
            [("pos_embed", &self.positions), ("decoder_pos_embed", &self.decoder_positions)]
        {
            all.insert(name.to_owned(), table.to_device(&Device::Cpu)?.copy()?);
        }
        Ok(all)
    }

    /// The tensors as the network computes with them, in `dtype`, on `tape`.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub(super) fn on(&self, tape: Tape, dtype: DType) -> Result<Pass<'_>> {
        let tensors = match dtype {
            DType::F32 => self.tensors.clone(),
            _ => self.spans.views(&self.values.to_dtype(dtype)?)?,
        };
        let leaves = tensors.into_iter().map(|tensor| tape.leaf(tensor)).collect();
        Ok(Pass { parameters: self, tape, leaves, dtype })
    }
}

/// The parameters in the number type of a pass, and the tape that it is noted on.
pub(super) struct Pass<'a> {
    parameters: &'a Parameters,
    pub(super) tape: Tape,
    leaves: Vec<Value>,
    pub(super) dtype: DType,
}

impl Pass<'_> {
    /// A parameter.
    ///
    /// # Errors
    /// No parameter has this name (a mistake of ours).
    pub(super) fn get(&self, name: &str) -> Result<&Value> {
        let number = self.parameters.spans.number(name);
        number
            .and_then(|number| self.leaves.get(number))
            .ok_or_else(|| Error::failed(format!("parameter {name}"), "does not exist"))
    }

    pub(super) fn positions(&self) -> Result<Tensor> {
        Ok(self.parameters.positions.to_dtype(self.dtype)?)
    }

    pub(super) fn decoder_positions(&self) -> Result<Tensor> {
        Ok(self.parameters.decoder_positions.to_dtype(self.dtype)?)
    }

    /// The gradients of all parameters by `output`, times `scale`.
    ///
    /// # Errors
    /// A parameter has none: it would silently never be trained.
    pub(super) fn gradients(self, output: &Value, scale: f64) -> Result<Gradients> {
        let gradient = (output.tensor.ones_like()? * scale)?;
        let found = self.tape.walk_back(output, gradient, &self.leaves)?;
        Gradients::gather(&self.parameters.spans, found)
    }
}
