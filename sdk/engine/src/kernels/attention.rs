//! Causal attention of one sequence in bf16 on the CPU: products with f32 output, softmax in f32, and only the key
//! blocks that a query may see (libtorch's CPU kernel computes them all).

use half::bf16;

use super::brgemm::{Gemm, Session};
use super::simd::{self, Element, simd_fn};

/// Query rows that are worked on at once.
const QUERY_BLOCK: usize = 64;

/// Shape of an attention: `num_heads` query heads share `num_kv_heads` key and value heads of `head_dim` (even) numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionShape {
    pub(crate) num_heads: usize,
    pub(crate) num_kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// `out[T, heads·d] = softmax(q kᵀ / √d + causal mask) v`, where a row of `qkv` holds all query heads, all key heads, all value heads.
pub(crate) fn causal_attention(qkv: &[bf16], shape: AttentionShape, out: &mut [bf16]) {
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
    } = shape;
    let stride = (num_heads + 2 * num_kv_heads) * head_dim;
    let out_stride = num_heads * head_dim;
    let num_tokens = qkv.len() / stride;
    let padded = num_tokens.next_multiple_of(2);
    let scale = 1.0 / (head_dim as f32).sqrt();

    let mut keys = vec![bf16::ZERO; padded * head_dim];
    let mut values = vec![bf16::ZERO; padded * head_dim];
    let mut scores = vec![0.0_f32; QUERY_BLOCK * padded];
    let mut weights = vec![bf16::ZERO; QUERY_BLOCK * padded];
    let mut inverse_sums = [0.0_f32; QUERY_BLOCK];
    let mut block_out = vec![0.0_f32; QUERY_BLOCK * head_dim];
    let _session = Session;
    for kv_head in 0..num_kv_heads {
        pack_keys(
            &qkv[(num_heads + kv_head) * head_dim..],
            stride,
            num_tokens,
            head_dim,
            padded,
            &mut keys,
        );
        pack_values(
            &qkv[(num_heads + num_kv_heads + kv_head) * head_dim..],
            stride,
            num_tokens,
            head_dim,
            &mut values,
        );
        let heads_per_kv = num_heads / num_kv_heads;
        for head in kv_head * heads_per_kv..(kv_head + 1) * heads_per_kv {
            for start in (0..num_tokens).step_by(QUERY_BLOCK) {
                let rows = QUERY_BLOCK.min(num_tokens - start);
                let visible = (start + rows).next_multiple_of(2);
                let queries = &qkv[start * stride + head * head_dim..];
                Gemm {
                    m: rows,
                    n: visible,
                    k: head_dim,
                    lda: stride,
                    ldb: padded,
                    ldc: padded,
                    accumulate: false,
                }
                .run(queries, &keys, &mut scores);
                causal_softmax(
                    &mut scores,
                    padded,
                    start,
                    rows,
                    visible,
                    scale,
                    &mut weights,
                    &mut inverse_sums,
                );
                Gemm {
                    m: rows,
                    n: head_dim,
                    k: visible,
                    lda: padded,
                    ldb: head_dim,
                    ldc: head_dim,
                    accumulate: false,
                }
                .run(&weights, &values, &mut block_out);
                let out_block = &mut out[start * out_stride + head * head_dim..];
                write_scaled(
                    &block_out,
                    &inverse_sums[..rows],
                    head_dim,
                    out_stride,
                    out_block,
                );
            }
        }
    }
}

simd_fn! {
    /// Keys `[T, d]` (rows `stride` apart) as `[d / 2][padded][2]`.
    fn pack_keys(rows: &[bf16], stride: usize, num_tokens: usize, head_dim: usize, padded: usize, packed: &mut [bf16]) {
        for token in 0..num_tokens {
            let row = &rows[token * stride..][..head_dim];
            for (pair, two) in row.chunks_exact(2).enumerate() {
                let at = (pair * padded + token) * 2;
                packed[at] = two[0];
                packed[at + 1] = two[1];
            }
        }
    }
}

simd_fn! {
    /// Values `[T, d]` (rows `stride` apart) as `[T / 2][d][2]`, a missing last row as zeros.
    fn pack_values(rows: &[bf16], stride: usize, num_tokens: usize, head_dim: usize, packed: &mut [bf16]) {
        for (pair, block) in packed.chunks_exact_mut(2 * head_dim).enumerate() {
            let first = &rows[2 * pair * stride..][..head_dim];
            if 2 * pair + 1 < num_tokens {
                let second = &rows[(2 * pair + 1) * stride..][..head_dim];
                for (two, (&a, &b)) in block.chunks_exact_mut(2).zip(first.iter().zip(second)) {
                    two[0] = a;
                    two[1] = b;
                }
            } else {
                for (two, &a) in block.chunks_exact_mut(2).zip(first) {
                    two[0] = a;
                    two[1] = bf16::ZERO;
                }
            }
        }
    }
}

simd_fn! {
    /// Unnormalised softmax of each row of a block of queries that begins at position `start`; keys after the query get 0.
    fn causal_softmax(
        scores: &mut [f32], stride: usize, start: usize, rows: usize, visible: usize, scale: f32,
        weights: &mut [bf16], inverse_sums: &mut [f32],
    ) {
        for row in 0..rows {
            let seen = start + row + 1;
            let row_scores = &mut scores[row * stride..][..seen];
            let largest = simd::max(row_scores);
            for score in row_scores.iter_mut() {
                *score = simd::exp((*score - largest) * scale);
            }
            inverse_sums[row] = 1.0 / simd::sum(row_scores, |x| x);
            let row_weights = &mut weights[row * stride..][..visible];
            for (weight, &score) in row_weights.iter_mut().zip(row_scores.iter()) {
                *weight = <bf16 as Element>::store(score);
            }
            row_weights[seen..].fill(bf16::ZERO);
        }
    }
}

simd_fn! {
    fn write_scaled(block: &[f32], scales: &[f32], width: usize, out_stride: usize, out: &mut [bf16]) {
        for (row, (values, &scale)) in block.chunks_exact(width).zip(scales).enumerate() {
            for (result, &value) in out[row * out_stride..][..width].iter_mut().zip(values) {
                *result = <bf16 as Element>::store(value * scale);
            }
        }
    }
}
