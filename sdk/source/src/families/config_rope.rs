//! How `config.json` says the rotation of queries and keys.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::from_config::Config;
use crate::error::SourceError;
use crate::spec::{QueryGrowth, Rope, RopeScaling, too_many_factors};

const DEFAULT_THETA: f64 = 10_000.0;
/// The setting that says how queries grow.
pub(super) const GROWTH: &str = "llama_4_scaling_beta";

/// `rope_scaling`, or `rope_parameters`, of all blocks or of those of a kind.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct HfRope {
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
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    llama_4_scaling_beta: Option<f64>,
}

/// The kinds of blocks that rotations may be said for, each for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Full,
    Windowed,
}

impl Kind {
    /// transformers' name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full_attention",
            Self::Windowed => "sliding_attention",
        }
    }
}

impl Config<'_> {
    /// The rotation of all blocks, of whole heads.
    pub(super) fn rope(&self) -> Result<Rope, SourceError> {
        let settings = self.settings()?;
        let partial = self.partial(&settings);
        if partial != 1.0 {
            return Err(self.unsupported("partial_rotary_factor", partial.to_string(), "1"));
        }
        self.rope_from(&settings, DEFAULT_THETA)
    }

    /// The rotation of all blocks, perhaps of a part of each head.
    pub(super) fn partial_rope(&self) -> Result<Rope, SourceError> {
        self.rope_from(&self.settings()?, DEFAULT_THETA)
    }

    /// How queries grow from one original context to the next; none where they do not.
    pub(super) fn query_growth(&self) -> Result<Option<QueryGrowth>, SourceError> {
        let settings = self.settings()?;
        let need = |value: Option<f64>, name: &str| {
            value.ok_or_else(|| self.malformed(format!("rope_parameters without {name}")))
        };
        let growth = QueryGrowth {
            weight: need(settings.llama_4_scaling_beta, GROWTH)?,
            step: need(
                settings.original_max_position_embeddings,
                "original_max_position_embeddings",
            )?,
        };
        Ok(Some(growth).filter(|it| it.weight != 0.0))
    }

    /// The settings of all blocks. `rope_scaling` goes before `rope_parameters`.
    fn settings(&self) -> Result<HfRope, SourceError> {
        let fields = &self.fields;
        let scaling = fields.rope_scaling.as_ref().filter(|it| !it.is_empty());
        let Some(settings) = scaling.or(fields.rope_parameters.as_ref()) else {
            return Ok(HfRope::default());
        };
        if let Some(kind) = first_kind(settings) {
            let what = format!("rope_parameters.{}", kind.name());
            let found = "a rotation for layers of one kind".into();
            return Err(self.unsupported(&what, found, "one for all layers"));
        }
        self.parse(settings)
    }

    /// The settings of the blocks of a kind, in families that have some for each. `rope_scaling` is
    /// about blocks without a window, and goes before what `rope_parameters` says of them.
    fn settings_of(&self, kind: Kind) -> Result<HfRope, SourceError> {
        let fields = &self.fields;
        let mut settings = match &fields.rope_parameters {
            Some(parameters) if first_kind(parameters).is_none() && !parameters.is_empty() => {
                let found = "one for all layers".into();
                return Err(self.unsupported(
                    "rope_parameters",
                    found,
                    "one for each kind of layer",
                ));
            }
            Some(parameters) => match parameters.get(kind.name()) {
                Some(Value::Object(own)) => own.clone(),
                _ => Map::new(),
            },
            None => Map::new(),
        };
        if kind == Kind::Full {
            settings.extend(fields.rope_scaling.clone().unwrap_or_default());
        }
        self.parse(&settings)
    }

    /// The rotation of the blocks of a kind; `theta` where the settings have none.
    pub(super) fn rope_of(&self, kind: Kind, theta: f64) -> Result<Rope, SourceError> {
        let settings = self.settings_of(kind)?;
        let rope = Rope {
            theta: settings.rope_theta.unwrap_or(theta),
            scaling: self.scaling(&settings)?,
            width: self.head_dim(),
        };
        Ok(rope)
    }

    fn parse(&self, map: &Map<String, Value>) -> Result<HfRope, SourceError> {
        let parsed = evopress_core::json::fields_of(map);
        parsed.map_err(|what| self.malformed(format!("rope_parameters: {what}")))
    }

    fn rope_from(&self, settings: &HfRope, theta: f64) -> Result<Rope, SourceError> {
        let width = (self.head_dim() as f64 * self.partial(settings)) as i64;
        let theta = settings
            .rope_theta
            .or(self.fields.rope_theta)
            .unwrap_or(theta);
        let scaling = self.scaling(settings)?;
        Ok(Rope {
            theta,
            scaling,
            width,
        })
    }

    fn partial(&self, settings: &HfRope) -> f64 {
        let own = settings.partial_rotary_factor;
        own.or(self.fields.partial_rotary_factor).unwrap_or(1.0)
    }

    fn scaling(&self, rope: &HfRope) -> Result<RopeScaling, SourceError> {
        let kind = rope.rope_type.as_deref().or(rope.legacy_type.as_deref());
        let kind = kind.unwrap_or("default");
        let missing = |name: &str| self.malformed(format!("rope type {kind} without {name}"));
        let need = |value: Option<f64>, name: &str| value.ok_or_else(|| missing(name));
        let outer = self.fields.original_max_position_embeddings;
        let original = outer.or(rope.original_max_position_embeddings);
        let context = self.context() as f64;
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear {
                factor: need(rope.factor, "factor")?,
            }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: need(rope.factor, "factor")?,
                low_freq_factor: need(rope.low_freq_factor, "low_freq_factor")?,
                high_freq_factor: need(rope.high_freq_factor, "high_freq_factor")?,
                original_max_position_embeddings: need(
                    original,
                    "original_max_position_embeddings",
                )?,
            }),
            "yarn" => {
                let original = original.unwrap_or(context);
                let factor = rope.factor.unwrap_or(context / original);
                Ok(RopeScaling::Yarn {
                    factor,
                    beta_fast: rope.beta_fast.filter(|&it| it != 0.0).unwrap_or(32.0),
                    beta_slow: rope.beta_slow.filter(|&it| it != 0.0).unwrap_or(1.0),
                    original_max_position_embeddings: original,
                    attention_factor: rope
                        .attention_factor
                        .unwrap_or_else(|| yarn_attention_factor(rope, factor)),
                    is_truncated: rope.truncate.unwrap_or(true),
                })
            }
            "longrope" | "su" => {
                let short = rope
                    .short_factor
                    .clone()
                    .ok_or_else(|| missing("short_factor"))?;
                let long = rope
                    .long_factor
                    .clone()
                    .ok_or_else(|| missing("long_factor"))?;
                if let Some(what) = too_many_factors(short.len().max(long.len())) {
                    return Err(self.malformed(what));
                }
                let original = original.unwrap_or(context);
                let factor = rope.factor.unwrap_or(context / original);
                let attention_factor = rope
                    .attention_factor
                    .unwrap_or_else(|| long_attention_factor(factor, original));
                // One set of factors for all lengths and no change of the attention's scale: what
                // is written for `RopeScaling::Factors`.
                if short == long && attention_factor == 1.0 {
                    return Ok(RopeScaling::Factors { factors: short });
                }
                Ok(RopeScaling::LongRope {
                    short_factors: short,
                    long_factors: long,
                    original_max_position_embeddings: original,
                    attention_factor,
                })
            }
            other => Err(self.unsupported(
                "rope type",
                other.into(),
                "default, linear, llama3, yarn, longrope",
            )),
        }
    }
}

/// The first kind of blocks that the settings name.
fn first_kind(parameters: &Map<String, Value>) -> Option<Kind> {
    let mut kinds = [Kind::Full, Kind::Windowed].into_iter();
    kinds.find(|kind| parameters.contains_key(kind.name()))
}

/// transformers' attention factor of YaRN where the settings have none.
fn yarn_attention_factor(rope: &HfRope, factor: f64) -> f64 {
    let scale = |weight: f64| match factor > 1.0 {
        true => 0.1 * weight * factor.ln() + 1.0,
        false => 1.0,
    };
    match (rope.mscale, rope.mscale_all_dim) {
        (Some(above), Some(below)) if above != 0.0 && below != 0.0 => scale(above) / scale(below),
        _ => scale(1.0),
    }
}

/// transformers' attention factor of LongRoPE where the settings have none.
pub(super) fn long_attention_factor(factor: f64, original: f64) -> f64 {
    match factor > 1.0 {
        true => (1.0 + factor.ln() / original.ln()).sqrt(),
        false => 1.0,
    }
}
