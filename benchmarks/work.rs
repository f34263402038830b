//! What an encoder has to do, counted.

use cropmae::model::VitConfig;

/// Operations of the products of one frame, two a multiply-add; norms, softmax and the like are not
/// counted.
pub(crate) fn flop(config: &VitConfig, (height, width): (usize, usize)) -> f64 {
    let VitConfig { width: channels, depth, patch, .. } = *config;
    let patches = (height / patch) * (width / patch);
    let tokens = patches + 1;
    let block = 24 * channels * channels * tokens + 4 * tokens * tokens * channels;
    (depth * block + 2 * 3 * patch * patch * channels * patches) as f64
}
