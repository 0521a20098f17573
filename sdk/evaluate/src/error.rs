//! What can go wrong when genotypes are measured.

use evopress_model::ModelError;
use evopress_plugin::PluginError;
use evopress_search::SearchError;
use evopress_tensor::{Interrupted, TensorError};

/// Result of a measurement.
pub type Result<T, E = EvaluateError> = std::result::Result<T, E>;

/// An error of a measurement; every variant names the thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The model could not be read or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// libtorch refused an operation.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The fitness plugin returned an error or panicked.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A loss is not a number; the search cannot go on.
    #[error(
        "the fitness of a genotype is {value} on sequence {sequence_idx}: the model or the fitness plugin overflows"
    )]
    NotFinite {
        /// The value.
        value: f32,
        /// Which calibration sequence.
        sequence_idx: usize,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted(
        #[from]
        #[source]
        Interrupted,
    ),
}

impl From<tch::TchError> for EvaluateError {
    fn from(error: tch::TchError) -> Self {
        Self::Tensor(error.into())
    }
}

impl From<EvaluateError> for SearchError {
    fn from(error: EvaluateError) -> Self {
        match error {
            EvaluateError::Interrupted(_) => Self::Interrupted,
            EvaluateError::Plugin(error) => Self::Plugin(error),
            EvaluateError::NotFinite {
                value,
                sequence_idx,
            } => Self::NotFinite {
                value,
                sequence_idx,
            },
            other => Self::Fitness(Box::new(other)),
        }
    }
}
