//! OLMoE: experts, and norms over all heads of queries and of keys together.

use super::dense::DenseModel;
use super::experts::ExpertsForm;
use super::experts_config;
use super::family::{About, Family};
use super::form::{ALL_KEYS, ALL_QUERIES, BEFORE_MLP, Form, INPUT};
use super::from_config::Config;
use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::gguf::{GgufForm, GgufHead};

pub(super) static FAMILY: Family = Family {
    model_type: "olmoe",
    class: "OlmoeForCausalLM",
    about: About {
        models: "OLMoE 1B-7B",
        differs: "experts; norms over all heads of queries and keys together",
        real_weights: &[],
    },
    defaults: r#"{"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "num_experts_per_tok": 8, "num_experts": 64}"#,
    fields: &[
        "attention_bias",
        "num_experts",
        "num_local_experts",
        "num_experts_by_layer",
        "expert_count",
    ],
    form: Form {
        norms: &[INPUT, ALL_QUERIES, ALL_KEYS, BEFORE_MLP],
        experts: Some(&EXPERTS),
        ..Form::LLAMA
    },
    gguf: GgufForm {
        head: GgufHead::Own,
        wants_all_key_heads: true,
        ..GgufForm::plain("olmoe").with_experts(false)
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config: |spec, config| experts_config::write(spec, &EXPERTS, config),
};

const EXPERTS: ExpertsForm = ExpertsForm {
    has_one_width: true,
    ..ExpertsForm::QWEN
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.common()?;
    model.biases = config.biases();
    model.biases.mlp = false;
    model.experts = config.experts(&EXPERTS)?;
    Ok(model)
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    numbers.experts = model.experts(&EXPERTS, numbers.blocks.len())?;
    Ok(numbers)
}
