//! A linear layer on packed weights, and the operation that follows it while values are in
//! registers.

use pulp::{Arch, Simd};

use crate::elementwise::lanes;
use crate::error::Result;
use crate::model::parameters::Parameters;
use crate::product::packed::{
    Aligned, Packed, Tiled, VECTORS, dispatch, load, store, tiles, vectors,
};

/// What becomes of `row · weight + bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is the result.
    Nothing,
    /// Its GELU is the result.
    Gelu,
    /// It is multiplied by LayerScale, where the encoder has it, and added to what is there.
    Add,
}

/// A linear layer, packed for the instruction set of this machine.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Packed,
    /// As wide as all panels together.
    bias: Aligned,
    /// The same, ones without LayerScale.
    scale: Aligned,
    arch: Arch,
}

impl Linear {
    /// Packs `name.weight` [columns, depth] (whatever shape its channels have) and `name.bias`;
    /// `scale` is the name of LayerScale's factors, where the encoder may have them.
    pub(super) fn new(
        parameters: &Parameters<'_>,
        name: &str,
        scale: Option<&str>,
        arch: Arch,
    ) -> Result<Self> {
        let bias = parameters.values(&format!("{name}.bias"))?;
        let weight = parameters.values(&format!("{name}.weight"))?;
        let factors = scale.map(|name| parameters.optional_values(name)).transpose()?.flatten();
        let factors = factors.unwrap_or_else(|| vec![1.0; bias.len()]);
        Ok(Self::packed(arch, &weight, &bias, &factors))
    }

    fn packed(arch: Arch, weight: &[f32], bias: &[f32], factors: &[f32]) -> Self {
        let depth = weight.len() / bias.len();
        let weight = Packed::transposed(arch, weight.chunks_exact(depth), depth);
        let padded = |values: &[f32]| {
            let mut padded = Aligned::default();
            padded.resize(weight.padded_columns());
            padded.values_mut()[..values.len()].copy_from_slice(values);
            padded
        };
        Self { bias: padded(bias), scale: padded(factors), weight, arch }
    }

    /// Values of a row that goes in.
    pub(super) fn depth(&self) -> usize {
        self.weight.depth
    }

    /// Values of a row that comes out.
    pub(super) fn columns(&self) -> usize {
        self.weight.columns
    }

    /// `rows` [n, depth] -> `out` [n, columns], on the calling thread. `room` is for sums on their
    /// way.
    ///
    /// # Panics
    /// The numbers of rows differ.
    pub(super) fn apply(&self, rows: &[f32], then: Then, room: &mut Aligned, out: &mut [f32]) {
        let count = rows.len() / self.depth();
        assert!(
            rows.len() == count * self.depth() && out.len() == count * self.columns(),
            "rows that do not fit the layer"
        );
        dispatch(self.arch, Apply { linear: self, rows, then, room, out });
    }
}

/// One call of [`Linear::apply`].
struct Apply<'a> {
    linear: &'a Linear,
    rows: &'a [f32],
    then: Then,
    room: &'a mut Aligned,
    out: &'a mut [f32],
}

impl Tiled for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, simd: S) {
        let Self { linear, rows, then, room, out } = self;
        let (columns, depth) = (linear.columns(), linear.depth());
        let width = VECTORS * S::F32_LANES;
        let biases = vectors::<S>(linear.bias.values());
        let scales = vectors::<S>(linear.scale.values());
        let panels = linear.weight.panels::<S>().zip(biases).zip(scales);
        for (index, ((panel, bias), scale)) in panels.enumerate() {
            let place = index * width..(index * width + width).min(columns);
            let epilogue = Epilogue::<S> { bias: *bias, scale: *scale, then };
            tiles::<S, ROWS>(
                simd,
                panel,
                rows.len() / depth,
                #[inline(always)]
                |row| &rows[row * depth..][..depth],
                room,
                #[inline(always)]
                |first, sums| {
                    let out = out[first * columns..].chunks_exact_mut(columns);
                    for (out, sums) in out.zip(sums) {
                        epilogue.finish(simd, sums, &mut out[place.clone()]);
                    }
                },
            );
        }
    }
}

/// What happens to the sums of a panel.
struct Epilogue<S: Simd> {
    bias: [S::f32s; VECTORS],
    scale: [S::f32s; VECTORS],
    then: Then,
}

impl<S: Simd> Epilogue<S> {
    /// One row, into its place in `out`, which may be shorter than a panel.
    #[inline(always)]
    fn finish(&self, simd: S, sums: [S::f32s; VECTORS], out: &mut [f32]) {
        let parts = out.chunks_mut(S::F32_LANES);
        for (((part, sum), bias), scale) in parts.zip(sums).zip(&self.bias).zip(&self.scale) {
            let sum = simd.add_f32s(sum, *bias);
            let value = match self.then {
                Then::Nothing => sum,
                Then::Gelu => lanes::gelu(simd, sum),
                Then::Add => simd.mul_add_e_f32s(sum, *scale, load(simd, part)),
            };
            store(simd, part, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::lanes::every_arch;

    #[test]
    fn what_follows_the_product() {
        // more rows and columns than a tile has and no multiple of either
        let (rows, depth, columns) = (11, 13, 50);
        let values = |count: usize| -> Vec<f32> {
            (0..count).map(|i| (i * 7919 % 1009) as f32 / 500.0 - 1.0).collect()
        };
        let (left, weight) = (values(rows * depth), values(columns * depth));
        let (bias, factors, before) = (values(columns), values(columns), values(rows * columns));
        for arch in every_arch() {
            let linear = Linear::packed(arch, &weight, &bias, &factors);
            let [plain, gelu, sum] = [Then::Nothing, Then::Gelu, Then::Add].map(|then| {
                let mut out = before.clone();
                linear.apply(&left, then, &mut Aligned::default(), &mut out);
                out
            });
            let mut wanted = vec![0.0; plain.len()];
            crate::elementwise::gelu(&plain, &mut wanted);
            for (index, plain) in plain.iter().enumerate() {
                let (row, column) = (index / columns, index % columns);
                let pairs = left[row * depth..].iter().zip(&weight[column * depth..]).take(depth);
                let product: f32 = pairs.map(|(a, b)| a * b).sum();
                // 13 roundings of sums up to 13, at worst; then those of a few numbers of that size
                assert!((plain - product - bias[column]).abs() < 1e-5, "{plain} {product}");
                assert!((gelu[index] - wanted[index]).abs() < 5e-6, "{plain}");
                let added = before[index] + plain * factors[column];
                assert!((sum[index] - added).abs() < 5e-6, "{} {added}", sum[index]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn rows_of_another_width_are_refused() {
        Linear::packed(Arch::new(), &[1.0; 6], &[0.0; 2], &[1.0; 2]).apply(
            &[1.0; 4],
            Then::Nothing,
            &mut Aligned::default(),
            &mut [0.0; 2],
        );
    }
}
