//! `config.json` in both of the forms that transformers has written: up to version 4 (`rope_theta`, `rope_scaling`,
//! `torch_dtype`) and from 5 on (`rope_parameters`, `dtype`). We write the older form, which both versions read.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::SourceError;
use super::config::ModelConfig;
use crate::spec::{Rope, RopeScaling};

const SUPPORTED: &str = "llama";

#[derive(Deserialize)]
struct HfConfig {
    num_hidden_layers: usize,
    hidden_size: i64,
    intermediate_size: i64,
    num_attention_heads: i64,
    num_key_value_heads: Option<i64>,
    head_dim: Option<i64>,
    vocab_size: i64,
    #[serde(default = "default_norm_eps")]
    rms_norm_eps: f64,
    #[serde(default = "default_context")]
    max_position_embeddings: i64,
    rope_theta: Option<f64>,
    rope_scaling: Option<HfRope>,
    rope_parameters: Option<HfRope>,
    partial_rotary_factor: Option<f64>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: Option<String>,
    bos_token_id: Option<u32>,
    eos_token_id: Option<OneOrMany>,
    pad_token_id: Option<u32>,
    quantization_config: Option<Value>,
}

#[derive(Deserialize)]
struct HfRope {
    rope_type: Option<String>,
    #[serde(rename = "type")]
    legacy_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    attention_factor: Option<f64>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

// What transformers takes where the key is absent.
fn default_norm_eps() -> f64 {
    1e-6
}

fn default_context() -> i64 {
    2048
}

/// Refuses other families.
pub(super) fn check_family(config: &Map<String, Value>, file: &Path) -> Result<(), SourceError> {
    let found = config
        .get("model_type")
        .and_then(Value::as_str)
        .unwrap_or("");
    if found == SUPPORTED {
        return Ok(());
    }
    Err(SourceError::Architecture {
        file: file.to_path_buf(),
        found: found.into(),
        supported: SUPPORTED.into(),
    })
}

pub(super) fn parse(text: &str, file: &Path) -> Result<ModelConfig, SourceError> {
    let raw: HfConfig = serde_json::from_str(text).map_err(|cause| SourceError::Malformed {
        file: file.to_path_buf(),
        what: cause.to_string(),
    })?;
    let unsupported = |what: &str, found: String, supported: &str| SourceError::Unsupported {
        file: file.to_path_buf(),
        what: what.into(),
        found,
        supported: supported.into(),
    };
    if let Some(activation) = raw
        .hidden_act
        .as_ref()
        .filter(|activation| *activation != "silu")
    {
        return Err(unsupported("hidden_act", activation.clone(), "silu"));
    }
    if raw.quantization_config.is_some() {
        return Err(unsupported(
            "quantization_config",
            "quantized weights".into(),
            "F32, F16 or BF16 weights",
        ));
    }
    let rope_settings = raw.rope_parameters.as_ref().or(raw.rope_scaling.as_ref());
    let partial = raw
        .partial_rotary_factor
        .or(rope_settings.and_then(|rope| rope.partial_rotary_factor));
    if let Some(partial) = partial.filter(|&partial| partial != 1.0) {
        return Err(unsupported(
            "partial_rotary_factor",
            partial.to_string(),
            "1",
        ));
    }
    let theta = rope_settings
        .and_then(|rope| rope.rope_theta)
        .or(raw.rope_theta);
    let config = ModelConfig {
        architecture: SUPPORTED.into(),
        num_blocks: raw.num_hidden_layers,
        hidden_size: raw.hidden_size,
        intermediate_size: raw.intermediate_size,
        num_heads: raw.num_attention_heads,
        num_kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
        head_dim: raw
            .head_dim
            .unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1)),
        vocab_size: raw.vocab_size,
        rms_norm_eps: raw.rms_norm_eps,
        rope: Rope {
            theta: theta.unwrap_or(10_000.0),
            scaling: rope_settings.map_or(Ok(RopeScaling::None), |rope| rope.scaling(file))?,
        },
        tie_word_embeddings: raw.tie_word_embeddings,
        max_position_embeddings: raw.max_position_embeddings,
        attention_bias: raw.attention_bias,
        mlp_bias: raw.mlp_bias,
        bos_token_id: raw.bos_token_id,
        eos_token_ids: match raw.eos_token_id {
            None => Vec::new(),
            Some(OneOrMany::One(id)) => vec![id],
            Some(OneOrMany::Many(ids)) => ids,
        },
        pad_token_id: raw.pad_token_id,
    };
    config.validate(file)?;
    Ok(config)
}

