//! Errors of fetching.

use std::io;
use std::path::{Path, PathBuf};

use evopress_cache::CacheError;

use crate::PublishError;

/// The reason why a model is not fetched; one sentence without secrets.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There is no such model.
    #[error("{address} is not there: {why}")]
    Missing {
        /// The model's address.
        address: String,
        /// What the server says.
        why: String,
    },
    /// The server does not let us read it.
    #[error("{address} may not be read: {why}; {hint}")]
    Unauthorized {
        /// The model's address.
        address: String,
        /// What the server says.
        why: String,
        /// What to do.
        hint: String,
    },
    /// Something else is there.
    #[error(
        "{address} is not a model: {found}, expected config.json and .safetensors files, or one .gguf file"
    )]
    NoModel {
        /// The model's address.
        address: String,
        /// What is there.
        found: String,
    },
    /// What arrived is not what was announced.
    #[error(
        "{file} of {address} has {found}, expected {expected}: it was damaged on the way, or at its source"
    )]
    Damaged {
        /// The model's address.
        address: String,
        /// Its file.
        file: String,
        /// `SHA-256 …`.
        found: String,
        /// What the source announced, in the form of `found`.
        expected: String,
    },
    /// The source has another model now.
    #[error("{address} has changed: it was {expected} when the run began and is {found} now")]
    Changed {
        /// The model's address.
        address: String,
        /// The version now.
        found: String,
        /// The version of the run.
        expected: String,
    },
    /// The server cannot be reached, or not now.
    #[error("cannot fetch {address}: {why}")]
    Interrupted {
        /// The model's address.
        address: String,
        /// What went wrong.
        why: String,
    },
    /// A file on this machine.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The settings, or an answer that nobody expects.
    #[error(transparent)]
    Registry(PublishError),
}

impl FetchError {
    /// Whether it may go well later without anybody changing the spec.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Interrupted { .. } | Self::Io { .. } | Self::Cache(_)
        )
    }

    /// An error of the file system, for `map_err`.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }
}

/// What the sentences of errors need: which model is fetched, and what to do where it may not be
/// read.
#[derive(Clone, Debug)]
pub(super) struct ErrorContext {
    pub(super) address: String,
    /// What to do where the model may not be read.
    pub(super) hint: String,
}

impl ErrorContext {
    pub(super) fn missing(&self, why: impl Into<String>) -> FetchError {
        FetchError::Missing {
            address: self.address.clone(),
            why: why.into(),
        }
    }

    pub(super) fn unauthorized(&self, why: impl Into<String>) -> FetchError {
        FetchError::Unauthorized {
            address: self.address.clone(),
            why: why.into(),
            hint: self.hint.clone(),
        }
    }

    pub(super) fn interrupted(&self, why: impl Into<String>) -> FetchError {
        FetchError::Interrupted {
            address: self.address.clone(),
            why: why.into(),
        }
    }

    pub(super) fn damaged(&self, file: &str, found: String, expected: String) -> FetchError {
        FetchError::Damaged {
            address: self.address.clone(),
            file: file.to_owned(),
            found,
            expected,
        }
    }

    /// The error that an answer over HTTP means.
    pub(super) fn answered(&self, error: PublishError) -> FetchError {
        match &error {
            PublishError::Unreachable { .. } => self.interrupted(error.to_string()),
            PublishError::Refused { status, said, .. } => match status {
                401 | 403 => self.unauthorized(said),
                404 | 410 => self.missing(said),
                408 | 425 | 429 | 500.. => self.interrupted(error.to_string()),
                _ => FetchError::Registry(error),
            },
            _ => FetchError::Registry(error),
        }
    }
}
