//! How a fast search goes.

use super::tuning::Tuning;

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
    /// Everything that was tuned rather than derived.
    pub tuning: Tuning,
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
    /// Genotypes that leave a race before its end.
    pub racing: bool,
    /// Walking on from genotypes that only seem to be better.
    pub walks: bool,
    /// Starting again from a disturbed genotype.
    pub restarts: bool,
}
