//! The search of EvoPress (paper, Algorithm 1): (1+λ) evolution with level-switch mutations that keep the budget, and
//! selection in stages of fewer offspring on more tokens.
//!
//! In go a search space, a fitness and settings; out come the fittest genotype and the history. The state after each
//! generation is handed to the caller, who makes it durable; a search that starts from it ends like an undisturbed one.

pub mod fast;
mod mutation;
mod random;
mod start;

use std::collections::BTreeSet;

use evopress_plugin::Encoding;
use rand::seq::index;
use serde::{Deserialize, Serialize};

pub(crate) use mutation::distinct;
pub use random::{Purpose, stream};
pub(crate) use start::random_genotype;

use crate::baselines::BlockCosines;
use crate::error::Result;
use crate::genotype::{Genotype, Group, SearchSpace};
use crate::prediction::{PredictionRequest, Predictions};

/// How to search.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Generations in all.
    pub generations: u32,
    /// Offspring of a generation, λ.
    pub offspring: usize,
    /// Random genotypes to start from.
    pub initial_genotypes: usize,
    /// Calibration sequences that the start is chosen on.
    pub initial_sequences: usize,
    /// Selection stages of a generation, in order.
    pub stages: Vec<SelectionStage>,
    /// Seed of every random choice.
    pub seed: u64,
}

/// One stage of selection.
#[derive(Debug, Clone, Copy)]
pub struct SelectionStage {
    /// Calibration sequences of the minibatch.
    pub num_sequences: usize,
    /// How many genotypes go on.
    pub survivors: usize,
}

/// Everything that a search carries from one generation to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Generations that are done.
    pub generation: u32,
    /// The fittest genotype so far.
    pub parent: Genotype,
    /// Its fitness on the last minibatch that it was measured on; lower is better.
    pub fitness: f64,
    /// Whether the last generation replaced the parent.
    pub accepted: bool,
}

/// Measures genotypes: the mean loss over some calibration sequences, lower is better.
pub trait Fitness {
    /// Calibration sequences that minibatches are drawn from.
    fn num_sequences(&self) -> usize;

    /// The loss of each genotype on each sequence of `minibatch`.
    ///
    /// # Errors
    /// When the forward pass or the fitness plugin fails, or the run was interrupted.
    fn losses(&mut self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<Vec<f64>>>;

    /// Tokens that went forward so far, gradient passes at what they cost.
    fn tokens_spent(&self) -> u64 {
        0
    }

    /// Says whose children are evaluated next, so that what they have in common with it may be computed once. Changes no loss.
    fn share_prefixes_of(&mut self, _parent: &Genotype) {}

    /// What level changes of a genotype would do to the loss; none where the fitness has no gradient.
    ///
    /// # Errors
    /// As [`Self::losses`].
    fn predict(&mut self, _request: &PredictionRequest<'_>) -> Result<Option<Predictions>> {
        Ok(None)
    }

    /// How much blocks of the dense model turn its residual stream, with windows of `num_dropped` blocks; none where the fitness knows
    /// no residual stream.
    ///
    /// # Errors
    /// As [`Self::losses`].
    fn block_cosines(
        &mut self,
        _minibatch: &[usize],
        _num_dropped: usize,
    ) -> Result<Option<BlockCosines>> {
        Ok(None)
    }

    /// The fitness of each genotype: its mean loss over `minibatch`.
    ///
    /// # Errors
    /// As [`Self::losses`].
    fn evaluate(&mut self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<f64>> {
        let losses = self.losses(genotypes, minibatch)?;
        let mean = |losses: &Vec<f64>| losses.iter().sum::<f64>() / losses.len() as f64;
        Ok(losses.iter().map(mean).collect())
    }
}

/// Draws the start: `starts` and the uniform genotype where it uses up the budget, random ones elsewhere. The fittest becomes the first
/// parent.
pub fn initial(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
    starts: &[Genotype],
) -> Result<State> {
    let mut rng = stream(settings.seed, 0, Purpose::Initial);
    let mut genotypes = starts.to_vec();
    let excluded: Vec<&Genotype> = starts.iter().collect();
    genotypes.extend(match space.exact_uniform() {
        Some(uniform) => distinct(1, &excluded, || uniform.clone()),
        None => distinct(settings.initial_genotypes, &excluded, || {
            random_genotype(space, &mut rng)
        }),
    });
    let minibatch = draw(
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
    Ok(State {
        generation: 0,
        parent,
        fitness,
        accepted: true,
    })
}

/// Runs the generations after `state`; `on_generation` sees the state after each.
pub fn run(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
    mut state: State,
    mut on_generation: impl FnMut(&State) -> Result<()>,
) -> Result<State> {
    while state.generation < settings.generations {
        let generation = state.generation + 1;
        let mut rng = stream(settings.seed, generation, Purpose::Mutation);
        let mut offspring = distinct(settings.offspring, &[&state.parent], || {
            mutation::mutate(space, &state.parent, &mut rng)
        });
        for (stage_idx, stage) in settings.stages.iter().enumerate() {
            if stage_idx + 1 == settings.stages.len() {
                offspring.insert(0, state.parent.clone()); // elitism
            }
            let purpose = Purpose::Minibatch(stage_idx as u8);
            let minibatch = draw(
                fitness,
                settings.seed,
                generation,
                purpose,
                stage.num_sequences,
            );
            let survivors = select(fitness, offspring, &minibatch, stage.survivors)?;
            state.fitness = survivors
                .first()
                .map_or(state.fitness, |(_, fitness)| *fitness);
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

/// Different calibration sequences, in order.
pub fn draw(
    fitness: &dyn Fitness,
    seed: u64,
    generation: u32,
    purpose: Purpose,
    count: usize,
) -> Vec<usize> {
    let available = fitness.num_sequences();
    let mut rng = stream(seed, generation, purpose);
    let drawn: BTreeSet<usize> = index::sample(&mut rng, available, count.min(available))
        .into_iter()
        .collect();
    drawn.into_iter().collect()
}

/// `count` different random genotypes of the budget, for the baseline.
pub(crate) fn random_genotypes(space: &SearchSpace, seed: u64, count: usize) -> Vec<Genotype> {
    let mut rng = stream(seed, 0, Purpose::RandomBaseline);
    distinct(count, &[], || random_genotype(space, &mut rng))
}

/// The paper's number of generations: `k (n − k) / 1.5` for dropping k of the n units of the largest group, 400 for sparsity, 150 for
/// quantization.
pub fn paper_generations(space: &SearchSpace) -> u32 {
    let of_group = |group: &Group| {
        let num_units = group.unit_idxs.len() as f64;
        let num_kept = (num_units * space.allowed_share(group)).round();
        (num_kept * (num_units - num_kept) / 1.5) as u32
    };
    match space.encodings() {
        encodings if encodings.is_empty() => {
            let generations = space.groups().iter().map(of_group).max();
            generations.unwrap_or(0).max(1)
        }
        encodings if encodings.iter().any(is_sparse) => 400,
        _ => 150,
    }
}

fn is_sparse(encoding: &Encoding) -> bool {
    matches!(encoding, Encoding::Sparse { .. })
}

#[cfg(test)]
mod tests;
