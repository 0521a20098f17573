//! How a search goes, and what it carries from one generation to the next.

use serde::{Deserialize, Serialize};

use crate::genotype::Genotype;

/// How the paper's search goes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Generations in all.
    pub generations: u32,
    /// Offspring of a generation, λ.
    pub offspring: usize,
    /// Random genotypes to start from.
    pub initial_genotypes: usize,
    /// Calibration sequences that the start is chosen on.
    pub initial_sequences: usize,
    /// Selection stages of a generation, in order.
    pub stages: Vec<SelectionStage>,
    /// Seed of every random choice.
    pub seed: u64,
}

/// One stage of selection.
#[derive(Debug, Clone, Copy)]
pub struct SelectionStage {
    /// Calibration sequences of the minibatch.
    pub num_sequences: usize,
    /// How many genotypes go on.
    pub survivors: usize,
}

/// Everything that a search carries from one generation to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchState {
    /// Generations that are done.
    pub generation: u32,
    /// The fittest genotype so far.
    pub parent: Genotype,
    /// Its fitness on the last minibatch that it was measured on; lower is better.
    pub fitness: f64,
    /// Whether the last generation replaced the parent.
    pub accepted: bool,
}
