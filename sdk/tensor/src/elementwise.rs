//! Fused element-wise kernels of a decoder block on the CPU; f32 arithmetic, one rounding at the
//! end.

use crate::simd::{self, Element, simd_fn};

simd_fn! {
    /// `out = values`, rounded.
    pub(crate) fn round<E: Element>(values: &[f32], out: &mut [E]) {
        for (&value, result) in values.iter().zip(out.iter_mut()) {
            *result = E::store(value);
        }
    }
}

simd_fn! {
    /// `sum += factor · values`.
    pub(crate) fn add_scaled(values: &[f32], factor: f32, sum: &mut [f32]) {
        for (&value, sum) in values.iter().zip(sum.iter_mut()) {
            *sum += factor * value;
        }
    }
}

simd_fn! {
    /// `out = RMSNorm(residual) · weight`, row by row (rows of `weight.len()` numbers).
    pub(crate) fn rms_norm<E: Element>(residual: &[f32], weight: &[f32], eps: f32, out: &mut [E]) {
        let width = weight.len();
        for (row, out_row) in residual.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean_square = simd::sum(row, |x| x * x) / width as f32;
            let scale = 1.0 / (mean_square + eps).sqrt();
            for ((value, &factor), result) in row.iter().zip(weight).zip(out_row.iter_mut()) {
                *result = E::store(value * scale * factor);
            }
        }
    }
}

simd_fn! {
    /// The norm, in place, of each group of `weight.len()` numbers among the numbers `first..end`
    /// of every row of `row_stride`.
    pub(crate) fn norm_groups(rows: &mut [f32], row_stride: usize, first: usize, end: usize, weight: &[f32], eps: f32) {
        let width = weight.len();
        for row in rows.chunks_exact_mut(row_stride) {
            for group in row[first..end].chunks_exact_mut(width) {
                let mean_square = simd::sum(group, |x| x * x) / width as f32;
                let scale = 1.0 / (mean_square + eps).sqrt();
                for (value, &factor) in group.iter_mut().zip(weight) {
                    *value = *value * scale * factor;
                }
            }
        }
    }
}

simd_fn! {
    /// Rotates the first `2·half` numbers of the first `num_heads` heads of every row of `qkv`
    /// (`row_stride` numbers a row, `head_dim` a head) on their way to `out`; the rest is copied.
    /// `cos` and `sin` are `[rows, half]`, repeated over the sequences of a batch.
    pub(crate) fn rotate<E: Element>(
        qkv: &[f32], row_stride: usize, num_heads: usize, head_dim: usize, cos: &[f32], sin: &[f32], half: usize,
        out: &mut [E],
    ) {
        let num_positions = cos.len() / half;
        for (row_idx, (row, out)) in qkv.chunks_exact(row_stride).zip(out.chunks_exact_mut(row_stride)).enumerate() {
            let position = row_idx % num_positions;
            let cos = &cos[position * half..][..half];
            let sin = &sin[position * half..][..half];
            let (heads, rest) = row.split_at(num_heads * head_dim);
            let (out_heads, out_rest) = out.split_at_mut(num_heads * head_dim);
            for (head, out) in heads.chunks_exact(head_dim).zip(out_heads.chunks_exact_mut(head_dim)) {
                let (turned, fixed) = head.split_at(2 * half);
                let (out_turned, out_fixed) = out.split_at_mut(2 * half);
                let (first, second) = turned.split_at(half);
                let (out_first, out_second) = out_turned.split_at_mut(half);
                for i in 0..half {
                    out_first[i] = E::store(first[i] * cos[i] - second[i] * sin[i]);
                    out_second[i] = E::store(second[i] * cos[i] + first[i] * sin[i]);
                }
                for (&value, result) in fixed.iter().zip(out_fixed) {
                    *result = E::store(value);
                }
            }
            for (&value, result) in rest.iter().zip(out_rest) {
                *result = E::store(value);
            }
        }
    }
}

simd_fn! {
    /// `⟨a_t, b_t⟩` of every row of `width` numbers, summed in f64.
    pub(crate) fn row_dot<E: Element>(a: &[E], b: &[f32], width: usize, out: &mut [f32]) {
        for ((a, b), result) in a.chunks_exact(width).zip(b.chunks_exact(width)).zip(out.iter_mut()) {
            let mut lanes = [0.0_f64; 8];
            for (a, b) in a.chunks(8).zip(b.chunks(8)) {
                for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
                    *lane += f64::from(a.load() * b);
                }
            }
            *result = lanes.iter().sum::<f64>() as f32;
        }
    }
}

/// Numbers that are summed in f32 before the sum goes on in f64.
const BLOCK: usize = 1024;

simd_fn! {
    /// Replaces each row of logits by `e_v = exp(x_v − max)`; leaves `Σ e` in `sums` and `Σ p log
    /// p` of `p = e / Σ e` in `negative_entropy`.
    pub(crate) fn exponentials(
        logits: &mut [f32], width: usize, sums: &mut [f64], negative_entropy: &mut [f32],
    ) {
        for ((row, sum), negative_entropy) in
            logits.chunks_exact_mut(width).zip(sums.iter_mut()).zip(negative_entropy.iter_mut())
        {
            let largest = simd::max(row);
            let (mut total, mut weighted) = (0.0_f64, 0.0_f64);
            for block in row.chunks_mut(BLOCK) {
                // Where e underflows to 0 its share of the entropy is 0 too.
                weighted += f64::from(simd::sum(block, |x| (x - largest) * simd::exp(x - largest)));
                for x in block.iter_mut() {
                    *x = simd::exp(*x - largest);
                }
                total += f64::from(simd::sum(block, |e| e));
            }
            *sum = total;
            *negative_entropy = (weighted / total - total.ln()) as f32;
        }
    }
}
