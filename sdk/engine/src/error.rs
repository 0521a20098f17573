//! What can go wrong in the engine.

use std::path::PathBuf;

use evopress_plugin::PluginError;

use crate::source::SourceError;

/// Result of an engine call.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// An error of the engine; every variant names the thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The model could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// libtorch refused an operation (shapes, memory, device).
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
    /// A plugin returned an error or panicked.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The requested device is not there.
    #[error("device `{requested}` is not available: {reason}")]
    Device {
        /// As the spec names it.
        requested: String,
        /// Why.
        reason: String,
    },
    /// Too little text for what was asked.
    #[error("{}: {found} tokens, but {needed} are needed", path.display())]
    TooLittleText {
        /// The text file.
        path: PathBuf,
        /// Tokens in it.
        found: usize,
        /// Tokens asked for.
        needed: usize,
    },
    /// No genotype can meet the budget, or there is nothing to search.
    #[error("{0}")]
    Budget(String),
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
    /// Numbers of a layer that nothing sound can be made of.
    #[error("layer `{layer}`: its {what} contain NaN or infinity")]
    NotFiniteLayer {
        /// The layer's name.
        layer: String,
        /// `weights`, `inputs`, `compressed weights`.
        what: &'static str,
    },
    /// The cache folder cannot be read or written.
    #[error(transparent)]
    Cache(#[from] evopress_cache::CacheError),
    /// A level database cannot be written.
    #[error("level database: {0}")]
    Database(String),
    /// An artifact cannot be written in the format that was asked for.
    #[error("{0}")]
    Artifact(String),
    /// A file of this project's own making is damaged or belongs to something else.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller asked to stop (SIGTERM); everything so far is in the checkpoint.
    #[error("interrupted")]
    Interrupted,
}

impl EngineError {
    /// For `map_err` on file operations.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// libtorch appends a C++ backtrace to its messages.
fn first_line(error: &tch::TchError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}
