//! What can go wrong with a level database.

use std::path::PathBuf;

use evopress_cache::CacheError;
use evopress_model::ModelError;
use evopress_plugin::PluginError;
use evopress_source::SourceError;
use evopress_tensor::{Interrupted, TensorError};

/// Result of a call on a level database.
pub type Result<T, E = LevelsError> = std::result::Result<T, E>;

/// An error of a level database; every variant names the thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LevelsError {
    /// The model could not be read or run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// libtorch refused an operation, or there is no room for activations.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The method plugin returned an error or panicked.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A file of the model or of the database could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The cache folder cannot be read or written.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Numbers of a layer that nothing sound can be made of.
    #[error("layer `{layer}`: its {what} contain NaN or infinity")]
    NotFinite {
        /// The layer's name.
        layer: String,
        /// `weights`, `inputs`, `compressed weights`.
        what: &'static str,
    },
    /// A layer's file cannot be written.
    #[error("level database: {0}")]
    Unwritable(String),
    /// A layer's file is damaged or belongs to another database.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller asked to stop; every finished layer is on disk.
    #[error("interrupted")]
    Interrupted(
        #[from]
        #[source]
        Interrupted,
    ),
}

impl From<tch::TchError> for LevelsError {
    fn from(error: tch::TchError) -> Self {
        Self::Tensor(error.into())
    }
}
