//! Small files of a folder.

use std::path::Path;

use evopress_core::json::{self, Object};
use evopress_core::text;

use crate::error::SourceError;

pub(super) fn read(file: &Path) -> Result<String, SourceError> {
    text::read(file).map_err(|error| SourceError::of_text(error, file))
}

pub(super) fn object(text: &str, file: &Path) -> Result<Object, SourceError> {
    json::object(text).map_err(|what| SourceError::malformed(file, what))
}
