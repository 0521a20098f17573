//! Digests of what goes into a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// SHA-256, hex, of every file that a run reads. Part of the run's ID and of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InputDigests {
    /// Of the model's file or folder.
    pub model: String,
    /// Of the calibration text.
    pub calibration: String,
    /// Of the text that level databases are built from.
    pub database: String,
    /// Of each evaluation text, in the plan's order.
    pub evaluation: Vec<String>,
    /// Of each plugin's file, by the plugin's name.
    pub plugins: BTreeMap<String, String>,
}
