//! Which patches stay visible.

use candle_core::{DType, Tensor};

use super::ops::RowPlan;
use crate::device::Uploads;
use crate::error::{Error, Result};

/// The visible patches of every image of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    batch: usize,
    patches: usize,
    visible: usize,
    /// Image by image, in the order that the encoder reads them in.
    kept: Vec<u32>,
}

/// A [`Mask`] on the device that a pass runs on: everything that the network looks up by it.
#[derive(Debug, Clone)]
pub struct PlacedMask {
    /// Number of images.
    pub(super) batch: usize,
    /// Visible patches of each.
    pub(super) visible: usize,
    /// Rows of the visible patches among all patches of the batch: [B·visible] of u32.
    pub(super) among_all: Tensor,
    /// Rows of the visible patches among all patches of their image: [B·visible] of u32.
    pub(super) within: Tensor,
    /// Where the decoder's tokens come from.
    pub(super) plan: RowPlan,
    /// 1 for masked patches, 0 for visible ones: [B, N] in f32.
    pub(super) removed: Tensor,
    /// How many are masked.
    pub(super) count: usize,
}

impl Mask {
    /// Number of patches that a masking ratio leaves visible: ⌊patches · (1 − ratio)⌋, computed in
    /// f64 as the reference does (196 and 0.985 leave 2).
    ///
    /// # Errors
    /// The ratio is not between 0 and 1, or leaves none or all.
    pub fn visible(patches: usize, ratio: f64) -> Result<usize> {
        let wrong = |problem: String| Err(Error::setting("masking_ratio", problem));
        if !(0.0..1.0).contains(&ratio) {
            return wrong(format!("{ratio} is not a share between 0 and 1"));
        }
        match (patches as f64 * (1.0 - ratio)) as usize {
            0 => {
                wrong(format!("{ratio} of {patches} patches leaves none visible; take a lower one"))
            }
            all if all == patches => wrong(format!("{ratio} of {patches} patches masks none")),
            visible => Ok(visible),
        }
    }

    /// The patches with the smallest noise stay, smallest first. `noise` is one number a patch,
    /// image by image; equal numbers keep the order of the patches.
    ///
    /// # Errors
    /// As [`Mask::visible`].
    pub fn from_noise(noise: &[f32], patches: usize, ratio: f64) -> Result<Self> {
        let visible = Self::visible(patches, ratio)?;
        let mut kept = Vec::new();
        for noise in noise.chunks_exact(patches) {
            let mut order: Vec<u32> = (0..patches as u32).collect();
            order.sort_by(|a, b| noise[*a as usize].total_cmp(&noise[*b as usize]));
            kept.extend_from_slice(&order[..visible]);
        }
        Ok(Self { batch: noise.len() / patches, patches, visible, kept })
    }

