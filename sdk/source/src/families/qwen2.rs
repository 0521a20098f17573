//! Qwen2 and Qwen2.5: Llama with biases on q, k and v, though no field says so. Windows are made
//! for, but switched off in all released models.

use super::dense::{Biases, BlockNumbers, DenseModel};
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::to_config::write_switched_windows;
use crate::error::SourceError;
use crate::gguf::{GgufBiases, GgufForm};

pub(super) static FAMILY: Family = Family {
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    about: About {
        models: "Qwen2, Qwen2.5, Qwen2.5-Coder",
        differs: "biases on q, k and v; windows, which released models switch off",
        real_weights: &["Qwen2.5-Coder-0.5B-Instruct"],
    },
    defaults: r#"{"num_key_value_heads": 32, "max_position_embeddings": 32768, "sliding_window": 4096, "max_window_layers": 28}"#,
    fields: FIELDS,
    form: Form::LLAMA,
    gguf: GgufForm {
        biases: GgufBiases::Inputs,
        ..GgufForm::plain("qwen2")
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config: write_switched_windows,
};

pub(super) const FIELDS: &[&str] = &["sliding_window", "use_sliding_window", "layer_types"];

const BIASES: Biases = Biases {
    inputs: true,
    output: false,
    mlp: false,
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.with_blocks(blocks(config)?)?;
    model.biases = BIASES;
    Ok(model)
}

/// One rotation, and windows from block `max_window_layers` on where they are switched on.
pub(super) fn blocks(config: &Config<'_>) -> Result<Vec<BlockNumbers>, SourceError> {
    let (rope, window) = (config.rope()?, config.switched_window());
    let first = config.fields.max_window_layers.unwrap_or(0);
    let is_windowed = |block_idx| window.is_some() && block_idx >= first;
    config.blocks_by_kind(is_windowed, window, |_, _| Some(rope.clone()))
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    numbers.biases = BIASES;
    Ok(numbers)
}
