//! Mixtral: Mistral with eight experts, of which a token takes two.

use serde_json::{Map, Value, json};

use super::dense::DenseModel;
use super::experts::ExpertsForm;
use super::experts_config;
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::gguf::GgufForm;
use crate::spec::ModelSpec;

pub(super) static FAMILY: Family = Family {
    model_type: "mixtral",
    class: "MixtralForCausalLM",
    about: About {
        models: "Mixtral 8x7B and 8x22B",
        differs: "experts in place of the MLP, of which a token takes two",
        real_weights: &[],
    },
    defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "num_experts_per_tok": 2, "num_local_experts": 8}"#,
    fields: &[
        "sliding_window",
        "num_experts",
        "num_local_experts",
        "num_experts_by_layer",
        "expert_count",
    ],
    form: Form {
        experts: Some(&EXPERTS),
        ..Form::LLAMA
    },
    // llama.cpp tells it from Llama by its experts.
    gguf: GgufForm::LLAMA.with_experts(true),
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

const EXPERTS: ExpertsForm = ExpertsForm {
    router: "block_sparse_moe.gate",
    module: "block_sparse_moe.experts",
    layers: ["w1", "w3", "w2"],
    is_renormalized: true,
    has_one_width: true,
    ..ExpertsForm::QWEN
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.common()?;
    for block in &mut model.blocks {
        block.window = config.fields.sliding_window;
    }
    model.experts = config.experts(&EXPERTS)?;
    Ok(model)
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    numbers.experts = model.experts(&EXPERTS, numbers.blocks.len())?;
    Ok(numbers)
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let window = spec.first_attention().and_then(|it| it.window);
    config.insert("sliding_window".into(), json!(window));
    experts_config::write(spec, &EXPERTS, config);
}
