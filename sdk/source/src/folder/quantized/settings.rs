//! What `config.json` says of a folder's quantized weights.

use std::path::Path;

use evopress_core::json;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::awq::Awq;
use super::compressed_tensors::CompressedTensors;
use super::fp8::Fp8;
use super::gptq::Gptq;
use super::{Layout, Quantized};
use crate::error::SourceError;

/// The field of `config.json`, and what it was called in early checkpoints of compressed-tensors.
const FIELDS: [&str; 2] = ["quantization_config", "compression_config"];
const METHODS: &str = "awq, compressed-tensors, fbgemm_fp8, fp8, gptq";

/// The settings, and where they are for messages.
pub(super) struct Settings<'a> {
    field: &'a str,
    value: &'a Value,
    file: &'a Path,
}

impl Quantized {
    /// Takes the settings out of a configuration, which is that of `file`; none where the weights
    /// are not quantized.
    ///
    /// # Errors
    /// When the weights are quantized in a way that is not read.
    pub(in crate::folder) fn take(
        config: &mut Map<String, Value>,
        file: &Path,
    ) -> Result<Option<Self>, SourceError> {
        let mut found = None;
        for field in FIELDS {
            match config.shift_remove(field) {
                Some(value) if !value.is_null() && found.is_none() => found = Some((field, value)),
                _ => {}
            }
        }
        let Some((field, value)) = &found else {
            return Ok(None);
        };
        let settings = Settings { field, value, file };
        let layout = match settings.method() {
            "gptq" => Layout::Gptq(Gptq::parse(&settings)?),
            "awq" => Layout::Awq(Awq::parse(&settings)?),
            "compressed-tensors" => Layout::CompressedTensors(CompressedTensors::parse(&settings)?),
            "fp8" | "fbgemm_fp8" => Layout::Fp8(Fp8::parse(&settings)?),
            other => {
                let algorithm = settings.value.get("quant_algo").and_then(Value::as_str);
                let found = format!("{other} {}", algorithm.unwrap_or_default());
                return Err(settings.unsupported("quant_method", found.trim_end(), METHODS));
            }
        };
        Ok(Some(Self {
            method: settings.method().to_owned(),
            layout,
        }))
    }
}

impl Settings<'_> {
    fn method(&self) -> &str {
        let text = |field: &str| self.value.get(field).and_then(Value::as_str);
        let is_true = |field: &str| self.value.get(field) == Some(&Value::Bool(true));
        match text("quant_method") {
            Some(method) => method,
            None if is_true("load_in_4bit") || is_true("load_in_8bit") => "bitsandbytes",
            None if self.value.get("config_groups").is_some() => "compressed-tensors",
            None => "no method",
        }
    }

    /// The fields that a layout knows.
    pub(super) fn fields<T: DeserializeOwned>(&self) -> Result<T, SourceError> {
        self.read(self.field, self.value)
    }

    /// The fields of a value of `place` within the settings.
    pub(super) fn inner<T: DeserializeOwned>(
        &self,
        place: &str,
        value: &Value,
    ) -> Result<T, SourceError> {
        self.read(&format!("{}.{place}", self.field), value)
    }

    fn read<T: DeserializeOwned>(&self, place: &str, value: &Value) -> Result<T, SourceError> {
        let malformed = |what| SourceError::malformed(self.file, format!("{place}: {what}"));
        let Value::Object(fields) = value else {
            return Err(malformed(format!("{value} is no object")));
        };
        json::fields_of(fields).map_err(malformed)
    }

    /// A number of columns; none for all of them, which −1 and null mean.
    pub(super) fn group_size(&self, typed: Option<i64>) -> Result<Option<i64>, SourceError> {
        match typed {
            None | Some(-1) => Ok(None),
            Some(size @ 1..) => Ok(Some(size)),
            Some(size) => Err(self.unsupported("group_size", &size.to_string(), "-1, 1 or more")),
        }
    }

    pub(super) fn unsupported(&self, field: &str, found: &str, supported: &str) -> SourceError {
        SourceError::Unsupported {
            file: self.file.to_path_buf(),
            what: format!("{}.{field}", self.field),
            found: found.to_owned(),
            supported: supported.to_owned(),
        }
    }
}
