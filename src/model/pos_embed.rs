//! The positions of patches: the fixed sine-cosine table that MAE and CropMAE train with.
//!
//! A checkpoint brings its own table; this one is for encoders that are made here, to be trained
//! or to serve as a random baseline.

/// The 2-D sine-cosine table of a `side` × `side` grid, row-major [1 + side², width].
///
/// Row 0 belongs to CLS and is zero; row 1 + y·side + x belongs to the patch in row y, column x.
/// The first half of the channels encodes x, the second y, as MAE's program does; each half holds
/// the sines of a coordinate times 10000^(−i / (width/4)), i = 0, 1, …, then the cosines. Channels
/// beyond a multiple of four stay zero. Computed in f64, rounded once.
pub fn sincos_table(width: usize, side: usize) -> Vec<f32> {
    let quarter = width / 4;
    let frequencies: Vec<f64> =
        (0..quarter).map(|index| 10000_f64.powf(-(index as f64) / quarter as f64)).collect();
    let mut table = vec![0.0; (1 + side * side) * width];
    // a width below 4 has no channels to fill (and chunks of 0 would not be allowed)
    for (patch, row) in table.chunks_exact_mut(width.max(1)).skip(1).enumerate() {
        let (y, x) = (patch / side, patch % side);
        for (half, position) in row.chunks_exact_mut((2 * quarter).max(1)).zip([x, y]) {
            let (sines, cosines) = half.split_at_mut(quarter);
            for ((sine, cosine), frequency) in sines.iter_mut().zip(cosines).zip(&frequencies) {
                let angle = position as f64 * frequency;
                *sine = angle.sin() as f32;
                *cosine = angle.cos() as f32;
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_table_of_two_by_two_worked_by_hand() {
        // width 8: frequencies 1 and 10000^(-1/2) = 0.01; a row is sin x, sin x/100, cos x,
        // cos x/100, then the same of y
        let table = sincos_table(8, 2);
        assert_eq!(table[..8], [0.0; 8]);
        let (s, c) = (1_f32.sin(), 1_f32.cos());
        let (s2, c2) = (0.01_f32.sin(), 0.01_f32.cos());
        let bottom_left = [0.0, 0.0, 1.0, 1.0, s, s2, c, c2];
        let top_right = [s, s2, c, c2, 0.0, 0.0, 1.0, 1.0];
        // one unit in the last place of a number near 1
        for (row, wanted) in [(3, bottom_left), (2, top_right)] {
            for (got, wanted) in table[row * 8..(row + 1) * 8].iter().zip(wanted) {
                assert!((got - wanted).abs() < 1.2e-7, "row {row}: {got} for {wanted}");
            }
        }
    }

    #[test]
    fn odd_sizes_do_not_panic() {
        for width in 0..10 {
            for side in 0..3 {
                assert_eq!(sincos_table(width, side).len(), (1 + side * side) * width);
            }
        }
    }

    /// The reference's tables, as its checkpoint and its interpolation fixture hold them; both are
    /// f32 of the same formula, so half a unit in the last place of 1 and a little.
    #[test]
    fn equals_the_reference_table() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/fixtures"));
        for (file, key) in [
            ("weights/siammae_tiny.safetensors", "pos_embed"),
            ("pretrain/pos_embed_tiny_p16.safetensors", "source"),
        ] {
            let path = root.join(file);
            if !path.exists() {
                eprintln!("skipped: {} is not here", path.display());
                continue;
            }
            let tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
            let wanted: Vec<f32> = tensors[key].flatten_all().unwrap().to_vec1().unwrap();
            let table = sincos_table(96, 14);
            assert_eq!(table.len(), wanted.len());
            let worst =
                table.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max);
            assert!(worst < 1e-6, "{file}: off by {worst}");
        }
    }
}
