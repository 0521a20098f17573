//! What a race promises, over thousands of races of made-up genotypes.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::error::Result;
use crate::fitness::Fitness;
use crate::genotype::Genotype;
use crate::search::fast::position::Position;
use crate::search::fast::tuning::RaceTuning;

const NUM_SEQUENCES: usize = 64;

/// Genotype `[k]` has a loss of `2 + effects[k]` beside noise of a sequence and noise of its own.
struct Noisy<'a> {
    effects: &'a [f64],
    seed: u64,
    spent: u64,
}

impl Fitness for Noisy<'_> {
    fn num_sequences(&self) -> usize {
        NUM_SEQUENCES
    }

    fn losses(&mut self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<Vec<f64>>> {
        self.spent += (genotypes.len() * minibatch.len()) as u64;
        let loss = |genotype: &Genotype, sequence_idx: usize| {
            let genotype_idx = genotype.level(0);
            let noise = |of: usize| -> f64 {
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                rng.set_stream((of * NUM_SEQUENCES + sequence_idx) as u64);
                StandardNormal.sample(&mut rng)
            };
            2.0 + self.effects[genotype_idx] + 0.3 * noise(99) + 0.1 * noise(genotype_idx)
        };
        let losses = genotypes.iter().map(|genotype| {
            let losses = minibatch.iter().map(|&idx| loss(genotype, idx));
            losses.collect()
        });
        Ok(losses.collect())
    }

    fn tokens_spent(&self) -> u64 {
        self.spent
    }
}

/// The share of races that a challenger wins beyond doubt. Genotype 0 is the parent, whose losses
/// are not known before.
fn won(effects: &[f64], evidence: usize, accepts_likely: bool, tokens_left: Option<u64>) -> f64 {
    let num_races = 2000;
    let tuning = RaceTuning::default();
    let sequences: Vec<usize> = (0..NUM_SEQUENCES).collect();
    let challengers: Vec<Genotype> = (1..effects.len() as u16)
        .map(|k| Genotype(vec![k]))
        .collect();
    let is_won = |seed: &u64| {
        let mut fitness = Noisy {
            effects,
            seed: *seed,
            spent: 0,
        };
        let race = Race {
            evidence,
            min_evidence: 4,
            sequences: &sequences,
            eliminates: true,
            accepts_likely,
            tokens_left,
            tuning: &tuning,
        };
        let mut position = Position::new(Genotype(vec![0]), BTreeMap::new(), 4, 16);
        let outcome = race.run(&mut fitness, &mut position, &challengers).unwrap();
        matches!(
            outcome.verdict,
            Verdict::Better {
                is_beyond_doubt: true,
                ..
            }
        )
    };
    (0..num_races).filter(is_won).count() as f64 / num_races as f64
}

/// Races of challengers that are no better than the parent: the level is that of the whole race,
/// with all its looks and challengers.
#[test]
fn equal_challengers_win_no_more_often_than_the_level_says() {
    for (num_challengers, evidence, accepts_likely, tokens_left) in [
        (1, 32, false, None),
        (1, 32, false, Some(45)),
        (1, 4, false, None),
        (8, 4, true, None),
        (8, 32, true, None),
        (8, 32, false, None),
    ] {
        let effects = vec![0.0; num_challengers + 1];
        let share = won(&effects, evidence, accepts_likely, tokens_left);
        assert!(
            share <= 0.01,
            "{num_challengers} challengers, evidence {evidence}: {share} of races are won"
        );
    }
}

/// A test at a proper level still finds what is there: an effect as large as the noise of a single
/// sequence.
#[test]
fn better_challengers_win() {
    // The difference of two genotypes has a spread of 0.14 a sequence.
    assert!(won(&[0.0, -0.14], 32, false, None) > 0.99);
    assert!(won(&[0.0, -0.07], 32, false, None) > 0.7);
    assert!(
        won(
            &[0.0, -0.14, 0.0, 0.0, 0.1, 0.1, 0.1, 0.2, 0.2],
            16,
            false,
            None
        ) > 0.8
    );
}
