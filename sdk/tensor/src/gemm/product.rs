//! One product on a back end.

use half::bf16;

use super::backend::Backend;
use super::shape::Shape;
use super::{bf16_units, portable, widening};

/// `C = A · B`, or `C += A · B` where the shape says so.
///
/// # Panics
/// If a slice is shorter than the shape needs, or `k` is odd.
#[inline]
pub(crate) fn multiply(backend: Backend, shape: &Shape, a: &[bf16], b: &[bf16], c: &mut [f32]) {
    shape.check(a, b, c);
    match backend {
        Backend::Bf16Units => bf16_units::product(shape, a, b, c),
        Backend::Widening => widening::product(shape, a, b, c),
        Backend::Portable => portable::product(shape, a, b, c),
    }
}

/// Releases this thread's tile configuration when dropped; hold one around a run of products.
pub(crate) struct Session(Backend);

impl Session {
    /// Begins a run of products on a back end.
    pub(crate) fn new(backend: Backend) -> Self {
        Self(backend)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.0 == Backend::Bf16Units {
            bf16_units::release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pack_transposed;
    use super::*;

    #[test]
    fn every_back_end_agrees_with_the_naive_product() {
        let backends = Backend::available();
        assert!(backends.contains(&Backend::Portable));
        for backend in backends {
            for (m, n, k) in [
                (1, 1, 2),
                (3, 7, 10),
                (64, 64, 64),
                (65, 48, 576),
                (512, 64, 64),
                (7, 25, 1600),
            ] {
                check(backend, m, n, k);
            }
        }
    }

    fn check(backend: Backend, m: usize, n: usize, k: usize) {
        let value = |i: usize| bf16::from_f32(((i * 7919) % 101) as f32 / 50.0 - 1.0);
        let a: Vec<bf16> = (0..m * k).map(value).collect();
        let rows: Vec<bf16> = (0..n * k).map(|i| value(i + 17)).collect();
        let mut b = vec![bf16::ZERO; n * k];
        pack_transposed(&rows, n, k, &mut b);
        for accumulate in [false, true] {
            let mut c = vec![1.0; m * n];
            let session = Session::new(backend);
            let shape = Shape {
                m,
                n,
                k,
                lda: k,
                ldb: n,
                ldc: n,
                accumulate,
            };
            multiply(backend, &shape, &a, &b, &mut c);
            drop(session);
            for i in 0..m {
                for j in 0..n {
                    let products = (0..k).map(|x| a[i * k + x].to_f64() * rows[j * k + x].to_f64());
                    let before = f64::from(u8::from(accumulate));
                    let exact = products.clone().sum::<f64>() + before;
                    // What rounding each of k partial sums to f32 comes to, several times over.
                    let sizes = products.map(f64::abs).sum::<f64>() + before;
                    let bound = 4.0 * (k as f64).sqrt() * 2_f64.powi(-24) * sizes;
                    let error = (f64::from(c[i * n + j]) - exact).abs();
                    assert!(
                        error <= bound,
                        "{backend:?}, {m}×{n}×{k} at ({i}, {j}): {error:e} of {bound:e}"
                    );
                }
            }
        }
    }
}
