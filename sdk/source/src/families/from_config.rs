//! `config.json` in both of the forms that transformers has written: up to version 4 (`rope_theta`,
//! `rope_scaling`) and from 5 on (`rope_parameters`).

use std::path::Path;

use evopress_core::json;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::dense::{Biases, BlockNumbers, DenseModel, num_blocks};
use super::expert_fields::ExpertFields;
use super::form::Form;
use crate::error::SourceError;
use crate::spec::Activation;

/// What a configuration says of its model.
pub(crate) struct Config<'a> {
    pub(super) fields: Fields,
    pub(super) experts: ExpertFields,
    pub(super) file: &'a Path,
    form: &'a Form,
}

/// The fields that families have, those that only some have after the others.
#[derive(Deserialize)]
pub(super) struct Fields {
    num_hidden_layers: i64,
    pub(super) hidden_size: i64,
    pub(super) intermediate_size: i64,
    num_attention_heads: i64,
    num_key_value_heads: Option<i64>,
    head_dim: Option<i64>,
    vocab_size: i64,
    rms_norm_eps: Option<f64>,
    pub(super) max_position_embeddings: Option<i64>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_scaling: Option<Map<String, Value>>,
    pub(super) rope_parameters: Option<Map<String, Value>>,
    pub(super) original_max_position_embeddings: Option<f64>,
    pub(super) partial_rotary_factor: Option<f64>,
    tie_word_embeddings: Option<bool>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    #[serde(default, deserialize_with = "json::token_id")]
    bos_token_id: Option<u32>,
    #[serde(default, deserialize_with = "json::token_ids")]
    eos_token_id: Vec<u32>,
    #[serde(default, deserialize_with = "json::token_id")]
    pad_token_id: Option<u32>,
    pub(super) attention_bias: Option<bool>,
    pub(super) mlp_bias: Option<bool>,
    pub(super) sliding_window: Option<i64>,
    pub(super) use_sliding_window: Option<bool>,
    pub(super) max_window_layers: Option<usize>,
    pub(super) layer_types: Option<Vec<String>>,
    pub(super) sliding_window_pattern: Option<usize>,
    pub(super) no_rope_layers: Option<Vec<i64>>,
    pub(super) no_rope_layer_interval: Option<usize>,
    pub(super) rope_local_base_freq: Option<f64>,
    pub(super) query_pre_attn_scalar: Option<f64>,
    pub(super) attn_logit_softcapping: Option<f64>,
    pub(super) final_logit_softcapping: Option<f64>,
    pub(super) embedding_multiplier: Option<f64>,
    pub(super) attention_multiplier: Option<f64>,
    pub(super) residual_multiplier: Option<f64>,
    pub(super) logits_scaling: Option<f64>,
}

/// What families call their number of experts.
const NUMS_EXPERTS: [&str; 2] = ["num_experts", "num_local_experts"];

// What transformers takes where no field says it.
const DEFAULT_NORM_EPS: f64 = 1e-6;
const DEFAULT_CONTEXT: i64 = 2048;

impl<'a> Config<'a> {
    /// The fields of a configuration of a family of this form; `defaults` are those that
    /// transformers fills in, as a JSON object.
    pub(super) fn new(
        form: &'a Form,
        defaults: &str,
        config: &Map<String, Value>,
        file: &'a Path,
    ) -> Result<Self, SourceError> {
        let malformed = |what: String| SourceError::malformed(file, what);
        let mut all = json::object(defaults).map_err(malformed)?.map;
        // Two names of one number: what the file says under one goes before a default of the other.
        let says = |name: &str| config.get(name).is_some_and(|it| !it.is_null());
        if NUMS_EXPERTS.iter().any(|name| says(name)) {
            all.retain(|name, _| !NUMS_EXPERTS.contains(&name.as_str()));
        }
        all.extend(
            config
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        Ok(Self {
            fields: json::fields_of(&all).map_err(malformed)?,
            experts: json::fields_of(&all).map_err(malformed)?,
            file,
            form,
        })
    }

    /// The numbers that every family has, with one rotation in all blocks, no windows and no
    /// biases.
    pub(super) fn common(&self) -> Result<DenseModel, SourceError> {
        let blocks = BlockNumbers {
            rope: Some(self.rope()?),
            window: None,
        };
        let blocks = vec![blocks; self.num_blocks()?];
        self.with_blocks(blocks)
    }

    /// The numbers that every family has, with these blocks and no biases.
    pub(super) fn with_blocks(&self, blocks: Vec<BlockNumbers>) -> Result<DenseModel, SourceError> {
        self.check_activation()?;
        let fields = &self.fields;
        Ok(DenseModel {
            blocks,
            hidden_size: fields.hidden_size,
            intermediate_size: fields.intermediate_size,
            num_heads: fields.num_attention_heads,
            num_kv_heads: fields
                .num_key_value_heads
                .unwrap_or(fields.num_attention_heads),
            head_dim: self.head_dim(),
            vocab_size: fields.vocab_size,
            rms_norm_eps: fields.rms_norm_eps.unwrap_or(DEFAULT_NORM_EPS),
            score_scale: (self.head_dim() as f64).powf(-0.5),
            query_growth: None,
            score_cap: None,
            embedding_scale: None,
            residual_scale: None,
            logit_scale: None,
            logit_cap: None,
            tie_word_embeddings: fields.tie_word_embeddings.unwrap_or(false),
            max_position_embeddings: self.context(),
            biases: Biases::default(),
            experts: None,
            bos_token_id: fields.bos_token_id,
            eos_token_ids: fields.eos_token_id.clone(),
            pad_token_id: fields.pad_token_id,
        })
    }

    /// The biases of families where one field is for q, k, v and o, and another for the MLP.
    pub(super) fn biases(&self) -> Biases {
        let attention = self.fields.attention_bias.unwrap_or(false);
        Biases {
            inputs: attention,
            output: attention,
            mlp: self.fields.mlp_bias.unwrap_or(false),
        }
    }

    pub(super) fn num_blocks(&self) -> Result<usize, SourceError> {
        num_blocks(self.fields.num_hidden_layers, self.file)
    }

    pub(super) fn head_dim(&self) -> i64 {
        let by_heads = self.fields.hidden_size / self.fields.num_attention_heads.max(1);
        self.fields.head_dim.unwrap_or(by_heads)
    }

    pub(super) fn context(&self) -> i64 {
        self.fields
            .max_position_embeddings
            .unwrap_or(DEFAULT_CONTEXT)
    }

    fn check_activation(&self) -> Result<(), SourceError> {
        let form = self.form;
        let (fields, field) = (&self.fields, form.activation_field);
        let found = match field {
            "hidden_activation" => &fields.hidden_activation,
            _ => &fields.hidden_act,
        };
        let name = activation_name(form.activation);
        match found {
            Some(found) if found != name => Err(self.unsupported(field, found.clone(), name)),
            _ => Ok(()),
        }
    }

    pub(super) fn malformed(&self, what: impl Into<String>) -> SourceError {
        SourceError::malformed(self.file, what)
    }

    pub(super) fn unsupported(&self, what: &str, found: String, supported: &str) -> SourceError {
        SourceError::Unsupported {
            file: self.file.to_path_buf(),
            what: what.into(),
            found,
            supported: supported.into(),
        }
    }
}

/// transformers' name of an activation function.
pub(super) fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Silu => "silu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    }
}
