//! What a run writes, and in which format.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// One file for llama.cpp, NAME.gguf, with tokenizer and chat template; layers at levels of
    /// ggml's formats as they are in the level database.
    Gguf,
    /// A Hugging Face folder with packed codes, scales and zeros (compressed-tensors'
    /// pack-quantized), for transformers and vLLM; 1 to 8 bits.
    #[serde(rename = "compressed-tensors")]
    CompressedTensors,
    /// A Hugging Face folder in the layout of GPTQ checkpoints, for GPTQModel and vLLM; 2, 3, 4 or
    /// 8 bits.
    Gptq,
    /// A Hugging Face folder without the tensors of dropped attentions and MLPs (block_configs of
    /// Nemotron-NAS, DeciLM), for vLLM.
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
