//! Which gradients are in use, and what all gradient passes have shown.

use serde::{Deserialize, Serialize};

use super::sinks::Sinks;
use crate::genotype::Genotype;

/// What a search keeps of its gradient passes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Gradients {
    /// Where the gradients in use were taken; none where they are to be taken again.
    pub(super) origin: Option<Origin>,
    /// Gradient passes so far.
    pub(super) num_passes: u32,
    /// What they have shown of the first token of sequences.
    pub(super) sinks: Sinks,
}

/// A genotype whose gradients are in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) genotype: Genotype,
    /// The passes that were made there.
    pub(super) passes: Vec<Pass>,
}

/// A gradient pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pass {
    /// Draws its sequences.
    pub(super) number: u32,
    /// Samples where levels are at stake.
    pub(super) num_samples: usize,
}