impl HfRope {
    fn scaling(&self, file: &Path) -> Result<RopeScaling, SourceError> {
        let kind = self
            .rope_type
            .as_deref()
            .or(self.legacy_type.as_deref())
            .unwrap_or("default");
        let missing = |name: &str| SourceError::Malformed {
            file: file.to_path_buf(),
            what: format!("rope type {kind} without {name}"),
        };
        let need = |value: Option<f64>, name: &str| value.ok_or_else(|| missing(name));
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear {
                factor: need(self.factor, "factor")?,
            }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: need(self.factor, "factor")?,
                low_freq_factor: need(self.low_freq_factor, "low_freq_factor")?,
                high_freq_factor: need(self.high_freq_factor, "high_freq_factor")?,
                original_max_position_embeddings: need(
                    self.original_max_position_embeddings,
                    "original_max_position_embeddings",
                )?,
            }),
            // One set of factors for all lengths and no change of the attention's scale: what `write` makes.
            "longrope"
                if self.short_factor == self.long_factor && self.attention_factor == Some(1.0) =>
            {
                match &self.short_factor {
                    Some(factors) => Ok(RopeScaling::Factors {
                        factors: factors.clone(),
                    }),
                    None => Err(missing("short_factor")),
                }
            }
            other => Err(SourceError::Unsupported {
                file: file.to_path_buf(),
                what: "rope type".into(),
                found: other.into(),
                supported: "default, linear, llama3".into(),
            }),
        }
    }
}

/// `config` over what the original file says beside it.
pub(super) fn write(config: &ModelConfig, original: Map<String, Value>) -> Map<String, Value> {
    let mut map = original;
    for key in [
        "rope_parameters",
        "dtype",
        "transformers_version",
        "_name_or_path",
    ] {
        map.shift_remove(key);
    }
    let mut set = |key: &str, value: Value| map.insert(key.into(), value);
    set("architectures", json!(["LlamaForCausalLM"]));
    set("model_type", json!(config.architecture));
    set("vocab_size", json!(config.vocab_size));
    set("hidden_size", json!(config.hidden_size));
    set("intermediate_size", json!(config.intermediate_size));
    set("num_hidden_layers", json!(config.num_blocks));
    set("num_attention_heads", json!(config.num_heads));
    set("num_key_value_heads", json!(config.num_kv_heads));
    set("head_dim", json!(config.head_dim));
    set("hidden_act", json!("silu"));
    set(
        "max_position_embeddings",
        json!(config.max_position_embeddings),
    );
    set("rms_norm_eps", json!(config.rms_norm_eps));
    set("rope_theta", json!(config.rope.theta));
    set("rope_scaling", rope_scaling(config));
    set("attention_bias", json!(config.attention_bias));
    set("mlp_bias", json!(config.mlp_bias));
    set("tie_word_embeddings", json!(config.tie_word_embeddings));
    set("bos_token_id", json!(config.bos_token_id));
    set("eos_token_id", eos(config));
    set("pad_token_id", json!(config.pad_token_id));
    map
}

/// `generation_config.json` of a model that came without one.
pub(super) fn generation(config: &ModelConfig) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("bos_token_id".into(), json!(config.bos_token_id));
    map.insert("eos_token_id".into(), eos(config));
    map.insert("pad_token_id".into(), json!(config.pad_token_id));
    map.retain(|_, value| !value.is_null());
    map
}

fn eos(config: &ModelConfig) -> Value {
    match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    }
}

fn rope_scaling(config: &ModelConfig) -> Value {
    match &config.rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": whole(*original_max_position_embeddings),
        }),
        RopeScaling::Factors { factors } => json!({
            "rope_type": "longrope",
            "factor": 1.0,
            "attention_factor": 1.0,
            "short_factor": factors,
            "long_factor": factors,
            "original_max_position_embeddings": config.max_position_embeddings,
        }),
    }
}

/// An integer where the number is one, as transformers wants it.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}
