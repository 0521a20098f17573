//! Errors of publishing.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why a model is not published; one sentence without secrets.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file or folder.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// What was written is not what was read.
    #[error("the copy {} has SHA-256 {found}, expected {expected}: the medium or the memory is faulty", path.display())]
    Corrupt {
        /// The copy.
        path: PathBuf,
        /// SHA-256 of the copy.
        found: String,
        /// SHA-256 of the original.
        expected: String,
    },
    /// There is nothing to publish.
    #[error("the run has no model in {}", .0.display())]
    NoModel(PathBuf),
    /// The run's own files.
    #[error("the run's {file} is not what it should be: {error}")]
    RunFile {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A secret is not where the spec says.
    #[error("the secret in {secret} cannot be used: {why}")]
    Secret {
        /// Where it should be.
        secret: String,
        /// What is wrong.
        why: String,
    },
    /// A setting makes no sense.
    #[error("{0}")]
    Settings(String),
    /// There is no answer.
    #[error("cannot reach {registry} at {url}: {why}")]
    Unreachable {
        /// The kind of registry.
        registry: &'static str,
        /// Of the request.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The server refuses the request.
    #[error("{registry} refused {what} with status {status}: {said}")]
    Refused {
        /// The kind of registry.
        registry: &'static str,
        /// Method and path.
        what: String,
        /// The status code.
        status: u16,
        /// What the server says.
        said: String,
    },
    /// The registry's library reports a failure.
    #[error("{registry}: cannot {doing}: {why}")]
    Failed {
        /// The kind of registry.
        registry: &'static str,
        /// What was tried.
        doing: String,
        /// What the library says.
        why: String,
    },
    /// The answer is not what the protocol says.
    #[error("{registry} answered {what} without {missing}")]
    Answer {
        /// The kind of registry.
        registry: &'static str,
        /// The request.
        what: String,
        /// What should have been there.
        missing: String,
    },
    /// What arrived is not what was sent.
    #[error(
        "{place} has digest {found} at {registry}, expected {expected}: it was damaged on the way"
    )]
    Differs {
        /// The kind of registry.
        registry: &'static str,
        /// The file.
        place: String,
        /// SHA-256 in the registry.
        found: String,
        /// SHA-256 on this machine.
        expected: String,
    },
    /// No byte was transferred for too long.
    #[error("nothing moved for {seconds} s")]
    Stalled {
        /// The time without a transfer.
        seconds: u64,
    },
}

impl PublishError {
    /// An error of the file system, for `map_err`.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }
}
