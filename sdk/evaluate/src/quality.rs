//! Quality on held-out text: perplexity and KL divergence to the dense model.
//!
//! `perplexity = exp(mean −log q(next token))` and `KL = mean Σ_v p_v log(p_v / q_v)`, both over
//! all positions of all sequences that have a next token; `p` is the dense model, `q` the
//! compressed one.

use std::sync::Arc;

use evopress_model::{Context, Engine};
use evopress_search::genotype::Candidate;
use evopress_source::Corpus;
use evopress_tensor::ReadOnly;
use tch::Tensor;

use crate::error::Result;
use crate::passes::Passes;

/// A model's quality on an evaluation set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// `exp` of the mean cross-entropy of the next token.
    pub perplexity: f64,
    /// Mean KL divergence from the dense model, in nats a token.
    pub kl_divergence: f64,
}

/// What the dense model says about an evaluation set.
pub struct Reference {
    corpus: Arc<Corpus>,
    sequences: ReadOnly<Vec<DenseSequence>>,
    /// The dense model's own perplexity.
    pub perplexity: f64,
}

/// Per token, of the dense model's distribution `p`: `Σ_v p log p`, and what the head needs to take
/// expectations under it.
type DenseSequence = (Vec<f32>, Tensor);

impl Reference {
    /// Runs the dense model over `corpus`; `progress` is told how many sequences are done.
    ///
    /// # Errors
    /// When a forward pass fails or the run was interrupted.
    pub fn new(engine: &Engine, corpus: Corpus, mut progress: impl FnMut(usize)) -> Result<Self> {
        let corpus = Arc::new(corpus);
        let shared = Arc::clone(&corpus);
        let read = move |context: &Context, hidden: &Tensor, idx: usize| {
            let log_sums = context.head.log_sum_exp(hidden)?;
            let loss = cross_entropy(context, hidden, shared.sequence(idx), &log_sums)?;
            Ok((loss, context.head.expectation(hidden)?))
        };
        let all = 0..corpus.num_sequences();
        let passes = Passes {
            engine,
            corpus: &corpus,
            cache: None,
        };
        let measured = passes.run_dense(all, read, |done, _| progress(done))?;
        let (losses, sequences): (Vec<f64>, Vec<DenseSequence>) = measured.into_iter().unzip();
        Ok(Self {
            perplexity: perplexity(&losses, &corpus),
            corpus,
            sequences: ReadOnly::new(sequences),
        })
    }

    /// Tokens of the evaluation set.
    pub fn num_tokens(&self) -> u64 {
        (self.corpus.num_sequences() * self.corpus.sequence_length()) as u64
    }

    /// Quality of a candidate of what `engine` holds: of a genotype, or of a written artifact that
    /// was loaded again (then the candidate is the artifact's own dense model). `progress` is told
    /// how many sequences are done.
    ///
    /// # Errors
    /// When a forward pass fails or the run was interrupted.
    pub fn measure(
        &self,
        engine: &Engine,
        candidate: &Candidate,
        progress: impl FnMut(usize),
    ) -> Result<Quality> {
        let measured = self.by_sequence(engine, candidate, progress)?;
        let (losses, divergences): (Vec<f64>, Vec<f64>) = measured.into_iter().unzip();
        Ok(Quality {
            perplexity: perplexity(&losses, &self.corpus),
            kl_divergence: divergences.iter().sum::<f64>() / num_predictions(&self.corpus),
        })
    }

    /// KL divergence of a candidate from the dense model on each sequence, in nats a token.
    ///
    /// # Errors
    /// When a forward pass fails or the run was interrupted.
    pub fn divergences(&self, engine: &Engine, candidate: &Candidate) -> Result<Vec<f64>> {
        let measured = self.by_sequence(engine, candidate, |_| ())?;
        let predictions = self.corpus.sequence_length() as f64 - 1.0;
        let divergences = measured.into_iter().map(|(_, sum)| sum / predictions);
        Ok(divergences.collect())
    }

    /// By sequence: the sums of the next tokens' cross-entropies and of the KL divergences.
    fn by_sequence(
        &self,
        engine: &Engine,
        candidate: &Candidate,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<(f64, f64)>> {
        let (corpus, sequences) = (Arc::clone(&self.corpus), self.sequences.share());
        let measure = move |context: &Context, hidden: &Tensor, idx: usize| {
            let tokens = corpus.sequence(idx);
            let log_sums = context.head.log_sum_exp(hidden)?;
            let (negative_entropy, summary) = &sequences.get()[idx];
            let expected_logits = context.head.expected_logits(hidden, summary)?;
            let divergence: f64 = negative_entropy
                .iter()
                .zip(&expected_logits)
                .zip(&log_sums)
                .map(|((&entropy, &logit), &log_sum)| {
                    f64::from(entropy) - f64::from(logit) + f64::from(log_sum)
                })
                .sum();
            Ok((
                cross_entropy(context, hidden, tokens, &log_sums)?,
                divergence,
            ))
        };
        let candidate = Arc::new(candidate.clone());
        let all = 0..self.corpus.num_sequences();
        let pairs: Vec<_> = all.map(|idx| (Arc::clone(&candidate), idx)).collect();
        let passes = Passes {
            engine,
            corpus: &self.corpus,
            cache: None,
        };
        passes.run(&pairs, measure, |done, _| progress(done))
    }
}

/// Sum over a sequence of `−log q(next token)`.
fn cross_entropy(
    context: &Context,
    hidden: &Tensor,
    tokens: &[i64],
    log_sums: &[f32],
) -> Result<f64> {
    let logits = context.head.token_logits(hidden, &tokens[1..])?;
    Ok(log_sums
        .iter()
        .zip(&logits)
        .map(|(&log_sum, &logit)| f64::from(log_sum) - f64::from(logit))
        .sum())
}

fn perplexity(losses: &[f64], corpus: &Corpus) -> f64 {
    (losses.iter().sum::<f64>() / num_predictions(corpus)).exp()
}

fn num_predictions(corpus: &Corpus) -> f64 {
    (corpus.num_sequences() * (corpus.sequence_length() - 1)) as f64
}
