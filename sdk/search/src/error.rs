//! What can go wrong in a search.

use std::error::Error;

use evopress_plugin::PluginError;

/// Result of a call into this crate.
pub type Result<T, E = SearchError> = std::result::Result<T, E>;

/// An error of a search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// No genotype can meet the budget, or there is nothing to search.
    #[error("{0}")]
    Budget(String),
    /// A method plugin returned an error or panicked.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A loss is not a number. The search cannot go on.
    #[error(
        "the fitness of a genotype is {value} on sequence {sequence_idx}: the model or the fitness plugin overflows"
    )]
    NotFinite {
        /// The value.
        value: f32,
        /// Which calibration sequence.
        sequence_idx: usize,
    },
    /// The fitness failed in another way.
    #[error(transparent)]
    Fitness(Box<dyn Error + Send + Sync>),
    /// The caller could not handle a generation, for example not save its checkpoint.
    #[error(transparent)]
    Generation(Box<dyn Error + Send + Sync>),
    /// The caller asked the search to stop. Everything up to the last generation is with the
    /// caller.
    #[error("interrupted")]
    Interrupted,
}
