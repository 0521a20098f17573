//! SmolLM3: Llama whose every fourth block does not rotate queries and keys.

use serde_json::{Map, Value, json};

use super::dense::DenseModel;
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::to_config::write_switched_windows;
use crate::error::SourceError;
use crate::gguf::GgufForm;
use crate::spec::ModelSpec;

pub(super) static FAMILY: Family = Family {
    model_type: "smollm3",
    class: "SmolLM3ForCausalLM",
    about: About {
        models: "SmolLM3 3B",
        differs: "every fourth block does not rotate queries and keys",
        real_weights: &[],
    },
    defaults: r#"{"num_key_value_heads": 4, "max_position_embeddings": 32768, "rope_theta": 2000000.0, "tie_word_embeddings": true}"#,
    fields: &[
        "no_rope_layers",
        "sliding_window",
        "use_sliding_window",
        "layer_types",
        "attention_bias",
        "mlp_bias",
    ],
    form: Form::LLAMA,
    gguf: GgufForm {
        interleaves_heads: true,
        unrotated_period: Some(PERIOD),
        ..GgufForm::plain("smollm3")
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

/// Every so many blocks one does not rotate.
const PERIOD: usize = 4;

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let (rope, window) = (config.rope()?, config.switched_window());
    let turns = turns(config)?;
    let is_windowed = |block_idx: usize| window.is_some() && !turns[block_idx];
    let blocks = config.blocks_by_kind(is_windowed, window, |block_idx, _| {
        turns[block_idx].then(|| rope.clone())
    })?;
    let mut model = config.with_blocks(blocks)?;
    model.biases = config.biases();
    Ok(model)
}

/// Whether each block rotates.
fn turns(config: &Config<'_>) -> Result<Vec<bool>, SourceError> {
    let num_blocks = config.num_blocks()?;
    let period = config.fields.no_rope_layer_interval.unwrap_or(PERIOD);
    match &config.fields.no_rope_layers {
        Some(turns) if turns.len() != num_blocks => Err(config.malformed(format!(
            "no_rope_layers has {} entries, num_hidden_layers is {num_blocks}",
            turns.len()
        ))),
        Some(turns) => Ok(turns.iter().map(|&turns| turns != 0).collect()),
        None if period == 0 => {
            Err(config.malformed("no_rope_layer_interval is 0, expected a positive number"))
        }
        None => Ok((1..=num_blocks)
            .map(|number| number % period != 0)
            .collect()),
    }
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    for block in numbers.blocks.iter_mut().skip(PERIOD - 1).step_by(PERIOD) {
        block.rope = None;
    }
    Ok(numbers)
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    write_switched_windows(spec, config);
    let attentions = spec.blocks.iter().map(|block| block.attention.as_ref());
    let turns = attentions.map(|it| i32::from(it.is_none_or(|it| it.rope.is_some())));
    config.insert("no_rope_layers".into(), json!(turns.collect::<Vec<_>>()));
}
