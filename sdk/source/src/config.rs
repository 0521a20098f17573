//! The shape of a decoder-only transformer, whatever file format it came from.

use std::path::Path;

use evopress_plugin::{ModelOutline, SubBlock};

use super::SourceError;
use crate::spec::Rope;

/// All that the decoder needs to know about a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Family, as in Hugging Face's `model_type`: `llama`.
    pub architecture: String,
    /// Transformer blocks.
    pub num_blocks: usize,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width of the MLP.
    pub intermediate_size: i64,
    /// Query heads.
    pub num_heads: i64,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: i64,
    /// Width of a head, even; not always `hidden_size / num_heads`.
    pub head_dim: i64,
    /// Rows of the embedding.
    pub vocab_size: i64,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// Rotary position embedding.
    pub rope: Rope,
    /// Whether the head is the embedding (then there is no `lm_head.weight`).
    pub tie_word_embeddings: bool,
    /// Longest sequence that the model was made for, in tokens.
    pub max_position_embeddings: i64,
    /// Whether the attention's projections (q, k, v and o) have biases.
    pub attention_bias: bool,
    /// Whether the MLP's projections have biases.
    pub mlp_bias: bool,
    /// Begin-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Padding token.
    pub pad_token_id: Option<u32>,
}

const MAX_EXTENT: i64 = 1 << 24;
const MAX_BLOCKS: usize = 1 << 12;

impl ModelConfig {
    /// Refuses numbers that no model has, so that everything later may multiply them without care.
    pub(super) fn validate(&self, file: &Path) -> Result<(), SourceError> {
        let wrong = |what: String| {
            Err(SourceError::Malformed {
                file: file.to_path_buf(),
                what,
            })
        };
        let extents = [
            ("hidden size", self.hidden_size),
            ("intermediate size", self.intermediate_size),
            ("number of heads", self.num_heads),
            ("number of key/value heads", self.num_kv_heads),
            ("head dimension", self.head_dim),
            ("vocabulary size", self.vocab_size),
            ("context length", self.max_position_embeddings),
        ];
        for (name, value) in extents {
            let max = if name == "context length" {
                i64::from(u32::MAX)
            } else {
                MAX_EXTENT
            };
            if !(1..=max).contains(&value) {
                return wrong(format!("{name} is {value}, allowed: 1 to {max}"));
            }
        }
        if !(1..=MAX_BLOCKS).contains(&self.num_blocks) {
            return wrong(format!(
                "number of blocks is {}, allowed: 1 to {MAX_BLOCKS}",
                self.num_blocks
            ));
        }
        if self.num_heads % self.num_kv_heads != 0 {
            return wrong(format!(
                "{} heads cannot share {} key/value heads: the one must divide the other",
                self.num_heads, self.num_kv_heads
            ));
        }
        if self.head_dim % 2 != 0 {
            return wrong(format!(
                "head dimension is {}, expected an even number",
                self.head_dim
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return wrong(format!(
                "norm epsilon is {}, expected a small positive number",
                self.rms_norm_eps
            ));
        }
        self.rope.validate(self.head_dim, file)
    }
}

/// Linear layers of a block, in the order q, k, v, o, gate, up, down.
pub const LAYERS_PER_BLOCK: usize = 7;

impl ModelConfig {
    /// The linear layers of one block: name within the block, half of the block, rows, columns, whether there is a bias.
    fn linear_layers(&self) -> [(&'static str, SubBlock, i64, i64, bool); LAYERS_PER_BLOCK] {
        use SubBlock::{Attention, Mlp};
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (
            self.num_heads * self.head_dim,
            self.num_kv_heads * self.head_dim,
        );
        [
            (
                "self_attn.q_proj",
                Attention,
                q,
                hidden,
                self.attention_bias,
            ),
            (
                "self_attn.k_proj",
                Attention,
                kv,
                hidden,
                self.attention_bias,
            ),
            (
                "self_attn.v_proj",
                Attention,
                kv,
                hidden,
                self.attention_bias,
            ),
            (
                "self_attn.o_proj",
                Attention,
                hidden,
                q,
                self.attention_bias,
            ),
            ("mlp.gate_proj", Mlp, mlp, hidden, self.mlp_bias),
            ("mlp.up_proj", Mlp, mlp, hidden, self.mlp_bias),
            ("mlp.down_proj", Mlp, hidden, mlp, self.mlp_bias),
        ]
    }

    /// What a method sees of the model; `bytes_per_weight` is that of the run's dtype.
    pub fn outline(&self, bytes_per_weight: u32) -> ModelOutline {
        crate::families::dense_spec(self).outline(bytes_per_weight)
    }
}

/// Name and shape of a tensor that a configuration implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) shape: Vec<i64>,
}

/// Every tensor of the model, in the order of its forward pass. Linear weights are `[out_features, in_features]`.
pub(super) fn expected_tensors(config: &ModelConfig) -> Vec<Expected> {
    let hidden = config.hidden_size;
    let mut tensors = Vec::new();
    let mut push = |name: String, shape: Vec<i64>| tensors.push(Expected { name, shape });
    push(
        "model.embed_tokens.weight".into(),
        vec![config.vocab_size, hidden],
    );
    for block_idx in 0..config.num_blocks {
        let block = format!("model.layers.{block_idx}");
        push(format!("{block}.input_layernorm.weight"), vec![hidden]);
        push(
            format!("{block}.post_attention_layernorm.weight"),
            vec![hidden],
        );
        for (layer, _, out_features, in_features, bias) in config.linear_layers() {
            push(
                format!("{block}.{layer}.weight"),
                vec![out_features, in_features],
            );
            if bias {
                push(format!("{block}.{layer}.bias"), vec![out_features]);
            }
        }
    }
    push("model.norm.weight".into(), vec![hidden]);
    if !config.tie_word_embeddings {
        push("lm_head.weight".into(), vec![config.vocab_size, hidden]);
    }
    tensors
}
