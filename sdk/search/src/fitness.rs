//! What a search asks of whoever can say how good a genotype is.

use std::collections::BTreeSet;

use rand::seq::index;

use crate::error::Result;
use crate::genotype::Genotype;
use crate::prediction::{PredictionRequest, Predictions};
use crate::random::{Purpose, stream};

/// Measures genotypes by their loss on calibration sequences; lower is better.
pub trait Fitness {
    /// Calibration sequences that minibatches are drawn from.
    fn num_sequences(&self) -> usize;

    /// The loss of each genotype on each sequence of `minibatch`: as many rows as genotypes, as
    /// many entries as sequences.
    ///
    /// # Errors
    /// When the forward pass or the fitness plugin fails, or the run was interrupted.
    fn losses(&mut self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<Vec<f64>>>;

    /// Tokens that went forward so far, gradient passes at what they cost.
    fn tokens_spent(&self) -> u64 {
        0
    }

    /// Says whose offspring are evaluated next, so that what they have in common with it may be
    /// computed once. Changes no loss.
    fn set_parent(&mut self, _parent: &Genotype) {}

    /// What level changes of a genotype would do to the loss; none where the fitness has no
    /// gradient.
    ///
    /// # Errors
    /// As [`Self::losses`].
    fn predict(&mut self, _request: &PredictionRequest<'_>) -> Result<Option<Predictions>> {
        Ok(None)
    }

    /// How much the blocks of the dense model turn its residual stream, with windows of
    /// `num_dropped` blocks; none where the fitness knows no residual stream.
    ///
    /// # Errors
    /// As [`Self::losses`].
    fn block_cosines(
        &mut self,
        _minibatch: &[usize],
        _num_dropped: usize,
    ) -> Result<Option<BlockCosines>> {
        Ok(None)
    }

    /// How much each expert of the dense model counts, by block and number: the mean of the
    /// router's probability times the norm of the expert's output, over the tokens that go to it;
    /// none where the fitness knows no routers.
    ///
    /// # Errors
    /// As [`Self::losses`].
    fn expert_saliency(&mut self, _minibatch: &[usize]) -> Result<Option<Vec<Vec<f64>>>> {
        Ok(None)
    }

    /// The fitness of each genotype: its mean loss over `minibatch`.
    ///
    /// # Errors
    /// As [`Self::losses`].
    fn evaluate(&mut self, genotypes: &[Genotype], minibatch: &[usize]) -> Result<Vec<f64>> {
        let losses = self.losses(genotypes, minibatch)?;
        let mean = |losses: &Vec<f64>| losses.iter().sum::<f64>() / losses.len() as f64;
        Ok(losses.iter().map(mean).collect())
    }
}

/// Mean cosines of the dense model's residual stream between block boundaries, over all tokens of
/// some sequences.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockCosines {
    /// By block: between the stream before it and after it.
    pub single: Vec<f64>,
    /// By first block of a window of consecutive blocks: between the stream before the window and
    /// after it.
    pub window: Vec<f64>,
}

/// Draws `count` different calibration sequences (all where there are fewer), in rising order. What
/// is drawn depends on nothing but the seed, the generation and the purpose.
pub fn draw_minibatch(
    fitness: &dyn Fitness,
    seed: u64,
    generation: u32,
    purpose: Purpose,
    count: usize,
) -> Vec<usize> {
    let available = fitness.num_sequences();
    let mut rng = stream(seed, generation, purpose);
    let drawn: BTreeSet<usize> = index::sample(&mut rng, available, count.min(available))
        .into_iter()
        .collect();
    drawn.into_iter().collect()
}
