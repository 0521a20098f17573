//! A fast search from wherever it is to its end.

use super::fast_search::FastSearch;
use super::phase::{Phase, StopReason};
use super::settings::Settings;
use super::state::FastSearchState;
use crate::error::Result;
use crate::fitness::Fitness;
use crate::genotype::SearchSpace;
use crate::search::SearchState;

/// Runs generations after a state until there is reason to stop, which is then in the fast search's
/// state. `on_generation` sees both states after each generation, and `seconds` says how long the
/// search has taken.
///
/// # Errors
/// When evaluating fails or `on_generation` does.
pub fn run(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
    mut best: SearchState,
    mut state: FastSearchState,
    seconds: &dyn Fn() -> f64,
    mut on_generation: impl FnMut(&SearchState, &FastSearchState) -> Result<()>,
) -> Result<SearchState> {
    let max_evidence = settings.tuning.evidence.max_sequences;
    let mut search = FastSearch {
        space,
        settings,
        max_evidence: max_evidence.min(fitness.num_sequences()).max(1),
        surrogate: None,
        spent_before: state.forward_tokens,
        counted_from: 0,
    };
    search.make_passes_again(fitness, &state.gradients)?;
    // Those passes are counted already.
    search.counted_from = fitness.tokens_spent();
    while state.stop_reason().is_none() {
        state = search.generation(fitness, &mut best, state)?;
        state.forward_tokens = search.tokens_spent(fitness);
        let reason = search.reason_to_stop(fitness, &best, &state, seconds());
        if let Some(reason) = reason {
            if matches!(reason, StopReason::Tokens | StopReason::Time) {
                state = search.try_promote(fitness, &mut best, state, true)?.0;
                state.forward_tokens = search.tokens_spent(fitness);
            }
            state.phase = Phase::Stopped(reason);
        }
        on_generation(&best, &state)?;
    }
    Ok(best)
}

impl FastSearch<'_> {
    fn reason_to_stop(
        &self,
        fitness: &dyn Fitness,
        best: &SearchState,
        state: &FastSearchState,
        seconds: f64,
    ) -> Option<StopReason> {
        let (limit, tuning) = (&self.settings.limit, &self.settings.tuning.evidence);
        let is_limited = limit.forward_tokens.is_some() || limit.seconds.is_some();
        let max_restarts = match is_limited && !self.settings.without.restarts {
            true => tuning.fruitless_restarts_within_limit,
            false => tuning.fruitless_restarts,
        };
        if limit.fitness.is_some_and(|enough| best.fitness <= enough) {
            Some(StopReason::Reached)
        } else if self.tokens_left(fitness, &state.phase) == Some(0) {
            Some(StopReason::Tokens)
        } else if limit.seconds.is_some_and(|max| seconds >= max) {
            Some(StopReason::Time)
        } else if state.fruitless_restarts >= max_restarts {
            Some(StopReason::DoesNotPay {
                num_sequences: self.max_evidence as u32,
            })
        } else {
            None
        }
    }
}
