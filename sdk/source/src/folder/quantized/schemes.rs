//! compressed-tensors' groups of layers: which grid the weights of each have.

use fancy_regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::parts::Parts;
use super::settings::Settings;
use crate::error::SourceError;

const FORMATS: &str = "pack-quantized, int-quantized, float-quantized, naive-quantized";

/// All groups, in the order of the configuration.
pub(super) struct Schemes(Vec<Scheme>);

/// The grid of a group of layers.
pub(super) struct Scheme {
    targets: Vec<Target>,
    pub(super) bits: i64,
    pub(super) kind: Kind,
    pub(super) is_symmetric: bool,
    pub(super) strategy: Strategy,
}

/// What codes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Int,
    Float,
}

/// Which weights share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// All.
    Tensor,
    /// Those of a row.
    Channel,
    /// So many of a row.
    Group(i64),
    /// So many rows and columns.
    Block(i64, i64),
}

/// What a group applies to.
enum Target {
    Pattern(Regex),
    /// The name of a module or of a class.
    Name(String),
}

#[derive(Deserialize)]
struct Raw {
    format: Option<String>,
    quantization_status: Option<String>,
    config_groups: Map<String, Value>,
    sparsity_config: Option<RawSparsity>,
    transform_config: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct RawSparsity {
    format: Option<String>,
}

#[derive(Deserialize)]
struct RawGroup {
    targets: Vec<String>,
    weights: Option<RawWeights>,
    format: Option<String>,
}

#[derive(Deserialize)]
struct RawWeights {
    num_bits: Option<i64>,
    r#type: Option<Kind>,
    symmetric: Option<bool>,
    strategy: Option<String>,
    group_size: Option<i64>,
    block_structure: Option<[i64; 2]>,
}

impl Schemes {
    pub(super) fn parse(settings: &Settings<'_>) -> Result<Self, SourceError> {
        let raw: Raw = settings.fields()?;
        if let Some(status) = raw.quantization_status.filter(|it| it != "compressed") {
            return Err(settings.unsupported("quantization_status", &status, "compressed"));
        }
        let sparsity = raw.sparsity_config.and_then(|it| it.format);
        if let Some(format) = sparsity.filter(|it| it != "dense") {
            return Err(settings.unsupported("sparsity_config.format", &format, "dense"));
        }
        let transforms = raw.transform_config.unwrap_or_default();
        let is_empty = |value: &Value| match value {
            Value::Object(map) => map.is_empty(),
            value => value.is_null(),
        };
        if let Some((name, _)) = transforms.iter().find(|(_, value)| !is_empty(value)) {
            return Err(settings.unsupported("transform_config", name, "no transforms"));
        }
        let mut schemes = Vec::new();
        for (name, group) in &raw.config_groups {
            let place = format!("config_groups.{name}");
            let group: RawGroup = settings.inner(&place, group)?;
            let format = group.format.as_deref().or(raw.format.as_deref());
            let format = format.unwrap_or("no format").to_owned();
            if let Some(weights) = &group.weights {
                schemes.push(Scheme::of(&group, weights, &format, &place, settings)?);
            }
        }
        Ok(Self(schemes))
    }

    /// The scheme of a module: by its name, by a pattern, or by its class, which is `Linear`.
    pub(super) fn of_module(&self, parts: &Parts<'_, '_>) -> Result<&Scheme, SourceError> {
        let named =
            |target: &Target, name: &str| matches!(target, Target::Name(target) if target == name);
        let ways: [&dyn Fn(&Target) -> bool; 3] = [
            &|target| named(target, parts.module),
            &|target| matches!(target, Target::Pattern(it) if it.is_match(parts.module).unwrap_or(false)),
            &|target| named(target, "Linear"),
        ];
        let find = |applies: &dyn Fn(&Target) -> bool| {
            self.0
                .iter()
                .find(|scheme| scheme.targets.iter().any(applies))
        };
        ways.iter().find_map(|way| find(*way)).ok_or_else(|| {
            parts.malformed(&format!(
                "the weight of {} is quantized, but no group of config_groups has it as a target",
                parts.module
            ))
        })
    }
}

impl Scheme {
    fn of(
        group: &RawGroup,
        weights: &RawWeights,
        format: &str,
        place: &str,
        settings: &Settings<'_>,
    ) -> Result<Self, SourceError> {
        let refuse = |field: &str, found: &str, supported: &str| {
            settings.unsupported(&format!("{place}.{field}"), found, supported)
        };
        let bits = weights.num_bits.unwrap_or(8);
        let kind = weights.r#type.unwrap_or(Kind::Int);
        let is_symmetric = weights.symmetric.unwrap_or(true);
        match format {
            "pack-quantized" if kind == Kind::Float => {
                return Err(refuse("weights.type", "float", "int in pack-quantized"));
            }
            "pack-quantized" | "int-quantized" | "float-quantized" | "naive-quantized" => {}
            other => return Err(settings.unsupported("format", other, FORMATS)),
        }
        let (fewest, allowed) = match kind {
            Kind::Int => (1, "1 to 8"),
            Kind::Float => (8, "8 of type float"),
        };
        if !(fewest..=8).contains(&bits) {
            return Err(refuse("weights.num_bits", &bits.to_string(), allowed));
        }
        let strategy = match (weights.strategy.as_deref(), weights.group_size) {
            (Some("tensor"), _) | (None, None) => Strategy::Tensor,
            (Some("channel"), _) | (None, Some(-1)) => Strategy::Channel,
            (Some("group") | None, Some(size @ 1..)) => Strategy::Group(size),
            (Some("block"), _) => match weights.block_structure {
                Some([rows, columns]) if rows > 0 && columns > 0 => Strategy::Block(rows, columns),
                other => {
                    let found = format!("{other:?}");
                    return Err(refuse(
                        "weights.block_structure",
                        &found,
                        "two positive numbers",
                    ));
                }
            },
            (Some("group") | None, size) => {
                let found = format!("{size:?}");
                return Err(refuse("weights.group_size", &found, "1 or more"));
            }
            (Some(other), _) => {
                return Err(refuse(
                    "weights.strategy",
                    other,
                    "tensor, channel, group, block",
                ));
            }
        };
        let has_zeros = match (kind, format, strategy) {
            (Kind::Float, ..) => false,
            (_, "pack-quantized", Strategy::Channel | Strategy::Group(_)) => true,
            (_, "pack-quantized", _) => false,
            _ => true,
        };
        if !is_symmetric && !has_zeros {
            return Err(refuse(
                "weights.symmetric",
                "false",
                "true for this type, strategy and format",
            ));
        }
        let targets = group
            .targets
            .iter()
            .map(|target| match target.strip_prefix("re:") {
                None => Ok(Target::Name(target.clone())),
                Some(pattern) => Regex::new(&format!("^(?:{pattern})"))
                    .map(Target::Pattern)
                    .map_err(|_| refuse("targets", target, "names and regular expressions")),
            });
        Ok(Self {
            targets: targets.collect::<Result<_, _>>()?,
            bits,
            kind,
            is_symmetric,
            strategy,
        })
    }
}

impl Strategy {
    /// Rows and columns that share a scale, of a weight of so many.
    pub(super) fn block(self, rows: i64, columns: i64) -> (i64, i64) {
        match self {
            Self::Tensor => (rows, columns),
            Self::Channel => (1, columns),
            Self::Group(size) => (1, size),
            Self::Block(rows, columns) => (rows, columns),
        }
    }
}
