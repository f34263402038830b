//! What goes to a device step by step, without anybody waiting for it.
//!
//! From ordinary memory a GPU's driver takes values when the device is done with what it was given
//! before, and the program waits. From page-locked memory the device takes them itself, when their
//! turn comes: so the next batch can stand in the queue behind the step that is under way.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::gpu::Pieces;
use crate::error::{Error, Result};

/// A way to a device that is used again and again; page-locked memory where that is a GPU.
#[derive(Debug)]
pub struct Uploads {
    device: Device,
    #[cfg(feature = "cuda")]
    bytes: Pieces<u8>,
    #[cfg(feature = "cuda")]
    words: Pieces<u32>,
}

impl Uploads {
    /// The way to `device`.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            #[cfg(feature = "cuda")]
            bytes: Pieces::default(),
            #[cfg(feature = "cuda")]
            words: Pieces::default(),
        }
    }

    /// Where it leads.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Pictures of one size, pixel by pixel in R, G, B, as a u8 tensor
    /// [pictures, height, width, 3].
    ///
    /// # Errors
    /// A picture is of another size, there is none, or the device runs out of memory.
    pub fn pictures(
        &mut self,
        pictures: &[&[u8]],
        (height, width): (usize, usize),
    ) -> Result<Tensor> {
        let each = 3 * height * width;
        if each * pictures.len() == 0 || pictures.iter().any(|picture| picture.len() != each) {
            return Err(Error::setting(
                "size",
                "pictures that go together must have one size, and pixels",
            ));
        }
        let fill = |bytes: &mut [u8]| {
            let places = bytes.par_chunks_mut(each).zip(pictures);
            places.for_each(|(place, picture)| place.copy_from_slice(picture));
        };
        let bytes = self.bytes(pictures.len() * each, fill)?;
        Ok(bytes.reshape((pictures.len(), height, width, 3))?)
    }

    /// `count` bytes, which `fill` is to write, as a tensor u8 \[count\].
    fn bytes(&mut self, count: usize, fill: impl FnOnce(&mut [u8])) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = &self.device {
            return Ok(self.bytes.send(device, count, fill)?);
        }
        let mut bytes = vec![0; count];
        fill(&mut bytes);
        Ok(Tensor::from_vec(bytes, count, &self.device)?)
    }

    /// Numbers as a tensor u32 \[words.len()\].
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn words(&mut self, words: &[u32]) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = &self.device {
            let fill = |out: &mut [u32]| out.copy_from_slice(words);
            return Ok(self.words.send(device, words.len(), fill)?);
        }
        Ok(Tensor::new(words, &self.device)?)
    }
}
