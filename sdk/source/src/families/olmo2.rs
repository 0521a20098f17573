//! OLMo 2: no norm before a sub-block but one after it, and norms over all heads of queries and of
//! keys together.

use super::dense::DenseModel;
use super::family::{About, Family, no_more_fields};
use super::form::{AFTER_ATTENTION, AFTER_MLP, ALL_KEYS, ALL_QUERIES, Form};
use super::from_config::Config;
use crate::error::SourceError;
use crate::gguf::{GgufForm, GgufHead};

pub(super) static FAMILY: Family = Family {
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    about: About {
        models: "OLMo 2, 1B to 32B",
        differs: "norms after attention and MLP instead of before; norms over all heads together",
        real_weights: &[],
    },
    defaults: r#"{"rms_norm_eps": 1e-5}"#,
    fields: &["attention_bias"],
    form: FORM,
    gguf: GGUF,
    read_config,
    read_gguf: Some(|model| model.common()),
    write_config: no_more_fields,
};

pub(super) const FORM: Form = Form {
    norms: &[ALL_QUERIES, ALL_KEYS, AFTER_ATTENTION, AFTER_MLP],
    ..Form::LLAMA
};

pub(super) const GGUF: GgufForm = GgufForm {
    head: GgufHead::Own,
    ..GgufForm::plain("olmo2")
};

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let mut model = config.common()?;
    model.biases = config.biases();
    model.biases.mlp = false;
    Ok(model)
}
