//! Qwen3 with experts: 30B-A3B, 235B-A22B, Coder. Some blocks may have a dense MLP.

use super::dense::DenseModel;
use super::experts::ExpertsForm;
use super::experts_config;
use super::family::{About, Family};
use super::form::{BEFORE_MLP, Form, INPUT, KEY_HEAD, QUERY_HEAD};
use super::from_config::Config;
use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::gguf::GgufForm;

pub(super) static FAMILY: Family = Family {
    model_type: "qwen3_moe",
    class: "Qwen3MoeForCausalLM",
    about: About {
        models: "Qwen3-30B-A3B, Qwen3-235B-A22B",
        differs: "Qwen3 with experts in most blocks",
        real_weights: &[],
    },
    defaults: r#"{"num_key_value_heads": 4, "max_position_embeddings": 32768, "moe_intermediate_size": 768, "num_experts_per_tok": 8}"#,
    fields: &[
        "attention_bias",
        "num_experts",
        "num_local_experts",
        "num_experts_by_layer",
        "expert_count",
    ],
    form: Form {
        norms: &[INPUT, QUERY_HEAD, KEY_HEAD, BEFORE_MLP],
        experts: Some(&ExpertsForm::QWEN),
        ..Form::LLAMA
    },
    gguf: GgufForm::plain("qwen3moe").with_experts(true),
    read_config,
    read_gguf: Some(read_gguf),
    write_config: |spec, config| experts_config::write(spec, &ExpertsForm::QWEN, config),
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.common()?;
    model.biases = config.biases();
    model.biases.mlp = false;
    model.experts = config.experts(&ExpertsForm::QWEN)?;
    Ok(model)
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    numbers.experts = model.experts(&ExpertsForm::QWEN, numbers.blocks.len())?;
    Ok(numbers)
}
