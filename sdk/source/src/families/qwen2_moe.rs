//! Qwen1.5 and Qwen2 with experts: Qwen2 with an expert that all tokens take beside those that the
//! router chooses. Some blocks may have a dense MLP.

use serde_json::{Map, Value, json};

use super::dense::{Biases, DenseModel};
use super::experts::ExpertsForm;
use super::experts_config;
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::gguf::{GgufBiases, GgufForm, GgufHead};
use crate::spec::{LayerRole, ModelSpec};

pub(super) static FAMILY: Family = Family {
    model_type: "qwen2_moe",
    class: "Qwen2MoeForCausalLM",
    about: About {
        models: "Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B",
        differs: "Qwen2 with experts, and one that every token takes beside them",
        real_weights: &[],
    },
    defaults: r#"{"num_key_value_heads": 16, "max_position_embeddings": 32768, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts_per_tok": 4, "num_experts": 60}"#,
    fields: &[
        "num_experts",
        "num_local_experts",
        "num_experts_by_layer",
        "expert_count",
    ],
    form: Form {
        experts: Some(&EXPERTS),
        ..Form::LLAMA
    },
    gguf: GgufForm {
        biases: GgufBiases::Inputs,
        head: GgufHead::Own,
        ..GgufForm::plain("qwen2moe").with_experts(false)
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

const EXPERTS: ExpertsForm = ExpertsForm {
    has_shared: true,
    ..ExpertsForm::QWEN
};

fn biases(inputs: bool) -> Biases {
    Biases {
        inputs,
        ..Biases::default()
    }
}

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.common()?;
    model.biases = biases(config.experts.qkv_bias.unwrap_or(true));
    model.experts = config.experts(&EXPERTS)?;
    Ok(model)
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    numbers.biases = biases(numbers.biases.inputs);
    numbers.experts = model.experts(&EXPERTS, numbers.blocks.len())?;
    Ok(numbers)
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let mut queries = spec.layers().filter(|it| it.spec.role == LayerRole::Query);
    let has_bias = queries.next().is_some_and(|it| it.spec.has_bias);
    config.insert("qkv_bias".into(), json!(has_bias));
    experts_config::write(spec, &EXPERTS, config);
}
