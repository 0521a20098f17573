//! Held-out sets of a plan.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::Bos;

/// A held-out set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Name of the set in the report.
    pub name: String,
    /// A UTF-8 text file, absolute, other than the calibration's.
    pub source: PathBuf,
    /// Tokens of one sequence.
    pub sequence_length: u32,
    /// How many tokens are used; a multiple of `sequence_length`.
    pub tokens: u64,
    /// Which of the text's tokens these are.
    pub sample: Sample,
    /// Whether sequences begin with BOS.
    #[serde(default)]
    pub bos: Bos,
    /// Limits that the compressed model must meet on this set.
    pub gate: Gate,
}

/// Which tokens of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Sample {
    /// Sequences at even distances over the whole text, so that all that it is about is measured.
    #[default]
    Spread,
    /// The first ones, as published protocols read a test set.
    Start,
}

/// Quality limits; a run whose model breaks one ends as `gate_failed` and is not published.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Highest allowed perplexity relative to the dense model's.
    pub max_perplexity_ratio: Option<f64>,
    /// Highest allowed perplexity.
    pub max_perplexity: Option<f64>,
    /// Highest allowed KL divergence to the dense model, in nats a token.
    pub max_kl: Option<f64>,
}
