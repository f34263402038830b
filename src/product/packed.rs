//! Products whose right side was packed beforehand, a tile at a time.
//!
//! [`Packed`] stores the columns of a matrix in panels as wide as two vector registers; [`tile`]
//! multiplies a few rows with a panel and leaves the sums in registers, where its caller continues
//! with them: adds a bias, applies a GELU, searches the largest. So a matrix that is used for every
//! frame is packed once, and the operation after a product needs no pass of its own over memory.
//! The instruction set is chosen at run time (AVX-512, AVX2 with FMA, NEON, or none).

#![forbid(unsafe_code)]

use pulp::{Arch, Simd, WithSimd};

/// Vector registers that a row of a tile takes.
pub(crate) const VECTORS: usize = 2;
/// Values of a panel that stay in a core's second cache while all rows meet them: 96 KiB.
const PANEL_AT_ONCE: usize = 24 << 10;
/// Values in a cache line: where a panel begins on one, no register is loaded from two.
const LINE: usize = 16;

/// Work that is done tile by tile: what [`dispatch`] runs.
pub(crate) trait Tiled {
    /// What comes of it.
    type Output;

    /// Does it with these instructions in tiles of `ROWS` rows. To be inlined always, and all that
    /// it calls: only so it is compiled for them.
    fn run<S: Simd, const ROWS: usize>(self, simd: S) -> Self::Output;
}

/// Runs the work with an instruction set and tiles that fit its registers: [`VECTORS`] times as
/// many sums as they have rows stay there, beside a row of the panel and one or two values of the
/// left side.
///
/// Six rows leave no register over where there are 16. Four rows of three registers' width fill 16
/// too, but with a single value of the left side, and the compiler likes to load the next one
/// early: then one sum goes out to memory and back for every product.
#[inline(always)]
pub(crate) fn dispatch<T: Tiled>(arch: Arch, work: T) -> T::Output {
    struct Dispatch<T>(T);
    impl<T: Tiled> WithSimd for Dispatch<T> {
        type Output = T::Output;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> T::Output {
            match S::REGISTER_COUNT {
                32.. => self.0.run::<S, 8>(simd),
                _ => self.0.run::<S, 6>(simd),
            }
        }
    }
    arch.dispatch(Dispatch(work))
}

/// What an instruction set makes of a tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Rows of a tile.
    pub(crate) rows: usize,
    /// Columns of a panel.
    pub(crate) columns: usize,
}

impl Sizes {
    pub(crate) fn of(arch: Arch) -> Self {
        struct Ask;
        impl Tiled for Ask {
            type Output = Sizes;

            #[inline(always)]
            fn run<S: Simd, const ROWS: usize>(self, _: S) -> Sizes {
                Sizes { rows: ROWS, columns: VECTORS * S::F32_LANES }
            }
        }
        dispatch(arch, Ask)
    }
}

/// Values that begin on a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// Makes room for `len` values, whatever they are now.
    pub(crate) fn resize(&mut self, len: usize) {
        if self.values.len() < len + LINE {
            self.values = vec![0.0; len + LINE];
            self.start = self.values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        }
        self.len = len;
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.len]
    }
}

/// A matrix of `depth` rows as panels of neighbouring columns, the last one filled up with zeros.
#[derive(Debug)]
pub(crate) struct Packed {
    panels: Aligned,
    /// Rows of the matrix: products summed up for one value.
    pub(crate) depth: usize,
    /// Columns of the matrix.
    pub(crate) columns: usize,
}

impl Packed {
    /// Packs for `arch` the transpose of these rows of `depth` values: what a linear layer
    /// multiplies by, from its weight [columns, depth] as checkpoints have it.
    pub(crate) fn transposed<'a>(
        arch: Arch,
        rows: impl ExactSizeIterator<Item = &'a [f32]>,
        depth: usize,
    ) -> Self {
        let width = Sizes::of(arch).columns;
        let columns = rows.len();
        let mut panels = Aligned::default();
        panels.resize(columns.div_ceil(width) * width * depth);
        for (column, row) in rows.enumerate() {
            let panel = &mut panels.values_mut()[column / width * width * depth..][..width * depth];
            for (line, value) in panel.chunks_exact_mut(width).zip(row) {
                line[column % width] = *value;
            }
        }
        Self { panels, depth, columns }
    }

    /// Columns of all panels together.
    pub(crate) fn padded_columns(&self) -> usize {
        self.panels.values().len() / self.depth
    }

    /// The panels, each `depth` rows of [`VECTORS`] registers.
    ///
    /// `S` must be the instruction set that they were packed for.
    #[inline(always)]
    pub(crate) fn panels<S: Simd>(&self) -> impl Iterator<Item = &[[S::f32s; VECTORS]]> {
        vectors::<S>(self.panels.values()).chunks_exact(self.depth)
    }
}

/// A slice as rows of a panel.
#[inline(always)]
pub(crate) fn vectors<S: Simd>(values: &[f32]) -> &[[S::f32s; VECTORS]] {
    S::as_simd_f32s(values).0.as_chunks().0
}

/// A slice as rows of a panel, to write to.
#[inline(always)]
pub(crate) fn vectors_mut<S: Simd>(values: &mut [f32]) -> &mut [[S::f32s; VECTORS]] {
    S::as_mut_simd_f32s(values).0.as_chunks_mut().0
}

/// The sums over p of `left(p, row) * panel[p]` for every row of a tile. An element's sum runs in
/// the order of p, one after the other.
#[inline(always)]
pub(crate) fn tile<S: Simd, const ROWS: usize>(
    simd: S,
    panel: &[[S::f32s; VECTORS]],
    left: impl Fn(usize, usize) -> f32,
) -> [[S::f32s; VECTORS]; ROWS] {
    tile_onto(simd, [[simd.splat_f32s(0.0); VECTORS]; ROWS], panel, left)
}

