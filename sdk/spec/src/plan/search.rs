//! How a plan's search goes.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plugin_use::PluginUse;

/// The evolutionary search, as in the paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The kind of search.
    pub mode: Mode,
    /// Between which units a mutation moves budget; `None` leaves it to the method and the target.
    pub grouping: Option<Grouping>,
    /// How many generations.
    pub generations: Generations,
    /// Offspring of each generation.
    pub offspring: u32,
    /// The random start.
    pub initial: Initial,
    /// Selection stages, the last of which leaves one survivor.
    pub stages: Vec<SelectionStage>,
    /// The fitness plugin.
    pub fitness: PluginUse,
    /// Where a fast search ends at the latest.
    #[serde(default)]
    pub limit: Limit,
    /// What a fast search does without.
    #[serde(default)]
    pub without: Vec<Ingredient>,
    /// Seed of every random draw.
    pub seed: u64,
}

/// Where a fast search ends, whichever comes first. Without any limit it ends when it no longer
/// finds improvements worth their cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Limit {
    /// Tokens forward, gradient passes at what they cost.
    pub forward_tokens: Option<u64>,
    /// Seconds of wall time.
    pub seconds: Option<f64>,
    /// A fitness that is good enough.
    pub fitness: Option<f64>,
}

/// An ingredient of the fast search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Ingredient {
    /// Predictions of gradient passes.
    Gradients,
    /// Corrections of the predictions by evaluations.
    Learning,
    /// Dropping genotypes from a race before its end.
    Racing,
    /// Walking on from genotypes that only seem to be better.
    Walks,
    /// Starting again from a disturbed result.
    Restarts,
}

/// The kind of search: the paper's, or the accelerated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Mode {
    /// EvoPress exactly as published.
    Paper,
    /// A better answer for fewer forward passes: gradients propose, races decide.
    Fast,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Paper => "paper",
            Mode::Fast => "fast",
        })
    }
}

/// Between which units a level switch moves budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Grouping {
    /// Between layers of equal size, as in the paper: each size keeps a budget of its own.
    Size,
    /// Between layers of the same name (q_proj with q_proj): each name keeps a budget of its own.
    Name,
    /// Between all layers: one budget.
    None,
    /// Between all layers, where q, k and v of a block share one level, and gate and up share one:
    /// for runtimes that fuse them.
    Tied,
    /// Between all experts and other layers, where the three layers of an expert share one level,
    /// and other layers do as with tied.
    Expert,
    /// Between the blocks' experts and other layers, where all experts of a block share one level,
    /// and other layers do as with tied: for GGUF files, which have one tensor for them.
    Block,
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Grouping::Size => "size",
            Grouping::Name => "name",
            Grouping::None => "none",
            Grouping::Tied => "tied",
            Grouping::Expert => "expert",
            Grouping::Block => "block",
        })
    }
}

/// How many generations a search has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generations {
    /// This number.
    Fixed(u32),
    /// The paper's number for the task, which depends on the model: k(n−k)/1.5 for n units of which
    /// k are dropped.
    Paper,
}

/// The start of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initial {
    /// Random genotypes that meet the budget, of which the fittest is the first parent.
    pub genotypes: u32,
    /// Calibration tokens that they are compared on.
    pub tokens: u64,
    /// Whether the one-shot baselines compete with them.
    pub baselines: bool,
}

/// One stage of selection within a generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectionStage {
    /// Tokens of the fresh minibatch that everything in the stage is evaluated on.
    pub tokens: u64,
    /// How many genotypes are left after it.
    pub survivors: u32,
}
