//! The fitness `kl`: Kullback-Leibler divergence from the dense model's next-token distribution to
//! the compressed model's.
//!
//! With logits `z(h)`, dense hidden state `g`, `p = softmax(z(g))`, student's hidden state `h` and
//! `q = softmax(z(h))`,
//!
//! ```text
//! KL(p‖q) = Σ_v p_v (log p_v − log q_v)            log q_v = z_v(h) − logsumexp(z(h))
//!         = Σ_v p_v log p_v − Σ_v p_v z_v(h) + logsumexp(z(h))
//! ```
//!
//! because `Σ_v p_v = 1`. So a token's target is one number, `Σ p log p`, and what the host needs
//! to take expectations under `p`, a vector of the hidden size, where stored logits would be of the
//! vocabulary's size: with a linear head `W` that is `Wᵀp`, since `Σ_v p_v (W h)_v = ⟨h, Wᵀp⟩`;
//! with one that caps its logits, `g`. Nothing is approximated. This is the fitness of the EvoPress
//! paper (section 3.1). In nats; 0 where the distributions agree, up to rounding, which may leave
//! it slightly below.

use evopress_plugin::{
    Chunk, Fitness, HeadOps, Info, OwnedTensor, PluginError, Target, TargetView, TensorView,
    export_plugin,
};

export_plugin! { fitness: |_options: &str| Ok(Kl), info: info }

fn info() -> Info {
    Info {
        name: "kl".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "KL divergence of the compressed model from the dense one, in nats a token."
            .to_owned(),
        options_schema: r#"{"type": "object", "additionalProperties": false}"#.to_owned(),
    }
}

struct Kl;

impl Fitness for Kl {
    fn target(&self, ops: &dyn HeadOps, dense: &Chunk<'_>) -> Result<Target, PluginError> {
        let expectation = ops.expectation(&dense.hidden)?;
        Ok(Target {
            scalars: vec![expectation.negative_entropy],
            vectors: vec![expectation.summary],
        })
    }

    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        target: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        let ([negative_entropy], [summary]) =
            (target.scalars.as_slice(), target.vectors.as_slice())
        else {
            let (scalars, vectors) = (target.scalars.len(), target.vectors.len());
            return Err(format!(
                "expected a target of 1 scalar and 1 vector, found {scalars} and {vectors}"
            )
            .into());
        };
        let (num_tokens, hidden_size) = student.hidden.matrix_shape()?;
        if negative_entropy.len() != num_tokens || summary.shape() != student.hidden.shape() {
            return Err(format!(
                "expected a target for hidden states of shape [{num_tokens}, {hidden_size}], found {} scalars and vectors of shape {:?}",
                negative_entropy.len(),
                summary.shape()
            )
            .into());
        }
        let cross_terms = ops.expected_logits(&student.hidden, summary)?;
        let log_sum_exps = ops.log_sum_exp(&student.hidden)?;
        let terms = negative_entropy.iter().zip(&cross_terms).zip(&log_sum_exps);
        Ok(terms
            .map(|((negative_entropy, cross_term), log_sum_exp)| {
                kl(*negative_entropy, *cross_term, *log_sum_exp)
            })
            .collect())
    }

    /// `Σ_v (q_v − p_v) ∂z_v/∂h`.
    fn gradient(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        target: &TargetView<'_>,
        own_gradient: &TensorView<'_>,
    ) -> Result<Option<OwnedTensor>, PluginError> {
        let [summary] = target.vectors.as_slice() else {
            let found = target.vectors.len();
            return Err(format!("expected a target of 1 vector, found {found}").into());
        };
        let of_target = ops.expected_gradient(&student.hidden, summary)?;
        ops.difference(own_gradient, &of_target.view()).map(Some)
    }
}

/// The divergence is a small difference of large terms, so it is taken in f64.
fn kl(negative_entropy: f32, cross_term: f32, log_sum_exp: f32) -> f32 {
    (f64::from(negative_entropy) - f64::from(cross_term) + f64::from(log_sum_exp)) as f32
}

#[cfg(test)]
mod tests {
    use evopress_plugin::conformance::{ReferenceHead, random_values};

    use super::*;

    const NUM_TOKENS: usize = 256;

    fn chunk<'a>(hidden: &'a [f32], next_tokens: &'a [i64]) -> Chunk<'a> {
        let shape = [NUM_TOKENS as i64, (hidden.len() / NUM_TOKENS) as i64];
        Chunk {
            hidden: TensorView::from_slice(hidden, &shape).unwrap(),
            next_tokens,
        }
    }

