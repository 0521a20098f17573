//! The texts that a run reads before it has a result.

use std::path::PathBuf;

use schemars::JsonSchema;
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
    /// Whether sequences begin with BOS.
    #[serde(default)]
    pub bos: Bos,
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
    /// Whether sequences begin with BOS: as those of the calibration do.
    #[serde(default)]
    pub bos: Bos,
}

/// Whether a sequence of tokens begins with the model's BOS token. One of length L that does holds
/// BOS and L − 1 tokens of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Bos {
    /// Where the model's runtimes put it before a text.
    #[default]
    Auto,
    /// Each sequence does.
    Always,
    /// No sequence does.
    Never,
}
