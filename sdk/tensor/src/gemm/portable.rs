//! The product in plain loops, which tests hold against the other back ends on every machine.

use half::bf16;

use super::shape::Shape;

/// `C (+)= A · B`; the caller has checked the extents.
pub(super) fn product(shape: &Shape, a: &[bf16], b: &[bf16], c: &mut [f32]) {
    for row in 0..shape.m {
        let a = &a[row * shape.lda..][..shape.k];
        for column in 0..shape.n {
            let products = a.chunks_exact(2).enumerate().map(|(pair, two)| {
                let at = (pair * shape.ldb + column) * 2;
                two[0].to_f64() * b[at].to_f64() + two[1].to_f64() * b[at + 1].to_f64()
            });
            let sum = &mut c[row * shape.ldc + column];
            let before = if shape.accumulate { *sum } else { 0.0 };
            *sum = (f64::from(before) + products.sum::<f64>()) as f32;
        }
    }
}