    /// `Σ_v p_v (log p_v − log q_v)` as it is written, in f64.
    fn naive(dense: &[f64], student: &[f64]) -> f64 {
        let log_softmax = |logits: &[f64]| {
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            logits
                .iter()
                .map(|logit| logit - sum.ln())
                .collect::<Vec<_>>()
        };
        log_softmax(dense)
            .iter()
            .zip(log_softmax(student))
            .map(|(p, q)| p.exp() * (p - q))
            .sum()
    }

    #[test]
    fn agrees_with_the_formula_written_out() {
        for (vocab_size, hidden_size, noise, cap) in [
            (5, 4, 1.0, None),
            (211, 24, 0.3, None),
            (1009, 64, 0.2, None),
            (211, 24, 0.3, Some(2.0)),
        ] {
            let head = ReferenceHead::random(vocab_size, hidden_size, 1).with_cap(cap);
            let dense = random_values(NUM_TOKENS * hidden_size, 2);
            let other = random_values(NUM_TOKENS * hidden_size, 3);
            let student: Vec<f32> = dense
                .iter()
                .zip(other)
                .map(|(dense, other)| dense + noise * other)
                .collect();
            let tokens = [0; NUM_TOKENS];
            let (dense, student) = (chunk(&dense, &tokens), chunk(&student, &tokens));
            let target = Kl.target(&head, &dense).unwrap();
            let losses = Kl.loss(&head, &student, &target.view()).unwrap();
            let log_sum_exps = head.log_sum_exp(&student.hidden).unwrap();
            let largest_term = f64::from(log_sum_exps.into_iter().fold(1.0, f32::max));
            let p = head.logits_f64(&dense.hidden).unwrap();
            let q = head.logits_f64(&student.hidden).unwrap();
            let expected: Vec<f64> = p.iter().zip(&q).map(|(p, q)| naive(p, q)).collect();
            // Per token: three terms, each rounded to f32 once, in ulps of the largest.
            for (loss, expected) in losses.iter().zip(&expected) {
                let error = (f64::from(*loss) - expected).abs();
                assert!(
                    error < 2.0 * largest_term * f64::from(f32::EPSILON),
                    "{loss} is not {expected}"
                );
            }
            // Per sequence, as the search compares it. (At divergences below 0.01 the terms'
            // rounding is what remains.)
            let (sum, expected): (f64, f64) = (
                losses.iter().map(|loss| f64::from(*loss)).sum(),
                expected.iter().sum(),
            );
            let relative = (sum - expected).abs() / expected;
            assert!(relative < 1e-6, "{sum} is not {expected}: {relative:e}");
        }
    }

    #[test]
    fn a_model_does_not_diverge_from_itself() {
        let head = ReferenceHead::random(101, 16, 1);
        let hidden = random_values(NUM_TOKENS * 16, 2);
        let chunk = chunk(&hidden, &[0; NUM_TOKENS]);
        let target = Kl.target(&head, &chunk).unwrap();
        let losses = Kl.loss(&head, &chunk, &target.view()).unwrap();
        assert!(losses.iter().all(|loss| loss.abs() < 2e-6), "{losses:?}");
    }

    #[test]
    fn target_is_of_hidden_size() {
        let head = ReferenceHead::random(101, 16, 1);
        let hidden = random_values(NUM_TOKENS * 16, 2);
        let target = Kl.target(&head, &chunk(&hidden, &[0; NUM_TOKENS])).unwrap();
        assert_eq!(
            target.scalars.iter().map(Vec::len).collect::<Vec<_>>(),
            [NUM_TOKENS]
        );
        assert_eq!(
            target
                .vectors
                .iter()
                .map(|vector| vector.view().shape().to_vec())
                .collect::<Vec<_>>(),
            [[NUM_TOKENS as i64, 16]]
        );
    }

    #[test]
    fn another_target_is_refused() {
        let head = ReferenceHead::random(11, 4, 1);
        let hidden = random_values(NUM_TOKENS * 4, 2);
        let student = chunk(&hidden, &[0; NUM_TOKENS]);
        let loss = |target: &TargetView<'_>| Kl.loss(&head, &student, target).unwrap_err().message;
        assert_eq!(
            loss(&TargetView::default()),
            "expected a target of 1 scalar and 1 vector, found 0 and 0"
        );
        let vector = TensorView::from_slice(&hidden[..8], &[2, 4]).unwrap();
        assert_eq!(
            loss(&TargetView {
                scalars: vec![&[0.0, 0.0]],
                vectors: vec![vector]
            }),
            "expected a target for hidden states of shape [256, 4], found 2 scalars and vectors of shape [2, 4]"
        );
    }
}
