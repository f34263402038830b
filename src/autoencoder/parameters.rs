//! Everything that training changes, by name.
//!
//! Names are MAE's and CropMAE's, so that a checkpoint of ours is one of theirs. The two position
//! tables are fixed: they are written to checkpoints and never trained.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, Var};

use super::config::AutoencoderConfig;
use super::host::add_tensors;
use super::ops::cast;
use super::tape::{Tape, Value};
use crate::error::{Error, Result};
use crate::model::init;
use crate::model::pos_embed::sincos_table;

/// The stream of the decoder's first tensor; the encoder's tensors count from 0.
const FIRST_DECODER_STREAM: u64 = 1 << 32;

/// The trainable tensors of a network, in f32, in a fixed order.
#[derive(Debug, Clone)]
pub struct Parameters {
    named: Vec<(String, Var)>,
    places: HashMap<String, usize>,
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

    /// Takes all parameters from tensors by name; position tables among them are left out, since
    /// they follow from the sizes.
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
        let mut named = Vec::new();
        for (name, shape) in shapes {
            let wrong = |problem: String| Error::setting(format!("parameter {name}"), problem);
            let tensor = tensors.get(&name).ok_or_else(|| wrong("is missing".into()))?;
            if tensor.dims() != shape {
                return Err(wrong(format!("has shape {:?}, not {shape:?}", tensor.dims())));
            }
            let tensor = tensor.to_dtype(DType::F32)?.to_device(device)?.contiguous()?;
            named.push((name, Var::from_tensor(&tensor)?));
        }
        let places = named.iter().enumerate().map(|(place, (name, _))| (name.clone(), place));
        let table = |width| {
            let side = config.encoder.table_side;
            Tensor::from_vec(sincos_table(width, side), (1, 1 + side * side, width), device)
        };
        Ok(Self {
            places: places.collect(),
            positions: table(config.encoder.width)?,
            decoder_positions: table(config.decoder.width)?,
            named,
        })
    }

    /// Names and variables, in the order that optimiser states are stored in.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        self.named.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.named.iter().map(|(_, variable)| variable.elem_count()).sum()
    }

    /// All tensors of a checkpoint, position tables included: copies on the CPU.
    ///
    /// # Errors
    /// The device fails.
    pub fn snapshot(&self) -> Result<HashMap<String, Tensor>> {
        let tables =
            [("pos_embed", &self.positions), ("decoder_pos_embed", &self.decoder_positions)];
        let variables = self.iter().map(|(name, variable)| (name, variable.as_tensor()));
        variables
            .chain(tables)
            .map(|(name, tensor)| {
                Ok((name.to_owned(), tensor.to_device(&Device::Cpu)?.detach().copy()?))
            })
            .collect()
    }

    /// The tensors as the network computes with them, in `dtype`, on `tape`.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub(super) fn on(&self, tape: Tape, dtype: DType) -> Result<Pass<'_>> {
        let leaves: Vec<Value> =
            self.named.iter().map(|(_, v)| tape.leaf(v.as_tensor().detach())).collect();
        let values =
            leaves.iter().map(|leaf| cast(&tape, leaf, dtype)).collect::<Result<_, _>>()?;
        Ok(Pass { parameters: self, tape, leaves, values, dtype })
    }
}

/// The parameters in the number type of a pass, and the tape that it is noted on.
pub(super) struct Pass<'a> {
    parameters: &'a Parameters,
    pub(super) tape: Tape,
    leaves: Vec<Value>,
    values: Vec<Value>,
    pub(super) dtype: DType,
}

impl Pass<'_> {
    /// A parameter.
    ///
    /// # Errors
    /// There is none of this name (a mistake of ours).
    pub(super) fn get(&self, name: &str) -> Result<&Value> {
        let place = self.parameters.places.get(name);
        place
            .and_then(|place| self.values.get(*place))
            .ok_or_else(|| Error::setting(format!("parameter {name}"), "does not exist"))
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
        let names = self.parameters.named.iter().map(|(name, _)| name);
        let all = names.zip(found).map(|(name, gradient)| {
            let missing = || Error::setting(format!("parameter {name}"), "gets no gradient");
            Ok(gradient.ok_or_else(missing)?.contiguous()?)
        });
        all.collect::<Result<_>>().map(Gradients)
    }
}

/// One gradient a parameter, in the order of [`Parameters::iter`].
#[derive(Debug, Clone)]
pub struct Gradients(pub(super) Vec<Tensor>);

impl Gradients {
    /// Takes tensors for gradients, in the order of [`Parameters::iter`]: those of a network of
    /// one's own, for the optimiser.
    pub fn from_tensors(gradients: Vec<Tensor>) -> Self {
        Self(gradients)
    }

    /// Adds those of another part of the batch.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        for (sum, other) in self.0.iter_mut().zip(&other.0) {
            *sum = add_tensors(sum, other)?;
        }
        Ok(())
    }

    /// Multiplies all by `factor`.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        for gradient in &mut self.0 {
            *gradient = (&*gradient * factor)?;
        }
        Ok(())
    }

    /// The length of all gradients as one vector. NaN or infinite where any value is.
    ///
    /// # Errors
    /// The device fails.
    pub fn norm(&self) -> Result<f64> {
        #[cfg(feature = "cuda")]
        if let Some(sums) = self.sums_on_gpu()? {
            return Ok(sums.iter().map(|sum| f64::from(*sum)).sum::<f64>().sqrt());
        }
        let mut sum = 0.0;
        for gradient in &self.0 {
            let squares = gradient.sqr()?.flatten_all()?.sum_all()?;
            sum += f64::from(squares.to_scalar::<f32>()?);
        }
        Ok(sum.sqrt())
    }

    /// The sum of squares of each; `None` where they are not on a GPU.
    #[cfg(feature = "cuda")]
    fn sums_on_gpu(&self) -> Result<Option<Vec<f32>>> {
        if !self.0.iter().all(super::ops::gpu::takes) {
            return Ok(None);
        }
        let sums = super::ops::gpu::square_sums(&self.0)?;
        Ok(sums.map(|sums| sums.to_vec1()).transpose()?)
    }

    /// The gradients, in the order of the parameters.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        self.0.iter()
    }
}
