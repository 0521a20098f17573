//! The texts that a run reads before it has a result.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The text that fitness is measured on during the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// A UTF-8 text file, absolute.
    pub source: PathBuf,
    /// How many tokens of it are used; a multiple of `sequence_length`.
    pub tokens: u64,
    /// Tokens of one sequence.
    pub sequence_length: u32,
}

/// The text that data-driven methods compress layers on, when a level database is built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// A UTF-8 text file, absolute.
    pub source: PathBuf,
    /// How many tokens of it are used; a multiple of `sequence_length`.
    pub tokens: u64,
    /// Tokens of one sequence.
    pub sequence_length: u32,
    /// The least share that the first tokens of sequences have in the statistics by which a method
    /// minimises output errors; 0 in plans without this field.
    #[serde(default)]
    pub first_token_share: f64,
}
