//! The offspring of a generation.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::draft::Draft;
use super::interactions::Interactions;
use crate::genotype::{Genotype, SearchSpace};
use crate::search::fast::position::Position;
use crate::search::fast::regression::Posterior;
use crate::search::fast::settings::Settings;
use crate::search::fast::tuning::ProposalTuning;
use crate::search::mutation::mutate;

/// Exchanges that offspring may be made of however little has worked.
pub(in super::super) fn min_exchanges(space: &SearchSpace, tuning: &ProposalTuning) -> usize {
    let num_units = space.units().len();
    (num_units / tuning.units_per_least_exchange).clamp(1, tuning.max_least_exchanges)
}

/// Different offspring of the genotype at `position`, none of them tried before.
pub(in super::super) fn offspring(
    space: &SearchSpace,
    posterior: &Posterior<'_>,
    position: &Position,
    settings: &Settings,
    rng: &mut impl Rng,
) -> Vec<Genotype> {
    let tuning = &settings.tuning.proposals;
    let reach = position.reach.max(min_exchanges(space, tuning));
    let largest = (space.units().len() / tuning.units_per_exchange).clamp(1, reach);
    let interactions = Interactions::of(posterior.surrogate(), &position.genotype);
    let mut offspring: Vec<Genotype> = Vec::with_capacity(settings.offspring);
    for idx in 0..settings.offspring {
        let is_new = |genotype: &Genotype, offspring: &[Genotype]| {
            *genotype != position.genotype
                && !offspring.contains(genotype)
                && !position.is_rejected(genotype)
        };
        let drawn = (0..tuning.max_draws).find_map(|draw| {
            let kind = |at: usize| tuning.kinds[at % tuning.kinds.len()];
            let temperature = match draw {
                0 => kind(idx).1,
                _ => kind(idx).1.max(tuning.min_temperature_of_later_draws),
            };
            let sampled = posterior.sample(temperature, rng);
            let count = kind(idx + draw).0.min(largest);
            let draft = Draft::new(space, posterior.surrogate(), &sampled, &interactions);
            let made = draft.exchange(&position.genotype, count, tuning.max_raised);
            Some(made).filter(|made| is_new(made, &offspring))
        });
        let made = drawn.or_else(|| {
            (0..tuning.max_draws)
                .map(|_| mutate(space, &position.genotype, rng))
                .find(|made| is_new(made, &offspring))
        });
        offspring.extend(made);
    }
    if offspring.is_empty() {
        // Everything near was tried: once more, on other sequences.
        let again = position.rejected.choose(rng);
        offspring.extend(again.map(|(genotype, _)| genotype.clone()));
    }
    offspring
}
