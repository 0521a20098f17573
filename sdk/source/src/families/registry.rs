//! The families that are read.

use std::path::Path;

use serde_json::{Map, Value};

use super::family::Family;
use super::from_gguf::GgufModel;
use super::{llama, other_fields};
use crate::error::SourceError;
use crate::gguf::Metadata;
use crate::spec::ModelSpec;

static FAMILIES: [&Family; 1] = [&llama::FAMILY];

/// The family of a folder's configuration.
pub(crate) fn of_config(
    config: &Map<String, Value>,
    file: &Path,
) -> Result<&'static Family, SourceError> {
    let found = config.get("model_type").and_then(Value::as_str);
    find(found.unwrap_or(""), file, |family| family.model_type)
}

/// The family of a GGUF file.
pub(crate) fn of_gguf(metadata: &Metadata<'_>) -> Result<&'static Family, SourceError> {
    let found = metadata.architecture()?;
    find(found, metadata.file, |family| family.gguf_architecture)
}

/// The specification that a configuration stands for; `text` is the file's.
pub(crate) fn spec_of_config(
    family: &Family,
    config: &Map<String, Value>,
    text: &str,
    file: &Path,
) -> Result<ModelSpec, SourceError> {
    let spec = (family.read_config)(text, file)?;
    other_fields::check_config(config, family.fields, file)?;
    other_fields::check_lengths(config, spec.num_blocks(), file)?;
    Ok(spec)
}

/// The specification that a GGUF file stands for. `has_tensor` knows the file's tensors by their
/// names there, `rope_factors` are those that the file has as a tensor.
pub(crate) fn spec_of_gguf(
    family: &Family,
    metadata: &Metadata<'_>,
    has_tensor: &dyn Fn(&str) -> bool,
    rope_factors: Option<Vec<f64>>,
) -> Result<ModelSpec, SourceError> {
    let model = GgufModel {
        metadata,
        architecture: family.gguf_architecture,
        has_tensor,
        rope_factors,
    };
    other_fields::check_gguf(&model, family.fields)?;
    (family.read_gguf)(&model)
}

fn find(
    found: &str,
    file: &Path,
    name: fn(&Family) -> &'static str,
) -> Result<&'static Family, SourceError> {
    let mut families = FAMILIES.iter().copied();
    let names = || -> Vec<&str> { FAMILIES.iter().map(|family| name(family)).collect() };
    families
        .find(|family| name(family) == found)
        .ok_or_else(|| SourceError::Architecture {
            file: file.to_path_buf(),
            found: found.into(),
            supported: names().join(", "),
        })
}
