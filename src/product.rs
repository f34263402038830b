//! One matrix product for all hot loops on the CPU, over rows and columns anywhere in a slice.
//!
//! [`product`] hands views to the `gemm` crate, which packs and multiplies; it is the one place that
//! deals in raw pointers. It runs on the calling thread: callers split their work over the cores.
//! A leaf.

#![allow(unsafe_code)]

/// A matrix of f32 inside a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// Rows of `columns` neighbouring values, `stride` values apart.
    ///
    /// # Panics
    /// The slice ends before the last value.
    pub(crate) fn rows(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let end = rows.saturating_sub(1) * stride + columns;
        assert!(rows * columns == 0 || end <= values.len(), "a matrix beyond its slice");
        Self { values, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The same matrix with rows and columns swapped.
    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `scale * left * right` into `out`, row by row.
///
/// # Panics
/// The shapes do not fit one another.
pub(crate) fn product(out: &mut [f32], left: View<'_>, right: View<'_>, scale: f32) {
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert!(right.rows == k && out.len() == m * n, "matrices that do not fit");
    // SAFETY: `out` holds m * n values, written at row * n + column, row < m, column < n. A view's
    // values are read at row * row_stride + column * column_stride with row and column below its
    // sizes, all inside its slice: `View::rows` checked the last one, and transposing swaps both the
    // sizes and the strides. `out` is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            0.0,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_inside_wider_rows() {
        // [[1, 2], [3, 4]] inside rows of three, times its transpose, halved.
        let values = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0];
        let view = View::rows(&values, 2, 2, 3);
        let mut out = [0.0; 4];
        product(&mut out, view, view.transposed(), 0.5);
        assert_eq!(out, [2.5, 5.5, 5.5, 12.5]);
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_view_cannot_reach_beyond_its_slice() {
        View::rows(&[0.0; 5], 2, 2, 4);
    }
}
