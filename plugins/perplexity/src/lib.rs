//! The fitness `perplexity`: how surprised the compressed model is by the text itself.
//!
//! A token's loss is the cross-entropy of the token that follows it, with head `W` and hidden state
//! `h`:
//!
//! ```text
//! −log softmax(W h)_y = logsumexp(W h) − ⟨h, W_y⟩
//! ```
//!
//! in nats. The exponential of its mean over a text is the perplexity, so both order models alike,
//! and the search can add up losses. The dense model is not asked. Where no token follows (−1) the
//! loss is 0. One of the two fitnesses of the EvoPress paper (section 4.3).

use evopress_plugin::{
    Chunk, Fitness, HeadOps, Info, OwnedTensor, PluginError, Target, TargetView, TensorView,
    export_plugin,
};

export_plugin! { fitness: |_options: &str| Ok(Perplexity), info: info }

fn info() -> Info {
    Info {
        name: "perplexity".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "Cross-entropy of the next token, in nats: the logarithm of the perplexity."
            .to_owned(),
        options_schema: r#"{"type": "object", "additionalProperties": false}"#.to_owned(),
    }
}

struct Perplexity;

impl Fitness for Perplexity {
    fn target(&self, _: &dyn HeadOps, _: &Chunk<'_>) -> Result<Target, PluginError> {
        Ok(Target::default())
    }

    fn loss(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        _: &TargetView<'_>,
    ) -> Result<Vec<f32>, PluginError> {
        let log_sum_exps = ops.log_sum_exp(&student.hidden)?;
        let token_logits = ops.token_logits(&student.hidden, student.next_tokens)?;
        let terms = student
            .next_tokens
            .iter()
            .zip(&log_sum_exps)
            .zip(&token_logits);
        let loss = |((next_token, log_sum_exp), logit): ((&i64, &f32), &f32)| match next_token {
            -1 => 0.0,
            _ => log_sum_exp - logit,
        };
        Ok(terms.map(loss).collect())
    }

    /// `Σ_v (q_v − [v = y]) ∂z_v/∂h`.
    fn gradient(
        &self,
        ops: &dyn HeadOps,
        student: &Chunk<'_>,
        _: &TargetView<'_>,
        own_gradient: &TensorView<'_>,
    ) -> Result<Option<OwnedTensor>, PluginError> {
        let of_next = ops.token_gradients(&student.hidden, student.next_tokens)?;
        ops.difference(own_gradient, &of_next.view()).map(Some)
    }

    fn needs_target(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use evopress_plugin::{
        TensorView,
        conformance::{ReferenceHead, random_values},
    };

    use super::*;

    #[test]
    fn agrees_with_the_formula_written_out() {
        let (vocab_size, hidden_size) = (53, 8);
        let head = ReferenceHead::random(vocab_size, hidden_size, 1);
        let hidden = random_values(4 * hidden_size, 2);
        let hidden = TensorView::from_slice(&hidden, &[4, hidden_size as i64]).unwrap();
        let next_tokens = [0, 52, -1, 17];
        let chunk = Chunk {
            hidden,
            next_tokens: &next_tokens,
        };
        let losses = Perplexity
            .loss(&head, &chunk, &TargetView::default())
            .unwrap();
        for ((logits, token), loss) in head
            .logits_f64(&hidden)
            .unwrap()
            .iter()
            .zip(next_tokens)
            .zip(losses)
        {
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            let expected =
                usize::try_from(token).map_or(0.0, |token| -(logits[token].exp() / sum).ln());
            assert!(
                (f64::from(loss) - expected).abs() < 1e-5,
                "{loss} is not {expected}"
            );
        }
    }

    #[test]
    fn an_even_distribution_has_the_vocabulary_as_its_perplexity() {
        let head = ReferenceHead::new(vec![0.5; 64 * 4], 64, 4);
        let hidden = random_values(3 * 4, 2);
        let chunk = Chunk {
            hidden: TensorView::from_slice(&hidden, &[3, 4]).unwrap(),
            next_tokens: &[1, 2, 3],
        };
        let losses = Perplexity
            .loss(&head, &chunk, &TargetView::default())
            .unwrap();
        assert!(
            losses.iter().all(|loss| (loss.exp() - 64.0).abs() < 1e-3),
            "{losses:?}"
        );
    }

    #[test]
    fn the_dense_model_is_not_asked() {
        assert!(!Perplexity.needs_target());
    }
}
