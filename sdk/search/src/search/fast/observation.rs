//! What a race has shown of a change, in the terms of the predictions.

use serde::{Deserialize, Serialize};

/// Kinds of level changes: an attention's layer raised and lowered, an MLP's layer likewise, a
/// sub-block restored and dropped.
pub(super) const NUM_KINDS: usize = 6;
/// The first kind that is about sub-blocks.
pub(super) const DROPS: usize = 4;
/// First order and second order, and both at the first token of sequences.
pub(super) const TERMS_OF_KIND: usize = 4;
/// The terms of all kinds; then what changes between levels do together, and what others do.
pub(super) const NUM_TERMS: usize = TERMS_OF_KIND * NUM_KINDS + 2;

/// Predicted changes of the loss, each with a factor of its own that evaluations correct.
pub(super) type Terms = [f64; NUM_TERMS];

/// A paired difference: what a change has done to the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Observation {
    /// By unit: level before and after.
    pub(super) changes: Vec<(usize, u16, u16)>,
    /// What gradients predicted.
    pub(super) predicted: Terms,
    pub(super) mean: f64,
    pub(super) standard_error: f64,
}
