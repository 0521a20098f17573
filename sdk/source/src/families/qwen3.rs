//! Qwen3: Llama with norms on each head of queries and keys before the rotation.

use super::dense::DenseModel;
use super::family::{About, Family};
use super::form::{BEFORE_MLP, Form, INPUT, KEY_HEAD, QUERY_HEAD};
use super::from_config::Config;
use super::qwen2;
use super::to_config::write_switched_windows;
use crate::error::SourceError;
use crate::gguf::{GgufBiases, GgufForm};

pub(super) static FAMILY: Family = Family {
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    about: About {
        models: "Qwen3, 0.6B to 32B",
        differs: "norms on each head of queries and keys",
        real_weights: &[],
    },
    defaults: r#"{"num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768, "sliding_window": 4096, "max_window_layers": 28}"#,
    fields: &[
        "sliding_window",
        "use_sliding_window",
        "layer_types",
        "attention_bias",
    ],
    form: Form {
        norms: &[INPUT, QUERY_HEAD, KEY_HEAD, BEFORE_MLP],
        ..Form::LLAMA
    },
    gguf: GgufForm {
        biases: GgufBiases::Inputs,
        ..GgufForm::plain("qwen3")
    },
    read_config,
    read_gguf: Some(|model| model.common()),
    write_config: write_switched_windows,
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.with_blocks(qwen2::blocks(config)?)?;
    model.biases = config.biases();
    model.biases.mlp = false;
    Ok(model)
}
