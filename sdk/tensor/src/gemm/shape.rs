//! The shape of a product.

use half::bf16;

/// Shape of `C[m, n] = A[m, k] · B[k, n]` (`C +=` with `accumulate`). `lda`, `ldb` and `ldc` are
/// row strides in elements; `B` is packed as `[k / 2][n][2]`, with `ldb` columns per row pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) lda: usize,
    pub(crate) ldb: usize,
    pub(crate) ldc: usize,
    pub(crate) accumulate: bool,
}

impl Shape {
    /// # Panics
    /// If a slice is shorter than the shape needs, or `k` is odd.
    #[inline]
    pub(super) fn check(&self, a: &[bf16], b: &[bf16], c: &[f32]) {
        let Self {
            m,
            n,
            k,
            lda,
            ldb,
            ldc,
            ..
        } = *self;
        assert!(m > 0 && n > 0 && k > 0 && k.is_multiple_of(2) && lda >= k && ldb >= n && ldc >= n);
        assert!(a.len() >= (m - 1) * lda + k && c.len() >= (m - 1) * ldc + n);
        assert!(b.len() >= ((k / 2 - 1) * ldb + n) * 2);
    }
}
