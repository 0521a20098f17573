//! Gemma 3, its text part: as Gemma 2 without caps, norms on each head of queries and keys, and
//! windows in five of six blocks, which rotate by a base of their own.

use serde_json::{Map, Value, json};

use super::config_rope::Kind;
use super::dense::DenseModel;
use super::family::{About, Family};
use super::form::{
    AFTER_ATTENTION, AFTER_MLP, BEFORE_MLP_OF_FOUR, Form, INPUT, KEY_HEAD, QUERY_HEAD,
};
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::gemma2::{gemma_of_gguf, of_gemma, write_of_gemma};
use super::to_config::{rope_of, write_ropes, write_windows};
use crate::error::SourceError;
use crate::gguf::{GgufForm, GgufWindows};
use crate::spec::{Activation, ModelSpec, Rope, RopeScaling};

pub(super) static FAMILY: Family = Family {
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    about: About {
        models: "Gemma 3, 270M to 27B; of models with images the part for texts",
        differs: "Gemma 2 without caps, with norms on each head; windows in five of six blocks, with a rotation of their own",
        real_weights: &["Gemma 3 270M"],
    },
    defaults: r#"{
        "vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072,
        "tie_word_embeddings": true, "query_pre_attn_scalar": 256, "sliding_window": 4096,
        "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0
    }"#,
    fields: &[
        "sliding_window",
        "sliding_window_pattern",
        "layer_types",
        "rope_local_base_freq",
        "query_pre_attn_scalar",
        "final_logit_softcapping",
        "attention_bias",
        "attention.sliding_window",
    ],
    form: Form {
        norms: &[
            INPUT,
            QUERY_HEAD,
            KEY_HEAD,
            AFTER_ATTENTION,
            BEFORE_MLP_OF_FOUR,
            AFTER_MLP,
        ],
        has_offset_norms: true,
        activation: Activation::GeluTanh,
        activation_field: "hidden_activation",
        ..Form::LLAMA
    },
    gguf: GgufForm {
        windows: WINDOWS,
        has_own_base_in_windows: true,
        scores_differ_at: Some(BLOCKS_OF_27B),
        ..GgufForm::plain("gemma3")
    },
    read_config,
    read_gguf: Some(read_gguf),
    write_config,
};

const WINDOWS: GgufWindows = GgufWindows::ByBlock {
    period: PERIOD,
    width: None,
};
/// Every so many blocks one has no window.
const PERIOD: usize = 6;
const THETA: f64 = 1_000_000.0;
const THETA_IN_WINDOWS: f64 = 10_000.0;
/// The number of blocks by which llama.cpp tells the model whose scores have another scale.
const BLOCKS_OF_27B: usize = 62;

fn read_config(config: &Config<'_>) -> Result<DenseModel, SourceError> {
    let fields = &config.fields;
    let period = fields.sliding_window_pattern.unwrap_or(PERIOD);
    if period == 0 {
        return Err(config.malformed("sliding_window_pattern is 0, expected a positive number"));
    }
    let full = config.rope_of(Kind::Full, fields.rope_theta.unwrap_or(THETA))?;
    let local = fields.rope_local_base_freq.unwrap_or(THETA_IN_WINDOWS);
    let windowed = config.rope_of(Kind::Windowed, local)?;
    let is_windowed = |block_idx| (block_idx + 1) % period != 0;
    let blocks = config.blocks_by_kind(is_windowed, fields.sliding_window, |_, kind| {
        Some(match kind {
            Kind::Full => full.clone(),
            Kind::Windowed => windowed.clone(),
        })
    })?;
    let mut model = config.with_blocks(blocks)?;
    of_gemma(config, &mut model);
    Ok(model)
}

fn read_gguf(model: &GgufModel<'_>) -> Result<DenseModel, SourceError> {
    let mut numbers = model.common()?;
    let base = model
        .metadata
        .optional_f64(&model.key("rope.freq_base_swa"))?;
    let windows = model.windows(WINDOWS, numbers.blocks.len())?;
    for (block, window) in numbers.blocks.iter_mut().zip(windows) {
        if window.is_some() {
            block.rope = Some(Rope {
                theta: base.unwrap_or(THETA_IN_WINDOWS),
                scaling: RopeScaling::None,
                width: numbers.head_dim,
            });
        }
        block.window = window;
    }
    gemma_of_gguf(&mut numbers, BLOCKS_OF_27B);
    let cap = model.key("final_logit_softcapping");
    numbers.logit_cap = model.metadata.optional_f64(&cap)?.filter(|&cap| cap != 0.0);
    Ok(numbers)
}

fn write_config(spec: &ModelSpec, config: &mut Map<String, Value>) {
    write_windows(spec, config);
    write_of_gemma(spec, config);
    write_ropes(spec, config);
    let local = rope_of(spec, Kind::Windowed).map_or(THETA_IN_WINDOWS, |rope| rope.theta);
    config.insert("rope_local_base_freq".into(), json!(local));
}
