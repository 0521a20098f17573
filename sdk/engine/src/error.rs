//! What can go wrong in the engine.

use std::path::PathBuf;

use evopress_plugin::PluginError;
use evopress_search::SearchError;

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
    /// The search failed in a way that is its own.
    #[error(transparent)]
    Search(SearchError),
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

impl From<SearchError> for EngineError {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Budget(reason) => Self::Budget(reason),
            SearchError::Plugin(error) => Self::Plugin(error),
            SearchError::NotFinite {
                value,
                sequence_idx,
            } => Self::NotFinite {
                value,
                sequence_idx,
            },
            SearchError::Fitness(error) => match error.downcast() {
                Ok(error) => *error,
                Err(other) => Self::Search(SearchError::Fitness(other)),
            },
            SearchError::Interrupted => Self::Interrupted,
            other => Self::Search(other),
        }
    }
}

impl From<EngineError> for SearchError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Budget(reason) => Self::Budget(reason),
            EngineError::Plugin(error) => Self::Plugin(error),
            EngineError::NotFinite {
                value,
                sequence_idx,
            } => Self::NotFinite {
                value,
                sequence_idx,
            },
            EngineError::Search(error) => error,
            EngineError::Interrupted => Self::Interrupted,
            other => Self::Fitness(Box::new(other)),
        }
    }
}

/// libtorch appends a C++ backtrace to its messages.
fn first_line(error: &tch::TchError) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_pass_through_a_search_unchanged() {
        let io = || EngineError::io("text.txt")(std::io::ErrorKind::NotFound.into());
        let errors = [
            || EngineError::Interrupted,
            || EngineError::Budget("nothing to search".into()),
            || EngineError::NotFinite {
                value: f32::INFINITY,
                sequence_idx: 3,
            },
            || EngineError::Plugin(PluginError::new("no")),
        ];
        for error in errors {
            let there = SearchError::from(error());
            assert_eq!(there.to_string(), error().to_string());
            let back = EngineError::from(there);
            let kind = std::mem::discriminant(&error());
            assert_eq!(std::mem::discriminant(&back), kind, "{back}");
        }
        let there = SearchError::from(io());
        assert_eq!(there.to_string(), io().to_string());
        let back = EngineError::from(there);
        assert!(matches!(&back, EngineError::Io { path, .. } if path.ends_with("text.txt")));
    }
}
