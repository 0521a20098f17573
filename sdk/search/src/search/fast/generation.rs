//! One generation of a fast search: gradients where they are stale, proposals, a race, and what
//! follows from it.

use super::fast_search::FastSearch;
use super::propose;
use super::race::{Race, Verdict};
use super::regression::Posterior;
use super::state::FastSearchState;
use super::walk::Judgement;
use crate::error::Result;
use crate::fitness::Fitness;
use crate::genotype::Genotype;
use crate::random::{Purpose, stream};
use crate::search::SearchState;
use crate::search::mutation::mutate;

impl FastSearch<'_> {
    /// From one state to the next; `best` holds the incumbent.
    pub(super) fn generation(
        &mut self,
        fitness: &mut dyn Fitness,
        best: &mut SearchState,
        mut state: FastSearchState,
    ) -> Result<FastSearchState> {
        best.generation += 1;
        best.accepted = false;
        self.renew_gradients(fitness, &mut state)?;
        let offspring = self.propose(best.generation, &mut state);
        let sequences = self.sequences(fitness, best.generation, Purpose::Minibatch(0));
        let race = Race {
            evidence: state.position.evidence.min(self.max_evidence),
            min_evidence: self.settings.tuning.evidence.min_sequences,
            sequences: &sequences,
            eliminates: !self.settings.without.racing,
            accepts_likely: !self.settings.without.walks,
            tokens_left: self.tokens_left(fitness, &state.phase),
            tuning: &self.settings.tuning.race,
        };
        let outcome = race.run(fitness, &mut state.position, &offspring)?;
        if let Some(surrogate) = &self.surrogate {
            let parent = &state.position.genotype;
            let seen = offspring
                .iter()
                .zip(&outcome.results)
                .map(|(genotype, result)| {
                    surrogate.observation(parent, genotype, result.mean, result.standard_error)
                });
            let seen = seen.collect();
            state.observe(seen, self.settings.tuning.regression.max_observations);
        }
        match outcome.verdict {
            Verdict::Better {
                idx,
                losses,
                is_beyond_doubt,
            } => {
                let max_exchanges = self.settings.tuning.proposals.max_exchanges;
                let genotype = offspring[idx].clone();
                let state = state.step(genotype, losses, is_beyond_doubt, max_exchanges);
                self.after_step(fitness, best, state)
            }
            Verdict::NoneBetter { is_open } => {
                let means = outcome.results.iter().map(|result| result.mean);
                state.position.reject(&offspring, means);
                self.after_failure(fitness, best, state, is_open)
            }
        }
    }

    /// Offspring that promise most by what is known.
    fn propose(&self, generation: u32, state: &mut FastSearchState) -> Vec<Genotype> {
        let surrogate = self.surrogate.as_ref().expect("gradients were renewed");
        let without = &self.settings.without;
        state.lacks_gradients |= !(surrogate.has_gradients() || without.gradients);
        let tuning = &self.settings.tuning.regression;
        let posterior = Posterior::new(surrogate, &state.observations, !without.learning, tuning);
        state.trouble.unsolved_regressions += u32::from(!posterior.is_solved());
        let mut rng = stream(self.settings.seed, generation, Purpose::Mutation);
        propose::offspring(
            self.space,
            &posterior,
            &state.position,
            self.settings,
            &mut rng,
        )
    }

    /// Where everyone was plainly worse, smaller steps or other ones may do; where it was close,
    /// only evidence does.
    fn after_failure(
        &self,
        fitness: &mut dyn Fitness,
        best: &mut SearchState,
        mut state: FastSearchState,
        is_open: bool,
    ) -> Result<FastSearchState> {
        let origin = state.gradients.origin.as_ref();
        if origin.is_some_and(|origin| origin.genotype != state.position.genotype) {
            state.gradients.origin = None;
        }
        let min_exchanges = propose::min_exchanges(self.space, &self.settings.tuning.proposals);
        let position = &mut state.position;
        let may_reach_less = position.reach > min_exchanges && !is_open;
        position.reach = (position.reach / 2).max(min_exchanges);
        if may_reach_less {
            return Ok(state);
        }
        position.failures += 1;
        if !is_open && position.failures < self.settings.tuning.evidence.plain_failures {
            return Ok(state);
        }
        position.failures = 0;
        if !state.phase.is_walking() {
            return self.request_more_evidence(fitness, best, state, is_open);
        }
        match self.try_promote(fitness, best, state, true)? {
            (state, Judgement::Promoted) => Ok(state),
            (state, _) => self.request_more_evidence(fitness, best, state, false),
        }
    }

    /// More sequences for decisions and gradients; where there are no more, a restart elsewhere.
    pub(super) fn request_more_evidence(
        &self,
        fitness: &mut dyn Fitness,
        best: &mut SearchState,
        mut state: FastSearchState,
        is_open: bool,
    ) -> Result<FastSearchState> {
        let tuning = &self.settings.tuning;
        let restarts = !self.settings.without.restarts;
        let is_restart = state.phase.is_restart();
        let max_evidence = match is_restart || restarts && !is_open {
            true => self.max_evidence.min(tuning.evidence.some_sequences),
            false => self.max_evidence,
        };
        let position = &mut state.position;
        if position.evidence < max_evidence {
            position.evidence = (2 * position.evidence).min(max_evidence);
            return Ok(state);
        }
        position.fruitless += 1;
        let may_go_on = position.fruitless < tuning.evidence.fruitless_generations;
        if may_go_on && is_open && !is_restart {
            return Ok(state);
        }
        position.fruitless = 0;
        if !restarts {
            state.fruitless_restarts = tuning.evidence.fruitless_restarts;
            return Ok(state);
        }
        if is_restart {
            state = self.try_promote(fitness, best, state, true)?.0;
        }
        let elsewhere = match state.position.next_best(&state.visited) {
            Some(genotype) => genotype.clone(),
            None => self.disturbed(best.generation, &state.position.genotype),
        };
        Ok(state.restart(elsewhere, tuning))
    }

    /// A genotype some way from another.
    fn disturbed(&self, generation: u32, genotype: &Genotype) -> Genotype {
        let mut rng = stream(self.settings.seed, generation, Purpose::Restart);
        let num_units = self.space.units().len();
        let num_mutations = num_units / self.settings.tuning.proposals.units_per_disturbance;
        (0..num_mutations.max(2)).fold(genotype.clone(), |genotype, _| {
            mutate(self.space, &genotype, &mut rng)
        })
    }
}
