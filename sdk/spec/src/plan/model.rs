//! The model of a plan: where it is, and how a run computes with it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::origin::Origin;

/// The model to compress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Model {
    /// Where it is.
    pub location: ModelLocation,
    /// The number format that the run computes in.
    pub dtype: Dtype,
    /// Where the run computes.
    pub device: Device,
}

/// Where a model is. A path is absolute, and that of a Hugging Face folder or a `.gguf` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelLocation {
    /// On this machine, where the spec says.
    Local(PathBuf),
    /// In a registry, and not fetched yet.
    Remote(Origin),
    /// On this machine, fetched from a registry.
    Fetched {
        /// Where it is in the cache.
        path: PathBuf,
        /// Where it comes from.
        origin: Origin,
    },
}

impl ModelLocation {
    /// Where the model is on this machine; `None` until it is fetched.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Local(path) | Self::Fetched { path, .. } => Some(path),
            Self::Remote(_) => None,
        }
    }

    /// The registry that it comes from; `None` where the spec names a path.
    pub fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Remote(origin) | Self::Fetched { origin, .. } => Some(origin),
            Self::Local(_) => None,
        }
    }
}

/// The model as `plan.json` has it: `source` is empty until the model is fetched.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    source: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    dtype: Dtype,
    device: Device,
}

impl TryFrom<Fields> for Model {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let is_here = !fields.source.as_os_str().is_empty();
        let path = fields.source;
        let location = match (is_here, fields.origin) {
            (true, None) => ModelLocation::Local(path),
            (true, Some(origin)) => ModelLocation::Fetched { path, origin },
            (false, Some(origin)) => ModelLocation::Remote(origin),
            (false, None) => {
                return Err("a model needs `source` or `origin`, and this one has neither");
            }
        };
        Ok(Self {
            location,
            dtype: fields.dtype,
            device: fields.device,
        })
    }
}

impl From<Model> for Fields {
    fn from(model: Model) -> Self {
        let (source, origin) = match model.location {
            ModelLocation::Local(path) => (path, None),
            ModelLocation::Remote(origin) => (PathBuf::new(), Some(origin)),
            ModelLocation::Fetched { path, origin } => (path, Some(origin)),
        };
        Self {
            source,
            origin,
            dtype: model.dtype,
            device: model.device,
        }
    }
}

/// The number format of weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Dtype {
    /// 16-bit brain float, 2 bytes a weight.
    #[default]
    Bf16,
    /// 32-bit float, 4 bytes a weight.
    F32,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::Bf16 => "bf16",
            Dtype::F32 => "f32",
        })
    }
}

/// Where a run computes: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// A CUDA device where there is one, the CPU otherwise.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this index; `cuda` alone is index 0.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(idx) => write!(f, "cuda:{idx}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        let unknown = || format!("unknown device \"{text}\", expected auto, cpu, cuda or cuda:N");
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            _ => {
                let idx = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                idx.parse().map(Device::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl TryFrom<String> for Device {
    type Error = String;

    fn try_from(text: String) -> Result<Device, String> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(source: &str, origin: Option<Value>) -> serde_json::Result<Model> {
        let mut model = json!({"source": source, "dtype": "bf16", "device": "cuda:1"});
        if let Some(origin) = origin {
            model["origin"] = origin;
        }
        serde_json::from_value(model)
    }

    #[test]
    fn every_location_has_its_fields_in_a_plan() {
        let origin = json!({
            "address": "hf://acme/tiny@main", "url": null, "plain_http": false,
            "credentials": "none", "account": null, "key": null, "version": null,
        });
        let check = |source: &str, origin: Option<Value>, is_here: bool| {
            let model = read(source, origin.clone()).unwrap();
            assert_eq!(model.location.path().is_some(), is_here);
            assert_eq!(model.location.origin().is_some(), origin.is_some());
            let written = serde_json::to_value(&model).unwrap();
            assert_eq!(written["source"], source);
            assert_eq!(written.get("origin"), origin.as_ref());
            assert_eq!(serde_json::from_value::<Model>(written).unwrap(), model);
        };
        check("/models/tiny", None, true);
        check("/cache/models/ab/tiny", Some(origin.clone()), true);
        check("", Some(origin), false);
        let error = read("", None).unwrap_err().to_string();
        assert!(error.contains("neither"), "{error}");
    }
}
