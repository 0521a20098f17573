//! Configuration in two steps: what was typed, and what came of it.

mod resolved;
mod typed;

pub use evopress_spec::ByteSize;
pub use resolved::{DEFAULT_CACHE_BYTES, ServeSettings, SupervisorSettings, Tools, default_state};
pub use typed::{CacheFile, LimitsFile, ResourceFlags, ServeFile, ServeFlags, ToolFlags};

/// The JSON Schema of the config file: every setting with its docs and default.
#[must_use]
pub fn schema() -> serde_json::Value {
    evopress_spec::schema_of::<ServeFile>()
}

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
