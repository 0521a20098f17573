//! The fast search: gradients and past evaluations propose, fitness decides.
//!
//! Paper mode draws mutations blindly and pays a full evaluation for each. Here one gradient pass predicts what every single move would do
//! ([`crate::prediction`]), a Bayesian linear model corrects the predictions by what evaluations have shown ([`surrogate`]), sets of
//! exchanges that keep the budget and promise most are proposed ([`propose`]), and they race sequence by sequence against the parent
//! ([`race`]). Where one seems to be better the search walks on from it: what several small steps have gained together can be told from
//! noise on far fewer sequences than each of them. The answer is replaced only by a genotype that beats it beyond doubt ([`walk`]). The
//! evidence of a race grows when nothing was found, and where it cannot grow any more the search starts again elsewhere or ends, and says
//! why.
//!
//! A state and a [`Memory`] after each generation are all that a resumed search needs.

mod memory;
mod propose;
mod race;
mod regression;
mod sinks;
mod start;
mod surrogate;
mod walk;

use rand::seq::index;

pub use memory::{Memory, Stop};
pub use start::start;

use super::{Fitness, Purpose, State, mutation, stream};
use crate::error::Result;
use crate::genotype::SearchSpace;
use memory::{Origin, Pass};
use race::{Race, Verdict};
use surrogate::Surrogate;

/// How to search.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Genotypes that race in a generation.
    pub offspring: usize,
    /// Calibration sequences of a gradient pass.
    pub gradient_sequences: usize,
    /// Where the search ends at the latest.
    pub limit: Limit,
    /// What it does without.
    pub without: Without,
    /// Seed of every random choice.
    pub seed: u64,
}

/// Where a search ends, whichever comes first; without any it ends when it stops paying.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limit {
    /// Tokens forward, gradient passes at what they cost.
    pub forward_tokens: Option<u64>,
    /// Seconds. A search that they end is not the same on another machine.
    pub seconds: Option<f64>,
    /// A fitness that is good enough.
    pub fitness: Option<f64>,
}

/// Ingredients that are switched off, to see what they are worth.
#[derive(Debug, Clone, Copy, Default)]
pub struct Without {
    /// Predictions of gradient passes.
    pub gradients: bool,
    /// Corrections of the predictions by evaluations.
    pub learning: bool,
    /// Dropping genotypes from a race before its end.
    pub racing: bool,
    /// Walking on from genotypes that only seem to be better.
    pub walks: bool,
    /// Starting again from a disturbed parent.
    pub restarts: bool,
}

/// Sequences of the first decisions.
const LEAST_EVIDENCE: usize = 4;
/// Sequences of a decision at most.
const MOST_EVIDENCE: usize = 32;
/// Gradient passes at one origin at most, while that makes its predictions much better and decisions do not ask for more.
const PASSES_WHILE_NOISY: usize = 4;
/// Sequences of a decision at most in a restart, and while everyone is plainly worse.
const SOME_EVIDENCE: usize = 8;
/// Generations of the fewest exchanges that were all plainly worse, after which decisions and gradients take more evidence or the search
/// starts again elsewhere.
const PLAIN_FAILURES: u32 = 3;
/// Generations without success at most evidence after which the search starts again elsewhere.
const FRUITLESS: u32 = 2;
/// Restarts without success after which a search without a limit ends.
const FRUITLESS_RESTARTS: u32 = 3;
/// The same for a search that has tokens or time to spend.
const FRUITLESS_RESTARTS_OF_LIMITED: u32 = 12;

/// Runs generations after `state` until there is reason to stop, which is then in the memory; `on_generation` sees both after each, and
/// `seconds` says how long the search has taken.
///
/// # Errors
/// When evaluating fails or `on_generation` does.
pub fn run(
    space: &SearchSpace,
    fitness: &mut dyn Fitness,
    settings: &Settings,
    mut state: State,
    mut memory: Memory,
    seconds: &dyn Fn() -> f64,
    mut on_generation: impl FnMut(&State, &Memory) -> Result<()>,
) -> Result<State> {
    let mut search = Search {
        space,
        settings,
        most_evidence: MOST_EVIDENCE.min(fitness.num_sequences()).max(1),
        surrogate: None,
        spent_before: memory.forward_tokens,
        counted_from: fitness.tokens_spent(),
    };
    // They are counted already.
    search.make_passes_again(fitness, &memory)?;
    search.counted_from = fitness.tokens_spent();
    while memory.stop.is_none() {
        search.generation(fitness, &mut state, &mut memory)?;
        memory.stop = search.reason_to_stop(&state, &memory, seconds());
        on_generation(&state, &memory)?;
    }
    Ok(state)
}

