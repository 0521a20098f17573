//! The search of the paper (Algorithm 1): (1+λ) evolution, with selection in stages of fewer
//! offspring on more tokens.

use super::mutation::mutate;
use super::settings::{SearchState, Settings};
use super::start::{distinct, random_genotype};
use crate::error::Result;
use crate::fitness::{Fitness, draw_minibatch};
use crate::genotype::{Genotype, SearchSpace};
use crate::random::{Purpose, stream};

/// Chooses the first parent: the fittest of `starts` and the uniform genotype where that uses up
/// the budget, of `starts` and random genotypes elsewhere.
///
/// # Errors
/// When evaluating fails.
pub fn initial(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
    starts: &[Genotype],
) -> Result<SearchState> {
    let mut rng = stream(settings.seed, 0, Purpose::Initial);
    let mut genotypes = starts.to_vec();
    let excluded: Vec<&Genotype> = starts.iter().collect();
    genotypes.extend(match space.exact_uniform() {
        Some(uniform) => distinct(1, &excluded, || uniform.clone()),
        None => distinct(settings.initial_genotypes, &excluded, || {
            random_genotype(space, &mut rng)
        }),
    });
    let minibatch = draw_minibatch(
        fitness,
        settings.seed,
        0,
        Purpose::InitialMinibatch,
        settings.initial_sequences,
    );
    let survivors = select(fitness, genotypes, &minibatch, 1)?;
    let (parent, fitness) = survivors
        .into_iter()
        .next()
        .expect("a search starts from at least one genotype");
    Ok(SearchState {
        generation: 0,
        parent,
        fitness,
        accepted: true,
    })
}

/// Runs the generations after `state`; `on_generation` sees the state after each.
///
/// # Errors
/// When evaluating fails or `on_generation` does.
pub fn run(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
    mut state: SearchState,
    mut on_generation: impl FnMut(&SearchState) -> Result<()>,
) -> Result<SearchState> {
    let seed = settings.seed;
    while state.generation < settings.generations {
        let generation = state.generation + 1;
        let mut rng = stream(seed, generation, Purpose::Mutation);
        let mut offspring = distinct(settings.offspring, &[&state.parent], || {
            mutate(space, &state.parent, &mut rng)
        });
        for (stage_idx, stage) in settings.stages.iter().enumerate() {
            if stage_idx + 1 == settings.stages.len() {
                offspring.insert(0, state.parent.clone()); // elitism
            }
            let purpose = Purpose::Minibatch(stage_idx as u8);
            let minibatch = draw_minibatch(fitness, seed, generation, purpose, stage.num_sequences);
            let survivors = select(fitness, offspring, &minibatch, stage.survivors)?;
            if let Some((_, best)) = survivors.first() {
                state.fitness = *best;
            }
            offspring = survivors
                .into_iter()
                .map(|(genotype, _)| genotype)
                .collect();
        }
        let best = offspring.swap_remove(0);
        state.accepted = best != state.parent;
        state.parent = best;
        state.generation = generation;
        on_generation(&state)?;
    }
    Ok(state)
}

/// The fittest `survivors` of `genotypes` on one minibatch, best first; of equals the earlier one.
fn select(
    fitness: &mut dyn Fitness,
    genotypes: Vec<Genotype>,
    minibatch: &[usize],
    survivors: usize,
) -> Result<Vec<(Genotype, f64)>> {
    let measured = fitness.evaluate(&genotypes, minibatch)?;
    let mut ranked: Vec<(Genotype, f64)> = genotypes.into_iter().zip(measured).collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1));
    ranked.truncate(survivors);
    Ok(ranked)
}
