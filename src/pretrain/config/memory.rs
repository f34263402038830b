//! How much memory a run needs, before any is taken: a size may be mistyped, and a system that runs
//! out of memory ends programs without a word.

use super::Config;
use crate::autoencoder::Method;

/// Batches of views that are in memory at once: that of the step, and those that the loader keeps
/// ready.
const BATCHES: f64 = 3.0;
/// Bytes of a value in f32.
const VALUE: f64 = 4.0;
/// What a block keeps of a token for its gradients, in values of the token's width: its input and
/// what comes of the norms, queries, keys, values, the attention's output, and the hidden layer,
/// four times as wide.
const KEPT: f64 = 10.0;
/// Copies of the parameters: themselves, their gradients, and two moments of the optimiser.
const COPIES: f64 = 4.0;

impl Config {
    /// The least memory of the machine that a run needs, in bytes: for the views of its pictures
    /// and, where the CPU computes, for the network and what a pass keeps. What it really takes is
    /// more.
    pub fn least_memory(&self, on_cpu: bool) -> f64 {
        let Self { encoder, decoder, views, optimization, method, .. } = self;
        let both = if *method == Method::Mae { 1.0 } else { 2.0 };
        let side = views.size as f64;
        let values = 3.0 * side * side * both;
        let batch = optimization.batch_size as f64;
        let pictures = BATCHES * batch * values;
        if !on_cpu {
            return pictures;
        }
        let together = match optimization.micro_batch {
            0 => batch,
            micro => batch.min(micro as f64),
        };
        let patches = (side / encoder.patch.max(1) as f64).powi(2);
        let seen = match method {
            Method::Mae => patches * (1.0 - self.masking_ratio),
            Method::Cropmae | Method::Siammae => patches,
        };
        let (width, inner) = (encoder.width as f64, decoder.width as f64);
        let kept =
            KEPT * (seen * width * encoder.depth as f64 + patches * inner * decoder.depth as f64);
        let block = 12.0 * width * width;
        let decoder_block = inner * (4.0 * inner + 2.0 * decoder.hidden as f64);
        let parameters = block * encoder.depth as f64 + decoder_block * decoder.depth as f64;
        pictures + VALUE * (together * (values + kept) + COPIES * parameters)
    }
}

#[cfg(test)]
mod tests {
    use crate::pretrain::config::Preset;

    #[test]
    fn sizes_are_counted() {
        let config = Preset::Tiny.config();
        let of = |setting: &str| config.with_setting(setting).unwrap().least_memory(true);
        let own = config.least_memory(true);
        assert!(own > 2.0 * config.least_memory(false) && own < 4e9, "{own}");
        // twice the side: four times the views and the tokens
        let side = config.views.size;
        let double = of(&format!("views.size={}", 2 * side));
        assert!((3.0..4.0).contains(&(double / own)), "{double} of {own}");
        assert!(of("views.size=160000") > 1e12 && of("encoder.width=1000000") > 1e12);
        assert!(of("optimization.micro_batch=1") < own);
        // two more blocks in the decoder: ten values of 128 for each of 64 x 64 tokens, and four
        // copies of the parameters of each
        let deeper = of(&format!("decoder.depth={}", config.decoder.depth + 2));
        let block = 128 * (4 * 128 + 2 * 512);
        assert_eq!(deeper - own, f64::from(4 * (64 * 64 * 10 * 128 * 2 + 4 * 2 * block)));
        // every published recipe but for its pictures runs on little
        for preset in [Preset::CropmaeIn, Preset::SiammaeK400, Preset::MaeIn] {
            let least = preset.config().least_memory(false);
            assert!((1e8..1e10).contains(&least), "{preset:?}: {least}");
        }
    }
}
