//! What single level changes would do to the loss, as a fitness with gradients predicts it.

use crate::genotype::Genotype;
pub use crate::responses::Responses;

/// A unit takes another level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LevelChange {
    /// The unit, an index into [`crate::genotype::SearchSpace::units`].
    pub unit_idx: usize,
    /// The level that it takes.
    pub level: usize,
}

/// Which level changes are to be predicted, and on what.
#[derive(Debug, Clone, Copy)]
pub struct PredictionRequest<'a> {
    /// The genotype that the changes start from. It may be beyond the budget: nothing is selected
    /// here.
    pub parent: &'a Genotype,
    /// The level changes, each on its own.
    pub changes: &'a [LevelChange],
    /// Calibration sequences.
    pub sequence_idxs: &'a [usize],
    /// Tokens that are sampled at each token of a sequence, where the changes are between levels
    /// that replace weights: at the first token there is one response a sequence and sample to know
    /// its square from. For sub-blocks one is enough.
    pub samples_of_levels: usize,
    /// Seed of the search.
    pub seed: u64,
    /// Number of the pass in its search, so that each draws other tokens.
    pub pass: u32,
}

/// What level changes would do to the mean loss of a parent.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// By change: the first-order term, and its standard error.
    pub first: Vec<(f64, f64)>,
    /// By change: the first-order term, and twice the second-order one, by what another level does
    /// at the first token of sequences. It is not in the other terms; 0 for changes that drop or
    /// restore sub-blocks, where it is.
    pub sink: Vec<(f64, f64)>,
    /// Responses that a second-order term of `sink` is the mean of.
    pub sink_samples: usize,
    /// Responses of tokens to each change. A set's second-order term is half the sum of
    /// [`Responses::product`] over its pairs.
    pub responses: Responses,
    /// What computing this took, in tokens of a forward pass.
    pub forward_tokens: u64,
}
