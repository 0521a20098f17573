//! Ministral 3: Mistral by YaRN, whose queries grow with their position beyond the original
//! context.

use serde_json::{Map, Value, json};

use super::config_rope::GROWTH;
use super::dense::DenseModel;
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::mistral;
use super::to_config::whole;
use crate::error::SourceError;
use crate::gguf::names::{ROPE_FACTORS, TEMPERATURE_SCALE, YARN_LOG_MULTIPLIER};
use crate::gguf::{GgufBiases, GgufForm};
use crate::spec::{ModelSpec, RopeScaling};

pub(super) static FAMILY: Family = Family {
    model_type: "ministral3",
    class: "Ministral3ForCausalLM",
    about: About {
        models: "Ministral 3, 3B to 14B; of models with images the part for texts",
        differs: "YaRN; queries that grow with their position beyond the original context",
        real_weights: &[],
    },
    defaults: r#"{
        "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-5, "max_position_embeddings": 262144,
        "rope_parameters": {
            "type": "yarn", "rope_theta": 1000000.0, "factor": 16.0, "original_max_position_embeddings": 16384, "beta_fast": 32.0,
            "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1
        }
    }"#,
    fields: &["sliding_window", TEMPERATURE_SCALE, YARN_LOG_MULTIPLIER],
    form: Form::LLAMA,
    gguf: GgufForm {
        has_yarn_keys: true,
        grows_queries: true,
        biases: GgufBiases::None,
        ..GgufForm::LLAMA.named("mistral3")
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = mistral::read_config(config)?;
    model.query_growth = config.query_growth()?;
    Ok(model)
}

/// Mistral Small 3.1 has this architecture in GGUF files too; its queries do not grow.
fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    numbers.query_growth = model.query_growth()?;
    let rope = numbers.blocks.first().and_then(|block| block.rope.as_ref());
    if let (
        Some(growth),
        Some(RopeScaling::Llama3 {
            original_max_position_embeddings,
            ..
        }),
    ) = (numbers.query_growth, rope.map(|rope| &rope.scaling))
        && growth.step != *original_max_position_embeddings
    {
        let what = format!(
            "queries grow every {} tokens, but {ROPE_FACTORS} is for an original context of {}",
            growth.step, original_max_position_embeddings
        );
        return Err(model.metadata.malformed(what));
    }
    Ok(numbers)
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    mistral::write_config(spec, config);
    let growth = spec.first_attention().and_then(|it| it.query_growth);
    let context = spec.max_position_embeddings as f64;
    let (weight, step) = growth.map_or((0.0, context), |it| (it.weight, it.step));
    // The rotation may not be stretched: its settings say the growth all the same, also that there
    // is none.
    let settings = config.entry("rope_scaling").or_insert(Value::Null);
    if settings.is_null() {
        *settings = json!({"rope_type": "default"});
    }
    settings[GROWTH] = json!(weight);
    let original = "original_max_position_embeddings";
    if growth.is_some() || settings.get(original).is_none() {
        settings[original] = whole(step);
    }
}
