//! The network that pre-training trains: a (siamese) masked autoencoder, with gradients.
//!
//! ```text
//! view 1 ──> encoder ────────────────────────────────────────────> memory ─┐
//! view 2 ──> masking ──> encoder ──> visible tokens, mask tokens ──> decoder ──> pixels
//! ```
//!
//! Both encoders are one. CropMAE takes two crops of an image, SiamMAE two frames; MAE has view 2
//! alone and no memory. [`Parameters`] holds everything that is trained, by MAE's names; [`Mask`]
//! says which patches stay visible; [`Autoencoder`] computes predictions, the loss and
//! [`Gradients`]. What draws views and changes the parameters: [`crate::pretrain`].
//!
//! Source: the CropMAE paper, section 3, and its program's quirks as `config`, `decoder` and
//! `target` say them.

pub mod config;
mod decoder;
mod encoder;
mod gradients;
mod masking;
mod ops;
mod parameters;
mod spans;
mod tape;
pub mod target;

use candle_core::{DType, Tensor};

pub use config::{AutoencoderConfig, DecoderConfig, Method};
pub use gradients::{Figures, Gradients, Measured};
pub use masking::{Mask, PlacedMask};
pub use parameters::Parameters;
pub use spans::{GRAIN, Span, Spans};

use self::decoder::{Drops, decode};
use self::encoder::{encode, pixels};
use self::ops::{Removed, cast, masked_error};
use self::parameters::Pass;
use self::tape::{Tape, Value};
use crate::error::Result;

/// A network of given sizes with its parameters.
#[derive(Debug, Clone)]
pub struct Autoencoder {
    /// Its sizes.
    pub config: AutoencoderConfig,
    /// What is trained.
    pub parameters: Parameters,
    /// The number type of the passes; parameters and loss are f32 all the same.
    pub dtype: DType,
}

/// What a forward pass found.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Tokens of view 1, [B, 1 + N, D]; none for MAE.
    pub memory: Option<Tensor>,
    /// CLS and visible tokens of view 2, [B, 1 + visible, D].
    pub visible: Tensor,
    /// Pixels of every patch of view 2, [B, N, p·p·3]; see [`target::patches`].
    pub pixels: Tensor,
    /// The mean over masked patches of the mean squared difference between what they are (see
    /// [`target::target`]) and what was predicted.
    pub loss: f64,
}

/// Two normalised views [B, 3, S, S] and what is masked of the second.
#[derive(Debug, Clone, Copy)]
pub struct Views<'a> {
    /// The unmasked view, which MAE does not look at.
    pub first: &'a Tensor,
    /// The masked one.
    pub second: &'a Tensor,
    /// Which of its patches are visible.
    pub mask: &'a PlacedMask,
}

impl Autoencoder {
    /// Reconstructs view 2 from what the mask leaves of it and, but for MAE, from view 1. Nothing
    /// is dropped.
    ///
    /// # Errors
    /// Views of another size than the network's, or the device runs out of memory.
    pub fn predict(&self, views: Views<'_>) -> Result<Prediction> {
        let pass = self.parameters.on(Tape::off(), self.dtype)?;
        let (memory, visible, pixels) = self.forward(&pass, views, None)?;
        let loss = self.loss(&pass, &pixels, views)?;
        Ok(Prediction {
            memory: memory.map(|memory| memory.tensor),
            visible: visible.tensor,
            pixels: pixels.tensor,
            loss: f64::from(loss.tensor.to_scalar::<f32>()?),
        })
    }

    /// The loss, an f32 scalar, and the gradients of all parameters by the loss times `scale`.
    /// `dropout` is the seed of what the decoder drops in this pass. Does not wait for a GPU.
    ///
    /// # Errors
    /// Views of another size than the network's, or the device runs out of memory.
    pub fn gradients(
        &self,
        views: Views<'_>,
        dropout: u64,
        scale: f64,
    ) -> Result<(Tensor, Gradients)> {
        let pass = self.parameters.on(Tape::on(), self.dtype)?;
        let (_, _, pixels) = self.forward(&pass, views, Some(dropout))?;
        let loss = self.loss(&pass, &pixels, views)?;
        drop(pixels);
        let gradients = pass.gradients(&loss, scale)?;
        Ok((loss.tensor, gradients))
    }

    /// Memory, visible tokens and pixels; see [`Prediction`].
    fn forward(
        &self,
        pass: &Pass<'_>,
        Views { first, second, mask }: Views<'_>,
        dropout: Option<u64>,
    ) -> Result<(Option<Value>, Value, Value)> {
        let encoder = &self.config.encoder;
        let count = self.config.patches();
        let positions = pass.positions()?.narrow(1, 1, count)?.contiguous()?;
        let how = (encoder.patch, self.dtype);
        let memory = match self.config.method {
            Method::Mae => None,
            _ => Some(encode(pass, encoder, pixels(first, None, how)?, &positions)?),
        };
        let (batch, visible) = (mask.batch, mask.visible);
        let values = self.config.patch_values();
        let kept = pixels(second, Some(&mask.among_all), how)?;
        let places = positions.squeeze(0)?.index_select(&mask.within, 0)?;
        let places = places.reshape((batch, visible, encoder.width))?;
        let visible = encode(pass, encoder, kept.reshape((batch, visible, values))?, &places)?;
        let drops = Drops::new(&self.config.decoder, dropout);
        let pixels = decode(pass, &self.config, (&visible, memory.as_ref()), mask, &drops)?;
        Ok((memory, visible, pixels))
    }

    fn loss(
        &self,
        pass: &Pass<'_>,
        pixels: &Value,
        Views { second, mask, .. }: Views<'_>,
    ) -> Result<Value> {
        let pixels = cast(&pass.tape, pixels, DType::F32)?;
        let normalize = self.config.normalize_target;
        let target = target::target(second, self.config.encoder.patch, normalize)?;
        let removed = Removed { patches: &mask.removed, count: mask.count };
        Ok(masked_error(&pass.tape, &pixels, &target, removed)?)
    }
}
