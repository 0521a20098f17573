//! The model's configuration from a GGUF file's metadata.

use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::path::Path;

use super::names;
use super::value::Value;
use crate::SourceError;
use crate::config::ModelConfig;
use crate::spec::{Rope, RopeScaling};

const SUPPORTED: &str = "llama";

/// The metadata, and the file's name for messages.
pub(super) struct Metadata<'a> {
    pub(super) file: &'a Path,
    pub(super) entries: &'a BTreeMap<String, Value>,
}

impl Metadata<'_> {
    pub(super) fn malformed(&self, what: String) -> SourceError {
        SourceError::Malformed {
            file: self.file.to_path_buf(),
            what,
        }
    }

    pub(super) fn tokenizer(&self, what: impl Into<String>) -> SourceError {
        SourceError::Tokenizer {
            file: self.file.to_path_buf(),
            what: what.into(),
        }
    }

    pub(super) fn unsupported(&self, what: &str, found: String, supported: &str) -> SourceError {
        SourceError::Unsupported {
            file: self.file.to_path_buf(),
            what: what.into(),
            found,
            supported: supported.into(),
        }
    }

    fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, SourceError> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(number) => Ok(Some(number)),
                None => Err(self.malformed(format!(
                    "metadata {key} is {}, expected {expected}",
                    value.describe()
                ))),
            },
        }
    }

    pub(super) fn optional_str(&self, key: &str) -> Result<Option<&str>, SourceError> {
        self.optional(key, "a string", Value::as_str)
    }

    pub(super) fn optional_id(&self, key: &str) -> Result<Option<u32>, SourceError> {
        self.optional(key, "a token id", |value| {
            u32::try_from(value.as_i64()?).ok()
        })
    }

    pub(super) fn optional_bool(&self, key: &str) -> Result<Option<bool>, SourceError> {
        self.optional(key, "a boolean", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    pub(super) fn optional_f64(&self, key: &str) -> Result<Option<f64>, SourceError> {
        self.optional(key, "a number", Value::as_f64)
    }

    fn optional_i64(&self, key: &str) -> Result<Option<i64>, SourceError> {
        self.optional(key, "an integer", Value::as_i64)
    }

    /// An integer that may be given once or once per block, then the same for all.
    fn uniform(&self, key: &str) -> Result<Option<i64>, SourceError> {
        let Some(numbers) = self.optional(key, "an integer or one per block", Value::to_i64s)?
        else {
            return Ok(None);
        };
        match numbers.split_first() {
            None => Err(self.malformed(format!("metadata {key} is an empty array"))),
            Some((first, rest)) if rest.iter().all(|number| number == first) => Ok(Some(*first)),
            Some(_) => Err(self.unsupported(key, format!("{numbers:?}"), "the same in all blocks")),
        }
    }

    fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, SourceError> {
        value.ok_or_else(|| self.malformed(format!("metadata {key} is missing")))
    }

    pub(super) fn check_family(&self) -> Result<(), SourceError> {
        let found = self.need(
            "general.architecture",
            self.optional_str("general.architecture")?,
        )?;
        if found == SUPPORTED {
            return Ok(());
        }
        Err(SourceError::Architecture {
            file: self.file.to_path_buf(),
            found: found.into(),
            supported: SUPPORTED.into(),
        })
    }

    /// The configuration. `has_tensor` knows the file's tensors by their names there.
    pub(super) fn config(
        &self,
        has_tensor: impl Fn(&str) -> bool,
        rope_factors: Option<Vec<f64>>,
    ) -> Result<ModelConfig, SourceError> {
        let need = |key: &str| self.need(key, self.uniform(key)?);
        let hidden_size = need("llama.embedding_length")?;
        let num_heads = need("llama.attention.head_count")?;
        let head_dim = match self.optional_i64("llama.attention.key_length")? {
            Some(head_dim) => head_dim,
            None => hidden_size / num_heads.max(1),
        };
        self.check_variant(head_dim)?;
        let num_blocks = need("llama.block_count")?;
        let context = need("llama.context_length")?;
        let config = ModelConfig {
            architecture: SUPPORTED.into(),
            num_blocks: usize::try_from(num_blocks).map_err(|_| {
                self.malformed(format!("metadata llama.block_count is {num_blocks}"))
            })?,
            hidden_size,
            intermediate_size: need("llama.feed_forward_length")?,
            num_heads,
            num_kv_heads: self
                .uniform("llama.attention.head_count_kv")?
                .unwrap_or(num_heads),
            head_dim,
            vocab_size: self.vocab_size()?,
            rms_norm_eps: {
                let key = "llama.attention.layer_norm_rms_epsilon";
                self.need(key, self.optional_f64(key)?)?
            },
            rope: Rope {
                theta: self
                    .optional_f64("llama.rope.freq_base")?
                    .unwrap_or(10_000.0),
                scaling: self.rope_scaling(rope_factors)?,
            },
            tie_word_embeddings: !has_tensor(names::HEAD),
            max_position_embeddings: context,
            attention_bias: has_tensor("blk.0.attn_q.bias"),
            mlp_bias: has_tensor("blk.0.ffn_up.bias"),
            bos_token_id: self.optional_id("tokenizer.ggml.bos_token_id")?,
            eos_token_ids: self.eos_token_ids()?,
            pad_token_id: self.optional_id("tokenizer.ggml.padding_token_id")?,
        };
        config.validate(self.file)?;
        Ok(config)
    }

    /// What the file may ask for and the decoder does not do.
    fn check_variant(&self, head_dim: i64) -> Result<(), SourceError> {
        if let Some(experts) = self
            .optional_i64("llama.expert_count")?
            .filter(|&experts| experts > 0)
        {
            return Err(self.unsupported("llama.expert_count", experts.to_string(), "0"));
        }
        for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
            if let Some(found) = self.optional_i64(key)?.filter(|&found| found != head_dim) {
                return Err(self.unsupported(
                    key,
                    found.to_string(),
                    &format!("{head_dim}, the width of a head"),
                ));
            }
        }
        Ok(())
    }

    fn vocab_size(&self) -> Result<i64, SourceError> {
        if let Some(size) = self.optional_i64("llama.vocab_size")? {
            return Ok(size);
        }
        match self.entries.get("tokenizer.ggml.tokens") {
            Some(Value::Strings(tokens)) => Ok(tokens.len() as i64),
            _ => Err(self.malformed(
                "metadata llama.vocab_size and tokenizer.ggml.tokens are missing".into(),
            )),
        }
    }

    fn eos_token_ids(&self) -> Result<Vec<u32>, SourceError> {
        let mut ids = Vec::new();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            if let Some(id) = self.optional_id(&format!("tokenizer.ggml.{key}"))?
                && !ids.contains(&id)
            {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    fn rope_scaling(&self, rope_factors: Option<Vec<f64>>) -> Result<RopeScaling, SourceError> {
        let kind = self.optional_str("llama.rope.scaling.type")?;
        let factor = match self.optional_f64("llama.rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.optional_f64("llama.rope.scale_linear")?,
        };
        // A factor of 0 stands for none.
        let factor = factor.filter(|&factor| factor != 0.0 && factor != 1.0);
        let linear = match (kind, factor) {
            (None | Some("none"), None) | (Some("linear"), None) | (Some("none"), Some(_)) => {
                RopeScaling::None
            }
            (None | Some("linear"), Some(factor)) => RopeScaling::Linear { factor },
            (Some(kind), _) => {
                return Err(self.unsupported(
                    "llama.rope.scaling.type",
                    kind.into(),
                    "none, linear",
                ));
            }
        };
        match (linear, rope_factors) {
            (scaling, None) => Ok(scaling),
            (RopeScaling::None, Some(factors)) => {
                let theta = self
                    .optional_f64("llama.rope.freq_base")?
                    .unwrap_or(10_000.0);
                Ok(llama3_of(&factors, theta).unwrap_or(RopeScaling::Factors { factors }))
            }
            (_, Some(_)) => Err(self.unsupported(
                "llama.rope.scaling.type",
                format!("linear together with the tensor {}", names::ROPE_FACTORS),
                "one of them",
            )),
        }
    }
}

/// The rule that Llama 3 derives its factors by, where `factors` follow it: `1 / f = (1 − s) / factor + s` with `s` a line
/// in the number of turns, clamped to 0 and 1. Of the rule's three other numbers only the line's two can be told, so
/// `low_freq_factor` is 1, as in every published model; so is a `high_freq_factor` of 4 where just one factor is on the
/// line.
fn llama3_of(factors: &[f64], theta: f64) -> Option<RopeScaling> {
    let rope = |scaling| Rope { theta, scaling };
    let frequencies = |scaling| rope(scaling).inverse_frequencies(2 * factors.len() as i64);
    let plain = frequencies(RopeScaling::None);
    let factor = round(factors.iter().copied().fold(1.0, f64::max));
    let unscaled = |f: f64| (1.0 / f - 1.0 / factor) / (1.0 - 1.0 / factor);
    let ramp: Vec<(f64, f64)> = plain
        .iter()
        .zip(factors)
        .map(|(frequency, &f)| (frequency / (2.0 * PI), unscaled(f)))
        .filter(|(_, unscaled)| (1e-4..1.0 - 1e-4).contains(unscaled))
        .collect();
    let (&(x0, y0), &(x1, y1)) = (ramp.first()?, ramp.last()?);
    // From `s = (turns · context − 1) / span`.
    let (span, context) = if ramp.len() == 1 {
        (3.0, (1.0 + 3.0 * y0) / x0)
    } else {
        let slope = (y1 - y0) / (x1 - x0);
        let span = 1.0 / (slope * x0 - y0);
        (span, slope * span)
    };
    let scaling = RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.0,
        high_freq_factor: round(1.0 + span),
        original_max_position_embeddings: round(context),
    };
    let scaled = frequencies(scaling.clone());
    let fits = plain
        .iter()
        .zip(&scaled)
        .zip(factors)
        .all(|((plain, scaled), factor)| (plain / scaled / factor - 1.0).abs() < 1e-5);
    fits.then_some(scaling)
}

/// The integer that a number computed from 32-bit ones stands for, if it is near one.
fn round(number: f64) -> f64 {
    let near = (number - number.round()).abs() < 1e-4 * number.abs();
    if near { number.round() } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_is_recognized_by_its_factors() {
        let scaling = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192.0,
        };
        let rope = |scaling| Rope {
            theta: 500_000.0,
            scaling,
        };
        let factors: Vec<f64> = rope(RopeScaling::None)
            .inverse_frequencies(64)
            .iter()
            .zip(rope(scaling.clone()).inverse_frequencies(64))
            .map(|(plain, scaled)| f64::from((plain / scaled) as f32))
            .collect();
        assert_eq!(llama3_of(&factors, 500_000.0), Some(scaling));
        let mut other = factors;
        other[20] *= 1.01;
        assert_eq!(llama3_of(&other, 500_000.0), None);
    }
}
