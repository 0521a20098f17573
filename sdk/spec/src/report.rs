//! The report of a run: `report.json`, the same that `evopressd run --json` prints.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::number::{f64_or_null, map_or_null};
use crate::{Mode, Stage, Status};

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The run's ID.
    pub run: String,
    /// The pipeline's name.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// The reason, where it did not end as `done`.
    pub reason: Option<String>,
    /// SHA-256 of the spec's text, hex.
    pub spec_digest: String,
    /// The spec's target, e.g. `{"drop": 0.25}`.
    pub target: serde_json::Value,
    /// How the weights of the model came, where they were quantized already: dense is the model as
    /// it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Delivered>,
    /// What the written artifact measures.
    pub achieved: Achieved,
    /// Level name by unit name, in the order of the model.
    pub genotype: IndexMap<String, String>,
    /// The level databases that the genotype's levels come from; none where no method needs one.
    #[serde(default)]
    pub databases: Vec<DatabaseResult>,
    /// What the routers of the dense model do on calibration text, expert by expert; none where it
    /// has no experts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experts: Vec<ExpertResult>,
    /// How the sequences of each text begin: the calibration's first, then the held-out sets'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<SequenceStart>,
    /// What the search did.
    pub search: SearchResult,
    /// Quality of the written artifact, per set and metric.
    pub evaluation: Vec<MetricResult>,
    /// The baselines' genotypes.
    pub baselines: Vec<BaselineResult>,
    /// Names of the baselines that are better than the result: lower perplexity on the first
    /// evaluation set.
    pub beaten_by: Vec<String>,
    /// Quality gates.
    pub gates: Vec<GateResult>,
    /// What was written.
    pub artifacts: Vec<WrittenArtifact>,
    /// Where it was published.
    pub published: Vec<Published>,
    /// Where it could not be published yet; tried again until it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpublished: Vec<Unpublished>,
    /// Wall time by stage, in seconds.
    pub timings: BTreeMap<Stage, f64>,
    /// Highest resident memory of the worker, in bytes.
    pub peak_memory_bytes: u64,
    /// The machine, in words.
    pub hardware: String,
    /// Further sentences that the user should read.
    pub warnings: Vec<String>,
}

/// The form of weights that came quantized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The method: `gptq`, `awq` and so on as in the model's `quantization_config`, or `gguf`.
    pub method: String,
    /// What quantized tensors are stored as: `4-bit`, `fp8`, or ggml's types.
    pub types: Vec<String>,
    /// Bytes of the files with the weights.
    pub size_bytes: u64,
}

impl std::fmt::Display for Delivered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.method, self.types.join(", "))
    }
}

/// Size of the written artifact beside the dense model's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Achieved {
    /// The target's measure: `drop`, `sparsity`, …
    pub measure: String,
    /// What was reached in it, e.g. 0.2333.
    pub value: f64,
    /// Parameters that are left.
    pub parameters: u64,
    /// Parameters of the dense model.
    pub dense_parameters: u64,
    /// Bytes of the weights written.
    pub size_bytes: u64,
    /// Bytes of the model with its levels as the database packs them: codes, scales, zeros, masks;
    /// embeddings and norms in the run's dtype.
    #[serde(default)]
    pub packed_bytes: u64,
    /// Bytes of the dense weights in the run's dtype.
    pub dense_size_bytes: u64,
}

/// How the sequences of one text begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceStart {
    /// `calibration`, or the name of a held-out set.
    pub text: String,
    /// Whether they begin with the model's BOS token.
    pub bos: bool,
    /// What says so: a file of the model, a key of its GGUF file, or a field of the spec.
    pub said_by: String,
}

impl SequenceStart {
    /// All of them in words: `yes (tokenizer.json)` where they are alike, by text where they are
    /// not.
    pub fn summary(starts: &[Self]) -> Option<String> {
        let first = starts.first()?;
        let is_alike = |it: &Self| (it.bos, &it.said_by) == (first.bos, &first.said_by);
        if starts.iter().all(is_alike) {
            return Some(first.to_string());
        }
        let by_text = starts.iter().map(|it| format!("{}: {it}", it.text));
        Some(by_text.collect::<Vec<_>>().join("; "))
    }
}

impl std::fmt::Display for SequenceStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answer = if self.bos { "yes" } else { "no" };
        write!(f, "{answer} ({})", self.said_by)
    }
}

