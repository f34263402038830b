//! AdamW (Adam with decoupled weight decay, Loshchilov and Hutter) as PyTorch computes it, with the
//! recipe's two groups: which parameters decay, and what a step makes of each value. `step.cu` is
//! the same for a GPU; [`super::optimizer`] keeps the moments.

use serde::{Deserialize, Serialize};

use crate::autoencoder::GRAIN;

/// The settings of [`AdamW`](super::optimizer::AdamW).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamWSettings {
    /// How much of the mean gradient a step keeps.
    pub beta1: f64,
    /// How much of the mean squared gradient a step keeps.
    pub beta2: f64,
    /// Added to the root of the mean squared gradient.
    pub epsilon: f64,
    /// What weights shrink by at each step, times the learning rate; biases and other tensors of
    /// one dimension do not, the CLS and mask tokens do (timm's rule, which the reference follows).
    pub weight_decay: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.05 }
    }
}

/// Whether weight decay applies to a parameter.
pub fn decays(name: &str, dimensions: usize) -> bool {
    dimensions > 1 && !name.ends_with(".bias")
}

/// The numbers of one step; `Step` of the GPU's kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    /// What weight decay leaves of a value that decays.
    keep: f32,
    /// The learning rate over the mean's correction.
    size: f32,
    /// What a gradient counts in the mean.
    new1: f32,
    /// What is kept of the mean of squares.
    beta2: f32,
    /// What a squared gradient counts in it.
    new2: f32,
    /// The root of its correction.
    root2: f32,
    /// Added to its root.
    epsilon: f32,
}

impl Numbers {
    /// Those of step number `step`, from 1.
    pub(super) fn of(settings: AdamWSettings, step: u64, rate: f64) -> Self {
        let AdamWSettings { beta1, beta2, epsilon, weight_decay } = settings;
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        Self {
            keep: (1.0 - rate * weight_decay) as f32,
            size: (rate / (1.0 - beta1.powi(exponent))) as f32,
            new1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            new2: (1.0 - beta2) as f32,
            root2: (1.0 - beta2.powi(exponent)).sqrt() as f32,
            epsilon: epsilon as f32,
        }
    }

    /// Moves `values` and both moments by gradients times `factor`; `decays` holds one flag a
    /// grain.
    pub(super) fn on_slices(
        self,
        (values, mean, square): (&mut [f32], &mut [f32], &mut [f32]),
        (gradient, factor): (&[f32], f32),
        decays: &[bool],
    ) {
        let Self { keep, size, new1, beta2, new2, root2, epsilon } = self;
        let moved =
            values.chunks_mut(GRAIN).zip(mean.chunks_mut(GRAIN)).zip(square.chunks_mut(GRAIN));
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for ((((values, mean), square), gradient), decays) in
                    moved.zip(gradient.chunks(GRAIN)).zip(decays)
                {
                    let keep = if *decays { keep } else { 1.0 };
                    for (((value, mean), square), gradient) in
                        values.iter_mut().zip(mean).zip(square).zip(gradient)
                    {
                        let gradient = gradient * factor;
                        *mean += (gradient - *mean) * new1;
                        *square = *square * beta2 + gradient * gradient * new2;
                        *value = *value * keep - size * *mean / (square.sqrt() / root2 + epsilon);
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: AdamWSettings =
        AdamWSettings { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.5 };

    #[test]
    fn the_first_step_by_hand() {
        // mean = 0.1·g, square = 0.05·g²; corrected they are g and g², so the step is 0.1·sign
        let numbers = Numbers::of(SETTINGS, 1, 0.1);
        for (decays, kept) in [(true, 0.95), (false, 1.0)] {
            let (mut values, mut mean, mut square) = ([2.0, -1.0], [0.0; 2], [0.0; 2]);
            let moved = (&mut values[..], &mut mean[..], &mut square[..]);
            numbers.on_slices(moved, (&[6.0, -1.0], 0.5), &[decays]);
            for (value, wanted) in values.iter().zip([2.0 * kept - 0.1, -kept + 0.1]) {
                assert!((value - wanted).abs() < 1e-6, "{value} {wanted}");
            }
            assert!((mean[0] - 0.3).abs() < 1e-7 && (square[1] - 0.0125).abs() < 1e-7);
        }
    }

    #[test]
    fn biases_norms_and_no_tokens_are_spared_from_decay() {
        assert!(decays("cls_token", 3) && decays("blocks.0.attn.qkv.weight", 2));
        assert!(!decays("blocks.0.norm1.weight", 1) && !decays("patch_embed.proj.bias", 1));
        assert!(!decays("decoder_blocks.0.self_attn.in_proj_bias", 1));
    }
}
