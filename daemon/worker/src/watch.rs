//! Held-out text during a search: whether what is gained on calibration text is gained elsewhere too.
//!
//! Nothing is selected by it. A few sequences of the first evaluation set are measured when the parent has changed, as often as that takes
//! a tenth of the search's tokens at most.

use anyhow::Result;
use evopress::evaluation::Reference;
use evopress::evaluator::Engine;
use evopress::genotype::Genotype;
use evopress::search::State;
use serde::{Deserialize, Serialize};

use crate::quality;
use crate::run::Run;

/// Sequences that are looked at.
const NUM_SEQUENCES: u64 = 4;
/// Tokens of the search for one token that is looked at.
const PATIENCE: u64 = 10;
/// Standard errors by which the mean difference of so few sequences is no chance: the two-sided 95 % point of Student's t with three degrees
/// of freedom.
const CLEARLY: f64 = 3.18;

/// The dense model's word on the sequences.
pub(crate) struct Watch<'a> {
    run: &'a Run,
    engine: &'a Engine,
    reference: Reference,
}

/// What was seen so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Watched {
    genotype: Option<Genotype>,
    forward_tokens: u64,
    last: Look,
    best: Look,
}

/// KL divergence by sequence.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Look {
    generation: u32,
    divergences: Vec<f64>,
}

impl<'a> Watch<'a> {
    /// None where there is no evaluation set.
    pub(crate) fn new(run: &'a Run, engine: &'a Engine) -> Result<Option<Self>> {
        let Some(set) = run.plan.evaluation.first() else {
            return Ok(None);
        };
        let few = NUM_SEQUENCES * u64::from(set.sequence_length);
        let corpus = quality::corpus(set, &run.source, set.tokens.min(few))?;
        Ok(Some(Self {
            run,
            engine,
            reference: Reference::new(engine, corpus, |_| ())?,
        }))
    }

    /// Looks at the parent, if it is another one and it is time, or the search is over; then its mean KL divergence.
    pub(crate) fn look(
        &self,
        watched: &mut Watched,
        state: &State,
        forward_tokens: u64,
        is_over: bool,
    ) -> evopress::Result<Option<f64>> {
        let is_first = watched.genotype.is_none();
        let since = forward_tokens.saturating_sub(watched.forward_tokens);
        let is_time = is_first || is_over || since >= PATIENCE * self.reference.num_tokens();
        if !is_time || watched.genotype.as_ref() == Some(&state.parent) {
            return Ok(None);
        }
        let candidate = self.run.space.candidate(&state.parent);
        let divergences = self.reference.divergences(self.engine, &candidate)?;
        let look = Look {
            generation: state.generation,
            divergences,
        };
        let mean = look.mean();
        if watched.best.divergences.is_empty() || mean < watched.best.mean() {
            watched.best = look.clone();
        }
        watched.last = look;
        watched.genotype = Some(state.parent.clone());
        watched.forward_tokens = forward_tokens;
        Ok(Some(mean))
    }
}

impl Watched {
    /// Where held-out text has become clearly worse than it was: what to say of it.
    pub(crate) fn parted(&self) -> Option<String> {
        let (best, last) = (&self.best, &self.last);
        let pairs = last.divergences.iter().zip(&best.divergences);
        let differences: Vec<f64> = pairs.map(|(last, best)| last - best).collect();
        let count = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / count;
        let squares = differences.iter().map(|it| (it - mean).powi(2));
        let error = (squares.sum::<f64>() / (count - 1.0) / count).sqrt();
        (mean > CLEARLY * error && mean > 0.0).then(|| {
            format!(
                "held-out and calibration text part: the KL divergence on held-out text rose from {:.4} in generation {} to {:.4} in \
                 generation {}; more calibration tokens would help",
                best.mean(),
                best.generation,
                last.mean(),
                last.generation
            )
        })
    }
}

impl Look {
    fn mean(&self) -> f64 {
        self.divergences.iter().sum::<f64>() / self.divergences.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(best: &[f64], last: &[f64]) -> Watched {
        let look = |generation, divergences: &[f64]| Look {
            generation,
            divergences: divergences.to_vec(),
        };
        Watched {
            best: look(3, best),
            last: look(9, last),
            ..Watched::default()
        }
    }

    #[test]
    fn a_clear_rise_is_told_and_noise_is_not() {
        let best = [0.5, 0.6, 0.4, 0.7];
        let risen = watched(&best, &[0.55, 0.66, 0.45, 0.76]).parted();
        let risen = risen.expect("every sequence is worse");
        assert!(risen.contains("from 0.5500 in generation 3 to 0.6050 in generation 9"));
        assert_eq!(watched(&best, &[0.45, 0.75, 0.41, 0.68]).parted(), None);
        assert_eq!(watched(&best, &best).parted(), None);
        assert_eq!(Watched::default().parted(), None);
    }
}
