//! `config.json` in both of the forms that transformers has written: up to version 4 (`rope_theta`,
//! `rope_scaling`) and from 5 on (`rope_parameters`).

use std::path::Path;

use evopress_core::json;
use serde::Deserialize;

use super::dense::DenseModel;
use crate::error::SourceError;
use crate::spec::{Rope, RopeScaling};

#[derive(Deserialize)]
struct HfConfig {
    num_hidden_layers: usize,
    hidden_size: i64,
    intermediate_size: i64,
    num_attention_heads: i64,
    num_key_value_heads: Option<i64>,
    head_dim: Option<i64>,
    vocab_size: i64,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<i64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<HfRope>,
    rope_parameters: Option<HfRope>,
    partial_rotary_factor: Option<f64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    #[serde(default, deserialize_with = "json::token_id")]
    bos_token_id: Option<u32>,
    #[serde(default, deserialize_with = "json::token_ids")]
    eos_token_id: Vec<u32>,
    #[serde(default, deserialize_with = "json::token_id")]
    pad_token_id: Option<u32>,
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

// What transformers takes where the key is absent.
const DEFAULT_NORM_EPS: f64 = 1e-6;
const DEFAULT_CONTEXT: i64 = 2048;

/// A model of alike blocks from the text of its configuration.
pub(super) fn read(text: &str, file: &Path) -> Result<DenseModel, SourceError> {
    let raw: HfConfig = json::fields(text).map_err(|what| SourceError::malformed(file, what))?;
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
    let head_dim = raw
        .head_dim
        .unwrap_or(raw.hidden_size / raw.num_attention_heads.max(1));
    let model = DenseModel {
        num_blocks: raw.num_hidden_layers,
        hidden_size: raw.hidden_size,
        intermediate_size: raw.intermediate_size,
        num_heads: raw.num_attention_heads,
        num_kv_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
        head_dim,
        vocab_size: raw.vocab_size,
        rms_norm_eps: raw.rms_norm_eps.unwrap_or(DEFAULT_NORM_EPS),
        rope: Rope {
            theta: theta.unwrap_or(10_000.0),
            scaling: rope_settings.map_or(Ok(RopeScaling::None), |rope| rope.scaling(file))?,
            width: head_dim,
        },
        tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
        max_position_embeddings: raw.max_position_embeddings.unwrap_or(DEFAULT_CONTEXT),
        attention_bias: raw.attention_bias.unwrap_or(false),
        mlp_bias: raw.mlp_bias.unwrap_or(false),
        bos_token_id: raw.bos_token_id,
        eos_token_ids: raw.eos_token_id,
        pad_token_id: raw.pad_token_id,
    };
    model.checked(file)
}

impl HfRope {
    fn scaling(&self, file: &Path) -> Result<RopeScaling, SourceError> {
        let kind = self
            .rope_type
            .as_deref()
            .or(self.legacy_type.as_deref())
            .unwrap_or("default");
        let missing =
            |name: &str| SourceError::malformed(file, format!("rope type {kind} without {name}"));
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
            // One set of factors for all lengths and no change of the attention's scale:
            // what `to_config` makes.
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
