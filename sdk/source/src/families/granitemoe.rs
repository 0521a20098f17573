//! Granite 3 with experts, whose weights are stacked: Granite's factors, and two tensors a block
//! for the layers of all experts.

use serde_json::{Map, Value};

use super::dense::DenseModel;
use super::experts::{ExpertsForm, NamesInMemory};
use super::experts_config;
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::granite;
use crate::error::SourceError;
use crate::gguf::GgufForm;
use crate::spec::ModelSpec;

pub(super) static FAMILY: Family = Family {
    model_type: "granitemoe",
    class: "GraniteMoeForCausalLM",
    about: About {
        models: "Granite 3 and 3.1, 1B-A400M and 3B-A800M",
        differs: "Granite with experts, whose weights are stacked in files",
        real_weights: &[],
    },
    defaults: r#"{"num_experts_per_tok": 2, "num_local_experts": 8}"#,
    fields: &[
        "attention_bias",
        "embedding_multiplier",
        "attention_multiplier",
        "residual_multiplier",
        "logits_scaling",
        "attention.scale",
        "embedding_scale",
        "residual_scale",
        "logit_scale",
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
        has_factors: true,
        ..GgufForm::LLAMA.named("granitemoe").with_experts(true)
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

const EXPERTS: ExpertsForm = ExpertsForm {
    router: "block_sparse_moe.router.layer",
    module: "block_sparse_moe.experts",
    stacked: Some([
        "block_sparse_moe.input_linear",
        "block_sparse_moe.output_linear",
    ]),
    in_memory: NamesInMemory {
        router: "block_sparse_moe.router",
        experts: "block_sparse_moe.experts",
    },
    is_renormalized: true,
    has_one_width: true,
    ..ExpertsForm::QWEN
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = granite::read_config(config)?;
    model.biases.mlp = false;
    model.experts = config.experts(&EXPERTS)?;
    Ok(model)
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = granite::read_gguf(model)?;
    numbers.experts = model.experts(&EXPERTS, numbers.blocks.len())?;
    Ok(numbers)
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    granite::write_config(spec, config);
    experts_config::write(spec, &EXPERTS, config);
}
