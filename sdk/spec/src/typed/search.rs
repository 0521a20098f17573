//! What a person types about the search.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Grouping, Ingredient, Mode};

/// The evolutionary search.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Search {
    /// Which search: the paper's, or the fast one. Default: paper where any of generations,
    /// offspring, initial and stages is given, fast elsewhere.
    pub(crate) mode: Option<Mode>,
    /// Between which units a mutation moves budget. Default: what suits the target: size for
    /// sparsity and bits_per_weight, none for size_bytes and compression, the method's own groups
    /// for drop.
    #[schemars(example = Grouping::Size)]
    pub(crate) grouping: Option<Grouping>,
    /// Number of generations of the paper's search. Default: the paper's for the task; for drop
    /// k(n-k)/1.5, where k of n blocks are dropped.
    #[schemars(range(min = 1, max = 1_000_000), example = 107)]
    pub(crate) generations: Option<u32>,
    /// Offspring of each generation of the paper's search. Default: the paper's, 32 for drop, 64
    /// for sparsity and 128 for other targets.
    #[schemars(range(min = 1, max = 65_536), example = 32)]
    pub(crate) offspring: Option<u32>,
    /// The start of the paper's search.
    pub(crate) initial: Initial,
    /// Stages of selection in each generation: fewer and fewer genotypes on more and more tokens.
    /// Default: the paper's; for drop 2 survivors on 2048 tokens, then 1 on 32768.
    #[schemars(length(min = 1, max = 8))]
    pub(crate) stages: Option<Vec<SelectionStage>>,
    /// The fitness plugin, whose loss the search lowers.
    pub(crate) fitness: Fitness,
    /// Where the fast search ends at the latest. Default: when it stops paying.
    pub(crate) limit: Limit,
    /// Ingredients of the fast search to do without, to see what they are worth.
    #[schemars(extend("uniqueItems" = true))]
    pub(crate) without: Vec<Ingredient>,
    /// Seed of every random draw: the same seed gives the same genotype.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991u64))]
    pub(crate) seed: u64,
}

impl Search {
    /// The fields of paper mode, and which of them are given.
    pub(crate) fn of_paper(&self) -> [(&'static str, bool); 4] {
        [
            ("generations", self.generations.is_some()),
            ("offspring", self.offspring.is_some()),
            ("initial", self.initial != Initial::default()),
            ("stages", self.stages.is_some()),
        ]
    }

    /// The fields that belong to fast mode, and whether each is given.
    pub(crate) fn of_fast(&self) -> [(&'static str, bool); 2] {
        [
            ("limit", self.limit != Limit::default()),
            ("without", !self.without.is_empty()),
        ]
    }
}

/// Where a fast search ends, whichever comes first.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limit {
    /// Tokens forward through compressed models; a gradient pass counts as what it costs. Default:
    /// no limit.
    #[schemars(range(min = 1, max = 1_000_000_000_000u64), example = 100_000)]
    pub(crate) forward_tokens: Option<u64>,
    /// Minutes of searching. Another machine will get another result. Default: no limit.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 100_000), example = 10)]
    pub(crate) minutes: Option<f64>,
    /// A fitness that is good enough: for `kl` nats a token on calibration text. Default: none is.
    #[schemars(extend("minimum" = 0, "maximum" = 1000), example = 0.5)]
    pub(crate) fitness: Option<f64>,
}

/// The start of the search.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Initial {
    /// Random genotypes that meet the budget, of which the fittest becomes the first parent.
    /// Default: 64; for sparsity 1, the uniform one.
    #[schemars(range(min = 1, max = 1_000_000), example = 64)]
    pub(crate) genotypes: Option<u32>,
    /// Calibration tokens that they are compared on, a multiple of sequence_length. Default: 2048.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 2048)]
    pub(crate) tokens: Option<u64>,
    /// Whether the one-shot baselines compete with them for the first parent's place.
    pub(crate) baselines: bool,
}

/// One stage of selection.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelectionStage {
    /// Calibration tokens of the fresh minibatch that the stage evaluates on, a multiple of
    /// sequence_length.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 2048)]
    pub(crate) tokens: u64,
    /// How many genotypes are left after the stage; 1 after the last.
    #[schemars(range(min = 1, max = 65_536), example = 1)]
    pub(crate) survivors: u32,
}

/// A fitness plugin.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Fitness {
    /// Name of the plugin, as `evopressd plugins` lists it.
    #[schemars(length(min = 1), example = &"kl")]
    pub(crate) plugin: String,
    /// Its options; `evopressd plugins` says which there are.
    pub(crate) options: Map<String, Value>,
}

impl Default for Fitness {
    fn default() -> Fitness {
        Fitness {
            plugin: "kl".to_owned(),
            options: Map::new(),
        }
    }
}
