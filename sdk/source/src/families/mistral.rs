//! Mistral 7B, Nemo and Small: Llama with heads of any width, and in the first of them a window.

use serde_json::{Map, Value, json};

use super::dense::DenseModel;
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use crate::error::SourceError;
use crate::gguf::GgufForm;
use crate::spec::ModelSpec;

pub(super) static FAMILY: Family = Family {
    model_type: "mistral",
    class: "MistralForCausalLM",
    about: About {
        models: "Mistral 7B, Nemo, Small",
        differs: "heads of any width; a window in the first of them",
        real_weights: &[],
    },
    defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096}"#,
    fields: &["sliding_window"],
    form: Form::LLAMA,
    gguf: GgufForm::LLAMA,
    read_config,
    // llama.cpp has no name of its own for it.
    read_gguf: None,
    write_config,
};

pub(super) fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.common()?;
    for block in &mut model.blocks {
        block.window = config.fields.sliding_window;
    }
    Ok(model)
}

pub(super) fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let window = spec.first_attention().and_then(|it| it.window);
    config.insert("sliding_window".into(), json!(window));
}
