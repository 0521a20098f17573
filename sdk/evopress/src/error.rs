//! One error for callers who go the whole way.

use evopress_evaluate::EvaluateError;
use evopress_export::ExportError;
use evopress_levels::LevelsError;
use evopress_model::ModelError;
use evopress_plugin::PluginError;
use evopress_search::SearchError;
use evopress_source::SourceError;
use evopress_tensor::{Interrupted, TensorError};

/// Result of the whole way or of a part of it.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of any part of the engine; each says itself what is wrong.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "a variant is the error of the crate of its name"
)]
pub enum Error {
    Source(#[from] SourceError),
    Tensor(#[from] TensorError),
    Model(#[from] ModelError),
    Levels(#[from] LevelsError),
    Evaluate(#[from] EvaluateError),
    Search(#[from] SearchError),
    Export(#[from] ExportError),
    Plugin(#[from] PluginError),
    Interrupted(#[from] Interrupted),
}

impl Error {
    /// Whether an error, or one that it was made of, says that the caller asked to stop.
    pub fn is_interruption(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            let by_search = matches!(error.downcast_ref(), Some(SearchError::Interrupted));
            if by_search || error.is::<Interrupted>() {
                return true;
            }
            if let Some(Self::Interrupted(_) | Self::Search(SearchError::Interrupted)) =
                error.downcast_ref::<Self>()
            {
                return true;
            }
            next = error.source();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_known_however_deep_it_is() {
        let deep = LevelsError::from(ModelError::from(Interrupted));
        assert!(Error::is_interruption(&deep));
        assert!(Error::is_interruption(&Error::from(deep)));
        assert!(Error::is_interruption(&Error::from(Interrupted)));
        let of_search = SearchError::from(EvaluateError::from(Interrupted));
        assert!(Error::is_interruption(&of_search));
        assert!(Error::is_interruption(&Error::from(of_search)));
        let other = SearchError::Budget("no genotype meets the budget".into());
        assert!(!Error::is_interruption(&other));
    }
}
