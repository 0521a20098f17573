//! What stays the same from one generation of a fast search to the next.

use rand::seq::index;

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

    /// Tokens until the limit, where there is one.
    pub(super) fn tokens_left(&self, fitness: &dyn Fitness) -> Option<u64> {
        let limit = self.settings.limit.forward_tokens?;
        Some(limit.saturating_sub(self.tokens_spent(fitness)))
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
