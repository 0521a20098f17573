//! The head on the CPU: logits tile by tile, from bf16 products with f32 output; the log-sum-exp is reduced while a
//! tile is in cache, so that logits are never stored.

use half::bf16;

use super::brgemm::{self, Gemm, Session};
use super::simd::{self, simd_fn};

/// Vocabulary rows of a tile: tile, tokens and their logits fit a core's second-level cache together.
const TILE: usize = 128;
/// Tokens that share one pass over the head.
const TOKENS: usize = 512;

/// The head `W [V, D]`, packed for the micro-kernels.
pub(crate) struct PackedHead {
    packed: Vec<bf16>,
    vocab_size: usize,
    hidden_size: usize,
}

impl PackedHead {
    /// Packs `weight` (`[vocab_size, hidden_size]`, row by row; `hidden_size` even).
    pub(crate) fn new(weight: &[bf16], vocab_size: usize, hidden_size: usize) -> Self {
        let mut packed = vec![bf16::ZERO; vocab_size * hidden_size];
        for (rows, tile) in weight
            .chunks(TILE * hidden_size)
            .zip(packed.chunks_mut(TILE * hidden_size))
        {
            brgemm::pack_transposed(rows, rows.len() / hidden_size, hidden_size, tile);
        }
        Self {
            packed,
            vocab_size,
            hidden_size,
        }
    }

    /// `log Σ_v exp ⟨h_t, W_v⟩` of every row of `hidden` (`[T, D]`).
    pub(crate) fn log_sum_exp(&self, hidden: &[bf16], out: &mut [f32]) {
        let mut logits = vec![0.0_f32; TOKENS.min(out.len()) * TILE];
        let mut largest = vec![0.0; TOKENS];
        let mut sums = vec![0.0; TOKENS];
        for (hidden, out) in hidden
            .chunks(TOKENS * self.hidden_size)
            .zip(out.chunks_mut(TOKENS))
        {
            let (largest, sums) = (&mut largest[..out.len()], &mut sums[..out.len()]);
            largest.fill(f32::NEG_INFINITY);
            sums.fill(0.0);
            self.for_each_tile(|first, width, tile| {
                let _ = first;
                self.product(hidden, out.len(), tile, width, TILE, &mut logits);
                accumulate(&logits, width, largest, sums);
            });
            for (result, (&largest, &sum)) in out.iter_mut().zip(largest.iter().zip(sums.iter())) {
                *result = (f64::from(largest) + sum.ln()) as f32;
            }
        }
    }

    /// All logits `[T, V]` of `hidden` (`[T, D]`).
    pub(crate) fn logits(&self, hidden: &[bf16], out: &mut [f32]) {
        let num_tokens = hidden.len() / self.hidden_size;
        self.for_each_tile(|first, width, tile| {
            self.product(
                hidden,
                num_tokens,
                tile,
                width,
                self.vocab_size,
                &mut out[first..],
            );
        });
    }

    fn for_each_tile(&self, mut visit: impl FnMut(usize, usize, &[bf16])) {
        let _session = Session;
        for first in (0..self.vocab_size).step_by(TILE) {
            let width = TILE.min(self.vocab_size - first);
            visit(
                first,
                width,
                &self.packed[first * self.hidden_size..][..width * self.hidden_size],
            );
        }
    }

    fn product(
        &self,
        hidden: &[bf16],
        num_tokens: usize,
        tile: &[bf16],
        width: usize,
        ldc: usize,
        logits: &mut [f32],
    ) {
        let depth = self.hidden_size;
        Gemm {
            m: num_tokens,
            n: width,
            k: depth,
            lda: depth,
            ldb: width,
            ldc,
            accumulate: false,
        }
        .run(hidden, tile, logits);
    }
}

simd_fn! {
    /// Adds a tile of logits (rows `TILE` apart) to the running maximum and sum of exponentials of each token.
    fn accumulate(logits: &[f32], width: usize, largest: &mut [f32], sums: &mut [f64]) {
        for ((row, largest), sum) in logits.chunks_exact(TILE).zip(largest.iter_mut()).zip(sums.iter_mut()) {
            let row = &row[..width];
            let tile_largest = simd::max(row);
            if tile_largest > *largest {
                *sum *= f64::from(*largest - tile_largest).exp();
                *largest = tile_largest;
            }
            let reference = *largest;
            *sum += f64::from(simd::sum(row, |x| simd::exp(x - reference)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_sum_in_double_precision() {
        if !brgemm::is_available() {
            return;
        }
        for (num_tokens, vocab_size, hidden_size) in [(1, 5, 4), (70, 300, 32), (515, 128, 16)] {
            let value =
                |i: usize| bf16::from_f32(((i * 2_654_435_761) % 1009) as f32 / 250.0 - 2.0);
            let hidden: Vec<bf16> = (0..num_tokens * hidden_size).map(value).collect();
            let weight: Vec<bf16> = (0..vocab_size * hidden_size)
                .map(|i| value(i + 3))
                .collect();
            let head = PackedHead::new(&weight, vocab_size, hidden_size);
            let mut found = vec![0.0; num_tokens];
            head.log_sum_exp(&hidden, &mut found);
            let mut logits = vec![0.0; num_tokens * vocab_size];
            head.logits(&hidden, &mut logits);
            for t in 0..num_tokens {
                let exact: Vec<f64> = (0..vocab_size)
                    .map(|v| {
                        (0..hidden_size)
                            .map(|d| {
                                f64::from(hidden[t * hidden_size + d])
                                    * f64::from(weight[v * hidden_size + d])
                            })
                            .sum()
                    })
                    .collect();
                let largest = exact.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let expected =
                    largest + exact.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
                assert!(
                    (f64::from(found[t]) - expected).abs() < 2e-6 * expected.abs().max(1.0),
                    "{} {expected}",
                    found[t]
                );
                for (v, expected) in exact.iter().enumerate() {
                    assert!((f64::from(logits[t * vocab_size + v]) - expected).abs() < 1e-4);
                }
            }
        }
    }
}
