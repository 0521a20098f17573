//! Second-order terms of level changes at the first token of sequences ([`Predictions::sink`]),
//! over all gradient passes of a search.
//!
//! A pass has a handful of responses there, and the square of a handful says little. But what
//! weights differ by between two levels stays what it is while the search goes on, and so, nearly,
//! does the first token's activation: all passes count, wherever they were made.

use serde::{Deserialize, Serialize};

use crate::genotype::Genotype;
use crate::prediction::{LevelChange, Predictions};

/// What is known, in the order of the changes' keys.
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
    /// Adds what a pass at `origin` has shown. A mean remembers at most `max_responses`; it follows
    /// the search where there are more.
    pub(super) fn add(
        &mut self,
        origin: &Genotype,
        changes: &[LevelChange],
        found: &Predictions,
        max_responses: f64,
    ) {
        let samples = found.sink_samples as f64;
        let num_known = self.0.len();
        for (change, &(_, square)) in changes.iter().zip(&found.sink) {
            let key = key(origin, change);
            let known = self.0[..num_known].binary_search_by_key(&key, |(key, _)| *key);
            let at = known.unwrap_or_else(|_| {
                self.0.push((key, Mean::default()));
                self.0.len() - 1
            });
            let mean = &mut self.0[at].1;
            mean.samples = (mean.samples + samples).min(max_responses.max(samples));
            mean.value += (square - mean.value) * samples / mean.samples;
        }
        self.0.sort_by_key(|(key, _)| *key);
    }

    /// The term of a change from `origin`, and how far it is to be believed, from 0 to 1: half
    /// where it is the mean of `half_trusted` responses.
    pub(super) fn get(
        &self,
        origin: &Genotype,
        change: &LevelChange,
        half_trusted: f64,
    ) -> (f64, f64) {
        let key = key(origin, change);
        let found = self.0.binary_search_by_key(&key, |(key, _)| *key);
        found.map_or((0.0, 0.0), |at| {
            let Mean { value, samples } = self.0[at].1;
            (value, samples / (samples + half_trusted))
        })
    }
}

fn key(origin: &Genotype, change: &LevelChange) -> Key {
    let (from, to) = (origin.0[change.unit_idx], change.level as u16);
    (change.unit_idx, from.min(to), from.max(to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction::Responses;

    fn found(square: f64, samples: usize) -> Predictions {
        Predictions {
            first: vec![(0.0, 0.0)],
            sink: vec![(0.0, square)],
            sink_samples: samples,
            responses: Responses::new(1, vec![0.0]),
            forward_tokens: 0,
        }
    }

    #[test]
    fn both_ways_between_two_levels_count_and_the_recent_most() {
        let (up, down) = (Genotype(vec![1]), Genotype(vec![0]));
        let step = |level| [LevelChange { unit_idx: 0, level }];
        let mut sinks = Sinks::default();
        assert_eq!(sinks.get(&up, &step(0)[0], 4.0), (0.0, 0.0));
        sinks.add(&up, &step(0), &found(1.0, 8), 64.0);
        sinks.add(&down, &step(1), &found(3.0, 8), 64.0);
        assert_eq!(sinks.get(&up, &step(0)[0], 4.0), (2.0, 0.8));
        assert_eq!(sinks.get(&up, &step(2)[0], 4.0), (0.0, 0.0));
        for _ in 0..100 {
            sinks.add(&down, &step(1), &found(5.0, 8), 64.0);
        }
        let (value, _) = sinks.get(&up, &step(0)[0], 4.0);
        assert!((value - 5.0).abs() < 1e-3, "{value}");
    }
}
