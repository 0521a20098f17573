//! What can go wrong when an artifact is written or verified.

use std::path::PathBuf;

use evopress_levels::LevelsError;
use evopress_model::ModelError;
use evopress_plugin::PluginError;
use evopress_source::SourceError;
use evopress_tensor::TensorError;

/// Result of writing or verifying an artifact.
pub type Result<T, E = ExportError> = std::result::Result<T, E>;

/// An error of an artifact; every variant names the thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The model could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A tensor of the model could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// libtorch refused an operation.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A compressed weight could not be decoded.
    #[error(transparent)]
    Levels(#[from] LevelsError),
    /// Parts of a compressed weight do not fit together.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The artifact cannot be written in the format that was asked for.
    #[error("{0}")]
    Format(String),
    /// What was written is not what was searched.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl ExportError {
    /// For `map_err` on file operations.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl From<tch::TchError> for ExportError {
    fn from(error: tch::TchError) -> Self {
        Self::Tensor(error.into())
    }
}
