//! The families that are read.

use std::path::Path;

use serde_json::{Map, Value};

use super::family::Family;
use super::from_config::Config;
use super::from_gguf::GgufModel;
use super::{
    gemma2, gemma3, granite, granitemoe, llama, ministral, ministral3, mistral, mixtral, numbers,
    olmo2, olmo3, olmoe, other_fields, phi3, qwen2, qwen2_moe, qwen3, qwen3_moe, smollm3,
};
use crate::error::SourceError;
use crate::gguf::{Metadata, RopeFactors};
use crate::spec::ModelSpec;

/// All families.
pub(super) static FAMILIES: [&Family; 18] = [
    &llama::FAMILY,
    &mistral::FAMILY,
    &ministral::FAMILY,
    &ministral3::FAMILY,
    &phi3::FAMILY,
    &qwen2::FAMILY,
    &qwen3::FAMILY,
    &gemma2::FAMILY,
    &gemma3::FAMILY,
    &smollm3::FAMILY,
    &olmo2::FAMILY,
    &olmo3::FAMILY,
    &granite::FAMILY,
    &mixtral::FAMILY,
    &qwen2_moe::FAMILY,
    &qwen3_moe::FAMILY,
    &olmoe::FAMILY,
    &granitemoe::FAMILY,
];

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
    let window = metadata.optional_i64(&format!("{found}.attention.sliding_window"))?;
    let has_windows = window.is_some_and(|window| window != 0);
    let experts = metadata.optional_i64(&format!("{found}.expert_count"))?;
    let has_experts = experts.is_some_and(|experts| experts != 0);
    let candidates = FAMILIES.iter().filter(|family| family.read_gguf.is_some());
    let mut same = candidates.filter(|family| family.gguf.architecture == found);
    // Windows and experts tell families of one architecture apart.
    let is_it = |family: &&&Family| {
        has_windows == family.gguf.windows.is_some() && has_experts == family.form.experts.is_some()
    };
    match same.clone().find(is_it).or_else(|| same.next()) {
        Some(family) => Ok(family),
        None => find(found, metadata.file, |family| family.gguf.architecture),
    }
}

/// The specification that a configuration stands for.
pub(crate) fn spec_of_config(
    family: &'static Family,
    config: &Map<String, Value>,
    file: &Path,
) -> Result<ModelSpec, SourceError> {
    other_fields::check_lengths(config, file)?;
    numbers::check_config(config, family.fields, file)?;
    let model = (family.read_config)(&Config::new(&family.form, family.defaults, config, file)?)?;
    other_fields::check_config(config, family.fields, file)?;
    let is_said = |field: &str| config.get(field).is_some_and(|value| !value.is_null());
    model.into_spec(family.model_type, &family.form, file, &is_said)
}

/// The specification that a GGUF file stands for. `has_tensor` knows the file's tensors by their
/// names there, `rope_factors` are those that the file has as tensors.
pub(crate) fn spec_of_gguf(
    family: &Family,
    metadata: &Metadata<'_>,
    has_tensor: &dyn Fn(&str) -> bool,
    rope_factors: RopeFactors,
) -> Result<ModelSpec, SourceError> {
    let model = GgufModel {
        metadata,
        form: &family.gguf,
        has_tensor,
        rope_factors,
    };
    other_fields::check_gguf(&model, family.fields)?;
    numbers::check_gguf(&model)?;
    let read = family.read_gguf.unwrap_or(|model| model.common());
    let numbers = read(&model)?;
    numbers.into_spec(family.model_type, &family.form, metadata.file, &|_| true)
}

fn find(
    found: &str,
    file: &Path,
    name: fn(&Family) -> &'static str,
) -> Result<&'static Family, SourceError> {
    let mut families = FAMILIES.iter().copied();
    let names = || -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for family in FAMILIES {
            if !names.contains(&name(family)) {
                names.push(name(family));
            }
        }
        names
    };
    families
        .find(|family| name(family) == found)
        .ok_or_else(|| SourceError::Architecture {
            file: file.to_path_buf(),
            found: found.into(),
            supported: names().join(", "),
        })
}
