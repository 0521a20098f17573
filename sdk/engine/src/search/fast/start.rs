//! Where a fast search begins: baselines, random genotypes and one that gradients build, the best of them after a race.

use std::collections::BTreeMap;

use rand::seq::index;

use super::propose::Draft;
use super::race::{Race, Verdict};
use super::surrogate::Surrogate;
use super::{LEAST_EVIDENCE, Memory, Settings};
use crate::error::Result;
use crate::genotype::{Genotype, SearchSpace};
use crate::search::{Fitness, Purpose, State, distinct, random_genotype, stream};

/// Random genotypes among those that a search may begin with, where there is nothing uniform.
const NUM_RANDOM: usize = 4;
/// Sub-blocks that are left out before gradients are taken again: a part of those that are still to go, and at least one.
const PART_LEFT_OUT: usize = 3;
/// Calibration sequences of a gradient pass while a start is built.
const BUILD_SEQUENCES: usize = 2;

/// Draws the start: the fittest of `starts`, the uniform genotype where it uses up the budget (random ones elsewhere), and, where all that
/// units can do is to drop sub-blocks, one that is built by predictions, a few units at a time.
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
    let mut genotypes: Vec<Genotype> = built(space, fitness, settings)?.into_iter().collect();
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
        };
        if let Verdict::Better { idx, losses } = race.run(fitness, &mut memory, &genotypes)?.verdict
        {
            memory.accept(genotypes.swap_remove(idx), losses);
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

/// A genotype that leaves out the sub-blocks whose loss is predicted to be least.
fn built(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
) -> Result<Option<Genotype>> {
    let only_drops = (0..space.units().len()).all(|idx| space.only_drops(idx));
    if settings.without.gradients || !only_drops {
        return Ok(None);
    }
    let settings = Settings {
        gradient_sequences: BUILD_SEQUENCES,
        ..settings.clone()
    };
    let mut genotype = space.dearest();
    let mut rng = stream(settings.seed, 0, Purpose::Restart);
    // The passes of a start draw other sequences each, as generations do.
    for pass in 0.. {
        let surrogate =
            Surrogate::new(space, fitness, &settings, genotype.clone(), u32::MAX - pass)?;
        if !surrogate.has_gradients() {
            return Ok(None);
        }
        let certain = Settings {
            without: super::Without {
                learning: true,
                ..settings.without
            },
            ..settings.clone()
        };
        let sampled = surrogate.posterior(&[], &certain).sample(&mut rng);
        let draft = || Draft::new(space, &surrogate, &sampled, &genotype);
        let missing = draft().lower(usize::MAX);
        let changed = missing.0.iter().zip(&genotype.0);
        let num_missing = changed.filter(|(after, before)| after != before).count();
        genotype = draft().lower((num_missing / PART_LEFT_OUT).max(1));
        if space.meets_budget(&genotype) || num_missing == 0 {
            break;
        }
    }
    Ok(Some(genotype).filter(|genotype| space.meets_budget(genotype)))
}
