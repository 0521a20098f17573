//! Causal attention of one sequence in bf16 on the CPU: products with f32 output, softmax in f32,
//! and only the keys that a block of queries may see (libtorch's CPU kernel computes them all).

use std::f32::consts::LOG2_E;

use half::bf16;

use crate::buffer::{Buffer, Stored};
use crate::error::Result;
use crate::gemm::{Backend, Session, Shape, multiply};
use crate::simd::{self, Element, simd_fn};

/// Query rows that are worked on at once.
const QUERY_BLOCK: usize = 64;

/// An unnormalised softmax whose terms add up to at most this is exact; beyond, they come close to
/// overflowing.
const LARGEST_SUM: f32 = 1e30;

/// How an attention is computed: `num_heads` query heads share `num_kv_heads` key and value heads
/// of `head_dim` (even) numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub num_heads: usize,
    /// Key heads, and as many value heads.
    pub num_kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// How many of the latest tokens a query sees, itself included; none where it sees all.
    pub window: Option<usize>,
    /// What the products of queries and keys are multiplied with.
    pub score_scale: f64,
    /// `c`, where scores are capped by `c · tanh(score / c)`.
    pub score_cap: Option<f64>,
}

impl AttentionShape {
    /// `1 / √d` as scale, no window and no cap: what most models compute.
    pub fn new(num_heads: usize, num_kv_heads: usize, head_dim: usize) -> Self {
        Self {
            num_heads,
            num_kv_heads,
            head_dim,
            window: None,
            score_scale: (head_dim as f64).powf(-0.5),
            score_cap: None,
        }
    }

