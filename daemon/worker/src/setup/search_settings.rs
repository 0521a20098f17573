//! How a plan wants its search.

use evopress::genotype::SearchSpace;
use evopress::search::{self, SelectionStage, Settings, fast};
use evopress_spec::{Generations, Ingredient, Plan};

/// Offspring of a fast search's generation.
const FAST_OFFSPRING: usize = 8;
/// Calibration tokens of a gradient pass, about.
const GRADIENT_TOKENS: u64 = 1024;

/// The settings of a plan's fast search.
pub(crate) fn fast_settings(plan: &Plan) -> fast::Settings {
    let search = &plan.search;
    let length = u64::from(plan.calibration.sequence_length);
    let without = |ingredient| search.without.contains(&ingredient);
    fast::Settings {
        offspring: FAST_OFFSPRING,
        gradient_sequences: (GRADIENT_TOKENS / length).max(1) as usize,
        limit: fast::Limit {
            forward_tokens: search.limit.forward_tokens,
            seconds: search.limit.seconds,
            fitness: search.limit.fitness,
        },
        without: fast::Without {
            gradients: without(Ingredient::Gradients),
            learning: without(Ingredient::Learning),
            racing: without(Ingredient::Racing),
            walks: without(Ingredient::Walks),
            restarts: without(Ingredient::Restarts),
        },
        tuning: fast::Tuning::default(),
        seed: search.seed,
    }
}

/// The settings of a plan's search by generations. The engine counts in sequences, the plan in
/// tokens.
pub(crate) fn search_settings(plan: &Plan, space: &SearchSpace) -> Settings {
    let length = u64::from(plan.calibration.sequence_length);
    let sequences = |tokens: u64| tokens.div_ceil(length).max(1) as usize;
    let search = &plan.search;
    Settings {
        generations: match search.generations {
            Generations::Fixed(count) => count,
            Generations::Paper => search::paper_generations(space),
        },
        offspring: search.offspring as usize,
        initial_genotypes: search.initial.genotypes as usize,
        initial_sequences: sequences(search.initial.tokens),
        stages: search
            .stages
            .iter()
            .map(|stage| SelectionStage {
                num_sequences: sequences(stage.tokens),
                survivors: stage.survivors as usize,
            })
            .collect(),
        seed: search.seed,
    }
}
