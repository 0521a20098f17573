//! When gradients are taken again.

use super::fast_search::FastSearch;
use super::gradients::{Gradients, Origin, Pass};
use super::state::FastSearchState;
use super::surrogate::Surrogate;
use crate::error::Result;
use crate::fitness::Fitness;

impl FastSearch<'_> {
    /// An origin where there is none, and as many gradient passes there as the evidence of
    /// decisions asks for.
    pub(super) fn renew_gradients(
        &mut self,
        fitness: &mut dyn Fitness,
        state: &mut FastSearchState,
    ) -> Result<()> {
        let tuning = &self.settings.tuning;
        let Gradients {
            origin,
            num_passes,
            sinks,
        } = &mut state.gradients;
        if origin.is_none() {
            self.surrogate = None;
        }
        let origin = origin.get_or_insert_with(|| Origin {
            genotype: state.position.genotype.clone(),
            passes: Vec::new(),
        });
        let num_requested = match self.settings.without.gradients {
            true => 0,
            false => (state.position.evidence).div_ceil(tuning.evidence.min_sequences),
        };
        let fresh = || Surrogate::new(self.space, origin, &tuning.gradients);
        let surrogate = self.surrogate.get_or_insert_with(fresh);
        loop {
            let may_be_noisy = origin.passes.len() < tuning.gradients.passes_while_noisy;
            let is_short =
                origin.passes.len() < num_requested || may_be_noisy && surrogate.is_noisy(sinks);
            if !is_short {
                return Ok(());
            }
            origin.passes.push(Pass {
                number: *num_passes,
                num_samples: surrogate.num_samples(sinks),
            });
            *num_passes += 1;
            state.trouble.lost_passes +=
                surrogate.make_passes(fitness, origin, self.settings, Some(sinks))?;
            surrogate.read(sinks);
        }
    }

    /// The passes at the origin that an earlier attempt has made, whose responses no checkpoint
    /// holds.
    pub(super) fn make_passes_again(
        &mut self,
        fitness: &mut dyn Fitness,
        gradients: &Gradients,
    ) -> Result<()> {
        if let Some(origin) = &gradients.origin {
            let tuning = &self.settings.tuning.gradients;
            let mut surrogate = Surrogate::new(self.space, origin, tuning);
            surrogate.make_passes(fitness, origin, self.settings, None)?;
            surrogate.read(&gradients.sinks);
            self.surrogate = Some(surrogate);
        }
        Ok(())
    }
}
