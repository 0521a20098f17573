//! Models whose blocks are all alike: attention and a gated MLP, each after a norm.

use std::path::Path;

use crate::error::SourceError;
use crate::spec::{
    Activation, AttentionSpec, BlockSpec, EmbeddingSpec, HeadSpec, LayerRole, LayerSpec, MlpSpec,
    ModelSpec, NormPlace, NormSpec, Rope,
};

const MAX_EXTENT: i64 = 1 << 24;
const MAX_BLOCKS: usize = 1 << 12;

/// The numbers that a configuration has of such a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DenseModel {
    pub(super) num_blocks: usize,
    /// Width of the residual stream.
    pub(super) hidden_size: i64,
    /// Width of the MLP.
    pub(super) intermediate_size: i64,
    /// Query heads.
    pub(super) num_heads: i64,
    /// Key and value heads; divides `num_heads`.
    pub(super) num_kv_heads: i64,
    /// Width of a head, even; not always `hidden_size / num_heads`.
    pub(super) head_dim: i64,
    /// Rows of the embedding.
    pub(super) vocab_size: i64,
    /// Added to the mean square in every norm.
    pub(super) rms_norm_eps: f64,
    pub(super) rope: Rope,
    /// Whether the head is the embedding.
    pub(super) tie_word_embeddings: bool,
    /// Longest sequence that the model was made for, in tokens.
    pub(super) max_position_embeddings: i64,
    /// Whether q, k, v and o have biases.
    pub(super) attention_bias: bool,
    /// Whether gate, up and down have biases.
    pub(super) mlp_bias: bool,
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_ids: Vec<u32>,
    pub(super) pad_token_id: Option<u32>,
}

impl DenseModel {
    /// Refuses numbers that no model has, so that everything later may multiply them without care.
    pub(super) fn checked(self, file: &Path) -> Result<Self, SourceError> {
        match self.mistake() {
            None => Ok(self),
            Some(what) => Err(SourceError::malformed(file, what)),
        }
    }

    fn mistake(&self) -> Option<String> {
        let extents = [
            ("hidden size", self.hidden_size, MAX_EXTENT),
            ("intermediate size", self.intermediate_size, MAX_EXTENT),
            ("number of heads", self.num_heads, MAX_EXTENT),
            ("number of key/value heads", self.num_kv_heads, MAX_EXTENT),
            ("head dimension", self.head_dim, MAX_EXTENT),
            ("vocabulary size", self.vocab_size, MAX_EXTENT),
            (
                "context length",
                self.max_position_embeddings,
                i64::from(u32::MAX),
            ),
        ];
        for (name, value, max) in extents {
            if !(1..=max).contains(&value) {
                return Some(format!("{name} is {value}, allowed: 1 to {max}"));
            }
        }
        if !(1..=MAX_BLOCKS).contains(&self.num_blocks) {
            return Some(format!(
                "number of blocks is {}, allowed: 1 to {MAX_BLOCKS}",
                self.num_blocks
            ));
        }
        if self.num_heads % self.num_kv_heads != 0 {
            return Some(format!(
                "{} heads cannot share {} key/value heads: the one must divide the other",
                self.num_heads, self.num_kv_heads
            ));
        }
        if self.head_dim % 2 != 0 {
            return Some(format!(
                "head dimension is {}, expected an even number",
                self.head_dim
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Some(format!(
                "norm epsilon is {}, expected a small positive number",
                self.rms_norm_eps
            ));
        }
        self.rope.mistake(self.head_dim)
    }

    /// The specification of a model whose numbers are checked.
    pub(super) fn into_spec(self, architecture: &str) -> ModelSpec {
        let blocks = vec![self.block(); self.num_blocks];
        ModelSpec {
            architecture: architecture.to_owned(),
            hidden_size: self.hidden_size,
            vocab_size: self.vocab_size,
            max_position_embeddings: self.max_position_embeddings,
            embedding: EmbeddingSpec {
                name: "model.embed_tokens".into(),
                scale: None,
            },
            blocks_name: "model.layers".into(),
            blocks,
            final_norm: self.norm("model.norm", NormPlace::Final),
            head: HeadSpec {
                name: "lm_head".into(),
                tied: self.tie_word_embeddings,
                scale: None,
                cap: None,
            },
            bos_token_id: self.bos_token_id,
            eos_token_ids: self.eos_token_ids,
            pad_token_id: self.pad_token_id,
        }
    }

    fn block(&self) -> BlockSpec {
        use LayerRole::{Down, Gate, Key, Output, Query, Up, Value};
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let queries = self.num_heads * self.head_dim;
        let keys = self.num_kv_heads * self.head_dim;
        let of_attention = |name: &str, role, shape| {
            let name = format!("self_attn.{name}");
            LayerSpec::new(&name, role, shape, self.attention_bias)
        };
        let of_mlp = |name: &str, role, shape| {
            LayerSpec::new(&format!("mlp.{name}"), role, shape, self.mlp_bias)
        };
        BlockSpec {
            layers: vec![
                of_attention("q_proj", Query, [queries, hidden]),
                of_attention("k_proj", Key, [keys, hidden]),
                of_attention("v_proj", Value, [keys, hidden]),
                of_attention("o_proj", Output, [hidden, queries]),
                of_mlp("gate_proj", Gate, [inner, hidden]),
                of_mlp("up_proj", Up, [inner, hidden]),
                of_mlp("down_proj", Down, [hidden, inner]),
            ],
            norms: vec![
                self.norm("input_layernorm", NormPlace::BeforeAttention),
                self.norm("post_attention_layernorm", NormPlace::BeforeMlp),
            ],
            attention: Some(AttentionSpec {
                num_heads: self.num_heads,
                num_kv_heads: self.num_kv_heads,
                head_dim: self.head_dim,
                rope: Some(self.rope.clone()),
                window: None,
                score_cap: None,
                score_scale: (self.head_dim as f64).powf(-0.5),
            }),
            mlp: Some(MlpSpec {
                intermediate_size: inner,
                activation: Activation::Silu,
                experts: None,
            }),
            residual_scale: None,
        }
    }

    fn norm(&self, name: &str, place: NormPlace) -> NormSpec {
        NormSpec {
            name: name.into(),
            place,
            width: self.hidden_size,
            eps: self.rms_norm_eps,
            is_offset: false,
        }
    }
}
