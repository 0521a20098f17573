//! What plugins a folder holds.

use std::path::Path;

use anyhow::Result;
use evopress_plugin::PluginKind;
use evopress_plugin::host::PluginDir;
use serde::Serialize;
use serde_json::Value;

/// A plugin file as `evopressd plugins` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    file: String,
    sha256: String,
    name: Option<String>,
    kind: Option<&'static str>,
    version: Option<String>,
    description: Option<String>,
    options_schema: Option<Value>,
    /// Why it cannot be used.
    error: Option<String>,
}

/// Every plugin file of a folder, loaded or with the reason why not.
pub(crate) fn list(folder: &Path) -> Result<Vec<Entry>> {
    let listed = PluginDir::open(folder)?.list();
    Ok(listed
        .into_iter()
        .map(|listed| {
            let file = listed.file.display().to_string();
            match listed.plugin {
                Ok(loaded) => Entry {
                    file,
                    sha256: listed.sha256,
                    kind: Some(kind_name(loaded.kind)),
                    options_schema: serde_json::from_str(&loaded.info.options_schema).ok(),
                    name: Some(loaded.info.name),
                    version: Some(loaded.info.version),
                    description: Some(loaded.info.description),
                    error: None,
                },
                Err(error) => Entry {
                    file,
                    sha256: listed.sha256,
                    name: None,
                    kind: None,
                    version: None,
                    description: None,
                    options_schema: None,
                    error: Some(error.to_string()),
                },
            }
        })
        .collect())
}

fn kind_name(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Method => "method",
        PluginKind::Fitness => "fitness",
    }
}
