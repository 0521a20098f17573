//! The metadata of GGUF files.

use super::dense::DenseModel;
use super::rope_factors::llama3_of;
use crate::error::SourceError;
use crate::gguf::{Metadata, ROPE_FACTORS, Value, names};
use crate::spec::{LayerRole, Rope, RopeScaling};

const DEFAULT_THETA: f64 = 10_000.0;

/// What a GGUF file says of its model.
pub(crate) struct GgufModel<'a> {
    pub(super) metadata: &'a Metadata<'a>,
    /// What the keys of the model begin with, without the dot.
    pub(super) architecture: &'static str,
    /// Whether the file has a tensor, by its name there.
    pub(super) has_tensor: &'a dyn Fn(&str) -> bool,
    /// Divisors of the rotary frequencies that the file has as a tensor.
    pub(super) rope_factors: Option<Vec<f64>>,
}

impl GgufModel<'_> {
    /// The whole key of one of the architecture's: `block_count` is `llama.block_count`.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// A model of alike blocks.
    pub(super) fn read(&self) -> Result<DenseModel, SourceError> {
        let metadata = self.metadata;
        let need = |name: &str| {
            let key = self.key(name);
            metadata.need(&key, metadata.uniform(&key)?)
        };
        let hidden_size = need("embedding_length")?;
        let num_heads = need("attention.head_count")?;
        let head_dim = match metadata.optional_i64(&self.key("attention.key_length"))? {
            Some(head_dim) => head_dim,
            None => hidden_size / num_heads.max(1),
        };
        self.check_heads(head_dim)?;
        let num_blocks = need("block_count")?;
        let has_bias = |role| (self.has_tensor)(&names::in_block(0, names::of_role(role), "bias"));
        let model = DenseModel {
            num_blocks: usize::try_from(num_blocks).map_err(|_| {
                let key = self.key("block_count");
                metadata.malformed(format!("metadata {key} is {num_blocks}"))
            })?,
            hidden_size,
            intermediate_size: need("feed_forward_length")?,
            num_heads,
            num_kv_heads: metadata
                .uniform(&self.key("attention.head_count_kv"))?
                .unwrap_or(num_heads),
            head_dim,
            vocab_size: self.vocab_size()?,
            rms_norm_eps: {
                let key = self.key("attention.layer_norm_rms_epsilon");
                metadata.need(&key, metadata.optional_f64(&key)?)?
            },
            rope: Rope {
                theta: self.theta()?,
                scaling: self.rope_scaling()?,
                width: head_dim,
            },
            tie_word_embeddings: !(self.has_tensor)(names::HEAD),
            max_position_embeddings: need("context_length")?,
            attention_bias: has_bias(LayerRole::Query),
            mlp_bias: has_bias(LayerRole::Up),
            bos_token_id: metadata.optional_id("tokenizer.ggml.bos_token_id")?,
            eos_token_ids: self.eos_token_ids()?,
            pad_token_id: metadata.optional_id("tokenizer.ggml.padding_token_id")?,
        };
        model.checked(metadata.file)
    }

    /// Refuses heads of which only a part turns, and values of another width than queries.
    fn check_heads(&self, head_dim: i64) -> Result<(), SourceError> {
        for name in ["rope.dimension_count", "attention.value_length"] {
            let key = self.key(name);
            let found = self.metadata.optional_i64(&key)?;
            if let Some(found) = found.filter(|&found| found != head_dim) {
                return Err(self.metadata.unsupported(
                    &key,
                    found.to_string(),
                    &format!("{head_dim}, the width of a head"),
                ));
            }
        }
        Ok(())
    }

    fn vocab_size(&self) -> Result<i64, SourceError> {
        let key = self.key("vocab_size");
        if let Some(size) = self.metadata.optional_i64(&key)? {
            return Ok(size);
        }
        match self.metadata.entries.get("tokenizer.ggml.tokens") {
            Some(Value::Strings(tokens)) => Ok(tokens.len() as i64),
            _ => Err(self.metadata.malformed(format!(
                "metadata {key} and tokenizer.ggml.tokens are missing"
            ))),
        }
    }

    fn eos_token_ids(&self) -> Result<Vec<u32>, SourceError> {
        let mut ids = Vec::new();
        for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            let key = format!("tokenizer.ggml.{name}");
            if let Some(id) = self.metadata.optional_id(&key)?
                && !ids.contains(&id)
            {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    fn theta(&self) -> Result<f64, SourceError> {
        let theta = self.metadata.optional_f64(&self.key("rope.freq_base"))?;
        Ok(theta.unwrap_or(DEFAULT_THETA))
    }

    fn rope_scaling(&self) -> Result<RopeScaling, SourceError> {
        let type_key = self.key("rope.scaling.type");
        let kind = self.metadata.optional_str(&type_key)?;
        let factor = match self
            .metadata
            .optional_f64(&self.key("rope.scaling.factor"))?
        {
            Some(factor) => Some(factor),
            None => self.metadata.optional_f64(&self.key("rope.scale_linear"))?,
        };
        // A factor of 0 stands for none.
        let factor = factor.filter(|&factor| factor != 0.0 && factor != 1.0);
        let unsupported =
            |found: String, supported| Err(self.metadata.unsupported(&type_key, found, supported));
        let linear = match (kind, factor) {
            (None | Some("none"), None) | (Some("linear"), None) | (Some("none"), Some(_)) => {
                RopeScaling::None
            }
            (None | Some("linear"), Some(factor)) => RopeScaling::Linear { factor },
            (Some(kind), _) => return unsupported(kind.into(), "none, linear"),
        };
        match (linear, self.rope_factors.clone()) {
            (scaling, None) => Ok(scaling),
            (RopeScaling::None, Some(factors)) => {
                Ok(llama3_of(&factors, self.theta()?).unwrap_or(RopeScaling::Factors { factors }))
            }
            (_, Some(_)) => unsupported(
                format!("linear together with the tensor {ROPE_FACTORS}"),
                "one of them",
            ),
        }
    }
}
