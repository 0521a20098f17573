//! Configuration in two steps: what was typed, and what came of it.

mod resolved;
mod typed;

pub use resolved::{ServeSettings, SupervisorSettings, Tools, default_state};
pub use typed::{ServeFile, ServeFlags, ToolFlags};

/// A setting that makes no sense; one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    message: String,
}

impl ConfigError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}
