//! Llama 2, 3, 3.1, 3.2 and 3.3, and what is computed like them: TinyLlama, SmolLM2, Yi,
//! DeepSeek-coder.

use std::path::Path;

use super::family::Family;
use super::from_config;
use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::spec::ModelSpec;

const MODEL_TYPE: &str = "llama";

pub(super) static FAMILY: Family = Family {
    model_type: MODEL_TYPE,
    class: "LlamaForCausalLM",
    gguf_architecture: "llama",
    fields: &[],
    interleaves_heads: true,
    read_config,
    read_gguf,
};

fn read_config(text: &str, file: &Path) -> Result<ModelSpec, SourceError> {
    Ok(from_config::read(text, file)?.into_spec(MODEL_TYPE))
}

fn read_gguf(model: &GgufModel<'_>) -> Result<ModelSpec, SourceError> {
    Ok(model.read()?.into_spec(MODEL_TYPE))
}
