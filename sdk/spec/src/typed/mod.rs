//! What a person types: the fields of a spec with their docs, ranges and defaults. The JSON Schema
//! is derived from these types, so that editors, validation and reading cannot disagree.
//! [`Plan`](crate::Plan) is what comes of it.

mod example;
mod publish;
mod search;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{ArtifactFormat, Bos, ByteSize, Dtype, Sample};

pub(crate) use publish::{Publish, Registry, Secret};
pub(crate) use search::Search;

/// One pipeline: which model is compressed how far, how the search goes, and where the result is
/// published.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(title = "evopressd pipeline", example = example::example())]
pub(crate) struct Spec {
    /// Version of this format.
    pub(crate) api_version: ApiVersion,
    /// What the file describes.
    pub(crate) kind: Kind,
    /// Name and labels of the pipeline.
    pub(crate) metadata: Metadata,
    /// The model to compress.
    pub(crate) model: Model,
    /// The text that fitness is measured on during the search.
    pub(crate) calibration: Calibration,
    /// The text that level databases are built from; what is left out is the calibration's.
    #[serde(default)]
    pub(crate) database: Database,
    /// Method plugins that offer levels of compression for the model's units; several compete for
    /// one budget in bytes.
    #[schemars(length(min = 1, max = 16))]
    pub(crate) methods: Vec<Method>,
    /// The budget: exactly one measure. It is never exceeded.
    pub(crate) target: Target,
    /// The evolutionary search. Default: the fast search, until it does not pay any more.
    #[serde(default)]
    pub(crate) search: Search,
    /// Baselines that the report compares with.
    #[serde(default)]
    pub(crate) baselines: Baselines,
    /// Held-out texts that the written model is measured on, beside the dense model and the
    /// baselines.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub(crate) evaluation: Vec<Evaluation>,
    /// What is written.
    #[serde(default = "default_artifacts")]
    #[schemars(length(min = 1, max = 16))]
    pub(crate) artifacts: Vec<Artifact>,
    /// Registries that a finished model is published to.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub(crate) publish: Vec<Publish>,
    /// What a run may take of the machine; less costs time and changes no result. Default: what is
    /// free, within the limits of its container, service or shell.
    #[serde(default)]
    pub(crate) limits: Limits,
}

/// Version of the spec format.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
pub(crate) enum ApiVersion {
    /// The first version.
    #[serde(rename = "evopress/v1")]
    V1,
}

/// What a file describes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
pub(crate) enum Kind {
    /// A pipeline.
    Pipeline,
}

/// Name and labels.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Name of the pipeline: lower-case letters, digits and hyphens, at most 63 characters. Runs
    /// are named after it.
    #[schemars(regex(pattern = NAME), example = &"smollm2-depth", extend("patternErrorMessage" = NAME_HINT))]
    pub(crate) name: String,
    /// Free labels, text by text, which the report carries.
    #[serde(default)]
    #[schemars(example = serde_json::json!({"team": "edge"}))]
    pub(crate) labels: BTreeMap<String, String>,
}

const NAME: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const NAME_HINT: &str = "a name of lower-case letters, digits and hyphens, at most 63 characters, that begins and ends \
                         with a letter or digit";

