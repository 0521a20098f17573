//! What `config.json` says of a folder's quantized weights.

use std::path::Path;

use evopress_core::json;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::SourceError;

/// The settings, and where they are for messages.
pub(super) struct Settings<'a> {
    pub(super) field: &'a str,
    pub(super) value: &'a Value,
    pub(super) file: &'a Path,
}

impl Settings<'_> {
    /// The method's name.
    pub(super) fn method(&self) -> &str {
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
