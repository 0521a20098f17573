//! How a GGUF file says the rotation of queries and keys.

use super::from_gguf::GgufModel;
use super::rope_factors::llama3_of;
use crate::error::SourceError;
use crate::gguf::RopeFactors;
use crate::gguf::names::{TEMPERATURE_SCALE, YARN_LOG_MULTIPLIER};
use crate::spec::{QueryGrowth, Rope, RopeScaling, too_many_factors};

const DEFAULT_THETA: f64 = 10_000.0;
/// llama.cpp's numbers of YaRN.
const BETA_FAST: f64 = 32.0;
const BETA_SLOW: f64 = 1.0;

impl GgufModel<'_> {
    /// The rotation of all blocks.
    pub(super) fn rope(&self, head_dim: i64) -> Result<Rope, SourceError> {
        let width = self
            .metadata
            .optional_i64(&self.key("rope.dimension_count"))?;
        Ok(Rope {
            theta: self.rope_number("freq_base")?.unwrap_or(DEFAULT_THETA),
            scaling: self.rope_scaling()?,
            width: width.unwrap_or(head_dim),
        })
    }

    fn rope_number(&self, name: &str) -> Result<Option<f64>, SourceError> {
        self.metadata
            .optional_f64(&self.key(&format!("rope.{name}")))
    }

    fn rope_scaling(&self) -> Result<RopeScaling, SourceError> {
        let num_factors = match &self.rope_factors {
            RopeFactors::None => 0,
            RopeFactors::One(factors) => factors.len(),
            RopeFactors::ShortAndLong(short, long) => short.len().max(long.len()),
        };
        if let Some(what) = too_many_factors(num_factors) {
            return Err(self.metadata.malformed(what));
        }
        let type_key = self.key("rope.scaling.type");
        let kind = self.metadata.optional_str(&type_key)?;
        let factor = match self.rope_number("scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.rope_number("scale_linear")?,
        };
        // A factor of 0 stands for none.
        let factor = factor.filter(|&factor| factor != 0.0 && factor != 1.0);
        let unsupported =
            |found: String, supported| Err(self.metadata.unsupported(&type_key, found, supported));
        match (self.rope_factors.clone(), kind, factor) {
            (RopeFactors::None, None | Some("none") | Some("linear"), None)
            | (RopeFactors::None, Some("none"), Some(_)) => Ok(RopeScaling::None),
            (RopeFactors::None, None | Some("linear"), Some(factor)) => {
                Ok(RopeScaling::Linear { factor })
            }
            (RopeFactors::None, Some("yarn"), factor) => self.yarn(factor.unwrap_or(1.0)),
            (RopeFactors::One(factors), None | Some("none") | Some("linear"), None)
            | (RopeFactors::One(factors), Some("none"), Some(_)) => {
                let theta = self.rope_number("freq_base")?.unwrap_or(DEFAULT_THETA);
                Ok(llama3_of(&factors, theta).unwrap_or(RopeScaling::Factors { factors }))
            }
            (
                RopeFactors::ShortAndLong(short_factors, long_factors),
                None | Some("none" | "linear" | "longrope"),
                None,
            ) => Ok(RopeScaling::LongRope {
                short_factors,
                long_factors,
                original_max_position_embeddings: self.original_context()?,
                attention_factor: self.rope_number("scaling.attn_factor")?.unwrap_or(1.0),
            }),
            (RopeFactors::None, Some(kind), _) => unsupported(
                kind.into(),
                "none, linear, yarn, or longrope with its factors",
            ),
            _ => unsupported(
                format!("{} together with rotary factors", kind.unwrap_or("linear")),
                "one of them",
            ),
        }
    }

    fn yarn(&self, factor: f64) -> Result<RopeScaling, SourceError> {
        let has_keys = self.form.has_yarn_keys;
        // llama.cpp reads the first two for none of the families that there are.
        for (name, usual, is_read) in [
            ("yarn_ext_factor", 1.0, false),
            ("yarn_attn_factor", 1.0, false),
            ("yarn_beta_fast", BETA_FAST, has_keys),
            ("yarn_beta_slow", BETA_SLOW, has_keys),
        ] {
            let name = format!("scaling.{name}");
            let found = self.rope_number(&name)?;
            if let Some(found) = found.filter(|&found| found != usual && !is_read) {
                let key = self.key(&format!("rope.{name}"));
                let usual = usual.to_string();
                return Err(self.metadata.unsupported(&key, found.to_string(), &usual));
            }
        }
        // llama.cpp multiplies by this logarithm on its own.
        let logarithm = |weight: f64| 1.0 + 0.1 * weight * factor.ln();
        let key = self.key(YARN_LOG_MULTIPLIER);
        let by_itself = match self.metadata.optional_f64(&key)? {
            Some(weight) if weight != 0.0 => logarithm(1.0) / logarithm(weight),
            _ => logarithm(1.0),
        };
        let attention = self.rope_number("scaling.attn_factor")?.unwrap_or(1.0);
        Ok(RopeScaling::Yarn {
            factor,
            beta_fast: self
                .rope_number("scaling.yarn_beta_fast")?
                .unwrap_or(BETA_FAST),
            beta_slow: self
                .rope_number("scaling.yarn_beta_slow")?
                .unwrap_or(BETA_SLOW),
            original_max_position_embeddings: self.original_context()?,
            attention_factor: attention * by_itself,
            is_truncated: true,
        })
    }

    /// How queries grow from one original context to the next; none where they do not.
    pub(super) fn query_growth(&self) -> Result<Option<QueryGrowth>, SourceError> {
        let weight = self.metadata.optional_f64(&self.key(TEMPERATURE_SCALE))?;
        let grows = weight.filter(|&weight| weight != 0.0);
        let growth = |weight| {
            let step = self.original_context()?;
            Ok(QueryGrowth { weight, step })
        };
        grows.map(growth).transpose()
    }

    fn original_context(&self) -> Result<f64, SourceError> {
        let original = self.rope_number("scaling.original_context_length")?;
        let key = self.key("context_length");
        match original {
            Some(original) => Ok(original),
            None => self.metadata.need(&key, self.metadata.optional_f64(&key)?),
        }
    }
}