/// The model to compress.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// A Hugging Face folder (config.json, tokenizer.json, safetensors) or a .gguf file, relative
    /// to the spec's folder or to a data root; or the address of one in a registry, which is
    /// fetched into the cache: `hf://ORGANIZATION/NAME[@REVISION]`, also with `/FILE.gguf`,
    /// `s3://BUCKET/PREFIX`, `oci://HOST/PATH[:TAG]` or `@sha256:…`, `mlflow:models:/NAME/VERSION`
    /// or `@ALIAS`.
    #[schemars(length(min = 1), example = &"models/SmolLM2-135M-Instruct.gguf", example = &"hf://HuggingFaceTB/SmolLM2-135M@main")]
    pub(crate) source: String,
    /// hf, s3, mlflow: base URL of the server. Default: the daemon's setting, else HF_ENDPOINT,
    /// AWS_ENDPOINT_URL or MLFLOW_TRACKING_URI, else the service's own.
    #[schemars(regex(pattern = "^https?://[^/@]+(/[^@]*)?$"), example = &"https://mlflow.example.org",
               extend("patternErrorMessage" = "an http or https URL without user name and password", "writeOnly" = true))]
    pub(crate) url: Option<String>,
    /// hf, s3, oci, mlflow: whether plain http may lead beyond this machine. Default: false.
    #[schemars(example = false)]
    pub(crate) plain_http: Option<bool>,
    /// hf, oci, mlflow: where the bearer token is. Default: hf HF_TOKEN and mlflow
    /// MLFLOW_TRACKING_TOKEN, where they are set.
    pub(crate) token: Option<Secret>,
    /// oci, mlflow: the user's name; with `password`. Default: mlflow MLFLOW_TRACKING_USERNAME,
    /// where it is set.
    #[schemars(length(min = 1, max = 200), example = &"ci")]
    pub(crate) username: Option<String>,
    /// oci, mlflow: where the password is; with `username`. Default: mlflow
    /// MLFLOW_TRACKING_PASSWORD, where it is set.
    pub(crate) password: Option<Secret>,
    /// s3: where the access key ID is; with `key`. Default: the environment's own credentials.
    pub(crate) account: Option<Secret>,
    /// s3: where the secret access key is; with `account`.
    pub(crate) key: Option<Secret>,
    /// Number format of weights and activations in the run.
    #[serde(default)]
    pub(crate) dtype: Dtype,
    /// Where the run computes: auto, cpu, cuda or cuda:N.
    #[serde(default = "default_device")]
    #[schemars(
        regex(pattern = "^(auto|cpu|cuda(:[0-9]{1,3})?)$"),
        example = &"auto", example = &"cpu", example = &"cuda", example = &"cuda:0",
        extend("patternErrorMessage" = "auto, cpu, cuda or cuda:N")
    )]
    pub(crate) device: String,
}

fn default_device() -> String {
    "auto".to_owned()
}

/// Calibration text.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calibration {
    /// A UTF-8 text file, relative to the spec's folder or to a data root.
    #[schemars(length(min = 1), example = &"text/calibration.txt")]
    pub(crate) source: String,
    /// How many tokens of it are used, a multiple of sequence_length, in sequences at even
    /// distances over the whole text. Default: 131072; in paper mode the paper's, 131072 for drop
    /// and 524288 for other targets.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 131_072)]
    pub(crate) tokens: Option<u64>,
    /// Length of one sequence, in tokens.
    #[serde(default = "default_sequence_length")]
    #[schemars(range(min = 2, max = 1_048_576))]
    pub(crate) sequence_length: u32,
    /// Whether each sequence, and each of the database's, begins with the model's BOS token; one of
    /// length L then holds BOS and L − 1 tokens of the text.
    #[serde(default)]
    pub(crate) bos: Bos,
}

fn default_sequence_length() -> u32 {
    512
}

/// The text of level databases: methods that look at data (GPTQ, SparseGPT, …) compress the model's
/// layers on it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Database {
    /// A UTF-8 text file, relative to the spec's folder or to a data root. Default: the
    /// calibration's.
    #[schemars(length(min = 1), example = &"text/calibration.txt")]
    pub(crate) source: Option<String>,
    /// How many tokens of it are used, a multiple of sequence_length. Default: as many as the
    /// calibration's.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 131_072)]
    pub(crate) tokens: Option<u64>,
    /// Length of one sequence, in tokens. Default: the calibration's.
    #[schemars(range(min = 2, max = 1_048_576), example = 2048)]
    pub(crate) sequence_length: Option<u32>,
    /// What the first tokens of sequences make up at least of the errors that a method minimises
    /// (gptq, sparsegpt, kquant), from 0, which is how these methods were published, to below 1.
    /// All later tokens attend to the first, so what is lost there is lost for all. Default: 0.125.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1), example = 0.125)]
    pub(crate) first_token_share: Option<f64>,
}

