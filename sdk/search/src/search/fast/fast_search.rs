//! What stays the same from one generation of a fast search to the next.

use rand::seq::index;

use super::phase::Phase;
use super::settings::Settings;
use super::surrogate::Surrogate;
use crate::fitness::Fitness;
use crate::genotype::SearchSpace;
use crate::random::{Purpose, stream};

/// A fast search at work.
pub(super) struct FastSearch<'a> {
    pub(super) space: &'a SearchSpace,
    pub(super) settings: &'a Settings,
    /// Sequences of a decision, at most.
    pub(super) max_evidence: usize,
    /// Predictions around the origin of the state's gradients; none where they are to be taken
    /// again.
    pub(super) surrogate: Option<Surrogate>,
    /// Tokens that earlier attempts have taken.
    pub(super) spent_before: u64,
    /// What the fitness had counted when this attempt began.
    pub(super) counted_from: u64,
}

impl FastSearch<'_> {
    /// Tokens that the search has taken in all.
    pub(super) fn tokens_spent(&self, fitness: &dyn Fitness) -> u64 {
        self.spent_before + fitness.tokens_spent() - self.counted_from
    }

    /// Tokens until the limit, where there is one. While the search is away from its incumbent, its
    /// last comparison has the reserve, and nothing else has it.
    pub(super) fn tokens_left(&self, fitness: &dyn Fitness, phase: &Phase) -> Option<u64> {
        let limit = self.settings.limit.forward_tokens?;
        let reserve = phase.incumbent().map_or(0, |_| self.reserve(limit));
        Some(limit.saturating_sub(self.tokens_spent(fitness) + reserve))
    }

    /// Tokens until the limit for a comparison with the incumbent, where there is a limit. It has
    /// the reserve even where a generation has taken more than was left.
    pub(super) fn tokens_for_comparison(&self, fitness: &dyn Fitness) -> Option<u64> {
        let limit = self.settings.limit.forward_tokens?;
        let left = limit.saturating_sub(self.tokens_spent(fitness));
        Some(left.max(self.reserve(limit)))
    }

    fn reserve(&self, limit: u64) -> u64 {
        limit / self.settings.tuning.evidence.reserve_divisor
    }

    /// Calibration sequences of a race, in the order in which they are used.
    pub(super) fn sequences(
        &self,
        fitness: &dyn Fitness,
        generation: u32,
        purpose: Purpose,
    ) -> Vec<usize> {
        let mut rng = stream(self.settings.seed, generation, purpose);
        let count = (2 * self.max_evidence).min(fitness.num_sequences());
        index::sample(&mut rng, fitness.num_sequences(), count).into_vec()
    }
}
