//! Gemma 2: four norms a block whose weights files hold less 1, a scaled embedding, capped scores
//! and logits, windows in every other block.

use serde_json::{Map, Value, json};

use super::dense::DenseModel;
use super::family::{About, Family};
use super::form::{AFTER_ATTENTION, AFTER_MLP, BEFORE_MLP_OF_FOUR, Form, INPUT};
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::to_config::{near_integer, write_windows};
use crate::error::SourceError;
use crate::gguf::{GgufForm, GgufHead, GgufWindows};
use crate::spec::{Activation, ModelSpec};

pub(super) static FAMILY: Family = Family {
    model_type: "gemma2",
    class: "Gemma2ForCausalLM",
    about: About {
        models: "Gemma 2, 2B to 27B",
        differs: "four norms a block, with 1 added to their weights; GELU; a scaled embedding; capped scores and logits; windows in every other block",
        real_weights: &[],
    },
    defaults: r#"{
        "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192, "tie_word_embeddings": true,
        "query_pre_attn_scalar": 256, "sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0
    }"#,
    fields: &[
        "sliding_window",
        "layer_types",
        "query_pre_attn_scalar",
        "attn_logit_softcapping",
        "final_logit_softcapping",
        "attention_bias",
        "attention.sliding_window",
    ],
    form: Form {
        norms: &[INPUT, AFTER_ATTENTION, BEFORE_MLP_OF_FOUR, AFTER_MLP],
        has_offset_norms: true,
        activation: Activation::GeluTanh,
        activation_field: "hidden_activation",
        ..Form::LLAMA
    },
    gguf: GgufForm {
        windows: WINDOWS,
        stretches_in_windows: true,
        always_caps: true,
        head: GgufHead::Tied,
        scores_differ_at: Some(BLOCKS_OF_27B),
        ..GgufForm::plain("gemma2")
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

const WINDOWS: GgufWindows = GgufWindows::ByBlock {
    period: 2,
    width: Some(4096),
};
/// llama.cpp's caps where a file has none.
const SCORE_CAP: f64 = 50.0;
const LOGIT_CAP: f64 = 30.0;
/// The number of blocks by which llama.cpp tells the model whose scores have another scale.
const BLOCKS_OF_27B: usize = 46;

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let (rope, window) = (config.rope()?, config.fields.sliding_window);
    let is_windowed = |block_idx| block_idx % 2 == 0;
    let blocks = config.blocks_by_kind(is_windowed, window, |_, _| Some(rope.clone()))?;
    let mut model = config.with_blocks(blocks)?;
    of_gemma(config, &mut model);
    model.score_cap = config.fields.attn_logit_softcapping;
    Ok(model)
}

/// What Gemma 2 and 3 have in common.
pub(super) fn of_gemma(config: &Config<'_>, model: &mut DenseModel) {
    model.biases = config.biases();
    model.biases.mlp = false;
    if let Some(scalar) = config.fields.query_pre_attn_scalar {
        model.score_scale = scalar.powf(-0.5);
    }
    model.embedding_scale = Some((model.hidden_size as f64).sqrt());
    model.logit_cap = config.fields.final_logit_softcapping;
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    let windows = model.windows(WINDOWS, numbers.blocks.len())?;
    for (block, window) in numbers.blocks.iter_mut().zip(windows) {
        block.window = window;
    }
    gemma_of_gguf(&mut numbers, BLOCKS_OF_27B);
    let cap = |name: &str| model.metadata.optional_f64(&model.key(name));
    numbers.score_cap = Some(cap("attn_logit_softcapping")?.unwrap_or(SCORE_CAP));
    numbers.logit_cap = Some(cap("final_logit_softcapping")?.unwrap_or(LOGIT_CAP));
    Ok(numbers)
}

/// What llama.cpp takes for Gemma 2 and 3 without a key: the scale of the embedding, and that of
/// scores, by which the model with `other_blocks` blocks differs.
pub(super) fn gemma_of_gguf(numbers: &mut DenseModel, other_blocks: usize) {
    numbers.embedding_scale = Some((numbers.hidden_size as f64).sqrt());
    let scalar = match numbers.blocks.len() == other_blocks {
        true => numbers.hidden_size / numbers.num_heads.max(1),
        false => numbers.head_dim,
    };
    numbers.score_scale = (scalar as f64).powf(-0.5);
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    write_windows(spec, config);
    write_of_gemma(spec, config);
    let cap = spec.first_attention().and_then(|it| it.score_cap);
    config.insert("attn_logit_softcapping".into(), json!(cap));
}

/// The fields that Gemma 2 and 3 have in common.
pub(super) fn write_of_gemma(spec: &ModelSpec, config: &mut Map<String, Value>) {
    let scale = spec.first_attention().map(|it| it.score_scale);
    let scalar = scale.map(|scale| near_integer(scale.powi(-2)));
    let activation = config.get("hidden_act").cloned().unwrap_or_default();
    config.insert("hidden_activation".into(), activation);
    config.insert("query_pre_attn_scalar".into(), json!(scalar));
    config.insert("final_logit_softcapping".into(), json!(spec.head.cap));
}
