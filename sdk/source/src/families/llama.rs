//! Llama 2, 3, 3.1, 3.2 and 3.3, and what is computed like them: TinyLlama, SmolLM2, Yi,
//! DeepSeek-coder.

use super::dense::DenseModel;
use super::family::{About, Family, no_more_fields};
use super::form::Form;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use crate::error::SourceError;
use crate::gguf::GgufForm;

pub(super) static FAMILY: Family = Family {
    model_type: "llama",
    class: "LlamaForCausalLM",
    about: About {
        models: "Llama 2, 3, 3.1, 3.2 and 3.3, TinyLlama, SmolLM2, Yi, DeepSeek-Coder",
        differs: "",
        real_weights: &["SmolLM2-135M-Instruct"],
    },
    defaults: "{}",
    fields: &["attention_bias", "mlp_bias"],
    form: Form::LLAMA,
    gguf: GgufForm::LLAMA,
    read_config,
    read_gguf: Some(read_gguf),
    write_config: no_more_fields,
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.common()?;
    model.biases = config.biases();
    Ok(model)
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    // One field of config.json is about q, k, v and o.
    numbers.biases.output = numbers.biases.inputs;
    Ok(numbers)
}
