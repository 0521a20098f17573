//! bf16 matrix products with f32 output, through the batch-reduce GEMM that libtorch carries (oneDNN's micro-kernels:
//! AMX or AVX512-BF16), or by [`super::widening`] on CPUs without such units.
//!
//! libtorch has no operator for `bf16 × bf16 → f32` on the CPU; `at::native::cpublas::brgemm` is an exported C++
//! function of plain pointers and integers, so it is called by its mangled name. The pair tch/libtorch is pinned.

use half::bf16;

#[link(name = "torch_cpu")]
unsafe extern "C" {
    #[link_name = "_ZN2at6native7cpublas6brgemmEllllllbPKN3c108BFloat16ES5_Pfb"]
    fn brgemm(
        m: i64,
        n: i64,
        k: i64,
        lda: i64,
        ldb: i64,
        ldc: i64,
        accumulate: bool,
        a: *const bf16,
        b: *const bf16,
        c: *mut f32,
        b_is_packed: bool,
    );
    #[link_name = "_ZN2at6native7cpublas14brgemm_releaseEb"]
    fn brgemm_release(b_is_packed: bool);
}

/// Whether this CPU can run the products: on bf16 units, or widened to f32.
pub(crate) fn is_available() -> bool {
    uses_bf16_units() || super::widening::is_available()
}

/// Whether the micro-kernels run in bf16 (every CPU with AMX has AVX512-BF16 too). oneDNN must not have been told to
/// use less than the CPU has: it would refuse with a C++ exception.
pub(super) fn uses_bf16_units() -> bool {
    static USED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *USED.get_or_init(|| {
        let is_limited = ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
        has_bf16_units() && !is_limited
    })
}

#[cfg(target_arch = "x86_64")]
fn has_bf16_units() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16_units() -> bool {
    false
}

/// Shape of `C[m, n] = A[m, k] · B[k, n]` (`C +=` with `accumulate`). `lda`, `ldb` and `ldc` are row strides in elements; `B` is
/// packed as `[k / 2][n][2]`, with `ldb` columns per row pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gemm {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) lda: usize,
    pub(crate) ldb: usize,
    pub(crate) ldc: usize,
    pub(crate) accumulate: bool,
}

impl Gemm {
    /// Runs the product.
    ///
    /// # Panics
    /// If a slice is shorter than the shape needs, or `k` is odd.
    #[inline]
    pub(crate) fn run(&self, a: &[bf16], b: &[bf16], c: &mut [f32]) {
        let Gemm {
            m,
            n,
            k,
            lda,
            ldb,
            ldc,
            accumulate,
        } = *self;
        assert!(m > 0 && n > 0 && k > 0 && k.is_multiple_of(2) && lda >= k && ldb >= n && ldc >= n);
        assert!(a.len() >= (m - 1) * lda + k && c.len() >= (m - 1) * ldc + n);
        assert!(b.len() >= ((k / 2 - 1) * ldb + n) * 2);
        if !uses_bf16_units() {
            return super::widening::product(self, a, b, c);
        }
        // SAFETY: the extents were checked above; the function reads and writes only within them.
        unsafe {
            brgemm(
                m as i64,
                n as i64,
                k as i64,
                lda as i64,
                ldb as i64,
                ldc as i64,
                accumulate,
                a.as_ptr(),
                b.as_ptr(),
                c.as_mut_ptr(),
                true,
            );
        }
    }
}

/// Gives back this thread's tile configuration when dropped; hold one around a run of products.
pub(crate) struct Session;

impl Drop for Session {
    fn drop(&mut self) {
        if !uses_bf16_units() {
            return;
        }
        // SAFETY: releases hardware state of this thread only, and does nothing where there is none.
        unsafe { brgemm_release(true) }
    }
}

/// Packs the transpose of `rows` (`n` rows of `k` numbers, as weights are stored) into `[k / 2][n][2]`.
pub(crate) fn pack_transposed(rows: &[bf16], n: usize, k: usize, packed: &mut [bf16]) {
    assert!(rows.len() >= n * k && packed.len() >= n * k && k.is_multiple_of(2));
    for (column, row) in rows.chunks_exact(k).take(n).enumerate() {
        for (pair, two) in row.chunks_exact(2).enumerate() {
            packed[(pair * n + column) * 2..][..2].copy_from_slice(two);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_agrees_with_the_naive_one() {
        if !is_available() {
            return;
        }
        for (m, n, k) in [
            (1, 1, 2),
            (3, 7, 10),
            (64, 64, 64),
            (65, 48, 576),
            (512, 64, 64),
            (7, 25, 1600),
        ] {
            let value = |i: usize| bf16::from_f32(((i * 7919) % 101) as f32 / 50.0 - 1.0);
            let a: Vec<bf16> = (0..m * k).map(value).collect();
            let rows: Vec<bf16> = (0..n * k).map(|i| value(i + 17)).collect();
            let mut b = vec![bf16::ZERO; n * k];
            pack_transposed(&rows, n, k, &mut b);
            let mut c = vec![1.0; m * n];
            let session = Session;
            Gemm {
                m,
                n,
                k,
                lda: k,
                ldb: n,
                ldc: n,
                accumulate: false,
            }
            .run(&a, &b, &mut c);
            drop(session);
            for i in 0..m {
                for j in 0..n {
                    let expected: f32 = (0..k)
                        .map(|x| a[i * k + x].to_f32() * rows[j * k + x].to_f32())
                        .sum();
                    assert!(
                        (c[i * n + j] - expected).abs() < 1e-3,
                        "{m}×{n}×{k} at ({i}, {j})"
                    );
                }
            }
        }
    }
}
