//! The metadata of GGUF files.

use super::dense::{Biases, BlockNumbers, DenseModel, num_blocks};
use crate::error::SourceError;
use crate::gguf::{GgufForm, GgufWindows, Metadata, RopeFactors, Value, names};
use crate::spec::LayerRole;

/// What a GGUF file says of its model.
pub(crate) struct GgufModel<'a> {
    pub(super) metadata: &'a Metadata<'a>,
    /// What llama.cpp makes of the family.
    pub(super) form: &'a GgufForm,
    /// Whether the file has a tensor, by its name there.
    pub(super) has_tensor: &'a dyn Fn(&str) -> bool,
    /// Divisors of the rotary frequencies that the file has as tensors.
    pub(super) rope_factors: RopeFactors,
}

impl GgufModel<'_> {
    /// The whole key of one of the architecture's: `block_count` is `llama.block_count`.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.form.architecture)
    }

    /// The numbers that every family has, with one rotation in all blocks and no windows.
    pub(super) fn common(&self) -> Result<DenseModel, SourceError> {
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
        let blocks = BlockNumbers {
            rope: Some(self.rope(head_dim)?),
            window: None,
        };
        let num_blocks = num_blocks(need("block_count")?, metadata.file)?;
        let has_bias = |role| (self.has_tensor)(&names::in_block(0, names::of_role(role), "bias"));
        Ok(DenseModel {
            blocks: vec![blocks; num_blocks],
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
            score_scale: (head_dim as f64).powf(-0.5),
            query_growth: None,
            score_cap: None,
            embedding_scale: None,
            residual_scale: None,
            logit_scale: None,
            logit_cap: None,
            tie_word_embeddings: !(self.has_tensor)(names::HEAD),
            max_position_embeddings: need("context_length")?,
            biases: Biases {
                inputs: has_bias(LayerRole::Query),
                output: has_bias(LayerRole::Output),
                mlp: has_bias(LayerRole::Up),
            },
            experts: None,
            bos_token_id: metadata.optional_id("tokenizer.ggml.bos_token_id")?,
            eos_token_ids: self.eos_token_ids()?,
            pad_token_id: metadata.optional_id("tokenizer.ggml.padding_token_id")?,
        })
    }

    /// The window of each block, in families where some have one.
    pub(super) fn windows(
        &self,
        windows: GgufWindows,
        num_blocks: usize,
    ) -> Result<Vec<Option<i64>>, SourceError> {
        let GgufWindows::ByBlock { period, width } = windows else {
            return Ok(vec![None; num_blocks]);
        };
        let width = self
            .metadata
            .optional_i64(&self.key("attention.sliding_window"))?
            .or(width)
            .filter(|&width| width != 0);
        let pattern = self.key("attention.sliding_window_pattern");
        let is_windowed = self.metadata.by_block(&pattern, num_blocks, period)?;
        let windows = is_windowed.into_iter();
        Ok(windows
            .map(|is_windowed| width.filter(|_| is_windowed))
            .collect())
    }

    /// Refuses heads of which only a part turns, and values of another width than queries.
    fn check_heads(&self, head_dim: i64) -> Result<(), SourceError> {
        let of_rope = (!self.form.turns_parts_of_heads).then_some("rope.dimension_count");
        for name in of_rope.into_iter().chain(["attention.value_length"]) {
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
}