    /// Numbers of a row that holds all query heads, all key heads and all value heads.
    pub(crate) fn row_width(self) -> usize {
        (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
    }
}

/// `out[T, heads·d] = softmax(cap(scale · q kᵀ) + mask) v`, where a row of `qkv` holds all query
/// heads, all key heads, all value heads.
pub(crate) fn causal_attention(
    qkv: &[bf16],
    shape: AttentionShape,
    backend: Backend,
    out: &mut [bf16],
) -> Result<()> {
    let AttentionShape {
        num_heads,
        num_kv_heads,
        head_dim,
        window,
        score_scale,
        score_cap,
    } = shape;
    let stride = shape.row_width();
    let out_stride = num_heads * head_dim;
    let num_tokens = qkv.len() / stride;
    let stored = row_stride(num_tokens);
    // In powers of two, which are cheaper than those of e. Capped scores are scaled already.
    let scale = match score_cap {
        None => LOG2_E * score_scale as f32,
        Some(_) => LOG2_E,
    };
    let window = window.unwrap_or(num_tokens);

    fn buffer<E: Stored>(numbers: usize) -> Result<Buffer<E>> {
        Buffer::zeros(&[numbers as i64])
    }
    // From libtorch, which aligns memory to cache lines.
    let (mut keys, mut values) = (buffer(stored * head_dim)?, buffer(stored * head_dim)?);
    let (mut scores, mut weights) = (buffer(QUERY_BLOCK * stored)?, buffer(QUERY_BLOCK * stored)?);
    let mut block_out = buffer(QUERY_BLOCK * head_dim)?;
    let (keys, values): (&mut [bf16], &mut [bf16]) = (&mut keys, &mut values);
    let (scores, weights): (&mut [f32], &mut [bf16]) = (&mut scores, &mut weights);
    let block_out: &mut [f32] = &mut block_out;
    let mut inverse_sums = [0.0_f32; QUERY_BLOCK];
    let _session = Session::new(backend);
    for kv_head in 0..num_kv_heads {
        pack_keys(
            &qkv[(num_heads + kv_head) * head_dim..],
            stride,
            num_tokens,
            head_dim,
            stored,
            keys,
        );
        pack_values(
            &qkv[(num_heads + num_kv_heads + kv_head) * head_dim..],
            stride,
            num_tokens,
            head_dim,
            values,
        );
        let heads_per_kv = num_heads / num_kv_heads;
        for head in kv_head * heads_per_kv..(kv_head + 1) * heads_per_kv {
            for start in (0..num_tokens).step_by(QUERY_BLOCK) {
                let rows = QUERY_BLOCK.min(num_tokens - start);
                let first = first_visible(start, window);
                let visible = (start + rows).next_multiple_of(2) - first;
                let queries = &qkv[start * stride + head * head_dim..];
                let of_scores = Shape {
                    m: rows,
                    n: visible,
                    k: head_dim,
                    lda: stride,
                    ldb: stored,
                    ldc: stored,
                    accumulate: false,
                };
                multiply(backend, &of_scores, queries, &keys[2 * first..], scores);
                if let Some(cap) = score_cap {
                    let cap = cap as f32;
                    cap_scores(scores, stored, rows, visible, score_scale as f32 / cap, cap);
                }
                causal_softmax(
                    scores,
                    stored,
                    start - first,
                    rows,
                    visible,
                    window,
                    scale,
                    weights,
                    &mut inverse_sums,
                );
                let of_values = Shape {
                    m: rows,
                    n: head_dim,
                    k: visible,
                    lda: stored,
                    ldb: head_dim,
                    ldc: head_dim,
                    accumulate: false,
                };
                let visible_values = &values[first * head_dim..];
                multiply(backend, &of_values, weights, visible_values, block_out);
                let out_block = &mut out[start * out_stride + head * head_dim..];
                write_scaled(
                    block_out,
                    &inverse_sums[..rows],
                    head_dim,
                    out_stride,
                    out_block,
                );
            }
        }
    }
    Ok(())
}

/// The first key that a block of queries is multiplied with, for its first query at `start`: at
/// the beginning of a cache line.
fn first_visible(start: usize, window: usize) -> usize {
    (start + 1).saturating_sub(window) / simd::LANES * simd::LANES
}

/// Numbers from one row of keys, scores or weights to the next: whole cache lines, and an odd
/// number of them in bf16, so that rows do not fall on each other in the first-level cache.
fn row_stride(num_tokens: usize) -> usize {
    (num_tokens.div_ceil(32) | 1) * 32
}

simd_fn! {
    /// Keys `[T, d]` (rows `stride` apart) as `[d / 2][stored][2]`.
    fn pack_keys(rows: &[bf16], stride: usize, num_tokens: usize, head_dim: usize, stored: usize, packed: &mut [bf16]) {
        for token in 0..num_tokens {
            let row = &rows[token * stride..][..head_dim];
            for (pair, two) in row.chunks_exact(2).enumerate() {
                let at = (pair * stored + token) * 2;
                packed[at] = two[0];
                packed[at + 1] = two[1];
            }
        }
    }
}

simd_fn! {
    /// Values `[T, d]` (rows `stride` apart) as `[T / 2][d][2]`, a missing last row as zeros.
    fn pack_values(rows: &[bf16], stride: usize, num_tokens: usize, head_dim: usize, packed: &mut [bf16]) {
        for (pair, block) in packed.chunks_exact_mut(2 * head_dim).take(num_tokens.div_ceil(2)).enumerate() {
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
    /// `score = cap · tanh(factor · score)` in the first `width` scores of each row.
    fn cap_scores(scores: &mut [f32], stride: usize, rows: usize, width: usize, factor: f32, cap: f32) {
        for row in scores.chunks_mut(stride).take(rows) {
            for score in &mut row[..width] {
                *score = cap * simd::tanh(factor * *score);
            }
        }
    }
}

simd_fn! {
    /// Unnormalised softmax of each row of a block of queries that begins at the key `start` of its
    /// row; keys after the query and before its window get 0.
    ///
    /// Any score will do as what is subtracted, as long as no term overflows: the first one spares
    /// a pass for the largest.
    fn causal_softmax(
        scores: &mut [f32], stride: usize, start: usize, rows: usize, visible: usize, window: usize, scale: f32,
        weights: &mut [bf16], inverse_sums: &mut [f32],
    ) {
        for row in 0..rows {
            let seen = start + row + 1;
            let passed = seen.saturating_sub(window);
            let whole = seen.next_multiple_of(simd::LANES);
            let row_scores = &mut scores[row * stride..][..whole];
            row_scores[..passed].fill(f32::MIN);
            row_scores[seen..].fill(f32::MIN);
            let row_weights = &mut weights[row * stride..][..whole.max(visible)];
            let mut sum = exponentials(row_scores, row_scores[passed], scale, row_weights);
            if sum > LARGEST_SUM {
                sum = exponentials(row_scores, simd::max(row_scores), scale, row_weights);
            }
            inverse_sums[row] = 1.0 / sum;
            row_weights[..passed].fill(bf16::ZERO);
            row_weights[seen..].fill(bf16::ZERO);
        }
    }
}

/// `weights = 2^((scores − reference) · scale)` of whole groups of lanes; returns their sum before
/// rounding.
#[inline(always)]
fn exponentials(scores: &[f32], reference: f32, scale: f32, weights: &mut [bf16]) -> f32 {
    let mut lanes = [0.0_f32; simd::LANES];
    let offset = -reference * scale;
    let (scores, _) = scores.as_chunks::<{ simd::LANES }>();
    let (weights, _) = weights.as_chunks_mut::<{ simd::LANES }>();
    for (scores, weights) in scores.iter().zip(weights) {
        for ((&score, weight), lane) in scores.iter().zip(weights).zip(&mut lanes) {
            let term = simd::exp2(score.mul_add(scale, offset));
            *lane += term;
            *weight = <bf16 as Element>::store(term);
        }
    }
    simd::fold(lanes, |a, b| a + b)
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