/// As [`tile`], added one product after the other to the `sums` there are.
#[inline(always)]
pub(crate) fn tile_onto<S: Simd, const ROWS: usize>(
    simd: S,
    mut sums: [[S::f32s; VECTORS]; ROWS],
    panel: &[[S::f32s; VECTORS]],
    left: impl Fn(usize, usize) -> f32,
) -> [[S::f32s; VECTORS]; ROWS] {
    for (p, columns) in panel.iter().enumerate() {
        for (row, sums) in sums.iter_mut().enumerate() {
            let value = simd.splat_f32s(left(p, row));
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = simd.mul_add_e_f32s(value, *column, *sum);
            }
        }
    }
    sums
}

/// A panel times `count` rows, each as long as it is deep: `take` gets every tile of sums and the
/// number of its first row; past the last row a tile has that one again. `kept` is room for as many
/// tiles.
///
/// Of the panel as many rows as the innermost cache holds are multiplied at a time: they stay there
/// while all rows meet them.
#[inline(always)]
pub(crate) fn tiles<'a, S: Simd, const ROWS: usize>(
    simd: S,
    panel: &[[S::f32s; VECTORS]],
    count: usize,
    row: impl Fn(usize) -> &'a [f32],
    kept: &mut Aligned,
    mut take: impl FnMut(usize, [[S::f32s; VECTORS]; ROWS]),
) {
    let (depth, width) = (panel.len(), VECTORS * S::F32_LANES);
    kept.resize(count.next_multiple_of(ROWS) * width);
    let kept = vectors_mut::<S>(kept.values_mut()).as_chunks_mut::<ROWS>().0;
    kept.fill([[simd.splat_f32s(0.0); VECTORS]; ROWS]);
    for from in (0..depth).step_by(PANEL_AT_ONCE / width) {
        let panel = &panel[from..depth.min(from + PANEL_AT_ONCE / width)];
        let last = from + panel.len() == depth;
        for (tile, kept) in kept.iter_mut().enumerate() {
            let rows: [&[f32]; ROWS] =
                std::array::from_fn(|index| row((tile * ROWS + index).min(count - 1)));
            let rows = rows.map(|row| &row[from..from + panel.len()]);
            let sums = tile_onto::<S, ROWS>(
                simd,
                *kept,
                panel,
                #[inline(always)]
                |p, row| rows[row][p],
            );
            match last {
                true => take(tile * ROWS, sums),
                false => *kept = sums,
            }
        }
    }
}

/// Stores a register in a slice that may be shorter.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, part: &mut [f32], value: S::f32s) {
    match S::as_mut_simd_f32s(part) {
        ([whole], _) => *whole = value,
        (_, rest) => simd.partial_store_f32s(rest, value),
    }
}

/// Loads a register from a slice that may be shorter.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, part: &[f32]) -> S::f32s {
    match S::as_simd_f32s(part) {
        ([whole], _) => *whole,
        (_, rest) => simd.partial_load_f32s(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elementwise::lanes::every_arch;

    /// `out` [rows, columns] = `left` [rows, depth] times the packed matrix.
    struct Multiply<'a> {
        left: &'a [f32],
        right: &'a Packed,
        out: &'a mut [f32],
    }

    impl Tiled for Multiply<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd, const ROWS: usize>(self, simd: S) {
            let Self { left, right, out } = self;
            let (columns, depth) = (right.columns, right.depth);
            let (count, row) = (left.len() / depth, |row| &left[row * depth..][..depth]);
            for (panel, values) in right.panels::<S>().enumerate() {
                let first = panel * VECTORS * S::F32_LANES;
                let mut kept = Aligned::default();
                tiles::<S, ROWS>(simd, values, count, row, &mut kept, |row, sums| {
                    let out = out.chunks_exact_mut(columns).skip(row);
                    for (out, sums) in out.zip(sums) {
                        for (part, sum) in out[first..].chunks_mut(S::F32_LANES).zip(sums) {
                            store(simd, part, sum);
                        }
                    }
                });
            }
        }
    }

    #[test]
    fn packed_products_are_products() {
        // more rows, columns and depth than are taken at once and no multiple of any
        let (rows, depth, columns) = (21, 537, 101);
        let values = |count: usize| (0..count).map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5);
        let left: Vec<f32> = values(rows * depth).collect();
        let weight: Vec<f32> = values(columns * depth).collect();
        for arch in every_arch() {
            let right = Packed::transposed(arch, weight.chunks_exact(depth), depth);
            let mut out = vec![0.0; rows * columns];
            dispatch(arch, Multiply { left: &left, right: &right, out: &mut out });
            for (row, out) in out.chunks_exact(columns).enumerate() {
                for (column, out) in out.iter().enumerate() {
                    let pairs = left[row * depth..].iter().zip(&weight[column * depth..]);
                    let wanted: f64 =
                        pairs.take(depth).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    // 537 roundings of sums up to 45 that go both ways
                    assert!((f64::from(*out) - wanted).abs() < 1e-4, "{out} {wanted}");
                }
            }
        }
    }

    #[test]
    fn buffers_begin_on_a_cache_line_and_grow() {
        let mut buffer = Aligned::default();
        for len in [1, 100, 7, 10_000] {
            buffer.resize(len);
            assert_eq!(buffer.values().len(), len);
            assert_eq!(buffer.values_mut().as_ptr().align_offset(64), 0);
        }
    }
}
