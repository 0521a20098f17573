//! Walking ahead of the champion.
//!
//! A step of a small gain needs many sequences to be told from noise, and most searches are made of such steps. So a step is taken when it
//! is only likely to be one forwards. The champion, the best genotype beyond doubt, stays behind; after some steps, or where there is no
//! next one, it is held against where the search has come to. Gains add up and the noise of one comparison does not, so that one strict
//! test does for all of them; where it fails the search goes back.

use std::collections::BTreeMap;

use super::Search;
use super::memory::Memory;
use super::race::{Race, Verdict};
use crate::error::Result;
use crate::genotype::Genotype;
use crate::search::{Fitness, Purpose, State};

/// Steps ahead of the champion, after which it is held against where they have led.
const STEPS: u32 = 4;
/// Part of a limit in tokens that is left for the last comparison.
const RESERVE: u64 = 8;

impl Search<'_> {
    /// Goes on from a genotype that is better or seems to be.
    pub(super) fn step(
        &self,
        memory: &mut Memory,
        genotype: Genotype,
        losses: BTreeMap<usize, f64>,
        is_beyond_doubt: bool,
    ) {
        if memory.champion.is_none() && !is_beyond_doubt {
            memory.leave_champion(false);
        }
        memory.accept(genotype, losses);
        memory.steps += 1;
        let surrogate = self.surrogate.as_ref();
        if surrogate.is_none_or(|surrogate| surrogate.is_stale(&memory.current)) {
            memory.origin = None;
        }
    }

    /// A step from the champion that was beyond doubt makes a new one; a walk is judged when it is long enough.
    pub(super) fn after_step(
        &self,
        fitness: &mut dyn Fitness,
        state: &mut State,
        memory: &mut Memory,
    ) -> Result<()> {
        if memory.champion.is_none() {
            state.parent = memory.current.clone();
            state.fitness = memory.fitness();
            state.accepted = true;
            return Ok(());
        }
        let limit = self.settings.limit.forward_tokens;
        let left = self.tokens_left(fitness);
        let is_scarce = limit
            .zip(left)
            .is_some_and(|(limit, left)| left < limit / RESERVE);
        if !memory.is_walking() || memory.steps < STEPS && !is_scarce {
            return Ok(());
        }
        let is_crowned = self.crown(fitness, state, memory, false)?;
        match is_crowned || memory.is_walking() {
            true => Ok(()),
            false => self.ask_for_more(fitness, state, memory, false),
        }
    }

    /// Holds where the search is against the champion that it left, and says whether it is better beyond doubt. Where it is not the search
    /// goes back, unless it seems to be better and this is not its last chance.
    pub(super) fn crown(
        &self,
        fitness: &mut dyn Fitness,
        state: &mut State,
        memory: &mut Memory,
        is_last: bool,
    ) -> Result<bool> {
        let Some(champion) = memory.champion.take() else {
            return Ok(false);
        };
        let is_restart = champion.is_restart;
        let ahead = memory.clone();
        memory.return_to(champion);
        let sequences = self.sequences(fitness, state.generation, Purpose::Minibatch(1));
        let race = Race {
            evidence: self.most_evidence,
            sequences: &sequences,
            drops: true,
            walks: false,
            tokens_left: self.tokens_left(fitness),
        };
        let challenger = std::slice::from_ref(&ahead.current);
        let outcome = race.run(fitness, memory, challenger)?;
        match outcome.verdict {
            Verdict::Better { losses, .. } => {
                *memory = Memory {
                    losses,
                    fruitless_restarts: 0,
                    steps: 0,
                    ..ahead
                };
                state.parent = memory.current.clone();
                state.fitness = memory.fitness();
                state.accepted = true;
                return Ok(true);
            }
            Verdict::NoneBetter { is_open } if is_open && !is_last => {
                memory.leave_champion(is_restart);
                let champion = memory.champion.take();
                *memory = Memory {
                    champion,
                    steps: 0,
                    ..ahead
                };
            }
            Verdict::NoneBetter { .. } => {
                memory.reject(challenger, &outcome.results);
                state.fitness = memory.fitness();
                memory.fruitless_restarts += u32::from(is_restart);
            }
        }
        Ok(false)
    }
}