struct Search<'a> {
    space: &'a SearchSpace,
    settings: &'a Settings,
    most_evidence: usize,
    /// Of the memory's origin; none where gradients are to be taken again.
    surrogate: Option<Surrogate>,
    spent_before: u64,
    counted_from: u64,
}

impl Search<'_> {
    /// One round: gradients where they are stale, proposals, a race, and what follows from it.
    fn generation(
        &mut self,
        fitness: &mut dyn Fitness,
        state: &mut State,
        memory: &mut Memory,
    ) -> Result<()> {
        state.generation += 1;
        state.accepted = false;
        let (generation, seed) = (state.generation, self.settings.seed);
        self.renew_gradients(fitness, memory)?;
        let surrogate = self.surrogate.as_ref().expect("the memory has an origin");
        memory.lacks_gradients |= !(surrogate.has_gradients() || self.settings.without.gradients);
        let mut rng = stream(seed, generation, Purpose::Mutation);
        let offspring = propose::offspring(self.space, surrogate, memory, self.settings, &mut rng);
        let sequences = self.sequences(fitness, generation, Purpose::Minibatch(0));
        let race = Race {
            evidence: memory.evidence.min(self.most_evidence),
            sequences: &sequences,
            drops: !self.settings.without.racing,
            walks: !self.settings.without.walks,
            tokens_left: self.tokens_left(fitness),
        };
        let outcome = race.run(fitness, memory, &offspring)?;
        let seen = offspring.iter().zip(&outcome.results);
        let seen =
            seen.map(|(genotype, result)| surrogate.observation(&memory.current, genotype, result));
        let seen: Vec<_> = seen.collect();
        memory.observe(seen);
        match outcome.verdict {
            Verdict::Better {
                idx,
                losses,
                is_beyond_doubt,
            } => {
                self.step(memory, offspring[idx].clone(), losses, is_beyond_doubt);
                self.after_step(fitness, state, memory)?;
            }
            Verdict::NoneBetter { is_open } => {
                memory.reject(&offspring, &outcome.results);
                self.after_failure(fitness, state, memory, is_open)?;
            }
        }
        memory.forward_tokens = self.spent_before + fitness.tokens_spent() - self.counted_from;
        Ok(())
    }

    /// Gradients where the search is now, smaller steps, a judgement of the walk so far.
    fn after_failure(
        &self,
        fitness: &mut dyn Fitness,
        state: &mut State,
        memory: &mut Memory,
        is_open: bool,
    ) -> Result<()> {
        let origin = memory.origin.as_ref();
        if origin.is_some_and(|origin| origin.genotype != memory.current) {
            memory.origin = None;
        }
        // Where everyone was plainly worse, smaller steps or other ones may do; where it was close, only evidence does.
        let least = propose::least_exchanges(self.space);
        let may_reach_less = memory.reach > least && !is_open;
        memory.reach = (memory.reach / 2).max(least);
        if may_reach_less {
            return Ok(());
        }
        memory.failures += 1;
        if !is_open && memory.failures < PLAIN_FAILURES {
            return Ok(());
        }
        memory.failures = 0;
        if !memory.is_walking() {
            return self.ask_for_more(fitness, state, memory, is_open);
        }
        match self.crown(fitness, state, memory, true)? {
            true => Ok(()),
            false => self.ask_for_more(fitness, state, memory, false),
        }
    }

    /// More evidence for decisions and gradients, then a restart.
    fn ask_for_more(
        &self,
        fitness: &mut dyn Fitness,
        state: &mut State,
        memory: &mut Memory,
        is_open: bool,
    ) -> Result<()> {
        let restarts = !self.settings.without.restarts;
        let is_restart = memory.champion.is_some();
        let most = match is_restart || restarts && !is_open {
            true => self.most_evidence.min(SOME_EVIDENCE),
            false => self.most_evidence,
        };
        if memory.evidence < most {
            memory.evidence = (2 * memory.evidence).min(most);
            return Ok(());
        }
        memory.fruitless += 1;
        if memory.fruitless < FRUITLESS && is_open && !is_restart {
            return Ok(());
        }
        memory.fruitless = 0;
        if !restarts {
            memory.fruitless_restarts = FRUITLESS_RESTARTS;
            return Ok(());
        }
        if is_restart {
            self.crown(fitness, state, memory, true)?;
        }
        let mut rng = stream(self.settings.seed, state.generation, Purpose::Restart);
        let elsewhere = memory.next_best().unwrap_or_else(|| {
            let num_mutations = (self.space.units().len() / 20).max(2);
            (0..num_mutations).fold(memory.current.clone(), |genotype, _| {
                mutation::mutate(self.space, &genotype, &mut rng)
            })
        });
        memory.begin_restart(elsewhere);
        Ok(())
    }

    /// Tokens until the limit.
    fn tokens_left(&self, fitness: &dyn Fitness) -> Option<u64> {
        let spent = self.spent_before + fitness.tokens_spent() - self.counted_from;
        let limit = self.settings.limit.forward_tokens?;
        Some(limit.saturating_sub(spent))
    }

    /// Calibration sequences in the order in which they are used.
    fn sequences(&self, fitness: &dyn Fitness, generation: u32, purpose: Purpose) -> Vec<usize> {
        let mut rng = stream(self.settings.seed, generation, purpose);
        let count = (2 * self.most_evidence).min(fitness.num_sequences());
        index::sample(&mut rng, fitness.num_sequences(), count).into_vec()
    }

    fn reason_to_stop(&self, state: &State, memory: &Memory, seconds: f64) -> Option<Stop> {
        let limit = &self.settings.limit;
        let is_limited = limit.forward_tokens.is_some() || limit.seconds.is_some();
        let most_restarts = match is_limited && !self.settings.without.restarts {
            true => FRUITLESS_RESTARTS_OF_LIMITED,
            false => FRUITLESS_RESTARTS,
        };
        if limit.fitness.is_some_and(|enough| state.fitness <= enough) {
            Some(Stop::Reached)
        } else if limit
            .forward_tokens
            .is_some_and(|most| memory.forward_tokens >= most)
        {
            Some(Stop::Tokens)
        } else if limit.seconds.is_some_and(|most| seconds >= most) {
            Some(Stop::Time)
        } else if memory.fruitless_restarts >= most_restarts {
            Some(Stop::DoesNotPay {
                num_sequences: self.most_evidence as u32,
            })
        } else {
            None
        }
    }

    /// An origin where there is none, and as many gradient passes there as the evidence of decisions asks for.
    fn renew_gradients(&mut self, fitness: &mut dyn Fitness, memory: &mut Memory) -> Result<()> {
        if memory.origin.is_none() {
            self.surrogate = None;
        }
        let current = &memory.current;
        let origin = memory.origin.get_or_insert_with(|| Origin {
            genotype: current.clone(),
            passes: Vec::new(),
        });
        let asked = match self.settings.without.gradients {
            true => 0,
            false => memory.evidence.div_ceil(LEAST_EVIDENCE),
        };
        let fresh = || Surrogate::new(self.space, origin);
        let surrogate = self.surrogate.get_or_insert_with(fresh);
        loop {
            let is_short = origin.passes.len() < asked
                || surrogate.is_noisy(&memory.sinks) && origin.passes.len() < PASSES_WHILE_NOISY;
            if !is_short {
                return Ok(());
            }
            origin.passes.push(Pass {
                number: memory.num_passes,
                num_samples: surrogate.num_samples(&memory.sinks),
            });
            memory.num_passes += 1;
            surrogate.make_passes(fitness, origin, self.settings, Some(&mut memory.sinks))?;
            surrogate.read(&memory.sinks);
        }
    }

    /// The passes that an earlier attempt has made.
    fn make_passes_again(&mut self, fitness: &mut dyn Fitness, memory: &Memory) -> Result<()> {
        if let Some(origin) = &memory.origin {
            let mut surrogate = Surrogate::new(self.space, origin);
            surrogate.make_passes(fitness, origin, self.settings, None)?;
            surrogate.read(&memory.sinks);
            self.surrogate = Some(surrogate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
