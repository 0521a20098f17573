//! Held-out text during a search: whether what improves on calibration text improves elsewhere too.
//!
//! It selects nothing. When the parent has changed, its KL divergence is measured on a few
//! sequences of the first evaluation set, as often as that costs at most a tenth of the search's
//! tokens.

use anyhow::Result;
use evopress::evaluate::Reference;
use evopress::genotype::{Genotype, SearchSpace};
use evopress::model::Engine;
use evopress::search::SearchState;
use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use crate::texts;

/// Sequences that are measured.
const NUM_SEQUENCES: u64 = 4;
/// Tokens of the search for one token that is measured.
const SEARCH_TOKENS_PER_TOKEN: u64 = 10;
/// Standard errors beyond which the mean difference of [`NUM_SEQUENCES`] is no chance: the
/// two-sided 95 % point of Student's t with three degrees of freedom.
const SIGNIFICANT_ERRORS: f64 = 3.18;

/// The sequences, with the dense model's distributions on them.
pub(super) struct HeldOut<'a> {
    space: &'a SearchSpace,
    engine: &'a Engine,
    reference: Reference,
}

/// What was measured so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct HeldOutRecord {
    /// The last parent that was measured.
    genotype: Option<Genotype>,
    /// Tokens of the search when it was.
    forward_tokens: u64,
    last: Measurement,
    best: Measurement,
}

/// KL divergence by sequence, in nats a token.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Measurement {
    generation: u32,
    divergences: Vec<f64>,
}

impl<'a> HeldOut<'a> {
    /// None where the plan has no evaluation set.
    pub(super) fn new(inputs: &Inputs<'a>) -> Result<Option<Self>> {
        let Some(set) = inputs.plan.evaluation.first() else {
            return Ok(None);
        };
        let few = NUM_SEQUENCES * u64::from(set.sequence_length);
        let corpus = texts::evaluation(set, inputs.source, set.tokens.min(few))?;
        Ok(Some(Self {
            space: inputs.space,
            engine: inputs.engine,
            reference: Reference::new(inputs.engine, corpus, |_| ())?,
        }))
    }

    /// The parent's mean KL divergence. It is measured if the parent is not the last one that was,
    /// and enough tokens have passed since then or the search is over.
    pub(super) fn measure(
        &self,
        record: &mut HeldOutRecord,
        state: &SearchState,
        forward_tokens: u64,
        is_over: bool,
    ) -> evopress::evaluate::Result<Option<f64>> {
        let is_first = record.genotype.is_none();
        let since = forward_tokens.saturating_sub(record.forward_tokens);
        let enough = SEARCH_TOKENS_PER_TOKEN * self.reference.num_tokens();
        let is_time = is_first || is_over || since >= enough;
        if !is_time || record.genotype.as_ref() == Some(&state.parent) {
            return Ok(None);
        }
        let candidate = self.space.candidate(&state.parent);
        let measured = Measurement {
            generation: state.generation,
            divergences: self.reference.divergences(self.engine, &candidate)?,
        };
        let mean = measured.mean();
        if record.best.divergences.is_empty() || mean < record.best.mean() {
            record.best = measured.clone();
        }
        record.last = measured;
        record.genotype = Some(state.parent.clone());
        record.forward_tokens = forward_tokens;
        Ok(Some(mean))
    }
}

impl HeldOutRecord {
    /// Where held-out text has become significantly worse than it was: a sentence on it.
    pub(super) fn divergence(&self) -> Option<String> {
        let (best, last) = (&self.best, &self.last);
        let pairs = last.divergences.iter().zip(&best.divergences);
        let differences: Vec<f64> = pairs.map(|(last, best)| last - best).collect();
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|it| (it - mean).powi(2));
        let error = (squares.sum::<f64>() / (count - 1.0) / count).sqrt();
        (mean > SIGNIFICANT_ERRORS * error && mean > 0.0).then(|| {
            format!(
                "the search improves on calibration text only: the KL divergence on held-out text \
                 rose from {:.4} in generation {} to {:.4} in generation {}; use more calibration tokens",
                best.mean(),
                best.generation,
                last.mean(),
                last.generation
            )
        })
    }
}

impl Measurement {
    fn mean(&self) -> f64 {
        self.divergences.iter().sum::<f64>() / self.divergences.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(best: &[f64], last: &[f64]) -> HeldOutRecord {
        let measured = |generation, divergences: &[f64]| Measurement {
            generation,
            divergences: divergences.to_vec(),
        };
        HeldOutRecord {
            best: measured(3, best),
            last: measured(9, last),
            ..HeldOutRecord::default()
        }
    }

    #[test]
    fn a_clear_rise_is_reported_and_noise_is_not() {
        let best = [0.5, 0.6, 0.4, 0.7];
        let risen = record(&best, &[0.55, 0.66, 0.45, 0.76]).divergence();
        let risen = risen.expect("every sequence is worse");
        assert!(risen.contains("from 0.5500 in generation 3 to 0.6050 in generation 9"));
        assert_eq!(record(&best, &[0.45, 0.75, 0.41, 0.68]).divergence(), None);
        assert_eq!(record(&best, &best).divergence(), None);
        assert_eq!(HeldOutRecord::default().divergence(), None);
    }
}
