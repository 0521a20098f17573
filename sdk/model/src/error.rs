//! What can go wrong in a forward pass.

use evopress_plugin::PluginError;
use evopress_source::SourceError;
use evopress_tensor::{Interrupted, TensorError};

/// Result of a call of the decoder.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;

/// An error of a model; every variant names the thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The model could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// libtorch refused an operation, or a device is not there.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A tensor cannot be handed to a plugin, or a plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A compressed weight could not be decoded.
    #[error(transparent)]
    Level(Box<dyn std::error::Error + Send + Sync>),
    /// The model computes something that this decoder does not.
    #[error("{place}: the decoder does not compute {what}")]
    Unsupported {
        /// The block or the part of the model: `model.layers.3`, `lm_head`.
        place: String,
        /// What it would have to compute: `attention within a window`.
        what: &'static str,
    },
    /// A token that is not in the vocabulary.
    #[error("{tensor} has {num_rows} rows, and there is no row {row}")]
    NoSuchRow {
        /// The embedding, or the head.
        tensor: String,
        /// The token's id.
        row: i64,
        /// Size of the vocabulary.
        num_rows: i64,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted(
        #[from]
        #[source]
        Interrupted,
    ),
}

impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> Self {
        Self::Tensor(error.into())
    }
}
