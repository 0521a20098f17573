//! A plugin that a plan uses.

use serde::{Deserialize, Serialize};

/// A plugin by name and its options, which the plugin's own JSON Schema describes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginUse {
    /// The plugin's name, as `evopressd plugins` lists it.
    pub plugin: String,
    /// Its options, a JSON object.
    pub options: serde_json::Value,
}
