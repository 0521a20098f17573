//! Where a fast search begins: baselines, the uniform genotype or random ones, the best of them
//! after a race.

use std::collections::BTreeMap;

use rand::seq::index;

use super::race::{Race, Verdict};
use super::settings::Settings;
use super::state::FastSearchState;
use crate::error::Result;
use crate::fitness::Fitness;
use crate::genotype::{Genotype, SearchSpace};
use crate::random::{Purpose, stream};
use crate::search::SearchState;
use crate::search::start::{distinct, random_genotype};

/// Chooses the first parent: the fittest of `starts` and the uniform genotype where that uses up
/// the budget (random ones elsewhere).
///
/// # Errors
/// When evaluating fails.
pub fn start(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
    starts: &[Genotype],
) -> Result<(SearchState, FastSearchState)> {
    let counted_from = fitness.tokens_spent();
    let tuning = &settings.tuning;
    let mut genotypes = genotypes(space, settings, starts);
    let mut order = stream(settings.seed, 0, Purpose::InitialMinibatch);
    let count = (2 * tuning.evidence.min_sequences).min(fitness.num_sequences());
    let sequences = index::sample(&mut order, fitness.num_sequences(), count).into_vec();
    // Everyone against the first, on the same sequences.
    let mut state = FastSearchState::new(genotypes.swap_remove(0), BTreeMap::new(), tuning);
    let found = match genotypes.is_empty() {
        true => None,
        false => {
            let race = Race {
                evidence: count,
                min_evidence: tuning.evidence.min_sequences,
                sequences: &sequences,
                eliminates: !settings.without.racing,
                accepts_likely: false,
                tokens_left: None,
                tuning: &tuning.race,
            };
            let outcome = race.run(fitness, &mut state.position, &genotypes)?;
            match outcome.verdict {
                Verdict::Better { idx, losses, .. } => Some((idx, Some(losses))),
                // Nothing is there yet that would have to be beaten beyond doubt: whoever seems to
                // be best is best.
                Verdict::NoneBetter { .. } => {
                    let means = outcome.results.iter().map(|result| result.mean);
                    let best = means.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
                    let better = best.filter(|(_, mean)| *mean < 0.0);
                    better.map(|(idx, _)| (idx, None))
                }
            }
        }
    };
    if let Some((idx, losses)) = found {
        let genotype = genotypes.swap_remove(idx);
        let losses = match losses {
            Some(losses) => losses,
            None => measured(fitness, &genotype, &sequences)?,
        };
        let max_exchanges = tuning.proposals.max_exchanges;
        state.position.move_to(genotype, losses, max_exchanges);
    } else if genotypes.is_empty() {
        state.position.losses = measured(fitness, &state.position.genotype, &sequences)?;
    }
    state.forward_tokens = fitness.tokens_spent() - counted_from;
    let best = SearchState {
        generation: 0,
        parent: state.position.genotype.clone(),
        fitness: state.position.fitness(),
        accepted: true,
    };
    Ok((best, state))
}

/// Different genotypes that a search may begin with.
fn genotypes(space: &SearchSpace, settings: &Settings, starts: &[Genotype]) -> Vec<Genotype> {
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
        None => distinct(settings.tuning.evidence.random_starts, &excluded, || {
            random_genotype(space, &mut rng)
        }),
    };
    genotypes.extend(drawn);
    genotypes
}

/// A genotype's loss by sequence.
fn measured(
    fitness: &mut dyn Fitness,
    genotype: &Genotype,
    sequences: &[usize],
) -> Result<BTreeMap<usize, f64>> {
    let losses = fitness.losses(std::slice::from_ref(genotype), sequences)?;
    Ok(sequences.iter().copied().zip(losses.concat()).collect())
}
