//! J, the region similarity of DAVIS: the Jaccard index of two masks.

use super::mask::Mask;

/// J from pixel counts: intersection over union, 1 where both masks are empty.
///
/// `truth` and `prediction` are the areas of the two masks, `common` is the area that they share.
pub fn jaccard(truth: usize, prediction: usize, common: usize) -> f64 {
    let union = (truth + prediction).saturating_sub(common);
    if union == 0 { 1.0 } else { common as f64 / union as f64 }
}

/// J of two masks of one size.
pub(super) fn of_masks(truth: &Mask, prediction: &Mask) -> f64 {
    jaccard(truth.area(), prediction.area(), truth.common(prediction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::LabelImage;

    #[test]
    fn intersection_over_union() {
        // Truth 4 pixels, prediction 3, 2 of them shared: 2 / (4 + 3 - 2).
        assert_eq!(jaccard(4, 3, 2), 0.4);
        assert_eq!(jaccard(4, 0, 0), 0.0);
        assert_eq!(jaccard(0, 0, 0), 1.0, "two empty masks agree");
    }

    #[test]
    fn masks_are_counted() {
        let mask = |data: [u8; 4]| {
            Mask::of_objects(&LabelImage { width: 2, height: 2, data: data.to_vec() }, 1).remove(0)
        };
        // Shared: the left column's top. Union: the left column and the top row, 3 pixels.
        assert_eq!(of_masks(&mask([1, 0, 1, 0]), &mask([1, 1, 0, 0])), 1.0 / 3.0);
    }
}
