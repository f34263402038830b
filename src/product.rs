//! One matrix product for all hot loops on the CPU, with any strides of rows and columns in a
//! slice.
//!
//! [`product`] passes views to the `gemm` crate, which packs and multiplies; it is the one place
//! that uses raw pointers. It runs on the calling thread: callers distribute their work over the
//! cores. [`packed`] is for a right side that is used repeatedly, and for computing on with a
//! product while it is in registers. Almost a leaf.

#![allow(unsafe_code)]

pub(crate) mod packed;

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

/// Where a product goes: rows of a slice, `stride` values apart.
#[derive(Debug)]
pub(crate) struct ViewMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> ViewMut<'a> {
    /// Rows of `columns` neighbouring values, `stride` values apart.
    ///
    /// # Panics
    /// The slice ends before the last value, or rows overlap.
    pub(crate) fn rows(values: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        let end = rows.saturating_sub(1) * stride + columns;
        assert!(rows * columns == 0 || end <= values.len(), "a matrix beyond its slice");
        assert!(rows <= 1 || columns <= stride, "rows that overlap");
        Self { values, rows, columns, stride }
    }
}

/// How [`multiply`] goes about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// What the product is multiplied by.
    pub(crate) scale: f32,
    /// Whether it is added to what is there, instead of written over it.
    pub(crate) add: bool,
    /// Whether all cores of the pool work on it, instead of the calling thread alone.
    pub(crate) parallel: bool,
}

/// `scale * left * right` into `out`, row by row, on the calling thread.
///
/// # Panics
/// The shapes do not fit one another.
pub(crate) fn product(out: &mut [f32], left: View<'_>, right: View<'_>, scale: f32) {
    let (rows, columns) = (left.rows, right.columns);
    assert!(out.len() == rows * columns, "matrices that do not fit");
    let out = ViewMut::rows(out, rows, columns, columns);
    multiply(out, left, right, How { scale, add: false, parallel: false });
}

/// `scale * left * right` into or onto `out`. An element's sum runs in the same order however many
/// cores take part.
///
/// # Panics
/// The shapes do not fit one another.
pub(crate) fn multiply(out: ViewMut<'_>, left: View<'_>, right: View<'_>, how: How) {
    let (m, n, k) = (left.rows, right.columns, left.columns);
    assert!(right.rows == k && (out.rows, out.columns) == (m, n), "matrices that do not fit");
    let parallelism = match how.parallel {
        true => gemm::Parallelism::Rayon(rayon::current_num_threads()),
        false => gemm::Parallelism::None,
    };
    // SAFETY: `out` is written (and read, to add to it) at row * stride + column with row < m and
    // column < n, which `ViewMut::rows` has checked to lie inside its slice and to be a place of
    // its own for every pair, so that threads never share one. A view's values are read at
    // row * row_stride + column * column_stride with row and column below its sizes, all inside its
    // slice: `View::rows` checked the last one, and transposing swaps both the sizes and the
    // strides. `out` is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.values.as_mut_ptr(),
            1,
            out.stride as isize,
            how.add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            how.scale,
            false,
            false,
            false,
            parallelism,
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
    fn added_into_wider_rows() {
        let identity = [1.0, 0.0, 0.0, 1.0];
        let identity = View::rows(&identity, 2, 2, 2);
        let mut out = [1.0, 2.0, 9.0, 3.0, 4.0];
        let how = How { scale: 10.0, add: true, parallel: true };
        multiply(ViewMut::rows(&mut out, 2, 2, 3), identity, identity, how);
        assert_eq!(out, [11.0, 2.0, 9.0, 3.0, 14.0]);
        multiply(ViewMut::rows(&mut out, 2, 2, 3), identity, identity, How { add: false, ..how });
        assert_eq!(out, [10.0, 0.0, 9.0, 0.0, 10.0]);
    }

    #[test]
    #[should_panic(expected = "rows that overlap")]
    fn rows_that_overlap_are_refused() {
        ViewMut::rows(&mut [0.0; 9], 3, 3, 2);
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_view_cannot_reach_beyond_its_slice() {
        View::rows(&[0.0; 5], 2, 2, 4);
    }
}
