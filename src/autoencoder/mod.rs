//! The network that pre-training trains: a (siamese) masked autoencoder, with gradients.
//!
//! ```text
//! view 1 ──> encoder ────────────────────────────────────────────> memory ─┐
//! view 2 ──> masking ──> encoder ──> visible tokens, mask tokens ──> decoder ──> pixels
//! ```
//!
//! Both encoders are one. CropMAE takes two crops of an image, SiamMAE two frames; MAE has view 2
//! alone and no memory. [`Parameters`] holds everything that is trained, by MAE's names; [`Mask`]
//! says which patches stay visible; [`Autoencoder`] computes predictions and the loss. What draws
//! views and changes the parameters: [`crate::pretrain`].
//!
//! Source: the CropMAE paper, section 3, and its program's quirks as `config`, `decoder` and
//! `target` say them.

pub mod config;
mod decoder;
mod encoder;
mod masking;
mod ops;
mod parameters;
pub mod target;

use candle_core::{DType, Tensor};

pub use config::{AutoencoderConfig, DecoderConfig, Method};
pub use masking::Mask;
pub use parameters::Parameters;

use self::decoder::{Drops, decode};
use self::encoder::encode;
use crate::error::Result;
use crate::model::vit::patchify;

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
}

impl Autoencoder {
    /// Reconstructs view 2 from what `mask` leaves of it and, but for MAE, from view 1; views are
    /// normalised colours, [B, 3, S, S]. With `dropout` (the seed of a training step) the decoder
    /// drops values, without it never.
    ///
    /// # Errors
    /// Views of another size than the network's, or the device runs out of memory.
    pub fn predict(
        &self,
        first: Option<&Tensor>,
        second: &Tensor,
        mask: &Mask,
        dropout: Option<u64>,
    ) -> Result<Prediction> {
        let weights = self.parameters.working(self.dtype);
        let encoder = &self.config.encoder;
        let count = self.config.patches();
        let positions = weights.positions()?.narrow(1, 1, count)?;
        let pixels = |view: &Tensor| patchify(&view.to_dtype(self.dtype)?, encoder.patch);
        let memory = match first {
            Some(first) if self.config.method != Method::Mae => {
                Some(encode(&weights, encoder, &pixels(first)?, &positions.contiguous()?)?)
            }
            _ => None,
        };
        let (batch, visible) = (mask.batch(), mask.visible_count());
        let (among_all, within) = mask.rows(second.device())?;
        let values = self.config.patch_values();
        let kept = pixels(second)?.reshape((batch * count, values))?.index_select(&among_all, 0)?;
        let kept = kept.reshape((batch, visible, values))?;
        let places = positions.squeeze(0)?.contiguous()?.index_select(&within, 0)?;
        let places = places.reshape((batch, visible, encoder.width))?;
        let visible = encode(&weights, encoder, &kept, &places)?;
        let drops = Drops::new(&self.config.decoder, dropout);
        let pixels = decode(&weights, &self.config, &visible, memory.as_ref(), mask, &drops)?;
        Ok(Prediction { memory, visible, pixels })
    }

    /// How far a prediction is off: a scalar.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn loss(&self, prediction: &Prediction, second: &Tensor, mask: &Mask) -> Result<Tensor> {
        let how = (self.config.encoder.patch, self.config.normalize_target);
        target::loss(&prediction.pixels, second, mask, how)
    }
}
