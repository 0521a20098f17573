//! The search of EvoPress: the best compression level for each unit of a model under a global
//! budget.
//!
//! In go the outline of a model, the units of one or several methods, a budget and a [`Fitness`];
//! out comes a genotype, one level for each unit. The crate knows neither tensors nor files:
//! whoever can say how good a genotype is can search with it.
//!
//! - [`genotype`]: units, levels and budgets, and the model that a genotype stands for.
//! - [`fitness`]: what the searches ask of whoever measures genotypes.
//! - [`prediction`]: what single level changes are expected to do, where the fitness has gradients.
//! - [`search`]: the paper's search and the fast one, both deterministic in their seed and
//!   resumable after every generation.
//! - [`baselines`]: genotypes that were not searched for, to hold the result against.

pub mod baselines;
mod error;
pub mod fitness;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
pub mod genotype;
pub mod prediction;
pub mod random;
mod responses;
pub mod search;

pub use error::{Result, SearchError};
pub use fitness::Fitness;