    /// Number of images.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The masks of the first `count` images alone.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let batch = count.min(self.batch);
        Self {
            batch,
            kept: self.kept.iter().copied().take(batch * self.visible).collect(),
            ..*self
        }
    }

    /// The mask on a device, in one piece of its memory: before a pass is queued, or it would have
    /// to wait for that. Does not wait for a GPU.
    ///
    /// # Errors
    /// The device runs out of memory.
    pub fn on(&self, uploads: &mut Uploads) -> Result<PlacedMask> {
        let tables = self.tables();
        let words = uploads.words(&tables.concat())?;
        let mut start = 0;
        let parts = tables.map(|table| {
            start += table.len();
            words.narrow(0, start - table.len(), table.len())
        });
        let [among_all, within, sources, of_stored, of_last, removed] = parts;
        let removed = removed?.to_dtype(DType::F32)?.reshape((self.batch, self.patches))?;
        Ok(PlacedMask {
            batch: self.batch,
            visible: self.visible,
            among_all: among_all?,
            within: within?,
            plan: RowPlan { sources: sources?, of_stored: of_stored?, of_last: of_last? },
            removed,
            count: self.batch * (self.patches - self.visible),
        })
    }

    /// Among all, within, sources, of stored, of last, removed; see [`PlacedMask`] and [`RowPlan`].
    fn tables(&self) -> [Vec<u32>; 6] {
        let offset = |place: usize| (place / self.visible * self.patches) as u32;
        let among_all: Vec<u32> =
            self.kept.iter().enumerate().map(|(place, kept)| offset(place) + kept).collect();
        let mut removed = vec![1; self.batch * self.patches];
        among_all.iter().for_each(|kept| removed[*kept as usize] = 0);
        let [sources, of_stored, of_last] = self.decoder_rows();
        [among_all, self.kept.clone(), sources, of_stored, of_last, removed]
    }

    /// Whether a patch of an image is masked.
    pub fn is_masked(&self, image: usize, patch: usize) -> bool {
        let kept = self.kept.chunks_exact(self.visible).nth(image).unwrap_or_default();
        !kept.contains(&(patch as u32))
    }

    /// Where the decoder's tokens (CLS and all patches of every image) come from: stored are CLS
    /// and visible patches, image by image, and last the mask token.
    fn decoder_rows(&self) -> [Vec<u32>; 3] {
        let (tokens, stored) = (1 + self.patches, 1 + self.visible);
        let mask_token = (self.batch * stored) as u32;
        let mut rows = vec![mask_token; self.batch * tokens];
        for image in 0..self.batch {
            rows[image * tokens] = (image * stored) as u32;
        }
        for (place, kept) in self.kept.iter().enumerate() {
            let (image, rank) = (place / self.visible, place % self.visible);
            rows[image * tokens + 1 + *kept as usize] = (image * stored + 1 + rank) as u32;
        }
        let mut of_stored = vec![0_u32; self.batch * stored];
        let mut of_last = Vec::with_capacity(rows.len() - of_stored.len());
        for (place, row) in (0..).zip(&rows) {
            match of_stored.get_mut(*row as usize) {
                Some(at) => *at = place,
                None => of_last.push(place),
            }
        }
        [rows, of_stored, of_last]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn ratios_leave_what_the_reference_leaves() {
        for (patches, ratio, wanted) in
            [(196, 0.985, 2), (196, 0.75, 49), (196, 0.95, 9), (64, 0.9, 6)]
        {
            assert_eq!(Mask::visible(patches, ratio).unwrap(), wanted);
        }
        for (patches, ratio) in [(64, 0.985), (196, 1.0), (196, -0.1), (196, 0.0), (196, f64::NAN)]
        {
            let error = Mask::visible(patches, ratio).unwrap_err().to_string();
            assert!(error.contains("masking_ratio"), "{error}");
        }
    }

    #[test]
    fn the_smallest_noise_stays_in_its_order() {
        let noise = [0.5, 0.1, 0.9, 0.2, 0.3, 0.8, 0.3, 0.1];
        let mask = Mask::from_noise(&noise, 4, 0.5).unwrap();
        assert_eq!(mask.kept, [1, 3, 3, 0]);
        let placed = mask.on(&mut Uploads::new(&Device::Cpu)).unwrap();
        let removed = placed.removed.to_vec2::<f32>().unwrap();
        assert_eq!(removed, [[1., 0., 1., 0.], [0., 1., 1., 0.]]);
        assert_eq!((placed.batch, placed.visible, placed.count), (2, 2, 4));
        assert!(mask.is_masked(0, 0) && !mask.is_masked(0, 3) && mask.is_masked(1, 1));
        let first = mask.first(1);
        assert_eq!((first.batch(), first.kept.as_slice()), (1, [1, 3].as_slice()));
        assert_eq!(mask.first(9), mask);
        let rows = |rows: &Tensor| rows.to_vec1::<u32>().unwrap();
        assert_eq!(rows(&placed.among_all), [1, 3, 7, 4]);
        assert_eq!(rows(&placed.within), [1, 3, 3, 0]);
        // rows: cls, 1, 3 | cls, 3, 0 | mask token
        let plan = placed.plan;
        assert_eq!(rows(&plan.sources), [0, 6, 1, 6, 2, 3, 5, 6, 6, 4]);
        assert_eq!(rows(&plan.of_stored), [0, 2, 4, 5, 9, 6]);
        assert_eq!(rows(&plan.of_last), [1, 3, 7, 8]);
    }
}
