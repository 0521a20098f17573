//! The log-sum-exp of a head's logits, reduced piece by piece: no logit is ever stored.

use std::f32::consts::LOG2_E;

use half::bf16;
use tch::Tensor;

use crate::buffer::slice;
use crate::error::Result;
use crate::packed::{PackedWeight, TILE, TOKENS};
use crate::simd::{self, VECTOR, simd_fn};

/// A sum of exponentials that is at most this is exact enough; beyond, its terms come close to
/// overflowing.
const LARGEST_SUM: f32 = 1e30;

/// `log Σ_v exp z_v` of every row of `hidden` (`[T, D]` in bf16, contiguous), with `z_v = ⟨h_t,
/// W_v⟩`, or `c · tanh(⟨h_t, W_v⟩ / c)` where logits are capped by `c`.
///
/// # Errors
/// When there is no memory for a piece of the logits.
pub fn log_sum_exp(head: &PackedWeight, hidden: &Tensor, cap: Option<f64>) -> Result<Vec<f32>> {
    let num_tokens = hidden.size()[0] as usize;
    let mut references = vec![f32::NAN; num_tokens];
    let mut sums = vec![[0.0_f64; VECTOR]; num_tokens];
    head.for_each_piece(slice::<bf16>(hidden), |piece| {
        if let Some(cap) = cap {
            cap_piece(piece.values, cap as f32);
        }
        let tokens = piece.tokens;
        let (references, sums) = (&mut references[tokens.clone()], &mut sums[tokens]);
        let mut parts = [[0.0_f32; VECTOR]; TOKENS];
        let parts = &mut parts[..sums.len()];
        if references[0].is_nan() {
            rebase(piece.values, piece.width, references, sums);
        }
        let largest = exponentials(piece.values, piece.width, references, parts);
        if largest > LARGEST_SUM {
            rebase(piece.values, piece.width, references, sums);
            exponentials(piece.values, piece.width, references, parts);
        }
        add(parts.as_flattened(), sums.as_flattened_mut());
    })?;
    Ok(references
        .iter()
        .zip(&sums)
        .map(|(&reference, sums)| {
            let log2 = f64::from(reference) + sums.iter().sum::<f64>().log2();
            (log2 * std::f64::consts::LN_2) as f32
        })
        .collect())
}

/// Caps logits in f32 in place: `z = c · tanh(z / c)`.
///
/// # Errors
/// When libtorch refuses an operation.
pub fn cap_logits(logits: &mut Tensor, cap: f64) -> Result<()> {
    let _ = logits.f_mul_scalar_(1.0 / cap)?.f_tanh_()?;
    let _ = logits.f_mul_scalar_(cap)?;
    Ok(())
}

simd_fn! {
    /// `Σ 2^(x·log₂e − reference)` over each row of a piece of logits (rows `TILE` apart), one sum
    /// per lane of a vector: adding up the lanes of every piece would cost as much as the
    /// exponentials. Returns the largest.
    ///
    /// The references stay while no term comes near overflow, so that a piece is read once, not
    /// twice (once for its largest).
    fn exponentials(logits: &[f32], width: usize, references: &[f32], parts: &mut [[f32; VECTOR]]) -> f32 {
        for ((row, &reference), parts) in logits.chunks_exact(TILE).zip(references).zip(parts.iter_mut()) {
            let (chunks, rest) = row[..width].as_chunks::<VECTOR>();
            let mut lanes = [0.0; VECTOR];
            for chunk in chunks {
                for (lane, &x) in lanes.iter_mut().zip(chunk) {
                    *lane += simd::exp2(x.mul_add(LOG2_E, -reference));
                }
            }
            *parts = lanes;
            for (part, &x) in parts.iter_mut().zip(rest) {
                *part += simd::exp2(x.mul_add(LOG2_E, -reference));
            }
        }
        simd::max(parts.as_flattened())
    }
}

simd_fn! {
    /// `z = c · tanh(z / c)`.
    fn cap_piece(logits: &mut [f32], cap: f32) {
        let factor = 1.0 / cap;
        for logit in logits {
            *logit = cap * simd::tanh(*logit * factor);
        }
    }
}

simd_fn! {
    /// Makes the largest logit of each row the reference where it is larger, or where there is none
    /// yet.
    fn rebase(logits: &[f32], width: usize, references: &mut [f32], sums: &mut [[f64; VECTOR]]) {
        for ((row, reference), sums) in logits.chunks_exact(TILE).zip(references).zip(sums) {
            let largest = simd::max(&row[..width]) * LOG2_E;
            if reference.is_nan() {
                *reference = largest;
            } else if largest > *reference {
                let factor = f64::from(*reference - largest).exp2();
                sums.iter_mut().for_each(|sum| *sum *= factor);
                *reference = largest;
            }
        }
    }
}

simd_fn! {
    fn add(parts: &[f32], sums: &mut [f64]) {
        for (sum, &part) in sums.iter_mut().zip(parts) {
            *sum += f64::from(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::gemm::Backend;

    /// With `growth` the logits of later rows are hundreds, so that the reference has to move.
    #[test]
    fn agrees_with_a_sum_in_double_precision_on_every_back_end() {
        Backend::available().into_iter().for_each(check);
    }

    fn check(backend: Backend) {
        for (num_tokens, vocab_size, hidden_size, growth) in [
            (1, 5, 4, 0.0),
            (70, 300, 32, 0.0),
            (515, 128, 16, 0.0),
            (130, 500, 16, 0.2),
        ] {
            let value =
                |i: usize| bf16::from_f32(((i * 2_654_435_761) % 1009) as f32 / 250.0 - 2.0);
            let hidden: Vec<bf16> = (0..num_tokens * hidden_size).map(value).collect();
            let weight: Vec<bf16> = (0..vocab_size * hidden_size)
                .map(|i| {
                    bf16::from_f32(
                        value(i + 3).to_f32() * (1.0 + growth * (i / hidden_size) as f32),
                    )
                })
                .collect();
            let matrix = |values: &[bf16], rows: usize| {
                let values: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
                Tensor::from_slice(&values)
                    .view([rows as i64, hidden_size as i64])
                    .to_kind(Kind::BFloat16)
            };
            let head = PackedWeight::new(&matrix(&weight, vocab_size), backend).unwrap();
            let found = log_sum_exp(&head, &matrix(&hidden, num_tokens), None).unwrap();
            let mut moved = 0;
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
                let largest =
                    |logits: &[f64]| logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                moved +=
                    usize::from(largest(&exact) > largest(&exact[..TILE.min(vocab_size)]) + 70.0);
                let largest = largest(&exact);
                let expected =
                    largest + exact.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
                assert!(
                    (f64::from(found[t]) - expected).abs() < 2e-6 * expected.abs().max(1.0),
                    "{} {expected}",
                    found[t]
                );
            }
            assert_eq!(
                moved > 0,
                growth > 0.0,
                "the case does what it is there for"
            );
        }
    }
}
