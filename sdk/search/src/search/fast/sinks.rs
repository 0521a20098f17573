//! Second-order terms of steps at the first token of sequences ([`Predictions::sink`]), over all gradient passes of a search.
//!
//! A pass has a handful of responses there, and the square of a handful says little. But what weights differ by between two levels stays
//! what it is while the search goes on, and so, nearly, does the first token's activation: all passes count, wherever they were made.

use serde::{Deserialize, Serialize};

use crate::genotype::Genotype;
use crate::prediction::{LevelChange, Predictions};

/// Responses that a mean remembers at most; it follows the search where there are more.
const MOST_SAMPLES: f64 = 64.0;
/// Responses from which on a mean is rather to be believed than not.
const ENOUGH_SAMPLES: f64 = 4.0;

/// What is known, in the order of the steps' keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sinks(Vec<(Key, Mean)>);

/// A unit and two of its levels, the lower index first.
type Key = (usize, u16, u16);

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Mean {
    value: f64,
    samples: f64,
}

impl Sinks {
    /// Adds what a pass at `origin` has shown.
    pub(super) fn add(&mut self, origin: &Genotype, moves: &[LevelChange], found: &Predictions) {
        let samples = found.sink_samples as f64;
        for (step, &(_, square)) in moves.iter().zip(&found.sink) {
            let key = key(origin, step);
            let at = match self.0.binary_search_by_key(&key, |(key, _)| *key) {
                Ok(at) => at,
                Err(at) => {
                    self.0.insert(at, (key, Mean::default()));
                    at
                }
            };
            let mean = &mut self.0[at].1;
            mean.samples = (mean.samples + samples).min(MOST_SAMPLES.max(samples));
            mean.value += (square - mean.value) * samples / mean.samples;
        }
    }

    /// The term of a step from `origin`, and how far it is to be believed, from 0 to 1.
    pub(super) fn get(&self, origin: &Genotype, step: &LevelChange) -> (f64, f64) {
        let found = self
            .0
            .binary_search_by_key(&key(origin, step), |(key, _)| *key);
        found.map_or((0.0, 0.0), |at| {
            let Mean { value, samples } = self.0[at].1;
            (value, samples / (samples + ENOUGH_SAMPLES))
        })
    }
}

fn key(origin: &Genotype, step: &LevelChange) -> Key {
    let (from, to) = (origin.0[step.unit_idx], step.level as u16);
    (step.unit_idx, from.min(to), from.max(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(square: f64, samples: usize) -> Predictions {
        Predictions {
            first: vec![(0.0, 0.0)],
            sink: vec![(0.0, square)],
            sink_samples: samples,
            gram: vec![vec![0.0]],
            forward_tokens: 0,
        }
    }

    #[test]
    fn both_ways_between_two_levels_count_and_the_recent_most() {
        let (up, down) = (Genotype(vec![1]), Genotype(vec![0]));
        let step = |level| [LevelChange { unit_idx: 0, level }];
        let mut sinks = Sinks::default();
        assert_eq!(sinks.get(&up, &step(0)[0]), (0.0, 0.0));
        sinks.add(&up, &step(0), &found(1.0, 8));
        sinks.add(&down, &step(1), &found(3.0, 8));
        assert_eq!(sinks.get(&up, &step(0)[0]), (2.0, 0.8));
        assert_eq!(sinks.get(&up, &step(2)[0]), (0.0, 0.0));
        for _ in 0..100 {
            sinks.add(&down, &step(1), &found(5.0, 8));
        }
        let (value, _) = sinks.get(&up, &step(0)[0]);
        assert!((value - 5.0).abs() < 1e-3, "{value}");
    }
}