/// A method plugin.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Method {
    /// Name of the plugin, as `evopressd plugins` lists it.
    #[schemars(length(min = 1), example = &"drop")]
    pub(crate) plugin: String,
    /// Its options; `evopressd plugins` says which there are.
    #[serde(default)]
    pub(crate) options: Map<String, Value>,
}

/// Limits on memory.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Most of the machine's memory that the run takes: bytes, or a text such as 6GB. Default: what
    /// is free.
    #[schemars(example = &"6GB")]
    pub(crate) memory: Option<ByteSize>,
    /// Most of the GPU's memory that the run takes: bytes, or a text such as 24GiB. Default: what
    /// is free there.
    #[schemars(example = &"24GiB")]
    pub(crate) device_memory: Option<ByteSize>,
}

/// The budget.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1), example = serde_json::json!({"drop": 0.25}))]
pub(crate) struct Target {
    /// Share of the model's sub-blocks (or blocks) to drop, above 0 and below 1.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1), example = 0.25)]
    pub(crate) drop: Option<f64>,
    /// Share of the weights to set to zero, above 0 and below 1.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1), example = 0.5)]
    pub(crate) sparsity: Option<f64>,
    /// Average bits of a weight, above 0 and at most 32.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 32), example = 3.0)]
    pub(crate) bits_per_weight: Option<f64>,
    /// Size of the compressed weights, in bytes.
    #[schemars(
        range(min = 1, max = 9_007_199_254_740_991u64),
        example = 4_000_000_000u64
    )]
    pub(crate) size_bytes: Option<u64>,
    /// Dense size divided by compressed size, above 1 and at most 100.
    #[schemars(extend("exclusiveMinimum" = 1, "maximum" = 100), example = 4.0)]
    pub(crate) compression: Option<f64>,
}

/// Baselines beside the one-shot ones.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Baselines {
    /// N of the baseline "best of N random genotypes"; 0 leaves it out.
    #[schemars(range(min = 0, max = 10_000))]
    pub(crate) random: u32,
}

impl Default for Baselines {
    fn default() -> Baselines {
        Baselines { random: 32 }
    }
}

/// A held-out text.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evaluation {
    /// Name of the set in the report: lower-case letters, digits and hyphens, at most 63
    /// characters.
    #[serde(default = "default_evaluation_name")]
    #[schemars(regex(pattern = NAME), extend("patternErrorMessage" = NAME_HINT))]
    pub(crate) name: String,
    /// A UTF-8 text file other than the calibration's, relative to the spec's folder or to a data
    /// root.
    #[schemars(length(min = 1), example = &"text/evaluation.txt")]
    pub(crate) source: String,
    /// Length of one sequence, in tokens. Default: the calibration's.
    #[schemars(range(min = 2, max = 1_048_576), example = 512)]
    pub(crate) sequence_length: Option<u32>,
    /// How many tokens are used, a multiple of sequence_length. Default: 32768.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 32_768)]
    pub(crate) tokens: Option<u64>,
    /// Which of the text's tokens these are.
    #[serde(default)]
    pub(crate) sample: Sample,
    /// Whether each sequence begins with the model's BOS token, as `calibration.bos`.
    #[serde(default)]
    pub(crate) bos: Bos,
    /// Limits that the compressed model must meet on this set; a model that breaks one is not
    /// published.
    #[serde(default)]
    pub(crate) gate: Gate,
}

fn default_evaluation_name() -> String {
    "held-out".to_owned()
}

/// Quality limits.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gate {
    /// Highest perplexity of the compressed model divided by the dense model's.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1_000_000), example = 1.5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_perplexity_ratio: Option<f64>,
    /// Highest perplexity of the compressed model.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 20.0)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_perplexity: Option<f64>,
    /// Highest KL divergence to the dense model, in nats a token.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1000), example = 0.5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_kl: Option<f64>,
}

/// Something to write.
#[derive(Debug, Clone, PartialEq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Artifact {
    /// Format of the artifact.
    pub(crate) format: ArtifactFormat,
}

fn default_artifacts() -> Vec<Artifact> {
    vec![Artifact {
        format: ArtifactFormat::Huggingface,
    }]
}
