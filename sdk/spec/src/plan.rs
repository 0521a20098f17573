//! The resolved pipeline: no `Option` left that has a default, every path absolute. It is what the worker accepts
//! (`plan.json`) and what a run's identity is computed from.

mod search;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Evaluation, Origin, Publish};

pub use search::{Generations, Grouping, Ingredient, Initial, Limit, Mode, Search, SelectionStage};

/// One pipeline, ready to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the pipeline, DNS-like: `[a-z0-9-]`, at most 63 characters.
    pub name: String,
    /// Free labels of the user, carried into the report.
    pub labels: BTreeMap<String, String>,
    /// The model to compress.
    pub model: Model,
    /// The text that the search and data-driven methods see.
    pub calibration: Calibration,
    /// The text that level databases are built from.
    pub database: Database,
    /// Method plugins, at least one; several only for a budget in bytes.
    pub methods: Vec<PluginUse>,
    /// The budget.
    pub target: Target,
    /// The evolutionary search.
    pub search: Search,
    /// Baselines that the report compares with.
    pub baselines: Baselines,
    /// Held-out sets that the written artifact is measured on.
    pub evaluation: Vec<Evaluation>,
    /// What is written into the run's `model/`.
    pub artifacts: Vec<Artifact>,
    /// Where a finished model goes.
    pub publish: Vec<Publish>,
}

/// The model to compress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A Hugging Face folder or a `.gguf` file, absolute. Empty until a model that comes from elsewhere is fetched.
    pub source: PathBuf,
    /// Where it comes from, unless it is on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The number format that the run computes in.
    pub dtype: Dtype,
    /// Where the run computes.
    pub device: Device,
}

/// The number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Dtype {
    /// 16-bit brain float, 2 bytes a weight.
    #[default]
    Bf16,
    /// 32-bit float, 4 bytes a weight.
    F32,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::Bf16 => "bf16",
            Dtype::F32 => "f32",
        })
    }
}

/// Where a run computes: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// A CUDA device where there is one, the CPU otherwise.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this index; `cuda` alone is index 0.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(idx) => write!(f, "cuda:{idx}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        let unknown = || format!("unknown device \"{text}\", expected auto, cpu, cuda or cuda:N");
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => {
                let idx = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                idx.parse().map(Device::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Device, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.to_string()
    }
}

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
    /// What the first tokens of sequences make up at least where a method minimises output errors; 0 in plans that have none.
    #[serde(default)]
    pub first_token_share: f64,
}

/// A plugin by name and its options, which the plugin's own JSON Schema describes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginUse {
    /// The plugin's name, as `evopressd plugins` lists it.
    pub plugin: String,
    /// Its options, a JSON object.
    pub options: serde_json::Value,
}

/// The budget: exactly one measure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Share of sub-blocks (or blocks) to drop, above 0 and below 1.
    Drop(f64),
    /// Share of weights to set to zero, above 0 and below 1.
    Sparsity(f64),
    /// Average bits a weight.
    BitsPerWeight(f64),
    /// Size of the compressed model's weights in bytes.
    SizeBytes(u64),
    /// Dense size divided by compressed size, above 1.
    Compression(f64),
}

impl Target {
    /// The name of the measure, as specs and methods spell it.
    pub fn measure(&self) -> &'static str {
        match self {
            Target::Drop(_) => "drop",
            Target::Sparsity(_) => "sparsity",
            Target::BitsPerWeight(_) => "bits_per_weight",
            Target::SizeBytes(_) => "size_bytes",
            Target::Compression(_) => "compression",
        }
    }

    /// The value in that measure.
    pub fn value(&self) -> f64 {
        match *self {
            Target::Drop(v)
            | Target::Sparsity(v)
            | Target::BitsPerWeight(v)
            | Target::Compression(v) => v,
            Target::SizeBytes(bytes) => bytes as f64,
        }
    }

    /// Whether the budget is in bytes, which levels of any method have in common.
    pub fn is_in_bytes(&self) -> bool {
        matches!(self, Target::SizeBytes(_) | Target::Compression(_))
    }
}

/// Baselines that cost a search of their own; the one-shot ones are always computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baselines {
    /// N of "best of N random genotypes"; 0 leaves it out.
    pub random: u32,
}

/// Something to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its format.
    pub format: ArtifactFormat,
}

/// A format that real runtimes load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ArtifactFormat {
    /// A Hugging Face folder: config.json, safetensors, tokenizer.json, model card.
    #[default]
    Huggingface,
    /// One file for llama.cpp, NAME.gguf, with tokenizer and chat template; layers at levels of ggml's formats as they are in the level database.
    Gguf,
    /// A Hugging Face folder with packed codes, scales and zeros (compressed-tensors' pack-quantized), for transformers and vLLM; 1 to 8 bits.
    #[serde(rename = "compressed-tensors")]
    CompressedTensors,
    /// A Hugging Face folder in the layout of GPTQ checkpoints, for GPTQModel and vLLM; 2, 3, 4 or 8 bits.
    Gptq,
    /// A Hugging Face folder without the tensors of dropped attentions and MLPs (block_configs of Nemotron-NAS, DeciLM), for vLLM.
    #[serde(rename = "nemotron-nas")]
    NemotronNas,
}

impl ArtifactFormat {
    /// Whether it is a folder with a config.json, rather than one file.
    pub fn is_folder(self) -> bool {
        self != ArtifactFormat::Gguf
    }
}

impl fmt::Display for ArtifactFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArtifactFormat::Huggingface => "huggingface",
            ArtifactFormat::Gguf => "gguf",
            ArtifactFormat::CompressedTensors => "compressed-tensors",
            ArtifactFormat::Gptq => "gptq",
            ArtifactFormat::NemotronNas => "nemotron-nas",
        })
    }
}