/// What the search did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchResult {
    /// The kind of search.
    pub mode: Mode,
    /// Generations done.
    pub generations: u32,
    /// Tokens that went forward through a compressed model.
    pub forward_tokens: u64,
    /// Wall time of the search over all attempts, in seconds.
    pub seconds: f64,
    /// Part of it that went into decoding levels and switching them, in seconds.
    #[serde(default)]
    pub switch_seconds: f64,
    /// Fitness of the winner when it was last evaluated, lower is better.
    #[serde(deserialize_with = "f64_or_null")]
    pub best_fitness: f64,
    /// The reason why a fast search ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// One entry a generation.
    pub history: Vec<HistoryEntry>,
}

/// The state after one generation; counts are cumulative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Counted from 1.
    pub generation: u32,
    /// Fitness of the best so far.
    #[serde(deserialize_with = "f64_or_null")]
    pub best_fitness: f64,
    /// Tokens forward since the search began.
    pub forward_tokens: u64,
    /// Seconds since the search began.
    pub seconds: f64,
    /// KL divergence on a few sequences of held-out text, where it was measured. It has no
    /// influence on the search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
}

/// A metric of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// exp of the mean negative log-likelihood of the next token.
    Perplexity,
    /// Mean KL(dense ‖ compressed) of the next-token distributions, in nats.
    KlDivergence,
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Metric::Perplexity => "perplexity",
            Metric::KlDivergence => "kl_divergence",
        })
    }
}

/// One metric on one set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricResult {
    /// Name of the evaluation set.
    pub set: String,
    /// The metric.
    pub metric: Metric,
    /// The dense model's.
    #[serde(deserialize_with = "f64_or_null")]
    pub dense: f64,
    /// The written artifact's, loaded again.
    #[serde(deserialize_with = "f64_or_null")]
    pub compressed: f64,
    /// Each baseline's, by name.
    #[serde(deserialize_with = "map_or_null")]
    pub baselines: IndexMap<String, f64>,
    /// Tokens that it was measured on.
    pub tokens: u64,
}

/// A baseline's answer to the same target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineResult {
    /// Its name.
    pub name: String,
    /// Level name by unit name.
    pub genotype: IndexMap<String, String>,
    /// Parameters that are left.
    pub parameters: u64,
    /// What it reaches in the target's measure.
    #[serde(default = "not_known", deserialize_with = "f64_or_null")]
    pub achieved: f64,
    /// Bytes of the model with its levels packed, as in [`Achieved`].
    #[serde(default)]
    pub packed_bytes: u64,
}

fn not_known() -> f64 {
    f64::NAN
}

/// A level database of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseResult {
    /// The method plugin whose levels it holds.
    pub method: String,
    /// Its key: SHA-256 of all that shaped it, hex.
    pub key: String,
    /// Its size on disk, in bytes.
    pub bytes: u64,
    /// Wall time of building it, when it was built, in seconds.
    pub build_seconds: f64,
    /// Whether it was there before this run.
    pub reused: bool,
    /// Calibration tokens that it was built from.
    pub tokens: u64,
    /// Experts that none of these tokens went to, so that they were compressed by their weights
    /// alone.
    #[serde(default)]
    pub experts_without_tokens: u64,
}

/// What a router of the dense model does with an expert on calibration text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpertResult {
    /// The block, counted from 0.
    pub block: usize,
    /// The expert, counted from 0 within its block.
    pub expert: u32,
    /// Tokens that go to it.
    pub tokens: u64,
    /// Mean over these tokens of what its output is multiplied with; 0 without tokens.
    pub mean_gate: f64,
    /// Mean over these tokens of that factor times the norm of the output (REAP's saliency); 0
    /// without tokens.
    pub saliency: f64,
}

/// One gate of the spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// Name of the evaluation set.
    pub set: String,
    /// The limit in words: `max_perplexity_ratio 3`.
    pub limit: String,
    /// The value that was compared with it.
    #[serde(deserialize_with = "f64_or_null")]
    pub value: f64,
    /// Whether it was met.
    pub passed: bool,
}

/// Something that was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WrittenArtifact {
    /// Its absolute path.
    pub path: String,
    /// Its format: `huggingface`, `gguf`, `compressed-tensors`, `gptq`, `nemotron-nas`.
    pub format: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256, hex.
    pub digest: String,
}

/// Something that was published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Kind of registry: `folder`.
    pub registry: String,
    /// Where it is now.
    pub location: String,
    /// Its version there.
    pub version: String,
    /// Digest of its manifest, SHA-256, hex.
    pub digest: String,
}

/// A registry that does not have the model yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpublished {
    /// Kind of registry: `mlflow`.
    pub registry: String,
    /// Where it is to be published.
    pub location: String,
    /// The number of attempts.
    pub tries: u32,
    /// The reason of its last failure, a sentence.
    pub reason: String,
}
