//! Walking ahead of the incumbent.
//!
//! A step of a small gain needs many sequences to be told from noise, and most searches are made of
//! such steps. So a step is taken when it is only likely to be one forwards. The incumbent stays
//! behind; after some steps, or where there is no next one, where the search has come to is held
//! against it. Gains add up and the noise of one comparison does not, so that one strict test does
//! for all of them; where it fails the search goes back. A limit does not end a search in between:
//! a part of its tokens is left for that test.

use super::fast_search::FastSearch;
use super::phase::Phase;
use super::race::{Race, Verdict};
use super::state::FastSearchState;
use crate::error::Result;
use crate::fitness::Fitness;
use crate::random::Purpose;
use crate::search::SearchState;

/// What came of holding a challenger against the incumbent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is the incumbent now.
    Promoted,
    /// It seems to be better, and the search goes on from it.
    Undecided,
    /// It is not better, and the search is back at the incumbent.
    Returned,
}

impl FastSearch<'_> {
    /// After a step: one from the incumbent that was beyond doubt makes a new incumbent; a walk is
    /// judged when it is long enough.
    pub(super) fn after_step(
        &self,
        fitness: &mut dyn Fitness,
        best: &mut SearchState,
        mut state: FastSearchState,
    ) -> Result<FastSearchState> {
        let surrogate = self.surrogate.as_ref();
        if surrogate.is_none_or(|surrogate| surrogate.is_stale(&state.position.genotype)) {
            state.gradients.origin = None;
        }
        let num_steps = match state.phase {
            Phase::Exploring => {
                promote(best, &state);
                return Ok(state);
            }
            Phase::Restarting { .. } | Phase::Stopped(_) => return Ok(state),
            Phase::Walking { num_steps, .. } => num_steps,
        };
        if num_steps < self.settings.tuning.evidence.steps_of_walk {
            return Ok(state);
        }
        match self.try_promote(fitness, best, state, false)? {
            (state, Judgement::Returned) => self.request_more_evidence(fitness, best, state, false),
            (state, _) => Ok(state),
        }
    }

    /// Holds where the search is against the incumbent that it left. Where it is not better beyond
    /// doubt the search goes back, unless it seems to be better and this is not its last chance.
    pub(super) fn try_promote(
        &self,
        fitness: &mut dyn Fitness,
        best: &mut SearchState,
        mut state: FastSearchState,
        is_last: bool,
    ) -> Result<(FastSearchState, Judgement)> {
        let Some(incumbent) = state.phase.incumbent() else {
            return Ok((state, Judgement::Returned));
        };
        let tuning = &self.settings.tuning;
        let challenger = state.position.genotype.clone();
        let mut held = incumbent
            .clone()
            .into_position(&challenger, tuning.proposals.max_exchanges);
        let sequences = self.sequences(fitness, best.generation, Purpose::Minibatch(1));
        let race = Race {
            evidence: self.max_evidence,
            min_evidence: tuning.evidence.min_sequences,
            sequences: &sequences,
            eliminates: true,
            accepts_likely: false,
            tokens_left: self.tokens_for_comparison(fitness),
            tuning: &tuning.race,
        };
        let outcome = race.run(fitness, &mut held, std::slice::from_ref(&challenger))?;
        match outcome.verdict {
            Verdict::Better { losses, .. } => {
                state.phase = Phase::Exploring;
                state.position.losses = losses;
                state.fruitless_restarts = 0;
                promote(best, &state);
                Ok((state, Judgement::Promoted))
            }
            Verdict::NoneBetter { is_open } if is_open && !is_last => {
                state.phase = state.phase.undecided(held.into_incumbent());
                Ok((state, Judgement::Undecided))
            }
            Verdict::NoneBetter { .. } => {
                state.fruitless_restarts += u32::from(state.phase.is_restart());
                state.phase = Phase::Exploring;
                let means = outcome.results.iter().map(|result| result.mean);
                held.reject(std::slice::from_ref(&challenger), means);
                state.position = held;
                state.gradients.origin = None;
                best.fitness = state.position.fitness();
                Ok((state, Judgement::Returned))
            }
        }
    }
}

/// The genotype at the state's position is the search's answer from now on.
fn promote(best: &mut SearchState, state: &FastSearchState) {
    best.parent = state.position.genotype.clone();
    best.fitness = state.position.fitness();
    best.accepted = true;
}
