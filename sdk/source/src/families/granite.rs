//! Granite 3: Llama with factors at the embedding, attention scores, the residual and logits.

use serde_json::{Map, Value};

use super::dense::DenseModel;
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::to_config::near_integer;
use crate::error::SourceError;
use crate::gguf::GgufForm;
use crate::spec::ModelSpec;

pub(super) static FAMILY: Family = Family {
    model_type: "granite",
    class: "GraniteForCausalLM",
    about: About {
        models: "Granite 3, 3.1, 3.2 and 3.3, dense",
        differs: "factors at the embedding, scores, residual and logits",
        real_weights: &[],
    },
    defaults: "{}",
    fields: &[
        "attention_bias",
        "mlp_bias",
        "embedding_multiplier",
        "attention_multiplier",
        "residual_multiplier",
        "logits_scaling",
        "attention.scale",
        "embedding_scale",
        "residual_scale",
        "logit_scale",
    ],
    form: Form::LLAMA,
    gguf: GgufForm {
        has_factors: true,
        ..GgufForm::LLAMA.named("granite")
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

pub(super) fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.common()?;
    let fields = &config.fields;
    model.biases = config.biases();
    model.score_scale = fields.attention_multiplier.unwrap_or(1.0);
    model.embedding_scale = factor(fields.embedding_multiplier);
    model.residual_scale = factor(fields.residual_multiplier);
    model.logit_scale = factor(fields.logits_scaling).map(|divisor| 1.0 / divisor);
    Ok(model)
}

pub(super) fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    numbers.biases.output = numbers.biases.inputs;
    let number = |name: &str| -> Result<Option<f64>, SourceError> {
        let number = model.metadata.optional_f64(&model.key(name))?;
        // llama.cpp takes 0 for none.
        Ok(number.filter(|&number| number != 0.0))
    };
    if let Some(scale) = number("attention.scale")? {
        numbers.score_scale = scale;
    }
    numbers.embedding_scale = factor(number("embedding_scale")?);
    numbers.residual_scale = factor(number("residual_scale")?);
    // Logits are divided by it there too.
    numbers.logit_scale = factor(number("logit_scale")?).map(|divisor| 1.0 / divisor);
    Ok(numbers)
}

/// A factor that changes something.
fn factor(number: Option<f64>) -> Option<f64> {
    number.filter(|&number| number != 1.0)
}

pub(super) fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let residual = spec.blocks.first().and_then(|block| block.residual_scale);
    let scores = spec.first_attention().map(|it| it.score_scale);
    let divisor = spec.head.scale.map_or(1.0, |scale| 1.0 / scale);
    for (name, value) in [
        ("embedding_multiplier", spec.embedding.scale.unwrap_or(1.0)),
        ("attention_multiplier", scores.unwrap_or(1.0)),
        ("residual_multiplier", residual.unwrap_or(1.0)),
        ("logits_scaling", divisor),
    ] {
        config.insert(name.into(), near_integer(value));
    }
}
