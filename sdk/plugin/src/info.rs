//! What a plugin says of itself before it is asked to do anything.

use std::fmt;

/// A plugin's name, version and options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The name that a spec uses: `drop`, `kl`.
    pub name: String,
    /// The plugin's own version, usually `env!("CARGO_PKG_VERSION")`.
    pub version: String,
    /// One sentence for `evopressd plugins`.
    pub description: String,
    /// JSON Schema of the options, as text. The host checks a spec's options against it before it
    /// creates the plugin.
    pub options_schema: String,
}

/// What a plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PluginKind {
    /// Compresses: units, levels and budgets.
    Method,
    /// Judges: a loss per token.
    Fitness,
}

impl fmt::Display for PluginKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PluginKind::Method => "method",
            PluginKind::Fitness => "fitness",
        })
    }
}
