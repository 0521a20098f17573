//! Ministral 8B: Mistral with a window in some blocks.

use super::dense::DenseModel;
use super::family::{About, Family};
use super::form::Form;
use super::from_config::Config;
use super::to_config::write_windows;
use crate::error::SourceError;
use crate::gguf::GgufForm;

pub(super) static FAMILY: Family = Family {
    model_type: "ministral",
    class: "MinistralForCausalLM",
    about: About {
        models: "Ministral 8B",
        differs: "a window in some blocks",
        real_weights: &[],
    },
    defaults: r#"{"num_key_value_heads": 8, "max_position_embeddings": 131072, "sliding_window": 4096}"#,
    fields: &["sliding_window", "layer_types"],
    form: Form::LLAMA,
    gguf: GgufForm::LLAMA,
    read_config,
    read_gguf: None,
    write_config: write_windows,
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let (rope, window) = (config.rope()?, config.fields.sliding_window);
    let is_windowed = |_| window.is_some();
    let blocks = config.blocks_by_kind(is_windowed, window, |_, _| Some(rope.clone()))?;
    config.with_blocks(blocks)
}
