//! Small files of a folder.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::SourceError;

pub(super) fn read(file: &Path) -> Result<String, SourceError> {
    std::fs::read_to_string(file).map_err(|cause| SourceError::Read {
        file: file.to_path_buf(),
        cause,
    })
}

pub(super) fn read_map(file: &Path) -> Result<Map<String, Value>, SourceError> {
    parse_map(&read(file)?, file)
}

pub(super) fn parse_map(text: &str, file: &Path) -> Result<Map<String, Value>, SourceError> {
    serde_json::from_str(text)
        .map_err(|cause| SourceError::malformed(file, format!("not a JSON object: {cause}")))
}
