//! What a plugin says when something is wrong: one sentence, carried across the boundary as text.

use std::fmt;

/// A failure of a plugin or of the host's operations that a plugin called.
///
/// The message is a sentence without a full stop, in lower case, and names what was expected and
/// what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// The sentence.
    pub message: String,
}

impl PluginError {
    /// An error that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        PluginError {
            message: message.into(),
        }
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PluginError {}

impl From<String> for PluginError {
    fn from(message: String) -> Self {
        PluginError { message }
    }
}

impl From<&str> for PluginError {
    fn from(message: &str) -> Self {
        PluginError::new(message)
    }
}

impl From<crate::TensorError> for PluginError {
    fn from(error: crate::TensorError) -> Self {
        PluginError::new(error.to_string())
    }
}
