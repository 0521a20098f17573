//! `evopress-worker plugins`: what lies in the folder of plugins.

use serde::{Deserialize, Serialize};

use super::{Worker, WorkerError};

/// One plugin file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// The file.
    pub file: String,
    /// Its digest.
    pub sha256: Option<String>,
    /// The plugin's name.
    pub name: Option<String>,
    /// `method` or `fitness`.
    pub kind: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema of its options.
    #[serde(default)]
    pub options_schema: serde_json::Value,
    /// The reason why it cannot be used, where it cannot.
    pub error: Option<String>,
}

impl Worker {
    /// Lists the plugins.
    ///
    /// # Errors
    /// The child gave no answer.
    pub async fn plugins(&self) -> Result<Vec<Listed>, WorkerError> {
        let doing = "listed the plugins";
        let mut command = self.command("plugins");
        command.arg("--plugins").arg(&self.tools.plugins);
        let output = self.output(command, doing).await?;
        serde_json::from_slice(&output.stdout).map_err(|error| WorkerError::Answer { doing, error })
    }
}
