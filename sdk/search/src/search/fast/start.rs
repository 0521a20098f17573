//! Where a fast search begins: baselines, the uniform genotype or random ones, the best of them after a race.

use std::collections::BTreeMap;

use rand::seq::index;

use super::race::{Race, Verdict};
use super::{LEAST_EVIDENCE, Memory, Settings};
use crate::error::Result;
use crate::genotype::{Genotype, SearchSpace};
use crate::search::{Fitness, Purpose, State, distinct, random_genotype, stream};

/// Random genotypes among those that a search may begin with, where there is nothing uniform.
const NUM_RANDOM: usize = 4;
/// Draws the start: the fittest of `starts` and the uniform genotype where it uses up the budget (random ones elsewhere).
///
/// # Errors
/// When evaluating fails.
pub fn start(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
    starts: &[Genotype],
) -> Result<(State, Memory)> {
    let counted_from = fitness.tokens_spent();
    let mut rng = stream(settings.seed, 0, Purpose::Initial);
    let mut genotypes: Vec<Genotype> = Vec::new();
    for genotype in starts {
        if !genotypes.contains(genotype) {
            genotypes.push(genotype.clone());
        }
    }
    let excluded: Vec<&Genotype> = genotypes.iter().collect();
    let drawn = match space.exact_uniform() {
        Some(uniform) => distinct(1, &excluded, || uniform.clone()),
        None => distinct(NUM_RANDOM, &excluded, || random_genotype(space, &mut rng)),
    };
    genotypes.extend(drawn);
    let mut order = stream(settings.seed, 0, Purpose::InitialMinibatch);
    let count = (2 * LEAST_EVIDENCE).min(fitness.num_sequences());
    let sequences = index::sample(&mut order, fitness.num_sequences(), count).into_vec();
    // Everyone against the first, on the same sequences.
    let mut memory = Memory::new(genotypes.swap_remove(0), BTreeMap::new());
    if genotypes.is_empty() {
        let losses = fitness.losses(std::slice::from_ref(&memory.current), &sequences)?;
        memory.losses = sequences.iter().copied().zip(losses.concat()).collect();
    } else {
        let race = Race {
            evidence: count,
            sequences: &sequences,
            drops: !settings.without.racing,
            walks: false,
            tokens_left: None,
        };
        let outcome = race.run(fitness, &mut memory, &genotypes)?;
        match outcome.verdict {
            Verdict::Better { idx, losses, .. } => {
                memory.accept(genotypes.swap_remove(idx), losses)
            }
            Verdict::NoneBetter { .. } => {
                // Nothing is there yet that would have to be beaten beyond doubt: who seems to be best is best.
                let means = outcome.results.iter().map(|result| result.mean);
                let best = means
                    .enumerate()
                    .min_by(|a, b| a.1.total_cmp(&b.1))
                    .filter(|(_, mean)| *mean < 0.0);
                if let Some((idx, _)) = best {
                    let best = genotypes.swap_remove(idx);
                    let losses = fitness.losses(std::slice::from_ref(&best), &sequences)?;
                    let losses = sequences.iter().copied().zip(losses.concat());
                    memory.accept(best, losses.collect());
                }
            }
        }
    }
    memory.forward_tokens = fitness.tokens_spent() - counted_from;
    let state = State {
        generation: 0,
        parent: memory.current.clone(),
        fitness: memory.fitness(),
        accepted: true,
    };
    Ok((state, memory))
}
