//! Two searches over the same genotypes: the paper's, and the fast one.
//!
//! [`run`] is EvoPress exactly as published (paper, Algorithm 1); [`fast`] looks for the same with
//! fewer forward passes. In go a search space, a fitness and settings; out come the fittest
//! genotype and, after each generation, a state that the caller makes durable. A search that starts
//! from it ends like an undisturbed one.

pub mod fast;
mod fill;
mod generations;
mod mutation;
mod paper;
mod settings;
mod start;

pub use generations::paper_generations;
#[cfg(test)]
pub(crate) use mutation::mutate;
pub use paper::{initial, run};
pub use settings::{SearchState, SelectionStage, Settings};
pub(crate) use start::random_genotypes;

#[cfg(test)]
mod tests;
